"""Tests that the proxy forwards every byte of both directions unchanged."""

from __future__ import annotations

import asyncio
import os
import zlib
from urllib.parse import urlsplit

import pytest
from pipecat_genesys.inspector.calls import InspectedCall
from raw_websocket import BINARY, CLOSE, CONT, PING, TEXT, RawClient, frame, upgrade

from .proxied import Proxied, proxied
from .raw_server import RawServer, raw_server

ANSWER = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: whatever\r\nX-Odd:  two  spaces \r\n"
)
HEADERS = {
    "Host": "bot.example.com",
    "Audiohook-Session-Id": "30b0e395-84d3-4570-ac13-9a62d8f514c0",
    "Signature-Input": 'sig1=("@request-target" "@authority");keyid="k"',
    "Signature": "sig1=:NZBwyBHRRyRoeLqy1IzOa9VYBuI8TgMFt2GRDkDuJh4=:",
    "Sec-WebSocket-Protocol": "audiohook-one, audiohook-two",
    "Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits",
    "x-LOWER-and-Upper": "kept",
}
MESSAGE = b'{"type":"ping","seq":1}'


class Line:
    """A client that is connected to a server through the proxy."""

    def __init__(self, client: RawClient, server: RawServer, proxy: Proxied) -> None:
        self.client = client
        self.server = server
        self.proxy = proxy
        self.to_server = b""

    async def open(self, answer: bytes = b"\r\n") -> asyncio.StreamWriter:
        """Let the client send an upgrade request, and let the server accept it."""
        await self.up(upgrade(HEADERS, "/audiohook?a=1&b=%20"))
        writer = await self.server.connected.get()
        await self.down(writer, ANSWER + answer)
        return writer

    async def up(self, data: bytes) -> None:
        """Send bytes from the client; assert that the server receives the same bytes."""
        self.to_server += data
        await self.client.send(data)
        await self.server.until(self.to_server)

    async def down(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        """Send bytes from the server; assert that the client receives the same bytes."""
        writer.write(data)
        async with asyncio.timeout(10):
            assert await self.client.reader.readexactly(len(data)) == data

    async def end(self) -> InspectedCall:
        """Close the client's connection; return the call when the proxy has recorded the end."""
        self.client.writer.close()
        async with asyncio.timeout(10):
            await self.server.has_ended.wait()
        return await self.proxy.ended.get()


@pytest.fixture
async def line():  # type: ignore[no-untyped-def]
    async with (
        raw_server() as server,
        proxied(f"ws://127.0.0.1:{server.port}/x") as proxy,
        RawClient(urlsplit(proxy.url).port or 0) as client,
    ):
        yield Line(client, server, proxy)


async def test_the_upgrade_and_frames_of_all_kinds_pass_unchanged(line: Line) -> None:
    writer = await line.open(b"Sec-WebSocket-Protocol: audiohook-two\r\n\r\n")
    await line.up(frame(TEXT, MESSAGE) + frame(BINARY, os.urandom(1600)))
    await line.up(frame(TEXT, MESSAGE[:7], fin=False) + frame(PING, b"?"))
    await line.up(frame(CONT, MESSAGE[7:9], fin=False) + frame(CONT, MESSAGE[9:]))
    await line.down(writer, frame(BINARY, os.urandom(70_000), mask=None))
    await line.down(writer, frame(TEXT, "é".encode() * 100, mask=None))
    call = await line.end()
    shown = [(m.direction, m.type, m.size) for m in call.analysis.messages if m.type != "note"]
    assert shown == [
        ("to_server", "ping", len(MESSAGE)),
        ("to_server", "audio", 1600),
        ("to_server", "ping", len(MESSAGE)),
        ("from_server", "audio", 70_000),
        ("from_server", "?", 200),
    ]
    assert call.analysis.messages[2].note == "3 fragments"
    assert call.analysis.messages[2].content == MESSAGE.decode()


async def test_single_bytes_pass_and_are_parsed(line: Line) -> None:
    await line.open()
    for byte in frame(TEXT, MESSAGE):
        await line.up(bytes([byte]))
    call = await line.end()
    assert call.analysis.messages[0].content == MESSAGE.decode()


@pytest.mark.parametrize("takeover", [True, False])
async def test_compressed_messages_pass_unchanged_and_are_shown(line: Line, takeover: bool) -> None:
    suffix = b"" if takeover else b"; server_no_context_takeover; client_no_context_takeover"
    accepted = b"Sec-WebSocket-Extensions: permessage-deflate" + suffix + b"\r\n\r\n"
    writer = await line.open(accepted)
    texts = [b'{"type":"event","seq":%d,"text":"%s"}' % (n, b"abc" * 50) for n in range(3)]
    for masked in (True, False):
        deflate = zlib.compressobj(wbits=-15)
        for text in texts:
            if not takeover:
                deflate = zlib.compressobj(wbits=-15)
            data = deflate.compress(text) + deflate.flush(zlib.Z_SYNC_FLUSH)
            if masked:
                await line.up(frame(TEXT, data[:-4], rsv=4))
            else:
                await line.down(writer, frame(TEXT, data[:-4], rsv=4, mask=None))
    call = await line.end()
    shown = [m.content for m in call.analysis.messages if m.type == "event"]
    assert shown == [text.decode() for text in texts * 2]


@pytest.mark.parametrize(
    "extension", ["permessage-bzip2", "permessage-deflate; server_max_window_bits=many"]
)
async def test_a_call_whose_compression_is_unknown_passes_and_the_list_says_why_it_is_empty(
    line: Line, extension: str
) -> None:
    writer = await line.open(b"Sec-WebSocket-Extensions: %s\r\n\r\n" % extension.encode())
    await line.down(writer, frame(TEXT, MESSAGE, mask=None))
    call = await line.end()
    assert "the answer to the upgrade request cannot be read" in (call.error or "")


@pytest.mark.parametrize(("code", "reason"), [(1000, "bye"), (1011, ""), (4321, "é")])
@pytest.mark.parametrize("by_server", [True, False])
async def test_close_frames_pass_with_code_and_reason(
    line: Line, code: int, reason: str, by_server: bool
) -> None:
    writer = await line.open()
    close = code.to_bytes(2, "big") + reason.encode()
    if by_server:
        await line.down(writer, frame(CLOSE, close, mask=None))
        await line.up(frame(CLOSE, close[:2]))
    else:
        await line.up(frame(CLOSE, close))
        await line.down(writer, frame(CLOSE, close[:2], mask=None))
    call = await line.end()
    ending = call.analysis.ending
    assert ending is not None
    assert (ending.by, ending.code) == ("server" if by_server else "client", code)
    assert (ending.reason or "") == reason


async def test_bytes_that_are_no_websocket_pass_and_are_reported(line: Line) -> None:
    writer = await line.open()
    await line.up(frame(TEXT, b"not masked", mask=None))
    await line.up(os.urandom(5000))
    await line.down(writer, os.urandom(5000))
    call = await line.end()
    rules = [rule.rule for message in call.analysis.messages for rule in message.rules]
    assert "websocket_fault" in rules


async def test_text_that_is_not_utf8_passes_and_is_shown(line: Line) -> None:
    await line.open()
    await line.up(frame(TEXT, b'{"type": "\xff\xfe"}'))
    call = await line.end()
    assert call.analysis.messages[0].content == '{"type": "��"}'


async def test_an_end_without_a_close_frame_passes(line: Line) -> None:
    writer = await line.open()
    writer.transport.abort()
    async with asyncio.timeout(10):
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await line.client.reader.readexactly(1)
        line.client.writer.close()
        call = await line.proxy.ended.get()
    ending = call.analysis.ending
    assert ending is not None
    assert (ending.by, ending.code) == ("server", None)


async def test_a_bomb_of_compressed_zeros_is_reported_and_passes(line: Line) -> None:
    await line.open(b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n")
    deflate = zlib.compressobj(9, wbits=-15)
    data = deflate.compress(bytes(64 * 1024 * 1024)) + deflate.flush(zlib.Z_SYNC_FLUSH)
    await line.up(frame(BINARY, data[:-4], rsv=4))
    call = await line.end()
    rules = [rule.rule for message in call.analysis.messages for rule in message.rules]
    assert rules == ["websocket_fault"]


async def test_a_request_that_is_not_a_call_passes_and_is_not_listed(line: Line) -> None:
    await line.up(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
    writer = await line.server.connected.get()
    await line.down(writer, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    line.client.writer.close()
    await line.server.has_ended.wait()
    assert not list(line.proxy.calls)
