"""An endpoint on a real server, for tests to call."""

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
from pipecat_genesys.simulator import CallOptions
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

API_KEY = "some-key-that-nobody-knows"
SECRET = "YW4gb3JkaW5hcnkgY2xpZW50IHNlY3JldA=="
SIGNED = CallOptions(api_key=API_KEY, client_secret=SECRET)


async def echo(call: AudioHookCall) -> None:
    """A bot that says what it hears."""
    await call.run(Pipeline([call.transport.input(), Echo(), call.transport.output()]))


class Served:
    """What a test sees of it."""

    def __init__(self, url: str, endpoint: AudioHookEndpoint) -> None:
        self.url = url
        self.endpoint = endpoint

    async def get(self, path: str) -> tuple[int, str]:
        """Status and text of a page."""
        return await asyncio.to_thread(fetch, self.url.replace("ws:", "http:", 1), path)

    async def metrics(self) -> dict[str, float]:
        """The samples of /metrics; labels are in braces."""
        status, text = await self.get("/metrics")
        assert status == 200
        return samples(text)

    async def idle(self) -> None:
        """Wait until no call runs."""
        await asyncio.wait_for(self.endpoint.admission.empty(), 15)


def fetch(url: str, path: str) -> tuple[int, str]:
    """Status and text of a page of the server that a URL is of."""
    root = "/".join(url.split("/")[:3])
    try:
        with urllib.request.urlopen(root + path, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def samples(text: str) -> dict[str, float]:
    """What a page of metrics says."""
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
) -> AsyncIterator[Served]:
    """Serve a bot, in an application that may be wrapped; signed calls only, by default."""
    if not {"verifier", "unauthenticated"} & options.keys():
        options["credentials"] = {API_KEY: SECRET}
    router = audiohook_router(bot, registry=CollectorRegistry(), **options)
    app = FastAPI()
    app.include_router(router)
    async with serving(wrap(app) if wrap else app, lifespan="on", ws_max_size=2**18) as url:
        yield Served(url, router.endpoint)
