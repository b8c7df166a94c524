"""Message rates, as Genesys counts them: a token for each message.

Genesys allows 5 messages a second on average and 25 at once, text and binary each (its limits page,
as integrators quote it). Where it starts to count is not known to the millisecond, so what is used
here stays inside.
"""

from __future__ import annotations

# Enough of a rounding error for any clock.
_ROUNDING = 1e-9


class TokenBucket:
    """Tokens that come at a steady rate and are taken one by one.

    Attributes:
        rate: Tokens a second.
        burst: Most tokens at once.
    """

    def __init__(self, rate: float, burst: float) -> None:
        self.rate = rate
        self.burst = burst
        self._level = burst
        self._at: float | None = None

    def level(self, now: float) -> float:
        """Say how many there are.

        Args:
            now: Seconds on a monotonic clock.
        """
        if self._at is None:
            return self._level
        return min(self.burst, self._level + max(0.0, now - self._at) * self.rate)

    def take(self, now: float) -> None:
        """Take one, whether it is there or not: what must be sent is sent."""
        self._level = self.level(now) - 1
        self._at = now if self._at is None else max(self._at, now)

    def has(self, now: float, count: float = 1) -> bool:
        """Say whether there are so many."""
        return self.level(now) >= count - _ROUNDING

    def ready_at(self, now: float, count: float = 1) -> float:
        """Say when there will be so many, if nobody takes one."""
        return now + max(0.0, (count - self.level(now)) / self.rate)
