"""How the verbs' messages get to the socket, where a stock transport of pipecat's owns it.

A serializer has no socket: what a verb says travels as a frame from the input transport to the
output transport, as pipecat's own replies do, and is numbered there. `FrameDelivery.attach` tells
which transport; without it, on pipecat 1.8 and newer, the pipeline's worker takes the frames.
"""

from __future__ import annotations

from typing import Any

from loguru import logger
from pipecat.frames.frames import Frame, OutputTransportMessageUrgentFrame
from pipecat.transports.base_transport import BaseTransport

from pipecat_genesys.protocol import Draft, State

from .messages import PipecatMessages
from .verbs import Verbs


class FrameDelivery(Verbs, PipecatMessages):
    """The verbs, their messages sent as frames."""

    _transport: BaseTransport | None = None
    _worker: Any = None

    def attach(self, transport: BaseTransport) -> None:
        """Say which transport this serializer serves.

        The verbs' messages then take the way of the replies, in order with them (what is sent in
        ``on_closing`` goes out before ``closed``), and a socket that is lost is noticed.

        Args:
            transport: One of pipecat's WebSocket transports.
        """
        self._transport = transport

        async def on_client_disconnected(*_: Any) -> None:
            await self.connection_lost()

        transport.add_event_handler("on_client_disconnected", on_client_disconnected)

    async def _push(self, draft: Draft) -> bool:
        session = self._session
        # While `opened` is on its way, what follows it may be so too.
        if not session.allows(draft.type) and session.state is not State.OPENING:
            logger.debug(f"{draft.type.value!r} not sent: the session is {session.state.value}")
            return False
        message = self._create(draft.type, dict(draft.parameters))
        await self._emit(OutputTransportMessageUrgentFrame(message=message))
        return True

    async def _emit(self, frame: Frame) -> None:
        if self._transport is not None:
            await self._transport.input().push_frame(frame)
        elif self._worker is not None:
            await self._worker.queue_frame(frame)
        else:
            raise RuntimeError(
                "no way to send: call serializer.attach(transport) when you make the transport"
            )
