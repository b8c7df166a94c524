"""The store in Redis, against a real one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

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

from .signing import KEY, NONCE, NOW, SECRET, Call


@pytest.fixture(scope="module")
def running() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture
def own() -> Iterator[RedisServer]:
    """A server that the test may do away with."""
    with RedisServer() as server:
        yield server


@asynccontextmanager
async def client_of(server: RedisServer) -> AsyncIterator[Redis]:
    client = Redis(unix_socket_path=server.socket)
    try:
        yield client
    finally:
        await client.aclose()


@pytest.fixture
async def redis(running: RedisServer) -> AsyncIterator[Redis]:
    async with client_of(running) as client:
        await client.flushall()
        yield client


async def authenticate(client: Redis, nonce: str, seconds: float = 10) -> Refusal | None:
    """Why a request was refused, if it was; Redis has so many seconds to answer."""
    store = RedisReplayStore(client)
    verifier = SignatureVerifier({KEY: SECRET}, replay_store=store, refusal_seconds=seconds)
    call = Call().having(nonce=nonce)
    try:
        await verifier.authenticate("GET", call.target, call.headers(), NOW)
    except AuthenticationError as error:
        return error.reason
    return None


async def test_a_nonce_is_new_once(redis: Redis) -> None:
    store = RedisReplayStore(redis)
    assert await store.first_use(b"a", 22) is True
    assert await store.first_use(b"a", 22) is False
    assert await store.first_use(b"b", 22) is True


async def test_processes_share_it(redis: Redis, running: RedisServer) -> None:
    async with client_of(running) as another:
        assert await authenticate(redis, NONCE) is None
        assert await authenticate(another, NONCE, 2) is Refusal.REPLAY


async def test_of_many_at_once_one_is_first(redis: Redis) -> None:
    store = RedisReplayStore(redis)
    results = await asyncio.gather(*(store.first_use(b"a", 22) for _ in range(50)))
    assert sorted(results) == [*49 * [False], True]


async def test_what_is_kept_and_for_how_long(redis: Redis) -> None:
    assert await RedisReplayStore(redis).first_use(b"\x01\xff", 22.0004) is True
    assert await RedisReplayStore(redis, "other:").first_use(b"\x01\xff", 300) is True
    assert sorted(await redis.keys()) == [b"other:01ff", b"pipecat-genesys:nonce:01ff"]
    assert await redis.get("pipecat-genesys:nonce:01ff") == b""
    assert 0 < await redis.pttl("pipecat-genesys:nonce:01ff") <= 22_001
    assert 22_001 < await redis.pttl("other:01ff") <= 300_000


async def test_redis_forgets_by_itself(redis: Redis) -> None:
    """Redis announces the expiry; the test waits for that and not for a time."""
    store = RedisReplayStore(redis)
    await redis.config_set("notify-keyspace-events", "Ex")
    async with redis.pubsub() as announcements:
        await announcements.subscribe("__keyevent@0__:expired")
        assert await store.first_use(b"a", 0.01) is True
        async for message in announcements.listen():
            if message["type"] == "message":
                break
    assert message["data"] == b"pipecat-genesys:nonce:61"
    assert await store.first_use(b"a", 22) is True


async def test_answers_are_understood_decoded_too(running: RedisServer, redis: Redis) -> None:
    client = Redis(unix_socket_path=running.socket, decode_responses=True)
    assert await RedisReplayStore(client).first_use(b"a", 22) is True
    assert await RedisReplayStore(client).first_use(b"a", 22) is False
    await client.aclose()


async def test_nobody_is_accepted_while_redis_is_gone(own: RedisServer) -> None:
    async with client_of(own) as client:
        assert await authenticate(client, NONCE + "1") is None
        own.stop()
        assert await authenticate(client, NONCE + "2", 0.2) is Refusal.REPLAY_STORE
        assert await authenticate(client, NONCE + "1", 0.2) is Refusal.REPLAY_STORE
        own.start()
        assert await authenticate(client, NONCE + "3") is None


async def test_nobody_is_accepted_if_redis_was_never_there(own: RedisServer) -> None:
    own.stop()
    async with client_of(own) as client:
        assert await authenticate(client, NONCE, 0.2) is Refusal.REPLAY_STORE


async def test_nobody_is_accepted_while_redis_does_not_answer(own: RedisServer) -> None:
    async with client_of(own) as client:
        assert await authenticate(client, NONCE) is None
        own.freeze()
        refusals = await asyncio.gather(
            *(authenticate(client, f"{NONCE}{n}", 0.2) for n in range(5))
        )
        assert refusals == 5 * [Refusal.REPLAY_STORE]
        own.thaw()
        # No answer to a question that was given up is taken for the answer to another.
        store = RedisReplayStore(client)
        for nonce in map(bytes, zip(range(20), strict=True)):
            assert await store.first_use(nonce, 300) is True
            assert await store.first_use(nonce, 300) is False
        assert await authenticate(client, NONCE + "new") is None


async def test_nobody_is_accepted_while_redis_is_full(own: RedisServer) -> None:
    async with client_of(own) as client:
        store = RedisReplayStore(client)
        await client.config_set("maxmemory-policy", "noeviction")
        await client.config_set("maxmemory", "1")
        with pytest.raises(ReplayStoreError, match="OutOfMemoryError"):
            await store.first_use(b"a", 22)
        assert await authenticate(client, NONCE, 0.2) is Refusal.REPLAY_STORE


async def test_nobody_is_accepted_by_a_replica(own: RedisServer) -> None:
    async with client_of(own) as client:
        await client.execute_command("REPLICAOF", "127.0.0.1", "1")
        with pytest.raises(ReplayStoreError, match="ReadOnlyError"):
            await RedisReplayStore(client).first_use(b"a", 22)
