"""The output of the transport. It sends bot audio to Genesys, and ends the call."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any
from weakref import WeakValueDictionary

from loguru import logger
from pipecat.audio.dtmf.utils import load_dtmf_audio
from pipecat.frames.frames import (
    CancelFrame,
    EndFrame,
    Frame,
    InputAudioRawFrame,
    InterruptionFrame,
    OutputAudioRawFrame,
    OutputDTMFFrame,
    OutputDTMFUrgentFrame,
    OutputTransportMessageFrame,
    OutputTransportMessageUrgentFrame,
    StartFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.processors.frame_processor import FrameDirection
from pipecat.transports.base_output import BaseOutputTransport
from pipecat.transports.base_transport import TransportParams

from pipecat_genesys.call import Phase
from pipecat_genesys.call.frames import REPLY_FRAME_TYPES
from pipecat_genesys.call.message_dicts import to_draft
from pipecat_genesys.protocol import AudioHookMessageType, server_messages

from .connection import Connection
from .media_sender import restore, save_timers
from .recording import RecorderAlignment, find_recorder
from .timeline import PlayoutTimeline, is_interruptible

# Maximum time, in seconds, by which endless audio, such as the audio of a mixer, is sent before its
# playback.
_ENDLESS_LEAD_SECONDS = 0.3
# Maximum time in seconds between two checks whether more endless audio can be sent.
_ROOM_SECONDS = 0.1
# When the pipeline ends, the remaining audio is discarded if no audio could be sent for this time,
# in seconds.
_STALLED_SECONDS = 6.0


class AudioHookOutputTransport(BaseOutputTransport):
    """Sends bot audio before Genesys plays it, and passes on frames that the caller has heard.

    The output takes the audio before Pipecat cuts the audio into chunks, and resamples the audio
    once. A `PlayoutTimeline` passes each queued frame to Pipecat when Genesys has played the audio
    before the frame. If Pipecat has to change the audio with a mixer or a filter, Pipecat processes
    the audio first, and the output sends the result.
    """

    def __init__(
        self,
        connection: Connection,
        params: TransportParams,
        on_interrupted: Callable[[float], Awaitable[None]],
        **options: Any,
    ) -> None:
        """Create the output. Use `AudioHookTransport.output` instead.

        Args:
            connection: The socket and its call.
            params: The transport's parameters.
            on_interrupted: Called when the bot is interrupted, with the seconds of the bot's turn
                that the caller has heard.
            **options: Options of Pipecat's base class.
        """
        super().__init__(params, **options)
        self._connection = connection
        self._call = connection.call
        self._pacer = connection.pacer
        self._on_interrupted = on_interrupted
        self._timeline = PlayoutTimeline(
            connection.call,
            connection.pacer,
            self._pass_on,
            lambda coroutine: self.create_task(coroutine, f"{self}::playout"),
            volume=getattr(params, "audio_out_volume", 1.0),
        )
        connection.timeline = self._timeline
        # Frames, by id, whose audio was already sent. Pipecat's media sender must not send this
        # audio again. The id of a frame is removed when Pipecat drops the frame.
        self._sent: WeakValueDictionary[int, Frame] = WeakValueDictionary()
        filtered = getattr(params, "audio_out_filter", None)  # exists in pipecat 1.14 and newer
        self._is_ending = False
        self._takes_audio = params.audio_out_enabled and not (params.audio_out_mixer or filtered)

    async def start(self, frame: StartFrame) -> None:
        """Start the output, so that it accepts the bot's audio."""
        await super().start(frame)
        recorder = find_recorder(self)
        if recorder is not None:
            self._timeline.recording = RecorderAlignment(recorder)
        await self.set_transport_ready(frame)
        if self._takes_audio:
            for media_sender in self._media_senders.values():
                save_timers(media_sender)

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Handle a frame as Pipecat's base class does, and measure the response time of the bot."""
        if isinstance(frame, VADUserStartedSpeakingFrame):
            self._pacer.caller_stopped_at = None
        elif isinstance(frame, VADUserStoppedSpeakingFrame) and not self._pacer.is_audible():
            # The detector reports the end of speech after `stop_secs` of silence, so this time is
            # subtracted.
            self._pacer.caller_stopped_at = time.monotonic() - frame.stop_secs
        await super().process_frame(frame, direction)

    async def push_frame(
        self, frame: Frame, direction: FrameDirection = FrameDirection.DOWNSTREAM
    ) -> None:
        """Push a frame. A recorder after the output gets the caller's audio at its sample rate."""
        recording = self._timeline.recording
        if recording is not None and direction is FrameDirection.DOWNSTREAM:
            frame = recording.observe(frame)
        await super().push_frame(frame, direction)
        if recording is not None and isinstance(frame, InputAudioRawFrame):
            deferred = recording.take_deferred()
            if deferred is not None:
                await super().push_frame(deferred)
            self._timeline.poke()

    # -- frames in order with audio ----------------------------------------------------------

    async def _handle_frame(self, frame: Frame) -> None:
        """Queue a frame with the bot audio; Pipecat's base class calls this for each frame."""
        if isinstance(frame, InterruptionFrame):
            await self._interrupt(frame)
        elif isinstance(frame, OutputAudioRawFrame) and not self._is_valid(frame):
            return
        elif self._takes_audio and not frame.pts and frame.transport_destination is None:
            if isinstance(frame, OutputDTMFFrame):
                for tone in await self._key_tones(frame):
                    await self._timeline.add(tone)
            await self._timeline.add(frame)
        else:
            # Pipecat handles frames with a timestamp or a destination, and all frames if it mixes
            # or filters the audio, or if audio output is disabled.
            await super()._handle_frame(frame)

    def _is_valid(self, frame: OutputAudioRawFrame) -> bool:
        """Return whether audio can be encoded. Log the first audio that cannot be encoded."""
        if frame.sample_rate > 0 and frame.num_channels in (1, 2):
            return True
        self._call.log.once(
            "ERROR",
            f"bot audio dropped: {frame.num_channels} channels at {frame.sample_rate} Hz; "
            "send mono or stereo at a positive rate",
            "bot audio invalid",
        )
        return False

    async def _pass_on(self, frame: Frame) -> None:
        """Pass a frame to Pipecat, because the playout clock has reached its position."""
        if isinstance(frame, OutputDTMFFrame):
            self._sent[frame.id] = frame
        if not isinstance(frame, OutputAudioRawFrame):
            await super()._handle_frame(frame)
            return
        media_sender = self._media_senders.get(None)
        if not self._takes_audio:
            await self.push_frame(frame)
        elif media_sender is not None:
            self._sent[frame.id] = frame
            await media_sender.handle_sync_frame(frame)

    async def write_audio_frame(self, frame: OutputAudioRawFrame) -> bool:
        """Send audio that Pipecat has changed or generated, such as mixed audio or a tone.

        Waits until there is room for the audio. If the wait is cancelled, the audio is not sent.

        Returns:
            Whether Pipecat must push the audio downstream: it was sent, and the timeline does not
            push it later.
        """
        if self._sent.pop(frame.id, None) is not None:
            return True
        while self._call.phase is Phase.RUNNING:
            ahead = self._pacer.queue.ahead(time.monotonic())
            if self._pacer.is_held and self._is_ending and type(frame) is OutputAudioRawFrame:
                return False  # background sound does not delay the end of a call on hold
            if ahead < _ENDLESS_LEAD_SECONDS and not self._pacer.is_held:
                start = self._pacer.queue.end
                if self._send_now(frame):
                    return not self._timeline.record(frame, start)
                return False
            await asyncio.sleep(min(max(ahead - _ENDLESS_LEAD_SECONDS, 0.01), _ROOM_SECONDS))
        return False

    async def write_dtmf(self, frame: OutputDTMFFrame | OutputDTMFUrgentFrame) -> None:
        """Send DTMF tones as audio, because Genesys has no message for digits from a bot.

        The tones of an urgent frame are sent after the audio that the pacer has received, which is
        at most about 2 s, and before the rest of the turn.
        """
        if self._sent.pop(frame.id, None) is not None:
            return
        if isinstance(frame, OutputDTMFUrgentFrame):
            for tone in await self._key_tones(frame):
                self._send_now(tone)
        else:
            await super().write_dtmf(frame)

    async def _key_tones(
        self, frame: OutputDTMFFrame | OutputDTMFUrgentFrame
    ) -> list[OutputAudioRawFrame]:
        # A frame of a pipecat version before 1.7 has one key.
        keys = getattr(frame, "buttons", None) or [frame.button]
        return [
            OutputAudioRawFrame(
                await load_dtmf_audio(key, sample_rate=self.sample_rate), self.sample_rate, 1
            )
            for key in keys
        ]

    def _send_now(self, frame: OutputAudioRawFrame) -> bool:
        call = self._call
        medium = call.session.media
        if medium is None or not call.takes_bot_audio():
            return False
        try:
            wire = call.codec.encode(frame.audio, frame.sample_rate, frame.num_channels, medium)
        except ValueError as error:
            call.log.once("ERROR", f"bot audio dropped: {error}", "bot audio invalid")
            return False
        self._pacer.put(wire)
        return True

    async def _interrupt(self, frame: InterruptionFrame) -> None:
        """Discard the bot audio that the caller has not heard, here and in Genesys's queue."""
        was_audible = self._pacer.is_audible()
        heard = self._pacer.interrupt()
        await self._discard_unheard()
        if heard is None:
            # `barge_in` makes Genesys discard all queued bot audio, so it is not sent while a part
            # of the audio must not be interrupted. Pipecat does not handle the interruption: it
            # would report that the bot has stopped speaking.
            await self._discard_timed_frames()
            return
        self._call.codec.reset_outbound()
        await super()._handle_frame(frame)
        if was_audible:
            await self._connection.send(server_messages.barge_in())
            self._connection.observer.interrupted(heard)
            await self._on_interrupted(heard)

    async def _discard_unheard(self) -> None:
        """Discard frames of the timeline, and pass on the part of the audio that was heard."""
        heard, recording = self._timeline.interrupt(), self._timeline.recording
        if heard is not None and recording is not None:
            frame = recording.interrupted(heard)
            if frame is not None:
                await self.push_frame(frame)

    async def _discard_timed_frames(self) -> None:
        """Discard the interruptible frames with timestamps, such as the text of a TTS service."""
        for media_sender in self._media_senders.values():
            queue: Any = media_sender._clock_queue
            if hasattr(queue, "reset"):
                queue.reset()
                waiting = media_sender._clock_frame
                is_discarded = waiting is not None and is_interruptible(waiting)
            else:  # pipecat before 1.14 discards all frames with timestamps
                is_discarded = True
            if is_discarded:
                await media_sender._cancel_clock_task()  # type: ignore[no-untyped-call]
            media_sender._create_clock_task()  # type: ignore[no-untyped-call]

    async def send_message(
        self, frame: OutputTransportMessageFrame | OutputTransportMessageUrgentFrame
    ) -> None:
        """Send a message of the application.

        Replies of the protocol are ignored, because the connection has already sent the replies.
        """
        if isinstance(frame, REPLY_FRAME_TYPES):
            return
        message = frame.message
        # Other messages, such as RTVI messages, are not sent to Genesys.
        if isinstance(message, dict) and "version" in message and message.get("label") is None:
            draft = to_draft(message, self._call)
            if draft is None:
                return
            if draft.type is AudioHookMessageType.DISCONNECT and not self._is_urgent(frame):
                await self._pacer.wait_completed()
            await self._connection.send(draft)

    @staticmethod
    def _is_urgent(frame: Frame) -> bool:
        return isinstance(frame, OutputTransportMessageUrgentFrame)

    # -- end of the call ---------------------------------------------------------------------

    async def stop(self, frame: EndFrame) -> None:
        """Wait until the caller has heard the remaining audio, and send ``disconnect``."""
        self._is_ending = True
        if self._takes_audio:
            await self._drain()
            await super().stop(frame)
        else:
            # Pipecat's task sends the remaining audio. It also stops the mixer, whose audio would
            # never end.
            await super().stop(frame)
            await self._drain()
        await self._pacer.wait_completed()
        await self._connection.disconnect(self._call.final_disconnect())

    async def cancel(self, frame: CancelFrame) -> None:
        """Discard the remaining audio, and end the session with ``disconnect``."""
        self._pacer.interrupt()
        await self._discard_unheard()
        await self._timeline.close()
        await super().cancel(frame)
        await self._connection.disconnect(self._call.final_disconnect())

    async def _drain(self) -> None:
        """Wait until the caller has heard all audio, or no audio could be sent for some time."""
        self._pacer.finish()
        drained = asyncio.ensure_future(self._timeline.drained())
        queue, ahead = self._pacer.queue, -1.0
        try:
            while not drained.done():
                await asyncio.wait((drained,), timeout=_STALLED_SECONDS)
                now = time.monotonic()
                left = queue.ahead(now)
                stalled = left == ahead and not (self._pacer.is_held or queue.is_limited(now))
                if stalled and not drained.done():
                    logger.warning(f"{self}: {left:.1f} s of bot audio could not be sent")
                    return
                ahead = left
        finally:
            drained.cancel()
            await asyncio.gather(drained, return_exceptions=True)

    async def cleanup(self) -> None:
        """Close the timeline and cancel the timers."""
        await super().cleanup()  # type: ignore[no-untyped-call]
        self._pacer.stop()
        await self._timeline.close()

    def detach(self) -> None:
        """Remove the references to the transport and to the timeline."""
        self._on_interrupted = _do_nothing
        self._timeline.detach()
        for media_sender in self._media_senders.values():
            restore(media_sender)
        self._media_senders.clear()


async def _do_nothing(_: float) -> None:
    return
