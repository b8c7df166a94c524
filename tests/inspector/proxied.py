"""A running proxy in front of a server, for tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from urllib.parse import urlsplit, urlunsplit

from pipecat_genesys.inspector.calls import CallList, InspectedCall
from pipecat_genesys.inspector.proxy import CallProxy


class Proxied:
    """A proxy, its list of calls, and the calls that have ended.

    Attributes:
        url: URL at which the proxy forwards calls to the server.
        calls: The list of calls.
        ended: The calls that have ended, in the order of their ends.
    """

    def __init__(self) -> None:
        self.url = ""
        self.calls = CallList()
        self.ended: asyncio.Queue[InspectedCall] = asyncio.Queue()

    async def until(self, condition: Callable[[InspectedCall], bool]) -> InspectedCall:
        """Wait until a call fulfils a condition, and return it."""
        while True:
            for call in self.calls:
                if condition(call):
                    return call
            await asyncio.sleep(0.01)


@asynccontextmanager
async def proxied(url: str, *, ca_file: str | None = None) -> AsyncIterator[Proxied]:
    """Run a proxy in front of a server."""
    running = Proxied()
    proxy = CallProxy(running.calls, url, ca_file=ca_file, on_end=running.ended.put_nowait)
    await proxy.start()
    try:
        parts = urlsplit(url)._replace(scheme="ws", netloc=f"127.0.0.1:{proxy.port}")
        running.url = urlunsplit(parts)
        yield running
    finally:
        await proxy.stop()
