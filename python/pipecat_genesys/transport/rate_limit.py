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

    def take(self, now: float) -> None:
        """Take one token, even if the bucket is empty, because some messages must be sent."""
        self._level = self.level(now) - 1
        self._at = now if self._at is None else max(self._at, now)

    def has(self, now: float, count: float = 1) -> bool:
        """Return whether there are `count` tokens at the time `now`."""
        return self.level(now) >= count - _ROUNDING

    def ready_at(self, now: float, count: float = 1) -> float:
        """Return the time at which there will be `count` tokens, if no token is taken before."""
        return now + max(0.0, (count - self.level(now)) / self.rate)
