"""A small AudioHook server on loopback; a test can replace its reply to each message."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

Handler = Callable[["ScriptedCall", dict[str, Any]], Awaitable[None]]


class ScriptedCall:
    """The server side of one call, which follows the protocol.

    Args:
        socket: The connection.
        on: Handlers by message type that replace the standard replies.
    """

    def __init__(self, socket: ServerConnection, on: dict[str, Handler]) -> None:
        self.socket = socket
        self.received: list[dict[str, Any]] = []
        self.audio: list[bytes] = []
        self.seq = 0
        self.close_code: int | None = None
        self._on: dict[str, Handler] = {
            "open": ScriptedCall.accept,
            "ping": lambda peer, ping: peer.text("pong", clientseq=ping["seq"]),
            "close": lambda peer, _: peer.text("closed"),
            "update": lambda peer, _: peer.text("updated"),
        } | on

    async def text(self, kind: str, parameters: Any = None, /, **overrides: Any) -> None:
        """Send a message of a type; `overrides` replace fields of its envelope."""
        self.seq += 1
        await self.socket.send(
            json.dumps(
                {
                    "version": "2",
                    "id": self.received[0]["id"],
                    "type": kind,
                    "seq": self.seq,
                    "clientseq": self.received[-1]["seq"],
                    "parameters": {} if parameters is None else parameters,
                }
                | overrides
            )
        )

    async def accept(self, message: dict[str, Any]) -> None:
        """Send `opened` with the first medium that the client offers."""
        await self.text("opened", {"media": message["parameters"]["media"][:1]})

    async def event(self, kind: str) -> None:
        """Send an `event` message with one entity, which has this type and empty data."""
        await self.text("event", {"entities": [{"type": kind, "data": {}}]})

    async def run(self) -> None:
        """Handle messages until the connection closes."""
        try:
            async for message in self.socket:
                if isinstance(message, bytes):
                    self.audio.append(message)
                    if "audio" in self._on:
                        await self._on["audio"](self, {})
                    continue
                parsed = json.loads(message)
                self.received.append(parsed)
                if parsed["type"] in self._on:
                    await self._on[parsed["type"]](self, parsed)
        except ConnectionClosed:
            pass
        finally:
            self.close_code = self.socket.protocol.close_code


class ScriptedServer:
    """A running server for scripted calls.

    Attributes:
        url: The URL to connect to.
        peers: The server's side of each call, in order.
        done: Set when a call has ended.
    """

    def __init__(self) -> None:
        self.url = ""
        self.peers: list[ScriptedCall] = []
        self.done = asyncio.Event()

    @property
    def peer(self) -> ScriptedCall:
        """Return the server's side of the only call."""
        (peer,) = self.peers
        return peer


@asynccontextmanager
async def scripted(
    *, process_request: Callable[..., Any] | None = None, **on: Handler
) -> AsyncIterator[ScriptedServer]:
    server = ScriptedServer()

    async def handle(socket: ServerConnection) -> None:
        peer = ScriptedCall(socket, on)
        server.peers.append(peer)
        await peer.run()
        server.done.set()

    async with serve(
        handle, "127.0.0.1", 0, close_timeout=1, process_request=process_request
    ) as listening:
        port = listening.sockets[0].getsockname()[1]
        server.url = f"ws://127.0.0.1:{port}/bot?x=1"
        yield server
