"""What a client may do to a server, against ours: it lives on, and the call beside it is whole."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest
from echo_server import EchoCenter, EchoServer
from fastapi import FastAPI
from loopback import serving
from pipecat_genesys.simulator import (
    FAULTS,
    CallReport,
    Disconnected,
    Fault,
    ServerRule,
    SimulatedCall,
    SimulatorError,
    StreamPaused,
    StreamResumed,
    speech_like,
)

AT_A_TIME = 7
SPEECH = speech_like(1.2)


@dataclass
class Outcome:
    """A call with a fault, and the honest one beside it."""

    call: SimulatedCall
    report: CallReport
    server: EchoServer
    honest: CallReport
    heard: int
    sent: int


async def _talk(call: SimulatedCall, center: EchoCenter) -> None:
    """Speak for a second and a half; the server pauses where the fault is about that."""
    try:
        await call.opened()
        server = await center.call(call.parameters.session_id)
        assert server.serializer is not None
        if call.fault is not None and call.fault.needs_server_pause:
            assert await server.serializer.call.pause()
            await call.wait_for(StreamPaused)
            await asyncio.sleep(0.5)
            assert await server.serializer.call.resume()
            await call.wait_for(StreamResumed)
        if not call.parameters.is_probe:
            await call.say(SPEECH)
    except SimulatorError:
        # A call that is over for the client's own fault is no surprise.
        if call.fault is None or not call.fault.may_end_call:
            raise


async def _both(url: str, center: EchoCenter, fault: Fault) -> Outcome:
    bad, good = SimulatedCall(url, fault=fault), SimulatedCall(url)
    report, honest = await asyncio.gather(
        *(call.run(lambda call: _talk(call, center)) for call in (bad, good))
    )
    servers = [await center.call(call.parameters.session_id) for call in (bad, good)]
    async with asyncio.timeout(20):
        await asyncio.gather(*(server.done.wait() for server in servers))
    assert servers[1].echo is not None
    sent = honest.audio_to_server.size
    return Outcome(bad, report, servers[0], honest, servers[1].echo.heard, sent)


async def _all() -> dict[str, Outcome]:
    center, app = EchoCenter(), FastAPI()
    app.websocket("/audiohook")(center.answer)
    limit = asyncio.Semaphore(AT_A_TIME)
    async with serving(app) as url:

        async def one(fault: Fault) -> Outcome:
            async with limit:
                return await _both(url, center, fault)

        outcomes = await asyncio.gather(*map(one, FAULTS.values()), return_exceptions=True)
        # After all of that the server takes a call as if nothing had been.
        last = await SimulatedCall(url).run(lambda call: _talk(call, center))
        assert last.clean, last
    return dict(zip(FAULTS, outcomes, strict=True))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def outcomes() -> dict[str, Outcome]:
    """One server for all of them: what one call breaks would show in the others."""
    return asyncio.run(_all())


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_dealt_with_and_the_call_beside_it_does_not_notice(
    name: str, outcomes: dict[str, Outcome]
) -> None:
    outcome: Any = outcomes[name]
    if isinstance(outcome, BaseException):
        raise outcome
    fault = FAULTS[name]
    assert outcome.call.fault_happened
    assert fault.is_handled(outcome.report), outcome.report
    assert outcome.honest.clean, outcome.honest
    # Every sample of it, at twice the rate.
    assert outcome.heard == 2 * outcome.sent


@pytest.mark.parametrize("name", ["seq-gap", "seq-duplicate", "wrong-id", "serverseq-ahead"])
def test_messages_out_of_place_end_the_call_with_disconnect(
    name: str, outcomes: dict[str, Outcome]
) -> None:
    outcome = outcomes[name]
    (disconnected,) = [e for e in outcome.call.events if isinstance(e, Disconnected)]
    assert disconnected.reason == "error"


@pytest.mark.parametrize("name", [name for name, fault in FAULTS.items() if fault.is_legal])
def test_what_is_legal_is_no_fault_to_the_server(name: str, outcomes: dict[str, Outcome]) -> None:
    outcome = outcomes[name]
    assert outcome.report.ending.disconnect_reason is None
    assert ServerRule.SERVER_CLOSED_SOCKET not in [v.rule for v in outcome.report.violations]
    assert outcome.server.serializer is not None
    # Counted, to be seen by whoever looks, and otherwise ignored.
    unknown = {"unknown-type": {"unknown-type": 1}, "unknown-fields": {"unknown-field": 3}}
    assert outcome.server.serializer.call.faults == unknown.get(name, {})
