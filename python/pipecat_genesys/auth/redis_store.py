"""A replay store in Redis, for several processes. Needs the extra `redis`."""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable
from typing import Protocol

from redis import exceptions
from redis.asyncio import Redis

from .errors import ReplayStoreError


class _Connection(Protocol):
    """The methods of redis-py's connections that the store uses. redis-py annotates few of them."""

    async def connect(self) -> None: ...
    async def disconnect(self, nowait: bool = ...) -> None: ...
    async def read_response(self) -> object: ...
    async def send_command(self, *args: str | int) -> None: ...


class RedisReplayStore:
    """A replay store in Redis or in a server that implements the Redis protocol.

    Each nonce is stored as a Redis key that expires. One command, `SET` with `NX` and `PX`, checks
    and records the nonce, so Redis decides which of two processes is first.

    If a connection turns out to be closed, timed out, or connected to a read-only replica, the
    store sends the command once more on a new connection. Redis servers, firewalls and load
    balancers close idle connections, and a failover leaves connections to the old primary.

    If Redis is unreachable, slow, full or read-only, connections are refused. A server that evicts
    keys forgets nonces early, so set its `maxmemory-policy` to `noeviction`.

    Args:
        client: Redis client with address, credentials, TLS and timeouts. The store does not close
            the client. For a retry, the store opens one connection beyond the client's pool.
        prefix: Prefix of every Redis key. Services with different API keys can share a prefix.
    """

    def __init__(self, client: Redis, prefix: str = "pipecat-genesys:nonce:") -> None:
        self._client = client
        self._prefix = prefix

    async def first_use(self, nonce: bytes, seconds: float) -> bool:
        """Record a nonce if it is not recorded yet. See `ReplayStore.first_use`."""
        key = self._prefix + nonce.hex()
        milliseconds = math.ceil(1000 * seconds)
        token = secrets.token_hex(8)
        try:
            try:
                return bool(await self._client.set(key, token, px=milliseconds, nx=True))
            except (exceptions.ConnectionError, exceptions.TimeoutError, OSError):
                return await self._set_on_new_connection(key, token, milliseconds)
            except exceptions.ReadOnlyError:
                # The server is not the primary any more. The pool's idle connections lead to the
                # same server, so the store closes them.
                await self._client.connection_pool.disconnect(inuse_connections=False)
                return await self._set_on_new_connection(key, token, milliseconds)
        except (exceptions.RedisError, OSError) as error:
            raise ReplayStoreError(
                f"Redis did not record a nonce ({type(error).__name__}); "
                "connections are refused until Redis records nonces again"
            ) from error

    async def _set_on_new_connection(self, key: str, token: str, milliseconds: int) -> bool:
        # The pool could return another closed connection, so the store makes a connection that is
        # not in the pool.
        new_connection: Callable[[], _Connection] = self._client.connection_pool.make_connection
        connection = new_connection()
        try:
            await connection.connect()
            await connection.send_command("SET", key, token, "PX", milliseconds, "NX")
            if await connection.read_response():
                return True
            # The first command may have set the key, and only its reply was lost. The value of
            # the key is then the token of this call.
            await connection.send_command("GET", key)
            return await connection.read_response() in (token, token.encode())
        finally:
            await connection.disconnect(nowait=True)
