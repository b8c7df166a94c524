"""Two small books the session keeps: outstanding pings, and who has paused the stream."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum, auto

from pipecat_genesys.simulator.events import Party
from pipecat_genesys.simulator.limits import ClientTimeouts


class PongVerdict(Enum):
    """What a ``pong`` is worth."""

    UNEXPECTED = auto()
    WRONG_CLIENTSEQ = auto()
    FIRST = auto()
    """It answers the first ping; the client sends another at once, to report the round trip."""
    ANSWERED = auto()


@dataclass(frozen=True, slots=True)
class Ping:
    """A ping without an answer: its ``seq``, and when it was sent (monotonic seconds)."""

    seq: int
    sent_at: float


class PingClock:
    """When to ping, and whether the last ping was answered.

    The first ping is due a moment after ``opened`` and starts a fixed grid; the extra one after
    the first pong does not shift it (reference client, measured: 1.01 s, 1.02 s, 6.0 s ...).

    Args:
        timeouts: The client's timings.
    """

    def __init__(self, timeouts: ClientTimeouts) -> None:
        self._timeouts = timeouts
        self._outstanding: Ping | None = None
        self._due: float | None = None
        self._answered = False
        self.last_rtt: float | None = None

    @property
    def due(self) -> float | None:
        """When the next ping is due, None while the clock is stopped."""
        return self._due

    @property
    def outstanding(self) -> Ping | None:
        """The ping without an answer."""
        return self._outstanding

    def start(self, now: float) -> None:
        """Begin, at the moment of ``opened``."""
        self._due = now + self._timeouts.first_ping

    def stop(self) -> None:
        """Ping no more; a pong still on its way is not held against the server."""
        self._due = None

    def pass_due(self, now: float) -> None:
        """Move on to the next due moment after ``now``.

        Moments missed altogether are skipped: a client that stalled must not conclude from its
        own delay that the server does not answer.
        """
        if self._due is not None:
            interval = self._timeouts.ping_interval
            self._due += interval * (max(0, math.floor((now - self._due) / interval)) + 1)

    def sent(self, seq: int, now: float) -> None:
        """A ping went out."""
        self._outstanding = Ping(seq, now)

    def pong(self, clientseq: int, now: float) -> PongVerdict:
        """Judge a pong; a wrong one leaves the ping outstanding."""
        if self._outstanding is None:
            return PongVerdict.UNEXPECTED
        if clientseq != self._outstanding.seq:
            return PongVerdict.WRONG_CLIENTSEQ
        self.last_rtt = max(0.0, now - self._outstanding.sent_at)
        self._outstanding = None
        verdict = PongVerdict.ANSWERED if self._answered else PongVerdict.FIRST
        self._answered = True
        return verdict


class PauseBook:
    """Who holds the stream paused, and since which sample.

    Audio flows only while neither side holds a pause; nothing is counted, a second pause of the
    same side changes nothing.
    """

    def __init__(self) -> None:
        self._held: set[Party] = set()
        self._since = 0

    @property
    def is_paused(self) -> bool:
        """Whether anyone holds a pause."""
        return bool(self._held)

    def holds(self, party: Party) -> bool:
        """Whether this side does."""
        return party in self._held

    def pause(self, party: Party, position: int) -> None:
        """One side pauses, at a stream position in samples."""
        if not self._held:
            self._since = position
        self._held.add(party)

    def resume(self, party: Party, position: int) -> tuple[int, int] | None:
        """One side resumes.

        Returns:
            Where the pause began and how many samples it took, ``(position, 0)`` if there was
            none; None if the other side still holds one.
        """
        was_paused = self.is_paused
        self._held.discard(party)
        if self._held:
            return None
        start = self._since if was_paused else position
        return start, position - start
