"""The serializer's session, audio, events and verbs, with a socket of its own."""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import Awaitable, Callable
from typing import Any

from pipecat.frames.frames import (
    Frame,
    InputAudioRawFrame,
    OutputAudioRawFrame,
    OutputTransportMessageUrgentFrame,
)

from pipecat_genesys import audio
from pipecat_genesys.protocol import WIRE_SAMPLE_RATE, Draft, State, events, parse_duration
from pipecat_genesys.protocol.states import ENDED
from pipecat_genesys.serializer import (
    GenesysAudioHookSerializer,
    GenesysCloseFrame,
    GenesysPlaybackCompletedFrame,
    GenesysPlaybackStartedFrame,
    GenesysResumedFrame,
)
from pipecat_genesys.serializer.answers import HOOKS
from pipecat_genesys.serializer.frames import input_audio_frame
from pipecat_genesys.serializer.messages import hand_over
from pipecat_genesys.serializer.params import SerializerParams

from .bucket import TokenBucket
from .observer import TransportObserver
from .pump import AudioPump
from .sender import AudioSender
from .writer import Write, Writer

# Inside Genesys's 5 text messages a second and 25 at once.
_TEXT_RATE, _TEXT_BURST = 4.8, 22
# Kept for replies, which never wait: pongs, `updated`, `closed`.
_REPLY_RESERVE = 6
_RATE_LIMIT = 429
_EXTERNAL, _INTERNAL = "external", "internal"


