"""Tests of the connections of `pipecat-genesys serve`: WebSocket framing, requests, and floods."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import socket
import ssl
import statistics
import struct
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Self
from urllib.request import Request, urlopen

import psutil
import pytest
from certificates import write_certificate
from loguru import logger
from pipecat_genesys.endpoint import connection_socket, http_protocol, websocket_connection
from pipecat_genesys.endpoint.http_protocol import HttpProtocol
from pipecat_genesys.simulator import (
    CallParameters,
    SimulatedCall,
    audiohook_headers,
    new_call,
)
from pipecat_genesys.simulator.connection import upgrade_headers
from raw_websocket import BINARY, CLOSE, CONT, PING, PONG, TEXT, RawClient, frame, upgrade
from starlette.responses import PlainTextResponse
from starlette.websockets import WebSocket
from uvicorn import Config
from uvicorn.server import ServerState
from websockets.asyncio.client import ClientConnection, connect

from .served import API_KEY, SIGNED, fetch, hang_up
from .test_drain import APPLICATION, serve

Application = Callable[[Any, Any, Any], Awaitable[None]]


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Serve as an ASGI application: echo WebSocket messages; answer requests with the path."""
    if scope["type"] == "http":
        headers = [(b"content-length", b"%d" % len(scope["path"]))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": scope["path"].encode()})
        return
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({**message, "type": "websocket.send"})


class Front:
    """A server that creates an `HttpProtocol` for each connection, as uvicorn does."""

    def __init__(self, port: int, state: ServerState) -> None:
        self.port = port
        self.state = state

    async def idle(self) -> None:
        """Wait until the server has no connections."""
        async with asyncio.timeout(5):
            while self.state.connections:  # noqa: ASYNC110 - a set announces no change
                await asyncio.sleep(0.01)


@asynccontextmanager
async def front(
    application: Application = echo, *, tls: ssl.SSLContext | None = None, **options: Any
) -> AsyncIterator[Front]:
    config = Config(application, lifespan="off", ws_max_size=2**17, **options)
    config.load()
    state = ServerState()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: HttpProtocol(config, state, {}, loop), "127.0.0.1", 0, ssl=tls
    )
    try:
        yield Front(server.sockets[0].getsockname()[1], state)
    finally:
        server.close()
        for connection in list(state.connections):
            connection.shutdown()
        async with asyncio.timeout(10):
            while state.connections or state.tasks:  # noqa: ASYNC110
                await asyncio.sleep(0.01)


# -- framing ---------------------------------------------------------------------------------------

ONE = b"a message"
CLOSED = (CLOSE, b"\x03\xe8")
EURO = "\N{EURO SIGN}".encode()


def closed(code: int) -> tuple[int, bytes]:
    return CLOSE, struct.pack("!H", code)


