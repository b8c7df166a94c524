"""Nonces that several processes know of, in Redis. Needs the extra ``redis``."""

from __future__ import annotations

import math

from redis.asyncio import Redis
from redis.exceptions import RedisError

from pipecat_genesys.auth.errors import ReplayStoreError


class RedisReplayStore:
    """A replay store in Redis, or in a server that speaks its protocol.

    A nonce is one key, set with ``NX`` and an expiry by a single command, so that the server
    decides which of two processes came first and forgets by itself.

    If Redis is gone, slow, full or read-only, connections are refused. A server that evicts keys
    to make room forgets nonces early: set its ``maxmemory-policy`` to ``noeviction``.

    Args:
        client: Yours, with its address, credentials, TLS and timeouts; not closed here.
        prefix: Begins every key. Services with API keys of their own may share it.
    """

    def __init__(self, client: Redis, prefix: str = "pipecat-genesys:nonce:") -> None:
        self._client = client
        self._prefix = prefix

    async def first_use(self, nonce: bytes, seconds: float) -> bool:
        """Record a nonce, unless it is there. See `ReplayStore`."""
        key = self._prefix + nonce.hex()
        try:
            recorded = await self._client.set(key, b"", px=math.ceil(1000 * seconds), nx=True)
        except (RedisError, OSError) as error:
            raise ReplayStoreError(
                f"Redis did not record a nonce ({type(error).__name__}); "
                "connections are refused until it does"
            ) from error
        return bool(recorded)
