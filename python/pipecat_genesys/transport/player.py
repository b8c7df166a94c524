"""The half of the transport that speaks: paced audio, honest speaking frames, and the goodbye."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any

from loguru import logger
from pipecat.frames.frames import (
    BotStoppedSpeakingFrame,
    CancelFrame,
    EndFrame,
    Frame,
    InterruptionFrame,
    OutputAudioRawFrame,
    OutputTransportMessageFrame,
    OutputTransportMessageUrgentFrame,
    StartFrame,
    TTSStoppedFrame,
)
from pipecat.processors.frame_processor import FrameDirection
from pipecat.transports.base_output import BaseOutputTransport
from pipecat.transports.base_transport import TransportParams

from pipecat_genesys.serializer.control_frames import ANSWERS

from .call import GenesysCall
from .cutting import Cutter
from .line import Line

if TYPE_CHECKING:
    from .transport import AudioHookTransport

# Beyond what is owed, for reports that come late.
_PLAYOUT_MARGIN = 0.5
# How often to look whether there is room, which comes with time.
_ROOM_SECONDS = 0.1


class AudioHookPlayer(BaseOutputTransport):
    """Takes bot audio as fast as it comes, up to a lead, and sends it when it is due."""

    def __init__(
        self,
        transport: AudioHookTransport,
        call: GenesysCall,
        line: Line,
        params: TransportParams,
        **options: Any,
    ) -> None:
        """Create it; `AudioHookTransport.output` does."""
        super().__init__(params, **options)
        self._transport = transport
        self._call = call
        self._line = line
        self._stopping: asyncio.Task[None] | None = None
        self._stopped_frames: list[tuple[Frame, FrameDirection]] = []
        self._room = asyncio.Event()
        self._cutter = Cutter()
        filtered = getattr(params, "audio_out_filter", None)  # pipecat 1.14 and newer
        self._as_it_comes = params.audio_out_enabled and not (params.audio_out_mixer or filtered)

    async def start(self, frame: StartFrame) -> None:
        """Be ready for the bot's audio."""
        await super().start(frame)
        await self.set_transport_ready(frame)

    # -- audio -------------------------------------------------------------------------------

    async def _handle_frame(self, frame: Frame) -> None:
        """Take audio as it comes.

        pipecat cuts it to short chunks, by which its transports keep time, and resamples it to the
        pipeline's rate. Here the sender keeps time, and its audio need not be resampled twice. Only
        a mixer and a filter want it like that.
        """
        if isinstance(frame, TTSStoppedFrame):
            self._cutter.clear()
        media_sender = getattr(self, "_media_senders", {}).get(frame.transport_destination)
        if self._as_it_comes and media_sender and isinstance(frame, OutputAudioRawFrame):
            for piece in self._cutter.cut(frame):
                await media_sender.handle_sync_frame(piece)
        else:
            await super()._handle_frame(frame)

    async def write_audio_frame(self, frame: OutputAudioRawFrame) -> bool:
        """Take a chunk; returns when there is room for the next."""
        heard = await self._call.say(frame)
        while heard and not self._call.sender.has_room(time.monotonic()):
            await self._wait_for_room()
            heard = not self._call.ended.is_set()
        return heard

    async def _wait_for_room(self) -> None:
        """Wait until the caller has heard some of what is ahead, or it is dropped."""
        self._room.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_ROOM_SECONDS):
                await self._room.wait()

    # -- frames ------------------------------------------------------------------------------

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Handle a frame; an interruption stops what the caller hears."""
        await super().process_frame(frame, direction)
        if isinstance(frame, InterruptionFrame):
            self._cutter.clear()
            was_playing, heard = self._call.interrupted()
            self._room.set()
            if was_playing:
                await self._call.send(frame)
                self._call.observer.interrupted(heard)
                await self._transport.interrupted(heard)
            await self._release_stopped()

    async def send_message(
        self, frame: OutputTransportMessageFrame | OutputTransportMessageUrgentFrame
    ) -> None:
        """Send a message of the application's; answers have gone out already."""
        if not isinstance(frame, ANSWERS):
            await self._call.send(frame)

    async def push_frame(
        self, frame: Frame, direction: FrameDirection = FrameDirection.DOWNSTREAM
    ) -> None:
        """Push a frame; that the bot has stopped speaking, when the caller has heard it all."""
        if not isinstance(frame, BotStoppedSpeakingFrame):
            await super().push_frame(frame, direction)
            return
        self._call.sender.finish(time.monotonic())
        self._call.pump.poke()
        self._stopped_frames.append((frame, direction))
        if self._stopping is None:
            self._stopping = asyncio.create_task(self._when_heard(), name=f"{self}: playout")

    async def _when_heard(self) -> None:
        await self._played_out()
        self._stopping = None
        await self._release_stopped()

    async def _release_stopped(self) -> None:
        if self._stopping is not None:
            stopping, self._stopping = self._stopping, None
            stopping.cancel()
        frames, self._stopped_frames = self._stopped_frames, []
        for frame, direction in frames:
            await super().push_frame(frame, direction)

    async def _played_out(self) -> None:
        """Wait until the caller has heard what was said."""
        call = self._call
        while not call.ended.is_set():
            ahead = call.sender.ahead(time.monotonic())
            if ahead <= 0 and not call.writer.audio_waits:
                return
            # Reports of Genesys's come as news; a tenth of a second is near enough.
            await asyncio.sleep(min(max(ahead, 0.01), 0.05))

    # -- the end -----------------------------------------------------------------------------

    async def stop(self, frame: EndFrame) -> None:
        """Let the caller hear what is owed, and end the session as the protocol has it."""
        await super().stop(frame)
        now = time.monotonic()
        self._call.sender.finish(now)
        self._call.pump.poke()
        # It plays at its own speed; tokens may be scarce.
        limit = 2 * self._call.sender.ahead(now) + _PLAYOUT_MARGIN + 5
        try:
            await asyncio.wait_for(self._played_out(), limit)
        except TimeoutError:
            logger.warning(f"{self}: the last words were not played within {limit:.1f} s")
        await self._release_stopped()
        await self._line.goodbye(frame)

    async def cancel(self, frame: CancelFrame) -> None:
        """End the session at once."""
        await super().cancel(frame)
        self._call.interrupted()
        await self._release_stopped()
        await self._line.goodbye(frame)

    async def cleanup(self) -> None:
        """Leave nothing behind."""
        await super().cleanup()  # type: ignore[no-untyped-call]
        self._call.pump.stop()
        if self._stopping is not None:
            self._stopping.cancel()