FRAMING: dict[str, tuple[list[bytes], list[tuple[int, bytes]]]] = {
    "a text message": ([frame(TEXT, ONE)], [(TEXT, ONE)]),
    "a binary message": ([frame(BINARY, ONE)], [(BINARY, ONE)]),
    "an empty text message": ([frame(TEXT)], [(TEXT, b"")]),
    "an empty binary message": ([frame(BINARY)], [(BINARY, b"")]),
    "the largest 7-bit length": ([frame(BINARY, b"x" * 125)], [(BINARY, b"x" * 125)]),
    "the smallest 16-bit length": ([frame(BINARY, b"x" * 126)], [(BINARY, b"x" * 126)]),
    "the largest 16-bit length": ([frame(BINARY, b"x" * 65535)], [(BINARY, b"x" * 65535)]),
    "the smallest 64-bit length": ([frame(BINARY, b"x" * 65536)], [(BINARY, b"x" * 65536)]),
    "a masking key of zeros": ([frame(TEXT, ONE, mask=bytes(4))], [(TEXT, ONE)]),
    "a message byte by byte": ([bytes([byte]) for byte in frame(TEXT, ONE)], [(TEXT, ONE)]),
    "many messages in one packet": ([frame(TEXT, ONE) * 50], [(TEXT, ONE)] * 50),
    "a message in two frames": (
        [frame(TEXT, b"a ", fin=False), frame(CONT, b"message")],
        [(TEXT, ONE)],
    ),
    "a message in frames of which some are empty": (
        [frame(TEXT, fin=False), frame(CONT, ONE, fin=False), frame(CONT)],
        [(TEXT, ONE)],
    ),
    "a character in two frames": (
        [frame(TEXT, EURO[:1], fin=False), frame(CONT, EURO[1:])],
        [(TEXT, EURO)],
    ),
    "a ping": ([frame(PING)], [(PONG, b"")]),
    "the largest ping": ([frame(PING, b"x" * 125)], [(PONG, b"x" * 125)]),
    "a ping within a message": (
        [frame(TEXT, b"a ", fin=False), frame(PING, b"1"), frame(CONT, b"message")],
        [(PONG, b"1"), (TEXT, ONE)],
    ),
    "an unsolicited pong": ([frame(PONG, b"1") + frame(TEXT, ONE)], [(TEXT, ONE)]),
    "a close frame": ([frame(*CLOSED)], [CLOSED]),
    "an empty close frame": ([frame(CLOSE)], [(CLOSE, b"")]),
    "a close frame with a reason": (
        [frame(CLOSE, b"\x03\xe8bye")],
        [(CLOSE, b"\x03\xe8bye")],
    ),
    "a close code of an application": ([frame(*closed(4999))], [closed(4999)]),
    "a message after a close frame": ([frame(*CLOSED) + frame(TEXT, ONE)], [CLOSED]),
    "a ping that is too long": ([frame(PING, b"x" * 126)], [closed(1002)]),
    "a ping in two frames": ([frame(PING, fin=False)], [closed(1002)]),
    "reserved bit 1": ([frame(TEXT, ONE, rsv=4)], [closed(1002)]),
    "reserved bit 2": ([frame(TEXT, ONE, rsv=2)], [closed(1002)]),
    "reserved bit 3": ([frame(PING, rsv=1)], [closed(1002)]),
    "reserved opcode 3": ([frame(3, ONE)], [closed(1002)]),
    "reserved opcode 15": ([frame(15)], [closed(1002)]),
    "a frame that is not masked": ([frame(TEXT, ONE, mask=None)], [closed(1002)]),
    "a continuation of nothing": ([frame(CONT, ONE)], [closed(1002)]),
    "a message within a message": (
        [frame(TEXT, ONE, fin=False), frame(TEXT, ONE)],
        [closed(1002)],
    ),
    "a close frame of one byte": ([frame(CLOSE, b"\x03")], [closed(1002)]),
    "close code 999": ([frame(*closed(999))], [closed(1002)]),
    "close code 1005": ([frame(*closed(1005))], [closed(1002)]),
    "a close reason that is not UTF-8": ([frame(CLOSE, b"\x03\xe8\xff")], [closed(1007)]),
    "a text that is not UTF-8": ([frame(TEXT, b"\xff")], [closed(1007)]),
    "half a character": ([frame(TEXT, EURO[:2])], [closed(1007)]),
    "a surrogate": ([frame(TEXT, b"\xed\xa0\x80")], [closed(1007)]),
    "a message over the limit": ([frame(BINARY, b"x" * 2**17 + b"x")], [closed(1009)]),
    "frames that are over the limit together": (
        [frame(BINARY, b"x" * 2**16, fin=False), frame(CONT, b"x" * 2**16 + b"x")],
        [closed(1009)],
    ),
    "a length of 2**63": ([frame(BINARY, length=2**63)], [closed(1009)]),
    "half a frame": ([frame(TEXT, ONE)[:-1]], []),
}


@pytest.mark.parametrize("case", FRAMING)
async def test_frames_are_answered_as_rfc_6455_has_it(case: str) -> None:
    """Each sequence of WebSocket frames gets the answer that RFC 6455 specifies."""
    sent, expected = FRAMING[case]
    async with front() as server, RawClient(server.port) as client:
        await client.connect()
        for data in sent:
            await client.send(data)
            if len(sent) > 1:
                await asyncio.sleep(0)
        for opcode, payload in expected:
            answer = await client.receive()
            assert answer is not None
            # The test compares the code of a close frame, but not the reason text of the frame.
            assert (answer[0], answer[1][: len(payload)]) == (opcode, payload)
        if not expected or expected[-1][0] == CLOSE:
            if not expected:
                client.writer.write_eof()
            assert await client.receive() is None
            await server.idle()
        else:
            await client.send(frame(*CLOSED))
            assert await client.receive() == CLOSED


# -- requests --------------------------------------------------------------------------------------

CHUNKED = "Transfer-Encoding: chunked"


def posted(body: bytes, *headers: str) -> bytes:
    """Return the bytes of a POST request with a body."""
    head = "\r\n".join(("POST /x HTTP/1.1", "Host: x", *headers, "", ""))
    return head.encode() + body


