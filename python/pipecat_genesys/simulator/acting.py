"""A client that does what it should not, at a moment that is set; what, is in `faults.py`."""

from __future__ import annotations

import heapq
import itertools
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from pipecat_genesys.simulator import events as ev
from pipecat_genesys.simulator.machine import CallStateError, SessionState, gap_parameters
from pipecat_genesys.simulator.playback import SILENCE
from pipecat_genesys.simulator.session import GenesysClientSession


class Moment(Enum):
    """What an act waits for."""

    OPEN_SENT = auto()
    """``open`` is on its way, unanswered."""
    OPENED = auto()
    """The server accepted the call."""
    SERVER_PAUSED = auto()
    """The server asked for a pause, and was answered."""


@dataclass(frozen=True, slots=True)
class Act:
    """Something the client does.

    Attributes:
        moment: What has to have happened.
        after: Seconds from then.
        do: What it does; takes the session and the time. What the state of the call does not
            allow any more is left undone.
    """

    moment: Moment
    after: float
    do: Callable[[ActingSession, float], object]


class ActingSession(GenesysClientSession):
    """A :class:`GenesysClientSession` that plays acts, each once. Sans-I/O like its base.

    Args:
        *arguments: As of the base.
        acts: What it does besides.
        one_byte_frames: How many frames of caller audio go out a byte at a time.
        **options: As of the base.
    """

    def __init__(
        self,
        *arguments: Any,
        acts: Sequence[Act] = (),
        one_byte_frames: int = 0,
        **options: Any,
    ) -> None:
        super().__init__(*arguments, **options)
        self.has_acted = not acts and not one_byte_frames
        """Whether any of it was done, or there is nothing to do."""
        self.socket_should_drop = False
        """Whether the socket is now to be cut, without a word."""
        self._waiting = list(acts)
        self._due: list[tuple[float, int, Act]] = []
        self._one_byte_frames = one_byte_frames
        self._moments: set[Moment] = set()
        self._order = itertools.count()
        self._is_playing = False

    # The base's moves, and the moments they make.

    def start(self, now: float) -> None:
        """As of the base."""
        super().start(now)
        self._reached(Moment.OPEN_SENT, now)
        self._play(now)

    def next_deadline(self) -> float | None:
        """As of the base."""
        due = super().next_deadline()
        if not self._due:
            return due
        return self._due[0][0] if due is None else min(due, self._due[0][0])

    def tick(self, now: float) -> None:
        """As of the base."""
        super().tick(now)
        self._play(now)

    def receive_text(self, text: str, now: float) -> None:
        """As of the base."""
        super().receive_text(text, now)
        if self._state is SessionState.OPEN:
            self._reached(Moment.OPENED, now)
            if self._pauses.holds(ev.Party.SERVER):
                self._reached(Moment.SERVER_PAUSED, now)
        self._play(now)

    def send_audio(self, audio: bytes | int, now: float) -> bool:
        """As of the base."""
        media = self.media
        streams = self._state is SessionState.OPEN and media is not None
        if not self._one_byte_frames or not streams or self.is_paused:
            return super().send_audio(audio, now)
        assert media is not None
        if isinstance(audio, int):
            audio = SILENCE[media.format] * (audio * len(media.channels))
        self._one_byte_frames -= 1
        self.has_acted = True
        for index in range(len(audio)):
            self._put_audio(audio[index : index + 1], now)
        self._position += len(audio) // media.frame_bytes
        return True

    def _reached(self, moment: Moment, now: float) -> None:
        if moment in self._moments:
            return
        self._moments.add(moment)
        for act in [act for act in self._waiting if act.moment is moment]:
            self._waiting.remove(act)
            heapq.heappush(self._due, (now + act.after, next(self._order), act))

    def _play(self, now: float) -> None:
        if self._is_playing:
            # An act let the session's time pass; the next one comes when it is done.
            return
        self._is_playing = True
        try:
            while self._due and self._due[0][0] <= now:
                _, _, act = heapq.heappop(self._due)
                self._do(act, now)
        finally:
            self._is_playing = False

    def _do(self, act: Act, now: float) -> None:
        if self._state in (SessionState.OPENING, SessionState.OPEN):
            with suppress(CallStateError):
                act.do(self, now)
                self.has_acted = True

    # What acts are made of.

    def inject(self, kind: str, parameters: Mapping[str, Any], now: float, **envelope: Any) -> None:
        """Send a message that is right but for what is said here.

        Args:
            kind: Its type.
            parameters: Its parameters.
            now: Seconds on the monotonic clock.
            **envelope: Fields of the envelope to replace or to add. A ``seq`` given here is not
                counted.
        """
        if "seq" not in envelope:
            self._seq += 1
        self._put(self._stamped(kind, parameters) | envelope, now, note="a fault on purpose")

    def inject_gap(
        self,
        now: float,
        kind: str = "discarded",
        more: Mapping[str, Any] | None = None,
        **envelope: Any,
    ) -> None:
        """Report a gap of no length, which no server has to act upon.

        Args:
            now: Seconds on the monotonic clock.
            kind: ``discarded`` or ``resumed``.
            more: More parameters.
            **envelope: As of :meth:`inject`.
        """
        self.inject(kind, {**gap_parameters(self.position, 0), **(more or {})}, now, **envelope)

    def skip_seq(self) -> None:
        """Let the next message's ``seq`` leave one out."""
        self._seq += 1

    def ping_now(self, now: float) -> None:
        """Send a ``ping`` out of turn."""
        self._ping(now)

    def inject_audio(self, size: int, now: float) -> None:
        """Send so many bytes of silence, whatever the state and the medium."""
        media = self.media
        width = media.frame_bytes if media else 1
        sample = SILENCE[media.format] if media else b"\xff"
        self._put_audio(sample[:1] * size, now, "a fault on purpose")
        self._position += size // width

    def drop_socket(self) -> None:
        """Have the socket cut."""
        self.socket_should_drop = True

    def another_id(self) -> str:
        """An id that is not this session's, the same each time."""
        return str(uuid.uuid5(uuid.NAMESPACE_OID, self.parameters.session_id))
