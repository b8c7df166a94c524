"""Tests of `RedisReplayStore` with a real redis-server."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Self

import pytest
from pipecat_genesys.auth import (
    AuthenticationError,
    Refusal,
    ReplayStoreError,
    SignatureVerifier,
)
from pipecat_genesys.auth.redis_store import RedisReplayStore
from redis.asyncio import Redis
from redis_server import RedisServer

from .signing import KEY, NONCE, NOW, SECRET, RequestToSign


@pytest.fixture(scope="module")
def shared_server() -> Iterator[RedisServer]:
    """Run a Redis server for tests that do not stop, suspend or configure it."""
    with RedisServer() as server:
        yield server


@pytest.fixture
def own_server() -> Iterator[RedisServer]:
    """Run a Redis server that the test may stop, suspend or configure."""
    with RedisServer() as server:
        yield server


@asynccontextmanager
async def client_of(path: str, **options: float) -> AsyncIterator[Redis]:
    """Return a client of the Redis server at a Unix socket."""
    client = Redis(unix_socket_path=path, **options)
    try:
        yield client
    finally:
        await client.aclose()


@pytest.fixture
async def redis(shared_server: RedisServer) -> AsyncIterator[Redis]:
    """Return a client of a Redis server that contains no data."""
    async with client_of(shared_server.socket) as client:
        await client.flushall()
        yield client


async def refusal(client: Redis, nonce: str, seconds: float = 10) -> Refusal | None:
    """Authenticate a request and return the reason of the refusal, or None.

    Args:
        client: Client of the store.
        nonce: Nonce of the request.
        seconds: Time limit for the store.
    """
    store = RedisReplayStore(client)
    verifier = SignatureVerifier({KEY: SECRET}, replay_store=store, refusal_seconds=seconds)
    call = RequestToSign().having(nonce=nonce)
    try:
        await verifier.authenticate("GET", call.target, call.headers(), NOW)
    except AuthenticationError as error:
        return error.reason
    return None


async def test_a_nonce_is_new_only_once(redis: Redis) -> None:
    store = RedisReplayStore(redis)
    assert await store.first_use(b"a", 22) is True
    assert await store.first_use(b"a", 22) is False
    assert await store.first_use(b"b", 22) is True


async def test_two_clients_share_the_nonces(redis: Redis, shared_server: RedisServer) -> None:
    async with client_of(shared_server.socket) as another:
        assert await refusal(redis, NONCE) is None
        assert await refusal(another, NONCE, 0.2) is Refusal.REPLAY


async def test_one_of_many_concurrent_calls_is_the_first_use(redis: Redis) -> None:
    store = RedisReplayStore(redis)
    results = await asyncio.gather(*(store.first_use(b"a", 22) for _ in range(50)))
    assert sorted(results) == [*49 * [False], True]


async def test_a_key_has_the_prefix_and_expires_after_the_given_time(redis: Redis) -> None:
    assert await RedisReplayStore(redis).first_use(b"\x01\xff", 22.0004) is True
    assert await RedisReplayStore(redis, "other:").first_use(b"\x01\xff", 300) is True
    assert sorted(await redis.keys()) == [b"other:01ff", b"pipecat-genesys:nonce:01ff"]
    assert 0 < await redis.pttl("pipecat-genesys:nonce:01ff") <= 22_001
    assert 22_001 < await redis.pttl("other:01ff") <= 300_000


async def test_a_nonce_is_new_again_after_it_has_expired(redis: Redis) -> None:
    """The test waits for Redis's notification of the expiry."""
    store = RedisReplayStore(redis)
    await redis.config_set("notify-keyspace-events", "Ex")
    async with redis.pubsub() as notifications:
        await notifications.subscribe("__keyevent@0__:expired")
        assert await store.first_use(b"a", 0.01) is True
        async for message in notifications.listen():
            if message["type"] == "message":
                break
    assert message["data"] == b"pipecat-genesys:nonce:61"
    assert await store.first_use(b"a", 22) is True


async def test_a_client_that_decodes_responses_works(shared_server: RedisServer) -> None:
    client = Redis(unix_socket_path=shared_server.socket, decode_responses=True)
    assert await RedisReplayStore(client).first_use(b"decoded", 22) is True
    assert await RedisReplayStore(client).first_use(b"decoded", 22) is False
    await client.aclose()


# In these tests, Redis cannot store the nonce, so the request of the caller is refused.


async def test_connections_are_refused_while_redis_is_stopped(own_server: RedisServer) -> None:
    async with client_of(own_server.socket) as client:
        assert await refusal(client, NONCE + "1") is None
        own_server.stop()
        assert await refusal(client, NONCE + "2", 0.2) is Refusal.REPLAY_STORE
        assert await refusal(client, NONCE + "1", 0.2) is Refusal.REPLAY_STORE
        own_server.start()
        assert await refusal(client, NONCE + "3") is None


async def test_connections_are_refused_if_redis_was_never_reachable(tmp_path: Path) -> None:
    async with client_of(str(tmp_path / "no-server")) as client:
        assert await refusal(client, NONCE, 0.2) is Refusal.REPLAY_STORE


