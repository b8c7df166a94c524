"""Calls whose callers play a scenario of the simulator."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from pipecat_genesys.protocol.types import AudioHookChannel
from pipecat_genesys.simulator import BargedIn, CallOptions, Scenario, SimulatedCall, run_scenario

from .delays import AnswerDetector
from .results import CallRecord, record_call
from .talk import PlayedUtterance


async def run_scripted_call(url: str, scenario: Scenario, options: CallOptions) -> CallRecord:
    """Place one call, play a scenario, and measure the call.

    Args:
        url: URL of the server.
        scenario: What the caller does, and what the server must do.
        options: Credentials, timeouts and network delay.

    Raises:
        ConnectFailedError: If the WebSocket cannot be established.
    """
    call = SimulatedCall(url, scenario.parameters(), options=options)
    verdict = await run_scenario(call, scenario)
    now = asyncio.get_running_loop().time()
    seconds = verdict.report.duration
    record = record_call(
        call.session,
        call.events,
        began=now - call.elapsed,
        ended=now - call.elapsed + seconds,
        key_presses=[entry.at for entry in call.session.capture.entries if entry.type == "dtmf"],
    )
    # The call counts as completed if the server met the scenario's expectations and kept the rules.
    record.completed = verdict.passed
    record.script_error = None if verdict.passed else str(verdict).replace("\n", "; ")
    speeches = call.caller_audio.voice(AudioHookChannel.EXTERNAL).speeches
    record.measure(AnswerDetector([PlayedUtterance(one.start, one.end) for one in speeches]))
    barge_ins = [event.at for event in call.events if isinstance(event, BargedIn)]
    starts = [one.start for one in speeches]
    record.barge_in = barge_ins_by_keys(record.key_presses, barge_ins, starts)
    # The expectations of the scenario check the necessary answers, so no answer counts as missing.
    record.delays.missing = 0
    return record


def barge_ins_by_keys(
    key_presses: Sequence[float], barge_ins: Sequence[float], speeches: Sequence[float]
) -> list[float]:
    """Return the times from key presses to the barge-ins that they caused.

    If the caller began to speak between the key press and the barge-in, the barge-in is caused by
    the speech and is not returned.

    Args:
        key_presses: Times of the key presses in seconds.
        barge_ins: Times of the barge-ins.
        speeches: Times at which the caller began to speak.
    """
    delays = []
    for press in key_presses:
        at = min((one for one in barge_ins if one > press), default=None)
        if at is not None and not any(press < start < at for start in speeches):
            delays.append(at - press)
    return delays
