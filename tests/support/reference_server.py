"""A small AudioHook server that keeps the protocol, and whose every step can be replaced.

On `AudioHookSession` and websockets alone, without pipecat: what the conformance checks are checked
with. A `Conversation` is one call; a mutation is a subclass that does one thing wrong.
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


class Conversation:
    """One call. The methods are its steps, in the order they usually happen."""

    def __init__(self, socket: ServerConnection, *, is_bot: bool) -> None:
        self.socket = socket
        self.is_bot = is_bot
        self.session = AudioHookSession(str(uuid.uuid4()))
        self.playing_until = 0.0

    @classmethod
    async def admits(cls, verifier: SignatureVerifier, request: Request) -> bool:
        """Whether an upgrade request is accepted, where there is a secret."""
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
                    await self.text(data)
                else:
                    await self.audio(data)
        except ConnectionClosed:
            return

    async def text(self, text: str) -> None:
        for event in self.session.receive_text(text):
            await self.event(event)

    async def audio(self, data: bytes) -> None:
        self.session.receive_audio(len(data))

    async def event(self, event: events.Event) -> None:
        match event:
            case events.OpenReceived():
                await self.open(event)
            case events.PingReceived():
                await self.ping(event)
            case events.CloseReceived():
                await self.close(event)
            case events.DtmfReceived():
                await self.key(event)
            case events.Faulted():
                await self.fault(event)
            case events.Event(reply=Draft() as reply):
                await self.say(reply)

    async def open(self, event: events.OpenReceived) -> None:
        if not self.is_expected(event):
            await self.say(server_messages.disconnect("unauthorized"))
            return
        await self.say(self.opened(event))
        if self.is_bot and not event.is_probe:
            await self.talk(SECOND)

    def is_expected(self, event: events.OpenReceived) -> bool:
        """Whether the call is of the organization that connected."""
        assert self.socket.request is not None
        organization = self.socket.request.headers["Audiohook-Organization-Id"]
        return bool(event.raw["parameters"]["organizationId"] == organization)

    def opened(self, event: events.OpenReceived) -> Draft:
        asked = event.raw["parameters"].get("supportedLanguages") is True
        return server_messages.opened(
            [event.media.raw] if event.media else [],
            supported_languages=["en-US"] if asked else None,
        )

    async def ping(self, event: events.PingReceived) -> None:
        assert event.reply is not None
        await self.say(event.reply)

    async def close(self, event: events.CloseReceived) -> None:
        assert event.reply is not None
        await self.say(event.reply)

    async def key(self, event: events.DtmfReceived) -> None:
        if self.is_playing:
            self.playing_until = 0.0
            await self.say(server_messages.barge_in())

    async def fault(self, event: events.Faulted) -> None:
        if event.reply is not None:
            await self.disconnect(event.reply)

    async def disconnect(self, draft: Draft) -> None:
        await self.say(draft)

    @property
    def is_playing(self) -> bool:
        return asyncio.get_running_loop().time() < self.playing_until

    async def talk(self, audio: bytes) -> None:
        now = asyncio.get_running_loop().time()
        self.playing_until = max(now, self.playing_until) + len(audio) / 8000
        await self.socket.send(audio)

    async def say(self, draft: Draft) -> None:
        if self.session.allows(draft.type):
            await self.write(json.loads(self.session.to_wire(draft)))

    async def write(self, message: Any) -> None:
        """Send a message that has been numbered; everything said comes through here."""
        await self.socket.send(message if isinstance(message, str) else json.dumps(message))


@asynccontextmanager
async def reference_server(
    kind: type[Conversation] = Conversation, *, is_bot: bool = True, secret: str | None = None
) -> AsyncIterator[str]:
    """Serve; gives the URL."""
    verifier = SignatureVerifier(
        {KEY: secret or SECRET}, replay_store=MemoryReplayStore(), refusal_seconds=0.01
    )

    async def answer(socket: ServerConnection) -> None:
        await kind(socket, is_bot=is_bot).run()

    async def admit(socket: ServerConnection, request: Request) -> Response | None:
        if secret is not None and not await kind.admits(verifier, request):
            return socket.respond(HTTPStatus.UNAUTHORIZED, "")
        return None

    async with serve(
        answer,
        "127.0.0.1",
        0,
        process_request=admit,
        max_size=65536,
        compression=None,
        ping_interval=None,
        close_timeout=1,
    ) as server:
        port = server.sockets[0].getsockname()[1]
        yield f"ws://127.0.0.1:{port}/audiohook"
