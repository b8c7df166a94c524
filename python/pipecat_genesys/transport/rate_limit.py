"""Limits the rate of messages with a token bucket: each message takes one token.

Genesys allows 5 messages per second on average and 25 in a burst, separately for text and binary
messages. Integrators who quote Genesys's page of limits report these numbers. The callers of this
module stay below these limits, because the exact times at which Genesys counts are not known.
"""

from __future__ import annotations

# Tolerance in seconds, larger than the rounding error of any clock.
_ROUNDING = 1e-9


class TokenBucket:
    """A token bucket. Times are seconds on a monotonic clock.

    Attributes:
        rate: Tokens added per second.
        burst: Largest number of tokens.
    """

    def __init__(self, rate: float, burst: float) -> None:
        """Create a full bucket.

        Args:
            rate: Tokens added per second.
            burst: Largest number of tokens.
        """
        self.rate = rate
        self.burst = burst
        self._level = burst
        self._at: float | None = None

    def level(self, now: float) -> float:
        """Return the number of tokens at a time; negative if too many tokens were taken.

        Args:
            now: The time.
        """
        if self._at is None:
            return self._level
        return min(self.burst, self._level + max(0.0, now - self._at) * self.rate)

    def take(self, now: float) -> float:
        """Take one token, even if the bucket is empty, because some messages must be sent.

        Returns:
            The number of tokens that are left.
        """
        self._level = level = self.level(now) - 1
        self._at = now if self._at is None else max(self._at, now)
        return level

    def has(self, now: float, count: float = 1) -> bool:
        """Return whether there are `count` tokens at the time `now`."""
        return self.level(now) >= count - _ROUNDING

    def ready_at(self, now: float, count: float = 1) -> float:
        """Return the time at which there will be `count` tokens, if no token is taken before."""
        return now + self.seconds_until(count, self.level(now))

    def seconds_until(self, count: float, level: float) -> float:
        """Return the seconds until there are `count` tokens, if there are `level` tokens now."""
        return (count - level) / self.rate if level < count else 0.0


class IncomingLimit:
    """Limits the rate of received messages, and distinguishes a flood from a burst.

    A message above the limit delays reading. The messages are a flood when reading was delayed for
    too long in total. The total is reset to zero when a complete burst is allowed again.

    Attributes:
        is_exceeded: Whether the messages are a flood.
    """

    def __init__(self, rate: float, burst: float, max_delay: float) -> None:
        """Create the limit.

        Args:
            rate: Messages per second.
            burst: Largest number of messages without a pause.
            max_delay: Largest total delay of reading before the messages are a flood, in seconds.
        """
        self.is_exceeded = False
        self._bucket = TokenBucket(rate, burst)
        self._max_delay = max_delay
        self._delay = 0.0

    def received(self, now: float) -> float:
        """Count one message, and return the seconds until the next message may be read.

        Args:
            now: Time on a monotonic clock.
        """
        bucket = self._bucket
        level = bucket.take(now)
        if level >= bucket.burst - 1:
            self._delay = 0.0
        wait = bucket.seconds_until(1, level)
        self._delay += wait
        self.is_exceeded = self._delay > self._max_delay
        return wait
