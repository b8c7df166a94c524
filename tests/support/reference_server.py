"""A small AudioHook server that follows the protocol, for tests of the conformance checks.

The server uses `AudioHookSession` and websockets, without pipecat. To create a server that breaks
one rule, a test overrides one method in a subclass of `ReferenceCall`.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

from pipecat_genesys.auth import AuthenticationError, MemoryReplayStore, SignatureVerifier
from pipecat_genesys.protocol import AudioHookSession, Draft, events, server_messages
from websockets.asyncio.server import Request, Response, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

KEY = "an-api-key"
SECRET = "TXlTdXBlclNlY3JldEtleVRlbGxOby0xITJAMyM0JDU="
SECOND = b"\xff" * 8000
"""One second of mu-law silence."""


class ReferenceCall:
    """One call on the server. The methods are in the order in which a call usually runs them."""

    def __init__(self, socket: ServerConnection, *, is_bot: bool) -> None:
        self.socket = socket
        self.is_bot = is_bot
        self.session = AudioHookSession(str(uuid.uuid4()))
        self.playing_until = 0.0

    @classmethod
    async def accepts(cls, verifier: SignatureVerifier, request: Request) -> bool:
        """Return whether the server accepts an upgrade request; called only if a secret is set."""
        try:
            url = f"ws://{request.headers['Host']}{request.path}"
            await verifier.authenticate("GET", url, request.headers.raw_items())
        except AuthenticationError:
            return False
        return True

    async def run(self) -> None:
        try:
            async for data in self.socket:
                if isinstance(data, str):
                    await self.on_text(data)
                else:
                    await self.on_audio(data)
        except ConnectionClosed:
            return

    async def on_text(self, text: str) -> None:
        for event in self.session.receive_text(text):
            await self.on_event(event)

    async def on_audio(self, data: bytes) -> None:
        self.session.receive_audio(len(data))

    async def on_event(self, event: events.Event) -> None:
        match event:
            case events.OpenReceived():
                await self.on_open(event)
            case events.PingReceived():
                await self.on_ping(event)
            case events.CloseReceived():
                await self.on_close(event)
            case events.DtmfReceived():
                await self.on_dtmf(event)
            case events.Faulted():
                await self.on_fault(event)
            case events.Event(reply=Draft() as reply):
                await self.send(reply)

    async def on_open(self, event: events.OpenReceived) -> None:
        if not self.is_authorized(event):
            await self.send(server_messages.disconnect("unauthorized"))
            return
        await self.send(self.opened(event))
        if self.is_bot and not event.is_probe:
            await self.send_audio(SECOND)

    def is_authorized(self, event: events.OpenReceived) -> bool:
        """Return whether `open` names the organisation of the upgrade request."""
        assert self.socket.request is not None
        organization = self.socket.request.headers["Audiohook-Organization-Id"]
        return bool(event.raw["parameters"]["organizationId"] == organization)

    def opened(self, event: events.OpenReceived) -> Draft:
        asked = event.raw["parameters"].get("supportedLanguages") is True
        return server_messages.opened(
            [event.media.raw] if event.media else [],
            supported_languages=["en-US"] if asked else None,
        )

    async def on_ping(self, event: events.PingReceived) -> None:
        assert event.reply is not None
        await self.send(event.reply)

    async def on_close(self, event: events.CloseReceived) -> None:
        assert event.reply is not None
        await self.send(event.reply)

    async def on_dtmf(self, event: events.DtmfReceived) -> None:
        if self.is_playing:
            self.playing_until = 0.0
            await self.send(server_messages.barge_in())

    async def on_fault(self, event: events.Faulted) -> None:
        if event.reply is not None:
            await self.on_disconnect(event.reply)

    async def on_disconnect(self, draft: Draft) -> None:
        await self.send(draft)

    @property
    def is_playing(self) -> bool:
        return asyncio.get_running_loop().time() < self.playing_until

    async def send_audio(self, audio: bytes) -> None:
        now = asyncio.get_running_loop().time()
        self.playing_until = max(now, self.playing_until) + len(audio) / 8000
        await self.socket.send(audio)

    async def send(self, draft: Draft) -> None:
        """Assign `seq` to a message and send it, if the state of the session allows the message."""
        if self.session.allows(draft.type):
            await self.send_message(json.loads(self.session.to_wire(draft).text))

    async def send_message(self, message: Any) -> None:
        """Send a message that has its `seq`; `send` calls this method for every message."""
        await self.socket.send(message if isinstance(message, str) else json.dumps(message))


@asynccontextmanager
async def reference_server(
    call_class: type[ReferenceCall] = ReferenceCall,
    *,
    is_bot: bool = True,
    secret: str | None = None,
) -> AsyncIterator[str]:
    """Run the server on a free port of the loopback interface.

    Args:
        call_class: The class of the server's calls.
        is_bot: Whether the server sends audio.
        secret: The client secret; None for a server that accepts unsigned requests.

    Yields:
        The URL of the server.
    """
    verifier = SignatureVerifier(
        {KEY: secret or SECRET}, replay_store=MemoryReplayStore(), refusal_seconds=0.01
    )

    async def handle(socket: ServerConnection) -> None:
        await call_class(socket, is_bot=is_bot).run()

    async def authenticate(socket: ServerConnection, request: Request) -> Response | None:
        if secret is not None and not await call_class.accepts(verifier, request):
            return socket.respond(HTTPStatus.UNAUTHORIZED, "")
        return None

    async with serve(
        handle,
        "127.0.0.1",
        0,
        process_request=authenticate,
        max_size=65536,
        compression=None,
        ping_interval=None,
        close_timeout=1,
    ) as server:
        port = server.sockets[0].getsockname()[1]
        yield f"ws://127.0.0.1:{port}/audiohook"