async def test_connections_are_refused_while_redis_does_not_answer(
    own_server: RedisServer,
) -> None:
    async with client_of(own_server.socket) as client:
        assert await refusal(client, NONCE) is None
        own_server.suspend()
        refusals = await asyncio.gather(*(refusal(client, f"{NONCE}{n}", 0.2) for n in range(5)))
        assert refusals == 5 * [Refusal.REPLAY_STORE]
        own_server.resume()
        # The reply to an abandoned command must not be used as the reply to a later command.
        store = RedisReplayStore(client)
        for nonce in map(bytes, zip(range(20), strict=True)):
            assert await store.first_use(nonce, 300) is True
            assert await store.first_use(nonce, 300) is False
        assert await refusal(client, NONCE + "new") is None


async def test_connections_are_refused_while_redis_is_full(own_server: RedisServer) -> None:
    async with client_of(own_server.socket) as client:
        await client.config_set("maxmemory-policy", "noeviction")
        await client.config_set("maxmemory", "1")
        with pytest.raises(ReplayStoreError, match="OutOfMemoryError"):
            await RedisReplayStore(client).first_use(b"a", 22)
        assert await refusal(client, NONCE, 0.2) is Refusal.REPLAY_STORE


async def test_connections_are_refused_by_a_read_only_replica(own_server: RedisServer) -> None:
    async with client_of(own_server.socket) as client:
        await client.execute_command("REPLICAOF", "127.0.0.1", "1")
        with pytest.raises(ReplayStoreError, match="ReadOnlyError"):
            await RedisReplayStore(client).first_use(b"a", 22)


# In these tests, a connection fails; the store tries once more on a new connection.


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize("decode_responses", [False, True])
async def test_idle_connections_that_redis_closed_do_not_refuse_a_call(
    decode_responses: bool,
) -> None:
    """Redis closes connections that are idle for 1 s; the store then uses new connections."""
    port = free_port()
    with RedisServer("--timeout", "1", port=port) as server:
        url = f"redis://127.0.0.1:{port}"
        async with (
            client_of(server.socket) as observer,
            Redis.from_url(url, decode_responses=decode_responses) as client,
        ):
            store = RedisReplayStore(client)
            nonces = [bytes([n]) for n in range(20)]
            assert all(await asyncio.gather(*(store.first_use(nonce, 60) for nonce in nonces)))
            while len(await observer.client_list()) > 1:  # noqa: ASYNC110 - Redis has no event for it
                await asyncio.sleep(0.05)
            more = [bytes([20 + n]) for n in range(20)]
            assert all(await asyncio.gather(*(store.first_use(nonce, 60) for nonce in more)))
            assert not any(await asyncio.gather(*(store.first_use(n, 60) for n in nonces + more)))
            assert await refusal(client, NONCE, 0.5) is None


class LossyProxy:
    """Forwards connections to Redis and loses one `SET` command or its reply.

    Args:
        server: Path of Redis's Unix socket.
        path: Path of the Unix socket on which the proxy listens.
        fault: `lose-command` keeps the connection open and never forwards the next `SET`.
            `lose-reply` forwards the next `SET` and closes the connection before the reply.
    """

    def __init__(self, server: str, path: str, fault: str) -> None:
        self._server = server
        self._path = path
        self._fault: str | None = fault
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._listener = await asyncio.start_unix_server(self._accept, self._path)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._listener.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._tasks.add(asyncio.create_task(self._forward(reader, writer)))

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_redis, to_redis = await asyncio.open_unix_connection(self._server)
        try:
            while data := await reader.read(65536):
                fault = None
                if b"$3\r\nSET\r\n" in data:
                    fault, self._fault = self._fault, None
                if fault == "lose-command":
                    continue
                to_redis.write(data)
                reply = await from_redis.read(65536)
                if fault == "lose-reply":
                    break
                writer.write(reply)
        finally:
            writer.close()
            to_redis.close()


@pytest.mark.parametrize("fault", ["lose-command", "lose-reply"])
async def test_a_lost_command_or_reply_does_not_refuse_a_call(
    shared_server: RedisServer, redis: Redis, fault: str
) -> None:
    """If the reply is lost, Redis has stored the nonce; the store recognises its own record."""
    path = str(Path(shared_server.socket).with_name(f"{fault}.sock"))
    async with (
        LossyProxy(shared_server.socket, path, fault),
        # This client does not use the retries of redis-py; it waits at most 0.1 s for a reply.
        Redis.from_url(f"unix://{path}", socket_timeout=0.1) as client,
    ):
        assert await refusal(client, NONCE, 5) is None
        assert await refusal(client, NONCE, 0.2) is Refusal.REPLAY


async def test_connections_to_an_old_primary_do_not_refuse_calls_after_a_failover(
    own_server: RedisServer,
) -> None:
    with RedisServer() as new_primary:
        async with client_of(own_server.socket) as client, client_of(own_server.socket) as admin:
            assert await refusal(client, NONCE + "1") is None
            await admin.execute_command("REPLICAOF", "127.0.0.1", "1")
            # New connections to the same address lead to the new primary, as with a DNS name.
            os.replace(new_primary.socket, own_server.socket)
            assert await refusal(client, NONCE + "2", 0.5) is None
            # The store has closed the pool's connections to the old primary.
            assert (await client.info("replication"))["role"] == "master"
