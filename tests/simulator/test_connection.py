"""Tests of the upgrade request of a simulated call: wrong URLs, proxies, redirects and refusals."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from pipecat_genesys.simulator import CallOptions, ConnectFailedError, SimulatedCall
from pipecat_genesys.simulator.connection import normalized_url
from scripted import scripted

SECRET = "TXlTdXBlclNlY3JldEtleVRlbGxOby0xITJAMyM0JDU="
SIGNED = CallOptions(client_secret=SECRET)


async def connect_error(url: str, options: CallOptions | None = None) -> ConnectFailedError:
    with pytest.raises(ConnectFailedError) as caught:
        async with SimulatedCall(url, options=options):
            pass
    return caught.value


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("127.0.0.1:9/x", "must begin with ws://"),
        ("http://127.0.0.1:9/", "must begin with ws://"),
        ("ws://127.0.0.1:99999/x", "Port out of range"),
        ("ws://[::1/x", "Invalid IPv6 URL"),
        ("ws://a..b/x", "'a..b' is not a host name"),
        (f"ws://{'a' * 64}/x", "is not a host name"),
        ("ws:///x", "has no host"),
        ("ws://127.0.0.1:9/#part", "must not have a fragment"),
        ("ws://127.0.0.1:9/x", "127.0.0.1"),
    ],
)
@pytest.mark.parametrize("options", [None, SIGNED], ids=["unsigned", "signed"])
async def test_a_wrong_url_is_a_connect_error_with_a_reason(
    url: str, reason: str, options: CallOptions | None
) -> None:
    error = await connect_error(url, options)
    assert str(error).startswith(f"no connection to {url}: ")
    assert reason in str(error)
    assert "\n" not in str(error)
    assert error.status is None


@pytest.mark.parametrize(
    ("url", "normalized"),
    [
        ("wss://Example.com/a?b=c", "wss://example.com/a?b=c"),
        ("ws://host:8080", "ws://host:8080"),
        ("ws://[::1]:8080/x", "ws://[::1]:8080/x"),
        ("ws://bücher.example/ü?ö=ß%20", "ws://xn--bcher-kva.example/%C3%BC?%C3%B6=%C3%9F%20"),
        ("ws://user:pass@host/", "ws://user:pass@host/"),
    ],
)
def test_normalized_url_is_ascii(url: str, normalized: str) -> None:
    assert normalized_url(url) == normalized
    assert normalized_url(normalized) == normalized


async def test_signature_covers_the_encoded_target() -> None:
    async with scripted() as server:
        async with SimulatedCall(f"{server.url}&name=Zoë", options=SIGNED) as call:
            await call.opened()
        assert server.peer.socket.request is not None
        assert server.peer.socket.request.path.endswith("&name=Zo%C3%AB")


@asynccontextmanager
async def answering(*lines: str) -> AsyncIterator[tuple[str, list[str]]]:
    """Run a server that answers with an HTTP response; yield its URL and the requests."""
    requests: list[str] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests.append((await reader.readuntil(b"\r\n\r\n")).decode())
        writer.write("\r\n".join([*lines, "Content-Length: 0", "", ""]).encode())
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()[:2]
        yield f"ws://{host}:{port}/audiohook", requests


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(status: int) -> None:
    async with answering("HTTP/1.1 101 Switching Protocols") as (other, requests):
        redirect = (f"HTTP/1.1 {status} Moved", f"Location: {other}")
        async with answering(*redirect) as (url, _):
            error = await connect_error(url, SIGNED)
    assert requests == []
    assert error.status == status
    assert "redirects are not followed" in str(error)


async def test_a_refusal_has_the_http_status() -> None:
    async with answering("HTTP/1.1 403 Forbidden") as (url, _):
        error = await connect_error(url)
    assert error.status == 403
    assert "HTTP status 403" in str(error)


async def test_tls_to_a_server_without_tls_is_explained() -> None:
    async with scripted() as server:
        error = await connect_error(server.url.replace("ws://", "wss://"))
    assert "the server does not use TLS, the URL must begin with ws://" in str(error)


async def test_an_http_proxy_is_not_used_for_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    async with scripted() as server, SimulatedCall(server.url) as call:
        await call.opened()
    error = await connect_error("ws://host.invalid/")
    assert "127.0.0.1" in str(error)


async def test_a_proxy_that_needs_a_library_is_a_connect_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "socks5://127.0.0.1:1")
    monkeypatch.setenv("https_proxy", "socks5://127.0.0.1:1")
    error = await connect_error("ws://127.0.0.1:9/")
    assert "127.0.0.1:9" in str(error)


@pytest.mark.parametrize("offered", [(), ("audiohook",), ("b", "audiohook")])
async def test_subprotocols_are_offered_in_order(offered: tuple[str, ...]) -> None:
    async with answering("HTTP/1.1 403 Forbidden") as (url, requests):
        await connect_error(url, CallOptions(subprotocols=offered))
    (request,) = requests
    expected = [f"Sec-WebSocket-Protocol: {', '.join(offered)}"] if offered else []
    lines = request.splitlines()
    assert [line for line in lines if line.startswith("Sec-WebSocket-Protocol")] == expected
