"""An endpoint on a real server, to which tests make calls."""

from __future__ import annotations

import asyncio
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from echo_server import Echo
from fastapi import FastAPI
from loopback import serving
from pipecat.pipeline.pipeline import Pipeline
from pipecat_genesys.endpoint import AudioHookCall, AudioHookEndpoint, audiohook_router
from pipecat_genesys.endpoint.http_protocol import HttpProtocol
from pipecat_genesys.simulator import CallOptions, ClientTimeouts, PongReceived, SimulatedCall
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

API_KEY = "an-api-key-of-the-tests"
SECRET = "YW4gb3JkaW5hcnkgY2xpZW50IHNlY3JldA=="
# The client sends a ping every 2 s instead of 5 s, so that tests wait less for a pong.
SIGNED = CallOptions(
    api_key=API_KEY, client_secret=SECRET, timeouts=ClientTimeouts(close=4, ping_interval=2)
)


async def echo(call: AudioHookCall) -> None:
    """Serve a call as a bot that sends the received audio back."""
    await call.run(Pipeline([call.transport.input(), Echo(), call.transport.output()]))


async def hang_up_at_once(caller: SimulatedCall) -> None:
    """Hang up as soon as the session is open."""
    await caller.opened()
    await hang_up(caller)


async def hang_up(caller: SimulatedCall) -> None:
    """Hang up and wait until the call has ended."""
    await caller.hang_up()
    await caller.ended(5)


async def next_pong(caller: SimulatedCall) -> PongReceived:
    """Wait for the next pong that the server sends."""
    return await caller.wait_for(PongReceived, since=caller.elapsed)


class ServedEndpoint:
    """A running server with one endpoint.

    Attributes:
        url: The WebSocket URL of the endpoint.
        endpoint: The endpoint.
    """

    def __init__(self, url: str, endpoint: AudioHookEndpoint) -> None:
        self.url = url
        self.endpoint = endpoint

    async def get(self, path: str) -> tuple[int, str]:
        """Return status and text of a page."""
        return await asyncio.to_thread(fetch, self.url.replace("ws:", "http:", 1), path)

    async def metrics(self) -> dict[str, float]:
        """Return the samples of `/metrics` by name, with labels in braces."""
        status, text = await self.get("/metrics")
        assert status == 200
        return samples(text)

    async def idle(self) -> None:
        """Wait until no call is running."""
        await asyncio.wait_for(self.endpoint.admission.empty(), 15)


def fetch(url: str, path: str) -> tuple[int, str]:
    """Return status and text of a page on the server of a URL."""
    root = "/".join(url.split("/")[:3])
    try:
        with urllib.request.urlopen(root + path, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def samples(text: str) -> dict[str, float]:
    """Parse a page of metrics into samples by name, with labels in braces."""
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sample.labels.items())
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


@asynccontextmanager
async def served(
    bot: Callable[[AudioHookCall], Awaitable[None]] = echo,
    *,
    wrap: Callable[[Any], Any] | None = None,
    **options: Any,
) -> AsyncIterator[ServedEndpoint]:
    """Serve a bot until the context ends.

    Args:
        bot: The bot.
        wrap: Called with the FastAPI application; returns the application that is served.
        options: Options of `audiohook_router`; by default only signed calls are accepted.
    """
    if not {"verifier", "unauthenticated"} & options.keys():
        options["credentials"] = {API_KEY: SECRET}
    router = audiohook_router(bot, registry=CollectorRegistry(), **options)
    app = FastAPI()
    app.include_router(router)
    async with serving(
        wrap(app) if wrap else app, http=HttpProtocol, lifespan="on", ws_max_size=2**18
    ) as url:
        yield ServedEndpoint(url, router.endpoint)
