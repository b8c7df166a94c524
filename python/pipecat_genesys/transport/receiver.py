"""The half of the transport that hears: the socket's reader, and answers at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

from loguru import logger
from pipecat.frames.frames import Frame, InputAudioRawFrame, StartFrame
from pipecat.processors.frame_processor import FrameDirection
from pipecat.transports.base_input import BaseInputTransport
from pipecat.transports.base_transport import TransportParams

from .call import GenesysCall

try:
    from pipecat.frames.frames import EndWorkerFrame
except ImportError:  # pipecat before 1.4
    from pipecat.frames.frames import EndTaskFrame as EndWorkerFrame

if TYPE_CHECKING:
    from .transport import AudioHookTransport

# Caller audio kept for a pipeline that has not started; far longer than any start.
_MAX_EARLY_FRAMES = 300


class AudioHookReceiver(BaseInputTransport):
    """Reads the socket from the moment it is set up, not from when the pipeline has started.

    It goes on reading when the pipeline ends: the player says goodbye, and Genesys answers.
    """

    def __init__(
        self,
        transport: AudioHookTransport,
        call: GenesysCall,
        messages: Callable[[], AsyncIterator[str | bytes]],
        params: TransportParams,
        **options: Any,
    ) -> None:
        """Create it; `AudioHookTransport.input` does."""
        super().__init__(params, **options)
        self._transport = transport
        self._call = call
        self._messages = messages
        self._reading: asyncio.Task[None] | None = None
        self._early: list[Frame] | None = []
        self._started = asyncio.Event()

    async def setup(self, setup: Any) -> None:
        """Begin to read: Genesys waits 5 s for its answer, however long a bot takes to start."""
        await super().setup(setup)
        if hasattr(setup, "audio_in_sample_rate"):
            await self._begin(setup)

    async def start(self, frame: StartFrame) -> None:
        """Let the pipeline hear the call, from its first sample."""
        await super().start(frame)
        if self._reading is None:  # pipecat before 1.8 tells the rate here
            await self._begin(frame)
        await self.set_transport_ready(frame)
        early, self._early = self._early or [], None
        for one in early:
            await self._forward(one)
        self._started.set()

    async def _begin(self, setup: Any) -> None:
        await self._call.setup(setup)
        self._reading = self.create_task(self._read())

    async def _read(self) -> None:
        try:
            async for message in self._messages():
                for frame in await self._call.receive(message):
                    await self._forward(frame)
        except Exception as error:
            # A socket may fail in any way its server knows; that is a loss like any other.
            logger.warning(f"{self}: the socket failed: {type(error).__name__}")
        await self._call.lost()
        await self._transport.hung_up()
        await self._ends()

    async def _forward(self, frame: Frame) -> None:
        if self._early is not None:
            if len(self._early) < _MAX_EARLY_FRAMES:
                self._early.append(frame)
            return
        if isinstance(frame, InputAudioRawFrame):
            await self.push_audio_frame(frame)
        else:
            await self.push_frame(frame)

    async def _ends(self) -> None:
        """Nobody is there any more: the pipeline may end, in order."""
        await self._started.wait()
        await self.push_frame(EndWorkerFrame(), FrameDirection.UPSTREAM)

    async def cleanup(self) -> None:
        """Leave nothing behind."""
        await super().cleanup()  # type: ignore[no-untyped-call]
        if self._reading is not None:
            reading, self._reading = self._reading, None
            await self.cancel_task(reading)
