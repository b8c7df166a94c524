"""The server that is checked, and how patient a check is with it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ssl import SSLContext
from typing import Any

from pipecat_genesys.protocol.types import AudioHookChannel
from pipecat_genesys.simulator import (
    CallMode,
    CallParameters,
    ConnectFailedError,
    audiohook_headers,
    medium,
    new_call,
    new_monitor_call,
)
from pipecat_genesys.simulator.signing import sign_request

from .checking import BrokenRule
from .line import Line, Message

STEREO = medium(AudioHookChannel.EXTERNAL, AudioHookChannel.INTERNAL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """Seconds; the first four are Genesys's.

    Attributes:
        connect: For the upgrade.
        open: From ``open`` to ``opened``.
        pong: From ``ping`` to ``pong``.
        close: From ``close`` to ``closed``.
        settle: For what must not come, and for what a server may do in its own time.
        talk: How long a conversation is watched for its message rates.
    """

    connect: float = 10.0
    open: float = 5.0
    pong: float = 5.0
    close: float = 10.0
    settle: float = 1.0
    talk: float = 12.0


@dataclass(frozen=True, kw_only=True)
class Target:
    """A server.

    Attributes:
        url: ``ws://`` or ``wss://``.
        mode: What it is used for.
        api_key: The integration's key.
        secret: The client secret in base64; with it, requests are signed.
        ssl: For ``wss``, where the default is not wanted.
        patience: How long to wait for what.
    """

    url: str
    mode: CallMode = CallMode.BOT
    api_key: str = "conformance"
    secret: str | None = field(default=None, repr=False)
    ssl: SSLContext | None = None
    patience: Patience = field(default_factory=Patience)
    _watched: dict[str, asyncio.Task[Line]] = field(default_factory=dict, repr=False)

    def new_call(self, **parameters: Any) -> CallParameters:
        """Parameters of a new call, as this mode has them."""
        make = new_call if self.mode is CallMode.BOT else new_monitor_call
        return make(**parameters)

    def headers(
        self, call: CallParameters, *, secret: str | None = None, **signing: Any
    ) -> dict[str, str]:
        """The upgrade request's headers, signed where there is a secret.

        Args:
            call: Whose.
            secret: Another one than the target's.
            **signing: For `sign_request`.
        """
        headers = audiohook_headers(call, self.api_key)
        secret = secret or self.secret
        return headers | (sign_request(self.url, headers, secret, **signing) if secret else {})

    def line(
        self,
        call: CallParameters | None = None,
        headers: Mapping[str, str] | None = None,
        **more_headers: str,
    ) -> Line:
        """A connection that is not made yet.

        Args:
            call: Who calls; a new call by default.
            headers: All headers, where the usual ones are not wanted.
            **more_headers: Of the usual ones, with underscores for hyphens.
        """
        call = call or self.new_call()
        usual = self.headers(call) if headers is None else dict(headers)
        usual |= {name.replace("_", "-"): value for name, value in more_headers.items()}
        return Line(self.url, usual, call, self.patience.connect, self.ssl)

    async def open(self, line: Line, **parameters: Any) -> Message:
        """Send ``open`` and wait for ``opened``.

        Args:
            line: A connection.
            **parameters: To add to those of ``open``; None leaves one out.
        """
        wanted = line.call.open_parameters() | parameters
        await line.send("open", {k: v for k, v in wanted.items() if v is not None})
        answer = await line.one_of("opened", "disconnect", timeout=self.patience.open, after=0)
        if answer["type"] == "disconnect":
            raise BrokenRule(f"the call was refused: {answer.get('parameters')}")
        return answer

    async def close(self, line: Line) -> Message:
        """Send ``close`` and wait for ``closed``."""
        await line.send("close", {"reason": "end"})
        return await line.one_of("closed", timeout=self.patience.close, after=0)

    async def ping(self, line: Line) -> Message:
        """Send ``ping`` and wait for its ``pong``."""
        before = len(line.messages)
        await line.send("ping")
        return await line.one_of("pong", timeout=self.patience.pong, after=before)

    @asynccontextmanager
    async def opened(
        self, call: CallParameters | None = None, **parameters: Any
    ) -> AsyncIterator[Line]:
        """A line on which a call has been accepted."""
        async with self.line(call) as line:
            await self.open(line, **parameters)
            yield line

    async def still_answers(self) -> None:
        """Place another call, to see whether the server can.

        Raises:
            BrokenRule: If not.
        """
        try:
            async with self.opened() as line:
                await self.close(line)
        except (BrokenRule, ConnectFailedError) as error:
            raise BrokenRule(f"afterwards the server takes no calls: {error}") from None

    async def shared(self, name: str, make: Callable[[Target], Coroutine[Any, Any, Line]]) -> Line:
        """A call that several checks judge; it is placed for the first who asks.

        Args:
            name: Which.
            make: Places it.

        Raises:
            BrokenRule: If it was not to be had.
        """
        if name not in self._watched:
            self._watched[name] = asyncio.create_task(make(self))
        return await asyncio.shield(self._watched[name])

    async def ordinary_call(self) -> Line:
        """What was said in an ordinary call; it is over."""
        return await self.shared("ordinary", _ordinary)


async def _ordinary(target: Target) -> Line:
    async with target.line() as line:
        await line.send("open", line.call.open_parameters())
        try:
            await line.one_of("opened", timeout=target.patience.open, after=0)
            for turn in range(10):
                await line.audio()
                if turn % 3 == 0:
                    await line.send("ping", {"rtt": "PT0.02S"} if turn else None)
                await line.settle(0.1)
            await line.send("close", {"reason": "end"})
            await line.one_of("closed", timeout=target.patience.close, after=0)
        except BrokenRule:
            # Other checks are about that; what did come can be judged.
            pass
        await line.settle(target.patience.settle)
    return line