REQUESTS: dict[str, tuple[bytes, int]] = {
    "a plain request": (b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n", 200),
    "HTTP/1.0": (b"GET /x HTTP/1.0\r\n\r\n", 200),
    "a length of 0": (b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", 200),
    "a body": (posted(b"hello", "Content-Length: 5"), 200),
    "a body in chunks": (posted(b"1\r\na\r\n0\r\n\r\n", CHUNKED), 200),
    "a body with trailers": (posted(b"1\r\na\r\n0\r\nX: y\r\n\r\n", CHUNKED), 200),
    "a body that is no chunk": (posted(b"hello\r\n", CHUNKED), 400),
    "a chunk of a negative length": (posted(b"-1\r\na\r\n0\r\n\r\n", CHUNKED), 400),
    "a length that is no number": (posted(b"", "Content-Length: five"), 400),
    "two lengths": (posted(b"hello", "Content-Length: 5\r\nContent-Length: 6"), 400),
    "an unknown encoding": (posted(b"", "Transfer-Encoding: gzip"), 501),
    "a body of 2 MB": (posted(b"", "Content-Length: 2000000"), 413),
    "a chunk of 2 MB": (posted(b"1e8480\r\n" + bytes(2_000_000), CHUNKED), 413),
    "a chunk header of 9 KB": (posted(b"1;" + b"x" * 9000, CHUNKED), 431),
    "trailers of 9 KB": (posted(b"0\r\n" + b"X: y\r\n" * 1500, CHUNKED), 431),
    "11 000 chunks": (posted(b"1\r\na\r\n" * 11_000, CHUNKED), 413),
    "an upgrade with a body": (upgrade({"Content-Length": "5"}), 413),
    "an upgrade with chunks": (upgrade({"Transfer-Encoding": "chunked"}), 411),
    "an upgrade with a header of 9 KB": (upgrade({"X-A": "a" * 9000}), 431),
    "a header of 20 KB": (upgrade({"X-A": "a" * 20000}), 431),
    "200 headers": (upgrade({f"X-{n}": "a" for n in range(200)}), 431),
    "another version of WebSocket": (upgrade({"Sec-WebSocket-Version": "8"}), 400),
    "a key that is too short": (upgrade({"Sec-WebSocket-Key": "YQ=="}), 400),
    "another protocol": (upgrade({"Upgrade": "h2c"}), 200),
    "no HTTP": (b"\x16\x03\x01 hello\r\n\r\n", 400),
    "no host": (b"GET /x HTTP/1.1\r\n\r\n", 400),
    "an upgrade": (upgrade(), 101),
}


@pytest.mark.parametrize("case", REQUESTS)
async def test_every_request_is_answered(case: str) -> None:
    request, status = REQUESTS[case]
    async with front() as server, RawClient(server.port) as client:
        answer = await client.status(request)
        # websockets 15 answers 400, not 431, if a line is too long.
        assert answer == status or (answer, status) == (400, 431)
        if status != 101:
            assert await client.ended()
            await server.idle()


async def test_a_client_that_sends_a_body_first_can_read_the_refusal() -> None:
    """A client that sends a body of 99,999 bytes before it reads receives the refusal."""
    async with front() as server, RawClient(server.port) as client:
        await client.send(upgrade({"Content-Length": "99999"}))
        await client.send(b"x" * 99999)
        await asyncio.sleep(0.2)
        assert (await client.head()).startswith(b"HTTP/1.1 413 ")


async def body_echo(scope: Any, receive: Any, send: Any) -> None:
    """Serve as an ASGI application: answer a request with its body."""
    body = b""
    while (message := await receive())["type"] == "http.request":
        body += message["body"]
        if not message["more_body"]:
            break
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


@pytest.mark.parametrize("is_chunked", [False, True])
@pytest.mark.parametrize("size", [1, 5000, 2**20 - 10_000])
async def test_an_application_gets_the_body_of_a_request(size: int, is_chunked: bool) -> None:
    sent = bytes(n * 7 % 251 for n in range(size))
    if is_chunked:
        parts = [sent[at : at + 1000] for at in range(0, size, 1000)] + [b""]
        chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)
        request = posted(chunks, CHUNKED)
    else:
        request = posted(sent, f"Content-Length: {size}")
    async with front(body_echo) as server, RawClient(server.port) as client:
        writing = asyncio.create_task(client.send(request))
        assert b" 200 " in await client.head()
        await writing
        async with asyncio.timeout(5):
            answer = await client.reader.read()
        assert len(answer) >= size
        assert sent in answer if size > 1 else answer.endswith((sent, sent + b"\r\n0\r\n\r\n"))
        await server.idle()


async def test_a_body_that_is_sent_after_100_continue() -> None:
    """A request with `Expect: 100-continue` gets status 100, and its body is then accepted."""
    async with front(body_echo) as server, RawClient(server.port) as client:
        await client.send(posted(b"", "Content-Length: 5", "Expect: 100-continue"))
        assert (await client.head()) == b"HTTP/1.1 100 Continue\r\n\r\n"
        await client.send(b"hello")
        assert b" 200 " in await client.head()


async def test_a_body_has_a_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_protocol, "_BODY_SECONDS", 0.2)
    async with front() as server, RawClient(server.port) as client:
        assert await client.status(posted(b"hell", "Content-Length: 5")) == 408
        assert await client.ended()
        await server.idle()


