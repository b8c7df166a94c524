"""Places the calls of a load test, and measures them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from pipecat_genesys.simulator import CallOptions, ConnectFailedError, Scenario
from pipecat_genesys.simulator.connection import checked_url

from .caller import Caller
from .connection import CallProtocol, connect
from .delays import AnswerDetector, DelayDetector, EchoDetector
from .plan import LoadPlan
from .results import CallRecord, LoadResult, Percentiles, aggregate
from .scripted import run_scripted_call
from .talk import Expect, Talk

# Caller audio that is generated in addition to the length of the call, in seconds, because the end
# of the call may be delayed.
_SPARE_SECONDS = 15.0
# Time between two reports of the progress, and between two measurements of the event loop's delay,
# in seconds.
_PROGRESS_SECONDS, _LAG_SECONDS = 1.0, 0.05
# Longest time to wait for the end of a call after the caller has hung up, in seconds.
_END_SECONDS = 20.0
# Pause of a caller between two calls, in seconds.
_BETWEEN_SECONDS = 0.5
# The key presses of the callers are distributed over this time, in seconds.
_KEY_SPREAD_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class LoadProgress:
    """The progress of a load test.

    Attributes:
        started: Number of calls that were started.
        running: Number of calls that are running.
        completed: Number of calls that were completed.
        failed: Number of calls that were refused, or ended without being completed.
        lag_ms: Delays of this process's timers since the last report.
    """

    started: int
    running: int
    completed: int
    failed: int
    lag_ms: Percentiles


OnProgress = Callable[[LoadProgress], None]


@dataclass(slots=True)
class _State:
    started: int = 0
    running: int = 0
    records: list[CallRecord] = field(default_factory=list)
    refusals: Counter[str] = field(default_factory=Counter)
    lags: list[float] = field(default_factory=list)

    def progress(self, seen_lags: int) -> LoadProgress:
        completed = sum(record.completed for record in self.records)
        return LoadProgress(
            self.started,
            self.running,
            completed,
            len(self.records) - completed + self.refusals.total(),
            Percentiles.of(self.lags[seen_lags:]),
        )


async def run_load(
    url: str,
    plan: LoadPlan,
    talk: Talk,
    *,
    options: CallOptions | None = None,
    scenario: Scenario | None = None,
    on_progress: OnProgress | None = None,
) -> LoadResult:
    """Place calls on a server, and measure the delays and gaps of the bots' audio.

    If this coroutine is cancelled, all connections are closed.

    Args:
        url: URL of the server, `ws://` or `wss://`.
        plan: Number and times of the calls.
        talk: What the callers do, and the reply that is measured.
        options: Credentials and certificates.
        scenario: What the callers do instead of `talk`. Each caller places one call after the other
            until the end of the caller's time in `plan`. A scenario takes several times as much CPU
            time as `talk`.
        on_progress: Called about every second.

    Returns:
        The measurements.

    Raises:
        ConnectFailedError: If the first call cannot be connected.
    """
    url = checked_url(url)
    options = options or CallOptions()
    state = _State()
    track, utterances = talk.track(plan.longest_call_seconds + _SPARE_SECONDS)
    detector: DelayDetector = (
        EchoDetector(track) if talk.expect is Expect.ECHO else AnswerDetector(utterances)
    )
    loop = asyncio.get_running_loop()
    begin = loop.time()

    async def place_call(number: int, ends_at: float) -> None:
        state.started += 1
        state.running += 1
        try:
            if scenario is not None:
                record = await run_scripted_call(url, scenario, options)
            else:
                presses = _key_presses(talk, plan, number)
                caller = Caller(track, presses, ends_at, key=talk.key or "1")
                record = await _finish(await connect(url, caller, state.lags, options), ends_at)
        except ConnectFailedError as error:
            if number == 0 and not state.records:
                raise
            state.refusals[str(error)] += 1
        else:
            state.records.append(record)
        finally:
            state.running -= 1

    async def place_calls(number: int) -> None:
        begins_at = begin + plan.begin_of(number)
        ends_at = begin + plan.end_of(number)
        await asyncio.sleep(begins_at - loop.time())
        await place_call(number, ends_at)
        while scenario is not None and loop.time() < ends_at:
            # The pause limits the rate of calls to a server that refuses calls.
            await asyncio.sleep(_BETWEEN_SECONDS)
            await place_call(number, ends_at)

    async def measure_lag() -> None:
        while True:
            due = loop.time() + _LAG_SECONDS
            await asyncio.sleep(_LAG_SECONDS)
            state.lags.append(max(0.0, loop.time() - due))

    async def report() -> None:
        seen = 0
        while True:
            await asyncio.sleep(_PROGRESS_SECONDS)
            if on_progress is not None:
                on_progress(state.progress(seen))
            seen = len(state.lags)

    watchers = [asyncio.create_task(report()), asyncio.create_task(measure_lag())]
    try:
        async with asyncio.TaskGroup() as group:
            for number in range(plan.calls):
                group.create_task(place_calls(number))
    except* ConnectFailedError as errors:
        raise errors.exceptions[0] from None
    finally:
        for watcher in watchers:
            watcher.cancel()
        await asyncio.gather(*watchers, return_exceptions=True)
    if scenario is None:
        for record in state.records:
            record.measure(detector)
    return aggregate(
        state.started,
        state.records,
        dict(state.refusals),
        state.lags,
        settles=scenario is None and talk.expect is Expect.ECHO,
    )


def _key_presses(talk: Talk, plan: LoadPlan, number: int) -> list[float]:
    if talk.key is None:
        return []
    seconds = plan.end_of(number) - plan.begin_of(number)
    return [seconds / 2 + _KEY_SPREAD_SECONDS * (number % 20) / 20]


async def _finish(protocol: CallProtocol, ends_at: float) -> CallRecord:
    """Wait until a connection has ended. Close it if it stays open after the caller has hung up."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout_at(max(ends_at, loop.time()) + _END_SECONDS):
            await protocol.closed.wait()
    except TimeoutError:
        protocol.abort()
        await protocol.closed.wait()
    except asyncio.CancelledError:
        protocol.abort()
        raise
    return protocol.caller.record()
