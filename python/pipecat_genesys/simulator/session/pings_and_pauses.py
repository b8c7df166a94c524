"""The schedule of pings, and the pauses of the stream."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum, auto

from .events import Party
from .limits import ClientTimeouts


class PongResult(Enum):
    """How a `pong` relates to the unanswered `ping`."""

    UNEXPECTED = auto()
    """No ping was unanswered."""
    WRONG_CLIENTSEQ = auto()
    """The pong names another message. The ping stays unanswered."""
    FIRST = auto()
    """The pong answers the first ping. The client sends a second ping at once, with the rtt."""
    ANSWERED = auto()
    """The pong answers a later ping."""


@dataclass(frozen=True, slots=True)
class Ping:
    """A `ping` without an answer.

    Attributes:
        seq: `seq` of the ping.
        sent_at: Time of sending, in seconds on a monotonic clock.
    """

    seq: int
    sent_at: float


class PingSchedule:
    """When the client sends pings, and whether the last ping was answered.

    The first ping is due shortly after `opened`, and later pings follow at a fixed interval. The
    extra ping after the first pong does not shift them: the reference client was measured to
    ping 1.01 s, 1.02 s and 6.0 s after `opened`.

    Times are in seconds on a monotonic clock.

    Args:
        timeouts: Timings of the client.

    Attributes:
        last_rtt: Seconds between the last answered ping and its pong, or None before any pong.
    """

    def __init__(self, timeouts: ClientTimeouts) -> None:
        self.last_rtt: float | None = None
        self._timeouts = timeouts
        self._outstanding: Ping | None = None
        self._due: float | None = None
        self._answered = False

    @property
    def due(self) -> float | None:
        """Time at which the next ping is due, or None if no pings are scheduled."""
        return self._due

    @property
    def outstanding(self) -> Ping | None:
        """The ping without an answer, or None."""
        return self._outstanding

    def start(self, now: float) -> None:
        """Start the schedule at the time of `opened`."""
        self._due = now + self._timeouts.first_ping

    def stop(self) -> None:
        """Schedule no more pings. A pong that arrives later is still accepted."""
        self._due = None

    def skip_due(self, now: float) -> None:
        """Move the schedule to the first ping that is due after `now`.

        Pings that were missed are not sent later. A client that stalled must not report a timeout
        that it caused itself.
        """
        if self._due is not None:
            interval = self._timeouts.ping_interval
            self._due += interval * (max(0, math.floor((now - self._due) / interval)) + 1)

    def ping_sent(self, seq: int, now: float) -> None:
        """Record that the client sent a ping with this `seq`."""
        self._outstanding = Ping(seq, now)

    def pong_received(self, clientseq: int, now: float) -> PongResult:
        """Compare a pong with the unanswered ping.

        Args:
            clientseq: `clientseq` of the pong.
            now: Time of arrival.

        Returns:
            How the pong relates to the ping. A pong with a wrong `clientseq` leaves the ping
            unanswered.
        """
        if self._outstanding is None:
            return PongResult.UNEXPECTED
        if clientseq != self._outstanding.seq:
            return PongResult.WRONG_CLIENTSEQ
        self.last_rtt = max(0.0, now - self._outstanding.sent_at)
        self._outstanding = None
        result = PongResult.ANSWERED if self._answered else PongResult.FIRST
        self._answered = True
        return result


class StreamPauses:
    """The pauses of the stream. Each party can hold one pause.

    Audio flows only while neither party holds a pause. A second pause by the same party has no
    effect. Positions are stream positions in samples.
    """

    def __init__(self) -> None:
        self._held_by: set[Party] = set()
        self._start = 0

    @property
    def is_paused(self) -> bool:
        """Whether at least one party holds a pause."""
        return bool(self._held_by)

    def is_held_by(self, party: Party) -> bool:
        """Return whether the party holds a pause."""
        return party in self._held_by

    def pause(self, party: Party, position: int) -> None:
        """Let the party hold a pause from this position on."""
        if not self._held_by:
            self._start = position
        self._held_by.add(party)

    def resume(self, party: Party, position: int) -> tuple[int, int] | None:
        """End the pause of the party.

        Returns:
            The position at which the stream paused and the number of samples lost since then,
            `(position, 0)` if the stream was not paused, or None if the other party still holds a
            pause.
        """
        was_paused = self.is_paused
        self._held_by.discard(party)
        if self._held_by:
            return None
        start = self._start if was_paused else position
        return start, position - start