async def test_of_bodies_that_are_too_large_together_the_oldest_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http_protocol, "_MAX_BODIES_SIZE", 20_000)
    half = posted(bytes(12_000), "Content-Length: 12001")
    async with (
        front() as server,
        RawClient(server.port) as first,
        RawClient(server.port) as second,
    ):
        await first.send(half)
        await asyncio.sleep(0.1)
        await second.send(half)
        assert b" 503 " in await first.head()
        await second.send(b"x")
        assert b" 200 " in await second.head()
        assert await first.ended()
        await server.idle()


async def test_a_body_is_parsed_in_small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """In each iteration of the event loop, at most 20 parts of bodies are parsed."""
    per_turn = [0]
    parse = http_protocol._Body.parse

    def counted(body: http_protocol._Body) -> object:
        before = body._parts
        event = parse(body)
        per_turn[-1] += body._parts - before
        return event

    monkeypatch.setattr(http_protocol._Body, "parse", counted)
    async with front() as server, contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(RawClient(server.port)) for _ in range(5)]
        for client in clients:
            await client.send(posted(b"1\r\na\r\n" * 500, CHUNKED))
        while sum(per_turn) < 2500:
            await asyncio.sleep(0)
            per_turn.append(0)
    assert max(per_turn) <= 20


async def test_a_connection_serves_one_request() -> None:
    get = b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n"
    async with front() as server, RawClient(server.port) as client:
        await client.send(get * 1000)
        head = await client.head()
        assert b"connection: close" in head.lower()
        async with asyncio.timeout(5):
            with contextlib.suppress(ConnectionError):
                assert await client.reader.read() == b"/x"
        await server.idle()


async def test_nothing_is_read_between_the_upgrade_request_and_its_answer() -> None:
    accept, early = asyncio.Event(), b"".join(frame(PING, b"%d" % n) for n in range(5))

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await accept.wait()
        await echo(scope, receive, send)

    async with front(slow) as server, RawClient(server.port) as client:
        # The server reads a part of this data together with the request. The rest must stay in the
        # socket.
        await client.send(upgrade() + early)
        client.writer.write(frame(BINARY, b"x" * 60000) * 200)
        await asyncio.sleep(0.2)
        (connection,) = server.state.connections
        assert len(connection._websocket._unparsed) <= 4096  # type: ignore[union-attr]
        assert not client.reader._buffer  # type: ignore[attr-defined]
        accept.set()
        assert b"101" in await client.head()
        assert [await client.receive() for _ in range(5)] == [(PONG, b"%d" % n) for n in range(5)]


