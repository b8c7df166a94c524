"""The socket's reader and writer, which need no pipeline.

A pipeline comes and goes; the socket is there before it, and after. So the reading, the writing
and the farewell are here, and the two halves of the transport join in while a pipeline runs.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from loguru import logger
from pipecat.frames.frames import Frame
from starlette.websockets import WebSocket, WebSocketState

from pipecat_genesys.protocol import WIRE_SAMPLE_RATE

from .bucket import TokenBucket

if TYPE_CHECKING:
    from .call import GenesysCall

# What the caller says before the pipeline has started is kept, as far as memory allows.
_MAX_EARLY_FRAMES = 300
# Genesys answers `disconnect` with `close` at once, and closes the socket after `closed`.
_GOODBYE_SECONDS = 5.0
_HANG_UP_SECONDS = 2.0
_FAREWELL_SECONDS = 10.0
# More than a real client sends: it pings every 5 s, a caller types a few digits a second, and
# 20 s of audio can come at once after a reconnection. Who sends more waits for its turn, and who
# goes on like that is no call.
_TEXT_RATE, _TEXT_BURST = 20, 100
_MAX_AUDIO_AHEAD = 30.0
_MAX_THROTTLED = 30.0
_SECOND_LOOK_SECONDS = 1.0

Deliver = Callable[[Frame], Awaitable[None]]


async def write(websocket: WebSocket, message: str | bytes) -> None:
    """Send one message."""
    if isinstance(message, str):
        await websocket.send_text(message)
    else:
        await websocket.send_bytes(message)


class Line:
    """A socket with a call on it.

    Attributes:
        ready: Set when a pipeline is there to hear the call.
        started: Set when that pipeline runs.
    """

    def __init__(
        self,
        call: GenesysCall,
        websocket: WebSocket,
        *,
        on_connected: Callable[[], Awaitable[None]],
        on_lost: Callable[[], Awaitable[None]],
        dead_peer_seconds: float,
    ) -> None:
        """Create the line; nothing is read before `begin`.

        Args:
            call: Who understands the messages.
            websocket: Accepted.
            on_connected: Called before the first message is read.
            on_lost: Called when the socket is gone.
            dead_peer_seconds: After how long a silence the socket is given up.
        """
        self.ready = asyncio.Event()
        self.started = asyncio.Event()
        self._call = call
        self._websocket = websocket
        self._on_connected = on_connected
        self._on_lost = on_lost
        self._patience = dead_peer_seconds
        self._lost = asyncio.Event()
        self._early: list[Frame] = []
        self._deliver: Deliver | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._kept = False
        self._said_goodbye = False
        self._heard_at = time.monotonic()
        self._text = TokenBucket(_TEXT_RATE, _TEXT_BURST)
        self._audio_due = 0.0
        self._throttled = 0.0

    def begin(self) -> None:
        """Begin to read and to write, if that has not begun."""
        if not self._tasks:
            self._heard_at = time.monotonic()
            self._tasks = [
                asyncio.create_task(self._read(), name=f"{self._call}: reader"),
                asyncio.create_task(self._call.writer.run(), name=f"{self._call}: writer"),
                asyncio.create_task(self._watch(), name=f"{self._call}: watchdog"),
            ]

    def keep(self) -> None:
        """Keep the line when a pipeline lets go of it; whoever called this says `end`."""
        self._kept = True

    async def release(self) -> None:
        """Let go of the line: nobody hears it any more."""
        self._deliver = None
        if not self._kept:
            await self.end()

    async def end(self) -> None:
        """Leave nothing behind."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def deliver_to(self, deliver: Deliver) -> None:
        """Hand over what was heard until now, and what will be."""
        while self._early:
            early, self._early = self._early, []
            for frame in early:
                await deliver(frame)
        self._deliver = deliver
        self.started.set()

    # -- the socket --------------------------------------------------------------------------

    async def _read(self) -> None:
        try:
            await self._on_connected()
            while True:
                message = await self._websocket.receive()
                if message["type"] != "websocket.receive":
                    break
                # One of them is there, and the other may be None.
                data = message.get("text")
                data = data if data is not None else message["bytes"]
                self._heard_at = time.monotonic()
                for frame in await self._call.receive(data):
                    await self._forward(frame)
                await self._take_turns(data)
        except Exception as error:
            # A socket may fail in any way its server knows; that is a loss like any other.
            logger.warning(f"{self._call}: the socket failed: {type(error).__name__}")
        await self._gone()

    async def _forward(self, frame: Frame) -> None:
        if self._deliver is not None:
            await self._deliver(frame)
        elif not self.started.is_set() and len(self._early) < _MAX_EARLY_FRAMES:
            self._early.append(frame)

    async def _take_turns(self, data: str | bytes) -> None:
        """Read no faster than anyone speaks: what floods us fills its own socket, not memory."""
        now = time.monotonic()
        if isinstance(data, str):
            self._text.take(now)
            wait = self._text.ready_at(now) - now
        else:
            media = self._call.media
            seconds = len(data) / (media.frame_bytes if media else 1) / WIRE_SAMPLE_RATE
            self._audio_due = max(self._audio_due, now) + seconds
            wait = self._audio_due - _MAX_AUDIO_AHEAD - now
        if wait > 0:
            self._throttled += wait
            self._call.observer.throttled(wait)
            if self._throttled > _MAX_THROTTLED and not self._call.ending.is_set():
                logger.warning(f"{self._call}: the client sends far more than a call has")
                await self._call.disconnect("error", info="far more messages than a call has")
            await asyncio.sleep(wait)
            self._heard_at = time.monotonic()

    async def _watch(self) -> None:
        """See to it that the call ends, also with a peer that does not do its part."""
        if await self._lives():
            try:
                # Time for `close`, for `closed`, and for Genesys to close the socket.
                await asyncio.wait_for(self._lost.wait(), _FAREWELL_SECONDS)
                return
            except TimeoutError:
                logger.warning(f"{self._call}: not closed {_FAREWELL_SECONDS:g} s after its end")
        self._tasks[0].cancel()
        await self.close()
        await self._gone()

    async def _lives(self) -> bool:
        """Wait until the call is about to end; False if nothing moves: Genesys pings every 5 s."""
        overdue = False
        while not self._call.ending.is_set():
            since = min(self._heard_at, self._call.writer.waits_since or self._heard_at)
            left = since + self._patience - time.monotonic()
            if left <= 0 and overdue:
                logger.warning(f"{self._call}: nothing moved for {self._patience:g} s")
                return False
            # A second look: it may be this process that stood still, with a ping in the socket.
            overdue = left <= 0
            try:
                await asyncio.wait_for(self._call.ending.wait(), max(left, _SECOND_LOOK_SECONDS))
            except TimeoutError:
                continue
        return True

    async def _gone(self) -> None:
        self._lost.set()
        await self._call.lost()
        await self._on_lost()

    # -- the end -----------------------------------------------------------------------------

    async def goodbye(self, frame: Frame | None = None) -> None:
        """Say ``disconnect``, wait for ``close``, answer it, and let Genesys close the socket.

        Args:
            frame: What ends the call, an ``EndFrame`` or a ``CancelFrame``; None if
                ``disconnect`` has been said.
        """
        if self._said_goodbye:
            return
        self._said_goodbye = True
        call = self._call
        if not call.ended.is_set():
            if frame is not None:
                await call.send(frame)
            try:
                await asyncio.wait_for(call.ended.wait(), _GOODBYE_SECONDS)
            except TimeoutError:
                logger.warning(f"{call}: no 'close' within {_GOODBYE_SECONDS:g} s of 'disconnect'")
        await self.hang_up()

    async def hang_up(self) -> None:
        """Wait for Genesys to close the socket, and close it only if it does not."""
        try:
            async with asyncio.timeout(_HANG_UP_SECONDS):
                await self._call.writer.flushed()
                await self._lost.wait()
        except TimeoutError:
            await self.close()

    async def close(self) -> None:
        """Close the socket, if it is open."""
        if self._websocket.client_state is WebSocketState.CONNECTED:
            try:
                async with asyncio.timeout(_HANG_UP_SECONDS):
                    await self._websocket.close()
            except Exception as error:
                logger.debug(f"{self._call}: closing the socket failed: {type(error).__name__}")
