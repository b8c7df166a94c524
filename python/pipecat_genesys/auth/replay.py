"""Which nonces were used: the protocol of a replay store, and the store within a process."""

from __future__ import annotations

import time
from collections.abc import Callable
from heapq import heappop, heappush
from typing import Protocol

from pipecat_genesys.auth.errors import ReplayStoreError


class ReplayStore(Protocol):
    """Remembers nonces for as long as their signatures are young enough to be accepted.

    Only genuine, timely signatures get as far as a store, so that nobody without a client secret
    can fill one.
    """

    async def first_use(self, nonce: bytes, seconds: float) -> bool:
        """Record a nonce, unless it is there.

        Looking and recording must be one step: of two calls at once, one gets False.

        Args:
            nonce: SHA-256 of API key and nonce, 32 bytes.
            seconds: How long it has to be remembered.

        Returns:
            True if it was not there.

        Raises:
            ReplayStoreError: If the store cannot tell. Whatever else is raised has the same
                effect, a refusal.
        """
        ...


class MemoryReplayStore:
    """A store for one event loop: what it knows ends with the process, and others do not see it.

    Memory is bounded by `capacity`. When it is full of nonces that may not be forgotten yet, new
    connections are refused: to forget one early would be to accept its replay. At the default
    capacity and the verifier's default times that takes 2900 genuine connections per second.

    Args:
        capacity: Nonces at a time; each takes about 200 bytes, 12 MB in all by default.
        clock: Seconds that never go back.

    Raises:
        ValueError: If there is room for none.
    """

    def __init__(self, capacity: int = 65_536, clock: Callable[[], float] = time.monotonic) -> None:
        if capacity < 1:
            raise ValueError(f"capacity is {capacity}; at least 1 nonce must fit")
        self._capacity = capacity
        self._clock = clock
        self._known: set[bytes] = set()
        self._expiries: list[tuple[float, bytes]] = []

    def __len__(self) -> int:
        return len(self._known)

    async def first_use(self, nonce: bytes, seconds: float) -> bool:
        """Record a nonce, unless it is there. See `ReplayStore`."""
        now = self._clock()
        while self._expiries and self._expiries[0][0] <= now:
            self._known.discard(heappop(self._expiries)[1])
        if nonce in self._known:
            return False
        if len(self._known) >= self._capacity:
            raise ReplayStoreError(
                f"the replay store is full with {self._capacity} nonces; raise its capacity"
            )
        self._known.add(nonce)
        heappush(self._expiries, (now + seconds, nonce))
        return True


class IgnoreReplays:
    """Accepts a nonce as often as it comes, for a peer that is known to send one twice.

    Whoever can read a request can then repeat it until it is too old.
    """

    async def first_use(self, nonce: bytes, seconds: float) -> bool:
        """Accept. See `ReplayStore`."""
        return True
