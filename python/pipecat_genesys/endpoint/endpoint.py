"""Authenticates connections, runs their calls, and waits at shutdown until the calls have ended."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from http import HTTPStatus
from weakref import WeakKeyDictionary

from loguru import logger
from starlette.responses import PlainTextResponse, Response
from starlette.websockets import WebSocket

from pipecat_genesys.auth import (
    AuthenticationError,
    SignatureVerifier,
    VerifiedRequest,
    upgrade_request,
)
from pipecat_genesys.auth.request import is_uuid
from pipecat_genesys.transport import AudioHookParams, AudioHookTransport

from .admission import Admission, NoRoomError, Refused
from .call_handler import Bot, CallHandler, OpenGate
from .metrics import CallObserver, Metrics
from .recording import Recorder, RecordingSettings
from .refusal_log import RefusalLog

# Header of the upgrade request. Genesys's support uses its value to find a call.
_CORRELATION_HEADER = "audiohook-correlation-id"
# Maximum total time for `disconnect`, `close`, `closed` and the closing of the socket, in seconds.
_FAREWELL_SECONDS = 15.0
# The reasons of HTTP 503 in words, for the log.
_NO_ROOM = {
    Refused.FULL: "the limit of calls is reached",
    Refused.DRAINING: "the server is about to stop",
    Refused.HANDSHAKES: "too many connections are being authenticated",
}
# Delay in seconds after a refusal, because uvicorn logs an error if the application returns before
# the socket is closed.
_AFTER_REFUSAL_SECONDS = 0.05


@dataclass(slots=True, eq=False)
class _Slot:
    """One of the calls that count against the limit of calls.

    Attributes:
        handler: Handles the call; None while its connection is being accepted.
    """

    handler: CallHandler | None = None


class AudioHookEndpoint:
    """Authenticates connections, runs a handler for each call, and waits for calls at shutdown.

    Attributes:
        admission: The running calls and their limit.
        metrics: Counts connections and calls.
        drain_settings: The arguments of `drain` after SIGTERM or SIGINT.
        recorder: Records the calls.
        calls_begun: Number of calls that have begun.
    """

    def __init__(
        self,
        bot: Bot,
        verifier: SignatureVerifier | None,
        params: AudioHookParams,
        metrics: Metrics,
        *,
        max_calls: int,
        ready_seconds: float,
        after_call_seconds: float,
        recording: RecordingSettings,
    ) -> None:
        """Create the endpoint. Use `audiohook_router` instead."""
        self.admission: Admission[_Slot] = Admission(max_calls)
        self.metrics = metrics
        self._bot = bot
        self._verifier = verifier
        self.drain_settings: dict[str, float] = {}
        self.calls_begun = 0
        self._refusal_log = RefusalLog()
        # An application can be served by several event loops, and a lock belongs to one of them.
        self._refusal_turns: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = (
            WeakKeyDictionary()
        )
        self._params = params
        self.recorder = Recorder(recording, metrics)
        self._times = {"ready_seconds": ready_seconds, "after_call_seconds": after_call_seconds}
        metrics.limit.inc(max_calls)

    @property
    def verifier(self) -> SignatureVerifier | None:
        """The verifier of upgrade requests; None if every connection is accepted."""
        return self._verifier

    @property
    def active_calls(self) -> int:
        """Number of calls that run."""
        return len(self.admission.calls)

    @property
    def is_ready(self) -> bool:
        """Whether the server is not about to stop and has room for a call.

        Connections that are being authenticated are not counted.
        """
        return not self.admission.draining and self.admission.refusal is None

    def set_max_calls(self, max_calls: int) -> None:
        """Change the maximum number of simultaneous calls. Running calls are not affected.

        Args:
            max_calls: The number, 1 or more.
        """
        self.metrics.limit.inc(max_calls - self.admission.max_calls)
        self.admission.max_calls = max_calls

    def set_recording(self, settings: RecordingSettings) -> None:
        """Change the settings of the recorder. Running calls are not affected.

        Args:
            settings: The settings.
        """
        self.recorder = Recorder(settings, self.metrics)

    async def answer(self, websocket: WebSocket) -> None:
        """Handle a WebSocket until it ends.

        Args:
            websocket: The WebSocket, which is not accepted yet.
        """
        self.metrics.connections.inc()
        refused = self.admission.begin_handshake()
        if refused is not None:
            await self._refuse(websocket, refused.value, 503, _NO_ROOM[refused])
            return
        slot = _Slot()
        try:
            try:
                request = await self._authenticated(websocket, slot)
            except AuthenticationError:
                # A refusal takes some 300 us. After a delay of the event loop, hundreds of them are
                # due together. One is sent in each iteration, so that calls continue. Those that
                # wait count as connections that are being authenticated.
                loop = asyncio.get_running_loop()
                async with self._refusal_turns.setdefault(loop, asyncio.Lock()):
                    await asyncio.sleep(0)
                raise
            finally:
                self.admission.end_handshake()
            await self._admitted(websocket, request, slot)
        except AuthenticationError as error:
            # Only the log has the reason. The peer gets only the status.
            await self._refuse(websocket, error.reason.value, 401, str(error))
        except NoRoomError as error:
            await self._refuse(websocket, error.reason.value, 503, _NO_ROOM[error.reason])
        finally:
            self.admission.leave(slot)

    async def _authenticated(self, websocket: WebSocket, slot: _Slot) -> VerifiedRequest | None:
        """Authenticate a connection, and count its call against the limit of calls.

        The call is counted before the nonce of the signature is stored. If this server refuses the
        call because the limit is reached, another server can still accept the same signed request.
        """
        if self._verifier is None:
            self.admission.enter(slot)
            return None
        return await self._verifier.authenticate(
            *upgrade_request(websocket.scope), admit=lambda _: self.admission.enter(slot)
        )

    async def _admitted(
        self, websocket: WebSocket, request: VerifiedRequest | None, slot: _Slot
    ) -> None:
        gate = OpenGate()
        observer = CallObserver(self.metrics)
        recording = self.recorder.begin(_url(websocket), websocket.headers)
        transport = AudioHookTransport(
            websocket,
            self._params,
            observer=observer,
            open_gate=gate,
            tap=recording if recording.is_on else None,
        )
        slot.handler = CallHandler(
            transport, gate, request, self.metrics, observer, recording, **self._times
        )
        self.metrics.active.inc()
        self.calls_begun += 1
        correlation = _correlation_id(websocket)
        try:
            with transport.call.log_context(), logger.contextualize(correlation_id=correlation):
                await websocket.accept(_subprotocol(websocket))
                await slot.handler.run(self._bot)
        finally:
            self.metrics.active.dec()

    async def _refuse(self, websocket: WebSocket, reason: str, status: int, detail: str) -> None:
        address = websocket.client.host if websocket.client else "unknown"
        self._refusal_log.add(address, reason, detail, _correlation_id(websocket))
        self.metrics.refusals.labels(reason).inc()
        if "websocket.http.response" in websocket.scope.get("extensions", {}):
            await websocket.send_denial_response(_plain(status))
            await asyncio.sleep(_AFTER_REFUSAL_SECONDS)
        else:
            # The server responds with HTTP 403 if the socket is closed before it is accepted.
            await websocket.close()

    async def drain(self, seconds: float, grace_seconds: float = 0.0) -> None:
        """Refuse new calls, and wait until the running calls have ended.

        Args:
            seconds: Longest time to wait. Calls that run longer are ended with ``disconnect``.
            grace_seconds: Time during which new calls are still accepted, although ``/readyz``
                reports that the endpoint is not ready. A load balancer needs this time to react.
        """
        admission = self.admission
        if admission.draining:
            await admission.empty()
            return
        admission.draining = True
        self.metrics.drains.inc()
        self.metrics.draining.inc()
        logger.info(f"draining: {self.active_calls} calls run; waiting at most {seconds:g} s")
        await asyncio.sleep(grace_seconds)
        admission.closed = True
        try:
            await asyncio.wait_for(admission.empty(), seconds)
        except TimeoutError:
            left = list(admission.calls)
            logger.warning(f"draining: {len(left)} calls did not end in time; disconnecting them")
            self.metrics.cut.inc(len(left))
            await asyncio.gather(
                *(one.handler.disconnect("the server is stopping") for one in left if one.handler)
            )
            try:
                await asyncio.wait_for(admission.empty(), _FAREWELL_SECONDS)
            except TimeoutError:
                logger.error(f"draining: {self.active_calls} calls could not be ended")
        logger.info("draining: finished")


def _subprotocol(websocket: WebSocket) -> str | None:
    """Return the first sub-protocol that the client offers, or None.

    Genesys offers no sub-protocol. A client that offers sub-protocols may close the WebSocket if
    the server selects none.
    """
    offered = websocket.scope.get("subprotocols") or [None]
    return offered[0] or None


def _correlation_id(websocket: WebSocket) -> str:
    """Return the correlation ID of an upgrade request, or "" if it has no valid one."""
    value = websocket.headers.get(_CORRELATION_HEADER, "")
    return value if is_uuid(value) else ""


def _url(websocket: WebSocket) -> str:
    """Return the URL of a connection without its query, which may contain a secret."""
    url = websocket.url
    return f"{url.scheme}://{url.netloc.rpartition('@')[2]}{url.path}"


def _plain(status: int) -> Response:
    return PlainTextResponse(HTTPStatus(status).phrase, status, headers={"Connection": "close"})
