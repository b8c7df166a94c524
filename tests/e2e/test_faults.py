"""Tests of every fault of the simulator, each during a healthy call that must not be affected."""

from __future__ import annotations

import asyncio
import contextlib
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
    sample_speech,
)

FAULTS_AT_A_TIME = 10
SPEECH = sample_speech(1.2)


@dataclass
class FaultOutcome:
    """The results of a call with a fault and of a healthy call at the same time.

    Attributes:
        call: The call with the fault.
        report: The report of the call with the fault.
        server: The server's side of the call with the fault.
        healthy: The report of the healthy call.
        received_samples: Samples at 16 kHz that the server's pipeline got in the healthy call.
        sent_bytes: Mu-law bytes that the client sent in the healthy call.
    """

    call: SimulatedCall
    report: CallReport
    server: EchoServer
    healthy: CallReport
    received_samples: int
    sent_bytes: int


async def _talk(call: SimulatedCall, center: EchoCenter) -> None:
    """Speak for 1.2 s. If the fault needs a pause, the server pauses and resumes first."""
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
            # One fault sends a message with 8 s of audio, which delays the speech by 8 s.
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(call.say(SPEECH), 4)
    except SimulatorError:
        if call.fault is None or not call.fault.may_end_call:
            raise


async def _call_with_and_without(url: str, center: EchoCenter, fault: Fault) -> FaultOutcome:
    calls = SimulatedCall(url, fault=fault), SimulatedCall(url)
    report, healthy = await asyncio.gather(
        *(call.run(lambda call: _talk(call, center)) for call in calls)
    )
    servers = [await center.call(call.parameters.session_id) for call in calls]
    async with asyncio.timeout(20):
        await asyncio.gather(*(server.done.wait() for server in servers))
    assert servers[1].echo is not None
    sent_bytes = healthy.audio_to_server.size
    received_samples = servers[1].echo.heard
    return FaultOutcome(calls[0], report, servers[0], healthy, received_samples, sent_bytes)


async def _run_all_faults() -> dict[str, FaultOutcome]:
    center, app = EchoCenter(), FastAPI()
    app.websocket("/audiohook")(center.answer)
    limit = asyncio.Semaphore(FAULTS_AT_A_TIME)
    async with serving(app) as url:

        async def one(fault: Fault) -> FaultOutcome:
            async with limit:
                return await _call_with_and_without(url, center, fault)

        outcomes = await asyncio.gather(*map(one, FAULTS.values()), return_exceptions=True)
        # After all faults, the server must still accept a call.
        last = await SimulatedCall(url).run(lambda call: _talk(call, center))
        assert last.clean, last
    return dict(zip(FAULTS, outcomes, strict=True))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def outcomes() -> dict[str, FaultOutcome]:
    """Return outcomes by fault. One server handles all calls, so a fault could affect any call."""
    return asyncio.run(_run_all_faults())


@pytest.mark.parametrize("name", FAULTS)
def test_fault_is_handled_and_the_healthy_call_loses_nothing(
    name: str, outcomes: dict[str, FaultOutcome]
) -> None:
    outcome: Any = outcomes[name]
    if isinstance(outcome, BaseException):
        raise outcome
    fault = FAULTS[name]
    assert outcome.call.fault_happened
    report = outcome.report
    assert fault.is_handled(report), (report.violations, report.ending)
    assert outcome.healthy.clean, outcome.healthy.violations
    assert outcome.received_samples == 2 * outcome.sent_bytes


@pytest.mark.parametrize("name", ["seq-gap", "seq-duplicate", "wrong-id", "serverseq-ahead"])
def test_message_out_of_sequence_or_with_another_id_is_answered_with_disconnect(
    name: str, outcomes: dict[str, FaultOutcome]
) -> None:
    outcome = outcomes[name]
    (disconnected,) = [e for e in outcome.call.events if isinstance(e, Disconnected)]
    assert disconnected.reason == "error"


@pytest.mark.parametrize("name", [name for name, fault in FAULTS.items() if fault.is_legal])
def test_legal_deviation_does_not_end_the_call(
    name: str, outcomes: dict[str, FaultOutcome]
) -> None:
    outcome = outcomes[name]
    assert outcome.report.ending.disconnect_reason is None
    assert ServerRule.SERVER_CLOSED_SOCKET not in [v.rule for v in outcome.report.violations]
    assert outcome.server.serializer is not None
    # Unknown types and fields are counted and otherwise ignored.
    unknown = {"unknown-type": {"unknown-type": 1}, "unknown-fields": {"unknown-field": 3}}
    assert outcome.server.serializer.call.faults == unknown.get(name, {})
