"""The server that is checked, and how to reach it."""

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
    sign_request,
)
from pipecat_genesys.simulator.connection import checked_url

from .connection import CheckedConnection, Timeouts
from .errors import CheckFailedError, ConnectionLostError

PCMU_STEREO = medium(AudioHookChannel.EXTERNAL, AudioHookChannel.INTERNAL)
"""Both parties of a call in mu-law, the caller first."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """A server to be checked. One `Target` serves one run of checks.

    Attributes:
        url: The server's URL, `ws://` or `wss://`.
        mode: Whether the server is a bot or only listens.
        api_key: API key of the integration, sent as `X-API-KEY`.
        secret: Client secret in base64, with which requests are signed; None for unsigned requests.
        ssl: TLS settings for `wss://`; None for the defaults.
        timeouts: How long checks wait for the server.
        rtt: Round-trip time of the simulated network, in seconds.
    """

    url: str
    mode: CallMode = CallMode.BOT
    api_key: str = "conformance"
    secret: str | None = field(default=None, repr=False)
    ssl: SSLContext | None = None
    timeouts: Timeouts = field(default_factory=Timeouts)
    rtt: float = 0.0
    _recorded: dict[str, asyncio.Task[CheckedConnection]] = field(default_factory=dict, repr=False)

    def new_call(self, **parameters: Any) -> CallParameters:
        """Make the parameters of a new call that fits the server's mode.

        Args:
            **parameters: Fields of `CallParameters` to set.
        """
        make = new_call if self.mode is CallMode.BOT else new_monitor_call
        return make(**parameters)

    def headers(
        self, call: CallParameters, *, secret: str | None = None, **signing: Any
    ) -> dict[str, str]:
        """Make the headers of the upgrade request. They are signed if there is a client secret.

        Args:
            call: The call to be placed.
            secret: Client secret to sign with; None for the client secret of the target.
            **signing: Arguments of `sign_request`.

        Raises:
            ConnectFailedError: If the URL is wrong.
        """
        url = checked_url(self.url)
        headers = audiohook_headers(call, self.api_key)
        secret = secret or self.secret
        return headers | (sign_request(url, headers, secret, **signing) if secret else {})

    def connection(
        self,
        call: CallParameters | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        extra_headers: Mapping[str, str] | None = None,
    ) -> CheckedConnection:
        """Make a connection that is established on entering its context.

        Args:
            call: The call to be placed; None for a new call.
            headers: All headers of the upgrade request; None for the headers that `headers()`
                returns.
            extra_headers: Headers to add or to replace.

        Raises:
            ConnectFailedError: If the URL is wrong.
        """
        call = call or self.new_call()
        headers = self.headers(call) if headers is None else headers
        all_headers = {**headers, **(extra_headers or {})}
        return CheckedConnection(self.url, all_headers, call, self.timeouts, self.ssl, self.rtt)

    @asynccontextmanager
    async def open_call(
        self, call: CallParameters | None = None
    ) -> AsyncIterator[CheckedConnection]:
        """Connect and open a session.

        Args:
            call: The call to be placed; None for a new call.

        Yields:
            The connection, on which `opened` has been received.

        Raises:
            ConnectFailedError: If the connection or the WebSocket handshake fails.
            CheckFailedError: If the server does not answer `open`, or refuses the call.
        """
        async with self.connection(call) as connection:
            await connection.open_session()
            yield connection

    async def is_alive(self) -> bool:
        """Return whether the server answers an upgrade request, even if it refuses the request."""
        try:
            async with self.connection():
                return True
        except ConnectFailedError as error:
            return error.status is not None

    async def assert_takes_calls(self) -> None:
        """Place a call and end it, to find out whether the server still works.

        Raises:
            CheckFailedError: If the call fails.
        """
        try:
            async with self.open_call() as connection:
                await connection.close_session()
        except (CheckFailedError, ConnectFailedError) as error:
            raise CheckFailedError(f"the server accepts no further calls: {error}") from None

    async def cancel_recorded_calls(self) -> None:
        """Cancel the recorded calls that are not finished, and wait until they are closed."""
        tasks = [task for task in self._recorded.values() if not task.done()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def recorded_call(
        self, name: str, place: Callable[[Target], Coroutine[Any, Any, CheckedConnection]]
    ) -> CheckedConnection:
        """Return a finished call that several checks examine. The first request places the call.

        Args:
            name: Name of the call.
            place: Called with the target; places the call and returns its connection.

        Returns:
            The connection of the finished call.

        Raises:
            ConnectFailedError: If `place` could not connect. The next request tries again.
            ConnectionLostError: If the connection was lost. The next request tries again.
            CheckFailedError: If `place` failed for another reason.
        """
        task = self._recorded.get(name)
        if task is None:
            task = self._recorded[name] = asyncio.create_task(place(self))
        try:
            return await asyncio.shield(task)
        except (ConnectFailedError, ConnectionLostError):
            if self._recorded.get(name) is task:
                del self._recorded[name]
            raise
