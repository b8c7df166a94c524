"""The limits that the client puts on a server: message rates, message size and timeouts."""

from __future__ import annotations

from dataclasses import dataclass

from pipecat_genesys.protocol.types import MAX_MESSAGE_BYTES

_ROUNDING = 1e-6
"""Part of a token that can be missing when a message takes the token. It compensates floating-point
errors, so that a server exactly at the allowed rate is accepted even after months."""


class MessageBudget:
    """A token bucket that limits the rate of one kind of message.

    The caller passes the time. A time before the previous one counts as no time passed.

    Args:
        rate: Tokens added per second.
        burst: Capacity in tokens. The budget starts full.

    Attributes:
        rate: Tokens added per second.
        burst: Capacity in tokens.

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
        """Lowest level reached so far, in tokens. It is negative if a message was refused."""
        return self._lowest

    def level(self, now: float) -> float:
        """Return the number of tokens at `now`, in seconds on a monotonic clock."""
        if self._updated is None:
            return self._level
        elapsed = max(0.0, now - self._updated)
        return min(float(self.burst), self._level + elapsed * self.rate)

    def take(self, now: float) -> bool:
        """Take one token for a message.

        Args:
            now: Seconds on a monotonic clock.

        Returns:
            Whether a token was available. A refused message takes no token.
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
        """Return the number of seconds from `now` until one token is available."""
        return max(0.0, (1 - self.level(now)) / self.rate)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """A rate limit.

    Attributes:
        per_second: Average number of messages per second.
        burst: Number of messages allowed at once.
    """

    per_second: float
    burst: float

    def budget(self) -> MessageBudget:
        """Return a full budget with this rate limit."""
        return MessageBudget(self.per_second, self.burst)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientLimits:
    """The message rates and the message size that the client accepts from a server.

    The rates are those of Genesys's limits page, as quoted by integrators. Genesys does not say
    whether `pause` and `resume` also count as text messages. Here they do, which is the stricter
    interpretation.

    Attributes:
        binary: Rate limit of audio messages.
        text: Rate limit of all text messages together.
        pause: Rate limit of `pause` messages.
        resume: Rate limit of `resume` messages.
        message_bytes: Maximum size of a text or binary message, in bytes.
    """

    binary: Rate = Rate(per_second=5, burst=25)
    text: Rate = Rate(per_second=5, burst=25)
    pause: Rate = Rate(per_second=2, burst=4)
    resume: Rate = Rate(per_second=2, burst=4)
    message_bytes: int = MAX_MESSAGE_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientTimeouts:
    """The timings of the client, in seconds, as measured with Genesys's reference client.

    Attributes:
        open: Maximum time from `open` to `opened`.
        close: Maximum time from `close` to `closed`.
        first_ping: Time from `opened` to the first `ping`.
        ping_interval: Time between later pings, counted from the first one. A ping that is still
            unanswered when the next one is due has timed out.
    """

    open: float = 5.0
    close: float = 10.0
    first_ping: float = 1.0
    ping_interval: float = 5.0
