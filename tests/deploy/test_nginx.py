"""Tests with nginx, as docs/operations.md configures it, and two endpoints in this process."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from certificates import write_certificate
from fastapi import FastAPI
from loopback import serving
from pipecat.pipeline.pipeline import Pipeline
from pipecat_genesys.endpoint import AudioHookCall, AudioHookEndpoint, audiohook_router
from pipecat_genesys.endpoint.http_protocol import HttpProtocol
from pipecat_genesys.simulator import CallOptions, CallReport, SimulatedCall
from programs import require
from prometheus_client import CollectorRegistry

from .cluster import KEY, SECRET, free_ports

GUIDE = Path(__file__).parents[2] / "docs" / "operations.md"
FRAME = """\
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log stderr info;
events {{}}
http {{
access_log off;
client_body_temp_path {folder}/body;
proxy_temp_path {folder}/proxy;
fastcgi_temp_path {folder}/fastcgi;
uwsgi_temp_path {folder}/uwsgi;
scgi_temp_path {folder}/scgi;
ssl_certificate {certificate};
ssl_certificate_key {certificate};
{block}
}}
"""


@dataclass
class Endpoint:
    """One of the servers behind nginx."""

    url: str
    endpoint: AudioHookEndpoint
    registry: CollectorRegistry

    def refusals(self, reason: str) -> float:
        return self.registry.get_sample_value("audiohook_refusals_total", {"reason": reason}) or 0.0


@dataclass
class Installation:
    """nginx, and two endpoints that each accept one call at a time."""

    url: str
    options: CallOptions
    endpoints: list[Endpoint]

    async def call(self, options: CallOptions | None = None) -> CallReport:
        """Make a short call through nginx."""
        return await SimulatedCall(self.url, options=options or self.options).run(short)


async def bot(call: AudioHookCall) -> None:
    await call.run(Pipeline([call.transport.input(), call.transport.output()]))


async def short(caller: SimulatedCall) -> None:
    await caller.opened()
    await caller.hang_up()
    await caller.ended(5)


@asynccontextmanager
async def listening() -> AsyncIterator[Endpoint]:
    registry = CollectorRegistry()
    router = audiohook_router(bot, credentials={KEY: SECRET}, max_calls=1, registry=registry)
    app = FastAPI()
    app.include_router(router)
    async with serving(app, http=HttpProtocol) as url:
        yield Endpoint(url, router.endpoint, registry)


@asynccontextmanager
async def nginx(folder: Path, port: int, endpoints: list[Endpoint]) -> AsyncIterator[None]:
    """Run nginx with the block of docs/operations.md; only the addresses differ."""
    block = GUIDE.read_text(encoding="utf-8").split("```nginx\n")[1].split("```")[0]
    addresses = {"443 ssl": f"127.0.0.1:{port} ssl", "bot.example.com": "localhost"}
    for usual, endpoint in zip(("127.0.0.1:8081", "127.0.0.1:8082"), endpoints, strict=True):
        addresses[usual] = endpoint.url.split("/")[2]
    for usual, address in addresses.items():
        assert block.count(usual) == 1, f"{usual} must be in the guide exactly once"
        block = block.replace(usual, address)
    certificate = folder / "localhost.pem"
    configuration = folder / "nginx.conf"
    configuration.write_text(FRAME.format(folder=folder, certificate=certificate, block=block))
    log = folder / "nginx.log"
    command = (require("nginx"), "-p", str(folder), "-c", str(configuration))
    with log.open("wb") as file:
        process = await asyncio.create_subprocess_exec(*command, stdout=file, stderr=file)
    try:
        async with asyncio.timeout(20):
            while True:
                assert process.returncode is None, log.read_text()
                with contextlib.suppress(OSError):
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                    writer.close()
                    break
                await asyncio.sleep(0.05)
        yield
    finally:
        process.terminate()
        await process.wait()


@asynccontextmanager
async def installation(folder: Path) -> AsyncIterator[Installation]:
    require("nginx")
    write_certificate(folder / "localhost.pem")
    (port,) = free_ports(1)
    tls = ssl.create_default_context(cafile=str(folder / "localhost.pem"))
    options = CallOptions(api_key=KEY, client_secret=SECRET, ssl=tls, record_audio=False)
    async with AsyncExitStack() as stack:
        endpoints = [await stack.enter_async_context(listening()) for _ in range(2)]
        await stack.enter_async_context(nginx(folder, port, endpoints))
        yield Installation(f"wss://localhost:{port}/audiohook?tenant=a%2Fb", options, endpoints)


@asynccontextmanager
async def busy(endpoint: Endpoint) -> AsyncIterator[None]:
    """Fill an endpoint with a call that does not pass through nginx."""
    options = CallOptions(api_key=KEY, client_secret=SECRET, record_audio=False)
    opened, over = asyncio.Event(), asyncio.Event()

    async def stay(caller: SimulatedCall) -> None:
        await caller.opened()
        opened.set()
        await over.wait()
        await caller.hang_up()
        await caller.ended(5)

    calling = asyncio.create_task(SimulatedCall(endpoint.url, options=options).run(stay))
    async with asyncio.timeout(10):
        await opened.wait()
    try:
        yield
    finally:
        over.set()
        assert (await calling).clean


async def test_a_call_that_a_full_server_refuses_goes_to_the_other(tmp_path: Path) -> None:
    async with installation(tmp_path) as installed, busy(installed.endpoints[0]):
        for _ in range(2):
            report = await installed.call()
            assert report.clean, report
            await installed.endpoints[1].endpoint.admission.empty()
        assert installed.endpoints[0].refusals("full") >= 1


async def test_a_caller_gets_503_when_all_servers_are_full(tmp_path: Path) -> None:
    """nginx passes the status 503 on; it would answer 502 if the response repeated a header."""
    async with (
        installation(tmp_path) as installed,
        busy(installed.endpoints[0]),
        busy(installed.endpoints[1]),
    ):
        report = await installed.call()
        assert "503" in str(report.script_error)
        assert [endpoint.refusals("full") for endpoint in installed.endpoints] == [1, 1]


@pytest.mark.parametrize("secret", ["YW5vdGhlciBzZWNyZXQ=", None], ids=["wrong", "none"])
async def test_a_refused_signature_is_not_tried_again(secret: str | None, tmp_path: Path) -> None:
    async with installation(tmp_path) as installed:
        options = CallOptions(api_key=KEY, client_secret=secret, ssl=installed.options.ssl)
        report = await installed.call(options)
        assert "401" in str(report.script_error)
        reason = "signature" if secret else "unsigned"
        assert sum(endpoint.refusals(reason) for endpoint in installed.endpoints) == 1
