"""How fast, how large and how late: the limits the Genesys client puts on a server."""

from __future__ import annotations

from dataclasses import dataclass

from pipecat_genesys.protocol.types import MAX_MESSAGE_BYTES

_ROUNDING = 1e-6
"""Tokens forgiven for floating-point rounding; after months of uptime, a server exactly at the
rate is within it."""


class TokenBucket:
    """A token bucket: ``burst`` messages at once, ``rate`` a second on average.

    Pure: time comes in with every call. Time that runs backwards counts as no time at all.

    Args:
        rate: Tokens added per second.
        burst: Capacity in tokens, and the level at the start.

    Raises:
        ValueError: If the rate is not positive or the burst is below one token.
    """

    __slots__ = ("_level", "_lowest", "_updated", "burst", "rate")

    def __init__(self, rate: float, burst: float) -> None:
        if rate <= 0 or burst < 1:
            raise ValueError(f"rate must be positive and burst at least 1, got {rate} and {burst}")
        self.rate = rate
        self.burst = burst
        self._level = float(burst)
        self._lowest = float(burst)
        self._updated: float | None = None

    @property
    def lowest(self) -> float:
        """The lowest level ever reached, in tokens; below zero for a message that was refused."""
        return self._lowest

    def level(self, now: float) -> float:
        """Tokens there at ``now`` (seconds, monotonic)."""
        if self._updated is None:
            return self._level
        elapsed = max(0.0, now - self._updated)
        return min(float(self.burst), self._level + elapsed * self.rate)

    def take(self, now: float) -> bool:
        """Take one token.

        Args:
            now: Seconds on a monotonic clock.

        Returns:
            Whether there was one. A refused message takes nothing.
        """
        level = self.level(now)
        self._updated = now if self._updated is None else max(now, self._updated)
        self._level = level
        self._lowest = min(self._lowest, level - 1)
        if level < 1 - _ROUNDING:
            return False
        self._level = max(0.0, level - 1)
        return True

    def wait_time(self, now: float) -> float:
        """Seconds from ``now`` until one token is there."""
        return max(0.0, (1 - self.level(now)) / self.rate)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """Parameters of one bucket.

    Attributes:
        per_second: Messages per second on average.
        burst: Messages at once.
    """

    per_second: float
    burst: float

    def bucket(self) -> TokenBucket:
        """A full bucket of this rate."""
        return TokenBucket(self.per_second, self.burst)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientLimits:
    """What the client accepts from a server.

    The rates are those of Genesys's limits page as integrators quote it. Whether a ``pause``
    also counts as a text message is not published; here it does, which is the stricter reading.

    Attributes:
        binary: Audio messages.
        text: All text messages.
        pause: ``pause`` messages.
        resume: ``resume`` messages.
        message_bytes: The largest text or binary message.
    """

    binary: Rate = Rate(per_second=5, burst=25)
    text: Rate = Rate(per_second=5, burst=25)
    pause: Rate = Rate(per_second=2, burst=4)
    resume: Rate = Rate(per_second=2, burst=4)
    message_bytes: int = MAX_MESSAGE_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientTimeouts:
    """How long the client waits, in seconds (reference client, measured).

    Attributes:
        open: From ``open`` to ``opened``.
        close: From ``close`` to ``closed``.
        first_ping: From ``opened`` to the first ``ping``.
        ping_interval: Between pings after that, counted from the first one; an unanswered ping
            is a timeout when the next is due.
    """

    open: float = 5.0
    close: float = 10.0
    first_ping: float = 1.0
    ping_interval: float = 5.0
