"""Tests of the inspector's list of calls."""

from __future__ import annotations

import time

from pipecat_genesys.inspector.calls import CallList, CallSource, InspectedCall
from pipecat_genesys.simulator import Direction, Party


def live_call(calls: CallList, size: int, *, is_over: bool) -> InspectedCall:
    call = calls.add(CallSource.PROXY, "a call", "ws://bot/")
    call.origin = time.monotonic()
    call.analysis.receive(0.0, Direction.TO_SERVER, bytes(size))
    if is_over:
        call.analysis.end(1.0, Party.CLIENT, 1000)
    return call


def test_the_oldest_calls_leave_the_list_and_running_ones_stay() -> None:
    calls = CallList(max_bytes=2500)
    running = live_call(calls, 5000, is_over=False)
    over = [live_call(calls, 1000, is_over=True) for _ in range(5)]
    newest = calls.add(CallSource.PROXY, "the next", "ws://bot/")
    assert [call.id for call in calls] == [running.id, over[3].id, over[4].id, newest.id]
    assert calls.removed == 3
    assert calls.get(over[0].id) is None