class GenesysCall(GenesysAudioHookSerializer):
    """A call whose messages go to its own socket.

    What the application uses is the serializer's: events, hooks, verbs, variables.

    Attributes:
        writer: Everything goes to the socket from here.
        sender: Bot audio that is not due yet.
        observer: Is told what happens.
        pump: Sends it when it is; to be poked when that may have changed.
        ending: Set when nothing is left but to say goodbye: ``disconnect`` or ``closed`` was sent.
        ended: Set when the session is over: ``closed`` was sent, or the socket is gone.
    """

    def __init__(
        self,
        params: SerializerParams | None,
        write: Write,
        sender: AudioSender,
        observer: TransportObserver,
    ) -> None:
        """Create the call.

        Args:
            params: The serializer's.
            write: Sends one message.
            sender: Decides when bot audio goes out.
            observer: Is told what happens.
        """
        super().__init__(params)
        self.writer = Writer(write)
        self.sender = sender
        self.observer = observer
        self.pump = AudioPump(sender, self.writer, observer)
        self.ending = asyncio.Event()
        self.ended = asyncio.Event()
        self._text = TokenBucket(_TEXT_RATE, _TEXT_BURST)
        # The least that the caller's clock was ever behind ours, in seconds.
        self._least_behind = math.inf
        # One message of the application's at a time, in the order they were asked for.
        self._turn = asyncio.Lock()
        self._hold: Callable[[events.OpenReceived], Awaitable[None]] | None = None
        self.add_event_handler("on_error", self._on_error)

    # -- from Genesys ------------------------------------------------------------------------

    async def receive(self, data: str | bytes) -> list[Frame]:
        """Handle a message; what is to be answered is, before this returns.

        Args:
            data: What the socket delivered.

        Returns:
            What the pipeline is to be told: audio (in stereo each party's by itself), and what
            Genesys said.
        """
        arrived = time.monotonic()
        frame = await self.deserialize(data)
        if frame is None:
            return []
        if isinstance(frame, InputAudioRawFrame):
            behind = arrived - self._session.position / WIRE_SAMPLE_RATE
            self._least_behind = min(self._least_behind, behind)
            self.observer.audio_received(behind - self._least_behind)
            return _parties(frame)
        if isinstance(frame, OutputTransportMessageUrgentFrame):
            await self._answer(frame, arrived)
            # A plain one is a refusal, and no news to a pipeline.
            return [] if type(frame) is OutputTransportMessageUrgentFrame else [frame]
        if isinstance(frame, GenesysPlaybackStartedFrame):
            self.sender.clock.started(arrived)
        elif isinstance(frame, GenesysPlaybackCompletedFrame):
            self.sender.clock.completed(arrived)
        elif isinstance(frame, GenesysResumedFrame):
            # Its clock stood still.
            self._least_behind = math.inf
        self.pump.poke()
        return [frame]

    async def _answer(self, frame: OutputTransportMessageUrgentFrame, arrived: float) -> None:
        text = await self.serialize(frame)
        if isinstance(text, str):
            now = time.monotonic()
            self._text.take(now)
            self.writer.put(text)
            self.observer.replied(json.loads(text)["type"], now - arrived)
            self._note_ending()
        if self._session.state is State.CLOSED and not self.ended.is_set():
            if isinstance(frame, GenesysCloseFrame):
                self.observer.ended(frame.reason)
            self.sender.clear(time.monotonic())
            self.writer.drop_audio()
            self.ended.set()
        self.pump.poke()

    def hold_opened(self, wait: Callable[[events.OpenReceived], Awaitable[None]]) -> None:
        """Let the answer to ``open`` wait, before its hooks run.

        Args:
            wait: Gets the event. ``disconnect``, called meanwhile, refuses the session.
        """
        self._hold = wait
        self._handled.add(HOOKS[events.OpenReceived])

    async def _consult(self, event: events.Event) -> Draft | None:
        if self._hold is not None and isinstance(event, events.OpenReceived):
            self._asking = events.OpenReceived
            try:
                await self._hold(event)
            finally:
                self._asking = None
            refusal, self._instead = self._instead, None
            if refusal is not None:
                return refusal
        return await super()._consult(event)

    async def lost(self) -> None:
        """Take note that the socket is gone."""
        self.writer.gone = True
        if not self.ended.is_set():
            self.observer.ended("lost")
        await self.connection_lost()
        self.sender.clear(time.monotonic())
        self.ending.set()
        self.ended.set()
        self.pump.poke()

    async def _on_error(self, _: Any, message: dict[str, Any]) -> None:
        parameters = message.get("parameters") or {}
        if parameters.get("code") != _RATE_LIMIT:
            return
        # Genesys says how long; a second at least, as more of the same would make it longer.
        wait = self._retry_after(parameters)
        self.sender.hold_until(time.monotonic() + wait)
        self.observer.rate_limited(wait)
        self.pump.poke()

    @staticmethod
    def _retry_after(parameters: dict[str, Any]) -> float:
        try:
            return max(1.0, float(parse_duration(parameters["retryAfter"])))
        except (KeyError, ValueError, TypeError):
            return 1.0

    # -- to Genesys --------------------------------------------------------------------------

    async def say(self, frame: OutputAudioRawFrame) -> bool:
        """Take bot audio; it goes out when it is due.

        Returns:
            Whether there is anybody to hear it.
        """
        wire = await self.serialize(frame)
        if isinstance(wire, bytes):
            self.sender.frame_bytes = self._session.media.frame_bytes if self._session.media else 1
            self.sender.put(wire, time.monotonic())
            self.pump.poke()
        return not self.ended.is_set()

    async def send(self, frame: Frame) -> bool:
        """Send a message that a frame stands for, unless the session does not allow it.

        Messages of the application's keep within the rate, and leave room for replies.

        Returns:
            Whether it is on its way.
        """
        async with self._turn:
            await self._room_for_text()
            text = await self.serialize(frame)
            return self._put(text if isinstance(text, str) else None)

    async def _push(self, draft: Draft) -> bool:
        if self._asking is not None:
            # In a hook, which the receive path awaits: a pong waits as long.
            return self._put(hand_over(self._session, draft, self._log.once))
        async with self._turn:
            await self._room_for_text()
            return self._put(hand_over(self._session, draft, self._log.once))

    def _put(self, text: str | None) -> bool:
        if text is None:
            return False
        self._text.take(time.monotonic())
        self.writer.put(text)
        self._note_ending()
        return not self.writer.gone

    def _note_ending(self) -> None:
        if self._session.state in ENDED:
            self.ending.set()

    async def _room_for_text(self) -> None:
        now = time.monotonic()
        due = max(self._text.ready_at(now, _REPLY_RESERVE), now)
        if due > now:
            await asyncio.sleep(due - now)

    def interrupted(self) -> tuple[bool, float]:
        """Drop what was not sent.

        Returns:
            Whether the caller was hearing the bot, and how many seconds of the turn.
        """
        now = time.monotonic()
        was_playing = self.sender.ahead(now) > 0 or self.writer.audio_waits > 0
        self.writer.drop_audio()
        heard = self.sender.clear(now)
        self.pump.poke()
        return was_playing, heard

    def _check_chunk(self, payload: bytes, medium: Any) -> None:
        """Chunks may be as short as they like: the sender joins them."""


def _parties(frame: InputAudioRawFrame) -> list[Frame]:
    """Mono frames, each with the name of its party."""
    if frame.num_channels == 1:
        return [frame]
    frames: list[Frame] = []
    for name, pcm in zip((_EXTERNAL, _INTERNAL), audio.split_stereo(frame.audio, 2), strict=True):
        mono = input_audio_frame(pcm, frame.sample_rate, 1)
        mono.transport_source = name
        frames.append(mono)
    return frames