@pytest.mark.parametrize(("data", "status"), [(b"", None), (b"GET / HTTP/1.1\r\nX: y", 408)])
async def test_a_head_has_a_deadline(
    data: bytes, status: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection is closed if the head of its request is not complete in time."""
    monkeypatch.setattr(http_protocol, "_HEAD_SECONDS", 0.2)
    async with front() as server, RawClient(server.port) as client:
        if status is not None:
            assert await client.status(data) == status
        assert await client.ended()
        await server.idle()


async def test_an_application_that_does_not_answer_an_upgrade_has_a_deadline(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(websocket_connection, "_ANSWER_SECONDS", 0.2)
    told: list[Any] = []

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        told.extend([await receive(), await receive()])

    async with front(slow) as server, RawClient(server.port) as client:
        assert await client.status(upgrade()) == 503
        assert await client.ended()
        await server.idle()
    assert [event["type"] for event in told] == ["websocket.connect", "websocket.disconnect"]


async def test_of_too_many_connections_without_a_request_the_oldest_is_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http_protocol, "_MAX_WAITING", 2)
    async with (
        front() as server,
        RawClient(server.port) as first,
        RawClient(server.port) as second,
        RawClient(server.port) as third,
    ):
        assert await first.ended()
        await second.connect()
        await third.connect()


async def test_of_too_many_requests_at_once_the_last_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http_protocol, "_MAX_QUEUED_HEADS", 3)
    async with front() as server, contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(RawClient(server.port)) for _ in range(20)]
        for client in clients:
            client.writer.write(upgrade())
        heads = [await client.head() for client in clients]
    statuses = [int(head.split()[1]) for head in heads]
    assert set(statuses) == {101, 503}


async def test_tls(tmp_path: Path) -> None:
    """WebSocket messages and HTTP refusals also work over TLS."""
    certificate = tmp_path / "localhost.pem"
    write_certificate(certificate)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate)
    trust = ssl.create_default_context(cafile=certificate)
    async with front(tls=tls) as server:
        url = f"wss://localhost:{server.port}/audiohook"
        async with connect(url, ssl=trust, compression=None) as socket:
            await socket.send(b"x" * 100_000)
            assert await socket.recv() == b"x" * 100_000
        assert socket.protocol.close_code == 1000
        reader, writer = await asyncio.open_connection("localhost", server.port, ssl=trust)
        writer.write(posted(b"hello", "Content-Length: 9999999"))
        async with asyncio.timeout(5):
            assert (await reader.read()).startswith(b"HTTP/1.1 413 ")
        writer.close()
        await server.idle()


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        ([{"type": "websocket.close"}], 403),
        (
            [
                {"type": "websocket.http.response.start", "status": 401, "headers": []},
                {"type": "websocket.http.response.body", "body": b"n", "more_body": True},
                {"type": "websocket.http.response.body", "body": b"o"},
            ],
            401,
        ),
        ([], 500),
    ],
)
async def test_an_application_can_refuse(answer: list[Any], status: int) -> None:
    async def refuse(scope: Any, receive: Any, send: Any) -> None:
        for message in answer:
            await send(message)

    async with front(refuse) as server, RawClient(server.port) as client:
        assert await client.status(upgrade()) == status
        assert await client.ended()
        await server.idle()


async def test_a_refusal_has_each_header_once() -> None:
    """The server does not repeat a header that the application has set."""

    async def refuse(scope: Any, receive: Any, send: Any) -> None:
        await WebSocket(scope, receive, send).send_denial_response(
            PlainTextResponse("full", 503, headers={"Connection": "close", "Date": "today"})
        )

    async with front(refuse) as server, RawClient(server.port) as client:
        await client.send(upgrade())
        lines = (await client.head()).lower().split(b"\r\n")[1:-2]
    names = [line.partition(b":")[0] for line in lines]
    assert sorted(names) == [b"connection", b"content-length", b"content-type", b"date"]


async def test_a_subprotocol_and_headers_of_the_application_are_sent() -> None:
    seen: dict[str, Any] = {}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.update(scope)
        headers = [(b"x-one", b"1")]
        await send({"type": "websocket.accept", "subprotocol": "b", "headers": headers})
        await send({"type": "websocket.close", "code": 4000, "reason": "enough"})

    async with front(app) as server, RawClient(server.port) as client:
        request = upgrade({"Sec-WebSocket-Protocol": "a, b"}, "/a%20b?c=d")
        assert await client.status(request) == 101
        head = seen["subprotocols"], seen["path"], seen["raw_path"], seen["query_string"]
        assert head == (["a", "b"], "/a b", b"/a%20b", b"c=d")
        assert await client.receive() == (CLOSE, struct.pack("!H", 4000) + b"enough")
        await client.send(frame(*closed(4000)))
        assert await client.ended()


# -- limits ----------------------------------------------------------------------------------------


async def pongs_within(client: RawClient, seconds: float) -> int:
    """Return the number of pongs that arrive within this number of seconds."""
    count = 0
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while await client.receive():
                count += 1
    return count


async def test_control_frames_have_a_budget() -> None:
    """Of 10,000 pings, the server answers between 2000 and 2300 in the first second."""
    async with front() as server, RawClient(server.port) as client:
        await client.connect()
        client.writer.write(frame(PING) * 10_000)
        assert 2000 <= await pongs_within(client, 1.0) <= 2000 + 300


async def test_a_flood_leaves_each_turn_of_the_event_loop_to_others() -> None:
    """In each iteration of the event loop, the server reads a limited number of frames."""
    async with front() as server, RawClient(server.port) as client:
        await client.connect()
        (connection,) = server.state.connections
        frames = connection._websocket._protocol.events_received  # type: ignore[union-attr]
        per_turn: list[int] = [0]

        def counted() -> list[Any]:
            found = frames()
            per_turn[-1] += len(found)
            return found

        connection._websocket._protocol.events_received = counted  # type: ignore[union-attr]
        client.writer.write(frame(PING) * 1500)
        while sum(per_turn) < 1500:
            await asyncio.sleep(0)
            per_turn.append(0)
        assert max(per_turn) <= 2048 / 6 + 50


async def test_audio_may_come_byte_by_byte() -> None:
    """The server accepts 200 ms of audio in 1600 messages of one byte."""
    async with front() as server, RawClient(server.port) as client:
        await client.connect()
        began = time.monotonic()
        client.writer.write(frame(BINARY, b"x") * 1600)
        for _ in range(1600):
            assert await client.receive() == (BINARY, b"x")
        assert time.monotonic() - began < 3


@pytest.mark.parametrize(
    "flood",
    [frame(CONT, fin=False), frame(PONG), frame(PING), frame(BINARY), frame(TEXT, b"x")],
    ids=["continuation", "pong", "ping", "empty", "text"],
)
async def test_a_client_that_floods_for_long_is_closed(
    flood: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(websocket_connection, "_MAX_THROTTLED_SECONDS", 0.3)
    async with front() as server, RawClient(server.port) as client:
        await client.connect()
        await client.send(frame(TEXT, fin=False) if flood[0] == 0 else b"")
        client.writer.write(flood * 100_000)
        async with asyncio.timeout(5):
            while (answer := await client.receive()) is not None and answer[0] != CLOSE:
                pass
        assert answer is not None
        assert answer[1][:2] == struct.pack("!H", 1008)
        assert await client.ended()
        await server.idle()


async def test_a_budget_recovers() -> None:
    """A client that sends 20 s of audio at once, two times, is not throttled."""
    async with front() as server, RawClient(server.port) as client:
        await client.connect()
        for _ in range(2):
            client.writer.write(frame(BINARY, bytes(1600)) * 100)
            began = time.monotonic()
            for _ in range(100):
                assert await client.receive() == (BINARY, bytes(1600))
            assert time.monotonic() - began < 0.9
            await asyncio.sleep(0.2)
        (connection,) = server.state.connections
        assert connection._websocket._throttled_seconds == 0  # type: ignore[union-attr]


async def test_messages_wait_in_the_socket_while_the_application_does_not_take_them() -> None:
    """If the application does not call `receive`, the server stops reading from the socket."""
    go = asyncio.Event()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        await go.wait()
        await echo(scope, receive, lambda _: asyncio.sleep(0))

    async with front(slow) as server, RawClient(server.port) as client:
        await client.connect()
        client.writer.write(frame(BINARY, b"x" * 30000) * 200)
        await asyncio.sleep(0.3)
        (connection,) = server.state.connections
        assert connection._websocket._queued_size < 2**16 + 30000  # type: ignore[union-attr]
        go.set()


async def test_a_receive_that_was_cancelled_loses_no_message() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        for _ in range(3):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.02):
                    await receive()
        await send(await receive() | {"type": "websocket.send"})
        await receive()

    async with front(app) as server, RawClient(server.port) as client:
        await client.connect()
        await asyncio.sleep(0.2)
        await client.send(frame(TEXT, ONE))
        assert await client.receive() == (TEXT, ONE)


async def test_nothing_is_read_from_a_peer_that_does_not_read() -> None:
    async def flood(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        while True:
            await send({"type": "websocket.send", "bytes": bytes(60000)})

    async with front(flood) as server, RawClient(server.port) as client:
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        client.writer.write(upgrade())
        await asyncio.sleep(0.2)
        client.writer.write(frame(PING, b"x" * 125) * 20000)
        await asyncio.sleep(0.3)
        (connection,) = server.state.connections
        transport = connection._socket.transport  # type: ignore[union-attr]
        assert not transport.is_reading()
        assert transport.get_write_buffer_size() < 2**18


@pytest.mark.parametrize("how", ["closes", "returns", "fails"])
async def test_a_peer_that_takes_no_data_is_aborted_at_the_end(
    how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the peer does not read, the connection is aborted when the application ends."""
    monkeypatch.setattr(connection_socket, "_CLOSE_SECONDS", 0.2)
    monkeypatch.setattr(websocket_connection, "_CLOSE_SECONDS", 0.2)

    async def give_up(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.3):
                while True:
                    await send({"type": "websocket.send", "bytes": bytes(60000)})
        if how == "closes":
            async with asyncio.timeout(0.1):
                await send({"type": "websocket.close"})
            await asyncio.sleep(0.3)
        elif how == "fails":
            raise SystemExit("of a bot")

    async with front(give_up, log_level="critical") as server, RawClient(server.port) as client:
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        client.writer.write(upgrade())
        await asyncio.sleep(0.1)
        assert server.state.connections
        async with asyncio.timeout(2):
            await server.idle()


async def test_a_refusal_of_a_connection_that_was_reset_ends_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The bodies of two clients are too large together, so the server refuses the first.

    The first client has closed its socket, and its host answers with a TCP reset.
    """
    monkeypatch.setattr(http_protocol, "_MAX_BODIES_SIZE", 20_000)
    half = posted(bytes(12_000), "Content-Length: 12001")
    async with front() as server, RawClient(server.port) as first:
        await first.send(half)
        await asyncio.sleep(0.1)
        (connection,) = server.state.connections
        connection._socket.pause_reading()  # type: ignore[union-attr]
        first.writer.transport.abort()
        await asyncio.sleep(0.1)
        async with RawClient(server.port) as second:
            await second.send(half + b"x")
            assert b" 200 " in await second.head()
        await server.idle()
    assert not caplog.records


async def test_a_client_that_takes_no_response_is_aborted(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the client does not read the HTTP response, the connection is aborted."""
    monkeypatch.setattr(http_protocol, "_BLOCKED_SECONDS", 0.2)

    async def big(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(1000):
            await send({"type": "http.response.body", "body": bytes(60000), "more_body": True})

    async with front(big) as server, RawClient(server.port) as client:
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        client.writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await asyncio.sleep(0.1)
        assert server.state.connections
        await server.idle()


async def test_a_bot_that_exits_ends_its_own_connection(caplog: pytest.LogCaptureFixture) -> None:
    """`sys.exit` in the application closes only its connection, with code 1011."""

    async def exits(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        sys.exit(3)

    async with front(exits) as server, RawClient(server.port) as client:
        await client.connect()
        assert await client.receive() == closed(1011)


async def test_a_request_that_no_application_sees_is_logged_without_its_path(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http_protocol, "_MAX_WAITING", 1)
    lines: list[str] = []
    sink = logger.add(lambda message: lines.append(message.record["message"]), level="WARNING")
    async with front() as server:
        async with RawClient(server.port) as client:
            assert await client.status(upgrade({"X-A": "a" * 9000}, "/secret")) == 431
        await server.idle()
        async with RawClient(server.port) as first, RawClient(server.port):
            assert await first.ended()
    logger.remove(sink)
    assert lines == [
        "connection from 127.0.0.1 refused (http): HTTP 431 Request Header Fields Too Large",
        "connection from 127.0.0.1 refused (http): "
        "closed, because too many connections have not sent a request",
    ]


async def test_no_path_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """The path of a request does not appear in the log, because it can contain secrets."""
    caplog.set_level("INFO")
    async with front(log_level="info") as server, RawClient(server.port) as client:
        assert await client.status(upgrade(path="/secret?connector=secret")) == 101
        async with RawClient(server.port) as other:
            await other.status(b"GET /secret HTTP/1.1\r\nHost: x\r\n\r\n")
    assert "secret" not in caplog.text


async def test_the_end_of_the_server_ends_every_kind_of_connection() -> None:
    async def slow(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/slow":
            assert (await receive())["type"] == "websocket.connect"
            assert (await receive())["type"] == "websocket.disconnect"
        else:
            await echo(scope, receive, send)

    async with front(slow) as server, contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(RawClient(server.port)) for _ in range(5)]
        _, head, refused, answering, opened = clients
        await head.send(b"GET /")
        assert await refused.status(upgrade({"Content-Length": "5"})) == 413
        await answering.send(upgrade(path="/slow"))
        await opened.connect()
        await asyncio.sleep(0.1)
        assert len(server.state.connections) == 5
        for connection in list(server.state.connections):
            connection.shutdown()
        assert await opened.receive() == closed(1012)
        await opened.send(frame(*closed(1012)))
        assert b"503" in await answering.head()
        for client in clients:
            assert await client.ended()
        await server.idle()


# -- a call during a flood -------------------------------------------------------------------------


class Flood:
    """A thread that connects repeatedly, and sends data as fast as the server reads."""

    def __init__(self, port: int, request: Callable[[], bytes], data: bytes) -> None:
        self._port = port
        self._request = request
        self._data = data * (2**16 // len(data))
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.sent = 0

    def _run(self) -> None:
        while not self._over.is_set():
            with (
                contextlib.suppress(OSError),
                socket.create_connection(("127.0.0.1", self._port)) as one,
            ):
                one.settimeout(0.2)
                one.sendall(self._request())
                while not self._over.is_set():
                    self.sent += one.send(self._data)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(10)


def signed(url: str) -> bytes:
    """Return a signed upgrade request of a new call."""
    return upgrade(upgrade_headers(url, audiohook_headers(new_call(), API_KEY), SIGNED))


def unsigned(_: str) -> bytes:
    """Return an upgrade request without an API key and a signature."""
    return upgrade()


def plain(headers: str) -> Callable[[str], bytes]:
    return lambda _: f"POST /x HTTP/1.1\r\nHost: x\r\n{headers}".encode()


LOOPS = ("asyncio", "uvloop")
FLOODS: dict[str, tuple[Callable[[str], bytes], bytes]] = {
    "pings": (signed, frame(PING)),
    "pongs": (signed, frame(PONG, b"x")),
    "continuation frames": (signed, frame(CONT, fin=False)),
    "empty audio": (signed, frame(BINARY)),
    "pings before the answer": (unsigned, frame(PING)),
    "messages before the answer": (unsigned, frame(TEXT)),
    "a body in chunks": (plain("Transfer-Encoding: chunked\r\n\r\n"), b"1\r\na\r\n"),
    "large bodies": (plain("Content-Length: 1048576\r\n\r\n"), bytes(2**16)),
    "endless headers": (plain(""), b"X: y\r\n"),
}


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[str, tuple[str, psutil.Process]]]:
    """Yield URL and process of `pipecat-genesys serve`, by type of event loop."""
    command = "import sys; from pipecat_genesys.cli import main; sys.exit(main())"
    processes: dict[str, subprocess.Popen[bytes]] = {}
    urls: dict[str, str] = {}
    try:
        for loop in LOOPS:
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                port = free.getsockname()[1]
            urls[loop] = f"ws://127.0.0.1:{port}/audiohook"
            processes[loop] = subprocess.Popen(
                [
                    *(sys.executable, "-c", command, "serve", f"{APPLICATION.stem}:app"),
                    *("--port", str(port), "--loop", loop),
                ],
                cwd=APPLICATION.parent,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        for loop in LOOPS:
            deadline = time.monotonic() + 60
            while True:
                with contextlib.suppress(OSError):
                    fetch(urls[loop].replace("ws", "http", 1), "/readyz")
                    break
                assert time.monotonic() < deadline
                assert processes[loop].poll() is None
                time.sleep(0.1)
            # The first call imports modules, and so takes memory.
            asyncio.run(SimulatedCall(urls[loop], options=SIGNED).run(hang_up))
        yield {loop: (urls[loop], psutil.Process(processes[loop].pid)) for loop in LOOPS}
    finally:
        for process in processes.values():
            process.kill()
            process.wait()


class PingingCaller:
    """A client that sends AudioHook pings in a call and measures the time until each pong."""

    def __init__(self, socket: ClientConnection, call: CallParameters) -> None:
        self._socket = socket
        self._call = call
        self._seq = 0

    async def say(self, kind: str, **parameters: Any) -> dict[str, Any]:
        """Send a message, and return the next message of the server."""
        self._seq += 1
        message = {"version": "2", "type": kind, "id": self._call.session_id, "seq": self._seq}
        message |= {"serverseq": self._seq - 1, "position": "PT0S", "parameters": parameters}
        await self._socket.send(json.dumps(message))
        async with asyncio.timeout(10):
            return json.loads(await self._socket.recv())  # type: ignore[no-any-return]

    async def pong_seconds(self, count: int, every: float) -> list[float]:
        """Send `count` pings; return the seconds until each pong."""
        took: list[float] = []
        for _ in range(count):
            began = time.monotonic()
            assert (await self.say("ping"))["type"] == "pong"
            took.append(time.monotonic() - began)
            await asyncio.sleep(max(0.0, every - took[-1]))
        return took


@asynccontextmanager
async def calling(url: str) -> AsyncIterator[PingingCaller]:
    call = new_call()
    headers = upgrade_headers(url, audiohook_headers(call, API_KEY), SIGNED)
    async with connect(url, additional_headers=headers, compression=None) as socket:
        caller = PingingCaller(socket, call)
        opened = await caller.say(
            "open",
            organizationId=call.organization_id,
            conversationId=str(uuid.uuid4()),
            participant={"id": str(uuid.uuid4()), "ani": "", "aniName": "", "dnis": ""},
            media=[{"type": "audio", "format": "PCMU", "channels": ["external"], "rate": 8000}],
        )
        assert opened["type"] == "opened"
        yield caller


@pytest.mark.parametrize(
    ("kind", "loop"),
    [
        pytest.param(kind, loop, marks=() if (n + m) % 2 == 0 else pytest.mark.slow)
        for n, kind in enumerate(FLOODS)
        for m, loop in enumerate(LOOPS)
    ],
)
async def test_a_flood_does_not_delay_a_call(
    kind: str, loop: str, servers: dict[str, tuple[str, psutil.Process]]
) -> None:
    """During a flood, all pongs arrive, and the median time until a pong is below 50 ms."""
    url, process = servers[loop]
    port = int(url.split(":")[2].split("/")[0])
    request, data = FLOODS[kind]
    before = process.memory_info().rss
    async with calling(url) as caller:
        with Flood(port, partial(request, url), data) as flood:
            await asyncio.sleep(0.1)
            took = await caller.pong_seconds(10, 0.05)
    assert flood.sent > 100_000
    assert statistics.median(took) < 0.05
    assert process.memory_info().rss - before < 20e6


@pytest.mark.parametrize("loop", LOOPS)
async def test_an_application_can_have_a_webhook_beside_the_bot(
    loop: str, servers: dict[str, tuple[str, psutil.Process]]
) -> None:
    """The application has a route that accepts JSON; a large body needs several reads."""
    url = servers[loop][0].replace("ws", "http", 1).replace("/audiohook", "/webhook")
    for entries in (1, 20_000):
        content = json.dumps({str(n): "a value of some length" for n in range(entries)}).encode()
        request = Request(url, content, {"Content-Type": "application/json"})
        assert await asyncio.to_thread(lambda one: urlopen(one).read(), request) == b"%d" % entries


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM to catch")
async def test_sigterm_ends_a_server_that_strangers_hold_connections_to() -> None:
    """On SIGTERM, the server ends although clients keep connections without a valid request."""
    async with serve() as (process, url), contextlib.AsyncExitStack() as stack:
        port = int(url.split(":")[2].split("/")[0])
        strangers = [await stack.enter_async_context(RawClient(port)) for _ in range(4)]
        requests = (b"", b"GET / HT", upgrade({"Content-Length": "5"}), upgrade({"X": "a" * 9000}))
        for stranger, request in zip(strangers, requests, strict=True):
            await stranger.send(request)
        await asyncio.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(10):
            assert await process.wait() == 0
