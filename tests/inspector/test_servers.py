"""Tests of the proxy with servers of this package, of pipecat, and in another language."""

from __future__ import annotations

import asyncio
import shutil
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from certificates import write_certificate
from echo_server import Echo
from loopback import serving
from pipecat_genesys.inspector.analysis import CallAnalysis
from pipecat_genesys.simulator import CallReport, SimulatedCall, sample_speech
from vehicles import EVERY, ServedPipeline, Vehicle

from .proxied import Proxied, proxied

NODE = shutil.which("node")
SERVER = Path(__file__).parent / "audiohook_server.mjs"


async def converse(url: str) -> tuple[SimulatedCall, CallReport]:
    """Place a call to a bot that echoes, and hang up when the echo was heard."""
    async with SimulatedCall(url) as call:
        await call.opened()
        await call.say(sample_speech(0.6))
        await call.wait_for_bot_audio()
        await call.say(b"\xff" * 4800)
        await call.hang_up()
        report = await call.ended()
    return call, report


async def assert_shown_as_it_was(proxy: Proxied, call: SimulatedCall, report: CallReport) -> None:
    """Assert that the inspector shows the client's capture and the reported violations.

    The inspector must show all messages and audio that the client captured, and every rule
    violation that the client reported.
    """
    async with asyncio.timeout(10):
        ended = await proxy.ended.get()
    analysis = ended.analysis
    assert ended.error is None
    shown = [(m.direction, m.type, m.seq, m.content) for m in analysis.messages if m.type != "note"]
    for direction in ("to_server", "from_server"):
        entries = [e for e in call.session.capture.entries if e.direction == direction]
        ours = [one for one in shown if one[0] == direction]
        # The client may have closed the socket before it received the last messages.
        assert ours[: len(entries)] == [(e.direction, e.type, e.seq, e.content) for e in entries]
    expected = {violation.rule for violation in report.violations}
    assert expected <= rules_of(analysis)
    assert bool(analysis.violations) == bool(report.violations)


def rules_of(analysis: CallAnalysis) -> set[str]:
    return {rule.rule for message in analysis.messages for rule in message.rules}


@pytest.mark.parametrize("vehicle", EVERY)
async def test_a_call_to_a_pipecat_bot_passes_and_is_shown(vehicle: Vehicle) -> None:
    bot = ServedPipeline(vehicle, before=[Echo()])
    async with serving(bot.app) as url, proxied(url) as proxy:
        call, report = await converse(proxy.url)
        await assert_shown_as_it_was(proxy, call, report)


@pytest.mark.skipif(NODE is None, reason="node is not installed")
async def test_a_call_to_a_server_in_another_language_passes_and_is_shown() -> None:
    async with node_server() as url, proxied(url) as proxy:
        call, report = await converse(proxy.url)
        assert report.clean, report.violations
        await assert_shown_as_it_was(proxy, call, report)


@asynccontextmanager
async def node_server() -> AsyncIterator[str]:
    assert NODE is not None
    process = await asyncio.create_subprocess_exec(
        NODE, str(SERVER), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        port = int(await process.stdout.readline())
        yield f"ws://127.0.0.1:{port}/audiohook"
    finally:
        process.terminate()
        await process.wait()


async def test_a_server_with_tls_is_reached(tmp_path: Path) -> None:
    certificate = tmp_path / "localhost.pem"
    write_certificate(certificate)
    bot = ServedPipeline(Vehicle.TRANSPORT, before=[Echo()])
    options = {"ssl_certfile": str(certificate), "ssl_keyfile": str(certificate)}
    async with serving(bot.app, **options) as plain:
        url = plain.replace("ws://127.0.0.1", "wss://localhost")
        async with proxied(url, ca_file=str(certificate)) as proxy:
            call, report = await converse(proxy.url)
            assert report.clean, report.violations
            await assert_shown_as_it_was(proxy, call, report)


async def test_a_server_whose_certificate_is_not_trusted_is_refused_with_the_reason(
    tmp_path: Path,
) -> None:
    certificate = tmp_path / "localhost.pem"
    write_certificate(certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    async with (
        await asyncio.start_server(lambda r, w: w.close(), "127.0.0.1", 0, ssl=context) as server,
        proxied(f"wss://localhost:{server.sockets[0].getsockname()[1]}/") as proxy,
    ):
        report = await SimulatedCall(proxy.url).run(lambda call: call.opened())
        assert "502" in str(report.script_error)
        ended = await proxy.ended.get()
    assert "certificate" in str(ended.error).lower()
