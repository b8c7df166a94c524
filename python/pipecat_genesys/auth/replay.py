"""The interface of a replay store, and two replay stores that need no server."""

from __future__ import annotations

import time
from collections.abc import Callable
from heapq import heappop, heappush
from typing import Protocol

from .errors import ReplayStoreError


class ReplayStore(Protocol):
    """Remembers nonces until their signatures are too old to be accepted.

    The verifier passes a nonce to the store only if its signature is genuine and not too old. A
    peer without a client secret therefore cannot fill the store.
    """

    async def first_use(self, nonce: bytes, seconds: float) -> bool:
        """Record a nonce if it is not recorded yet.

        The check and the recording must be atomic: if this method is called twice with the same
        nonce at the same time, exactly one of the results must be True.

        Args:
            nonce: SHA-256 digest (32 bytes) of API key and nonce.
            seconds: Time in seconds for which the nonce must be remembered.

        Returns:
            True if the nonce was not recorded before.

        Raises:
            ReplayStoreError: If the store could not check the nonce. The verifier refuses the
                request. Any other exception has the same effect.
        """
        ...


class MemoryReplayStore:
    """A replay store in the memory of one process, for one event loop.

    Other processes do not see its nonces, and a restart loses them. When the store is full,
    `first_use` raises `ReplayStoreError` until a nonce expires, because a request could be repeated
    if its nonce were removed early. With the default capacity and the verifier's default times, the
    store is full at 2900 genuine connections per second.

    Args:
        capacity: Largest number of nonces. A nonce takes about 200 bytes: 12 MB in total by
            default.
        clock: Monotonic clock in seconds.

    Raises:
        ValueError: If `capacity` is less than 1.
    """

    def __init__(self, capacity: int = 65_536, clock: Callable[[], float] = time.monotonic) -> None:
        if capacity < 1:
            raise ValueError(f"capacity is {capacity}; it must be 1 or more")
        self._capacity = capacity
        self._clock = clock
        self._known: set[bytes] = set()
        self._expiries: list[tuple[float, bytes]] = []

    def __len__(self) -> int:
        return len(self._known)

    async def first_use(self, nonce: bytes, seconds: float) -> bool:
        """Record a nonce if it is not recorded yet. See `ReplayStore.first_use`."""
        now = self._clock()
        while self._expiries and self._expiries[0][0] <= now:
            self._known.discard(heappop(self._expiries)[1])
        if nonce in self._known:
            return False
        if len(self._known) >= self._capacity:
            raise ReplayStoreError(
                f"the replay store is full with {self._capacity} nonces; increase its capacity"
            )
        self._known.add(nonce)
        heappush(self._expiries, (now + seconds, nonce))
        return True


class IgnoreReplays:
    """A replay store that accepts every nonce, for a peer that sends the same nonce twice.

    With this store, an attacker who can read a request can repeat the request until its signature
    is too old.
    """

    async def first_use(self, nonce: bytes, seconds: float) -> bool:
        """Return True. See `ReplayStore.first_use`."""
        return True
