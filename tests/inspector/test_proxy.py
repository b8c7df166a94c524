"""Tests of the proxy: calls are forwarded unchanged, and are analysed while they run."""

from __future__ import annotations

import socket

import pytest
from pipecat_genesys.inspector.calls import CallList
from pipecat_genesys.inspector.proxy import CallProxy, ProxyStartError
from pipecat_genesys.simulator import (
    CallOptions,
    ClientTimeouts,
    ConnectFailedError,
    SimulatedCall,
    new_call,
    sample_speech,
)
from reference_server import KEY, SECRET, ReferenceCall, reference_server

from .proxied import proxied


async def test_a_call_is_listed_while_it_runs_and_ends_as_it_ended() -> None:
    async with reference_server() as url, proxied(url) as proxy:
        parameters = new_call()
        async with SimulatedCall(proxy.url, parameters) as call:
            await call.opened()
            await call.wait_for_bot_audio()
            seen = await proxy.until(
                lambda c: any(m.type == "playback_started" for m in c.analysis.messages)
            )
            assert seen.is_running
            assert seen.name == parameters.session_id
            await call.say(sample_speech(0.4))
            await call.hang_up()
            report = await call.ended()
        ended = await proxy.ended.get()
    assert report.clean, report.violations
    assert ended is seen
    assert not ended.is_running
    assert ended.analysis.ending is not None
    assert ended.analysis.ending.by == "client"
    assert ended.analysis.violations == 0
    ours = [(m.type, m.seq) for m in ended.analysis.messages if m.type != "note"]
    assert ours == [(e.type, e.seq) for e in call.session.capture.entries]


async def test_a_signed_request_passes_with_its_host() -> None:
    async with reference_server(secret=SECRET) as url, proxied(url) as proxy:
        options = CallOptions(api_key=KEY, client_secret=SECRET)
        async with SimulatedCall(proxy.url, options=options) as call:
            await call.opened()
            await call.hang_up()
            report = await call.ended()
        ended = await proxy.ended.get()
    assert report.clean
    assert KEY not in str(ended.headers.values())


async def test_a_refused_call_is_listed_with_the_status() -> None:
    async with reference_server(secret=SECRET) as url, proxied(url) as proxy:
        with pytest.raises(ConnectFailedError, match="401"):
            await SimulatedCall(proxy.url).__aenter__()
        ended = await proxy.ended.get()
    assert ended.error is not None
    assert "401" in ended.error


async def test_an_unreachable_server_is_answered_with_502_and_the_reason() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"ws://127.0.0.1:{free.getsockname()[1]}/audiohook"
        async with proxied(url) as proxy:
            with pytest.raises(ConnectFailedError) as raised:
                await SimulatedCall(proxy.url).__aenter__()
            ended = await proxy.ended.get()
    assert raised.value.status == 502
    assert ended.error is not None
    assert url in ended.error


async def test_a_taken_port_is_a_clear_error() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        proxy = CallProxy(CallList(), "ws://127.0.0.1:1/", taken.getsockname()[1])
        with pytest.raises(ProxyStartError, match="--listen"):
            await proxy.start()


class _SkipsNumbers(ReferenceCall):
    """A server that sends `pong` with a `seq` that is one too high."""

    async def send_message(self, message: object) -> None:
        if isinstance(message, dict) and message["type"] == "pong":
            message["seq"] += 1
        await super().send_message(message)


async def test_a_broken_rule_is_seen_while_the_call_runs() -> None:
    # After the gap in the numbers, the client waits for an answer to `close` until its timeout.
    impatient = CallOptions(timeouts=ClientTimeouts(close=0.5))
    async with (
        reference_server(_SkipsNumbers) as url,
        proxied(url) as proxy,
        SimulatedCall(proxy.url, options=impatient) as call,
    ):
        await call.opened()
        seen = await proxy.until(lambda c: c.analysis.violations > 0)
        await call.hang_up()
    rules = [rule.rule for message in seen.analysis.messages for rule in message.rules]
    assert "sequence" in rules
