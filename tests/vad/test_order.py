"""Tests that windows are processed once and in order while workers stall and calls start and end.

The expected results come from pipecat's analyzer, which processes the same audio in one thread.
"""

from __future__ import annotations

import asyncio
import random
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from pipecat.audio.vad.vad_analyzer import VADAnalyzer, VADParams, VADState
from pipecat_genesys.vad import TelephoneVADAnalyzer, resets, worker
from pipecat_genesys.vad.model import Scores

from . import chain

pytestmark = pytest.mark.usefixtures("own_worker")

PARAMS = (
    VADParams(),
    VADParams(start_secs=0.1, stop_secs=0.1),
    VADParams(start_secs=0.03, stop_secs=0.5, min_volume=0.0),
)


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Iterator[chain.ChainModel]:
    """Return the model of all workers; switch threads often, and detect stalled workers early."""
    model = chain.ChainModel()
    monkeypatch.setattr(worker, "load_model", lambda: model)
    monkeypatch.setattr(worker, "STALL_TIMEOUT", 0.1)
    monkeypatch.setattr(worker, "MAX_WORKERS", 10_000)
    monkeypatch.setattr(resets.WallClockReset, "is_due", lambda *_, **__: False)
    monkeypatch.setattr("pipecat.audio.vad.silero._MODEL_RESET_STATES_TIME", 1e12, raising=False)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield model
    sys.setswitchinterval(interval)
    model.stalls = 0.0


def ready() -> TelephoneVADAnalyzer:
    analyzer = TelephoneVADAnalyzer()
    analyzer.set_sample_rate(8000)
    return analyzer


def noise(rng: random.Random, samples: int) -> bytes:
    """Return noise that is loud enough to count as speech."""
    generator = np.random.default_rng(rng.randrange(1 << 30))
    return (generator.standard_normal(samples) * 6000).astype(np.int16).tobytes()


def some_audio(rng: random.Random) -> bytes:
    longest = 20_000 if rng.random() < 0.05 else 2500
    return noise(rng, rng.randrange(longest))


async def one_call(seed: int) -> tuple[list[VADState], list[VADState]]:
    """Run a call with random actions; return its VAD states and those of pipecat's analyzer."""
    rng = random.Random(seed)
    ours, alone = ready(), chain.pipecats_analyzer()
    found: list[VADState] = []
    expected: list[VADState] = []
    action = ""
    for _ in range(25):
        # After a cancellation, the audio of the cancelled caller may still be processed, and the
        # next audio may wait. The order of the next audio and the next action is then not known, so
        # the next round has none of these actions.
        actions = () if action == "cancel" else ("params", "restart", "cancel")
        action = rng.choice((*actions, "flood", *["none"] * 6))
        pieces = [some_audio(rng) for _ in range(8 if action == "flood" else 1)]
        tasks = [asyncio.create_task(ours.analyze_audio(piece)) for piece in pieces]
        await asyncio.sleep(rng.choice((0, 0, 0.001)))
        states = [await alone.analyze_audio(piece) for piece in pieces]
        if action == "params":
            params = rng.choice(PARAMS)
            ours.set_params(params)
            alone.set_params(params)
            assert ours.params == params
        elif action == "restart":
            ours.set_sample_rate(8000)
            alone.set_sample_rate(8000)
        elif action == "cancel":
            tasks.pop().cancel()
            states.pop()
        found += await asyncio.gather(*tasks)
        expected += states
    # The call ends while its audio is processed.
    piece = noise(rng, 4000)
    last = asyncio.create_task(ours.analyze_audio(piece))
    await asyncio.sleep(0)
    await ours.cleanup()
    found.append(await last)
    expected.append(await alone.analyze_audio(piece))
    await alone.cleanup()
    assert not ours.uses_pipecat
    return found, expected


@pytest.mark.parametrize("seed", range(4))
async def test_calls_that_behave_at_random_have_the_states_of_the_model_alone(
    seed: int, model: chain.ChainModel
) -> None:
    """Calls with random actions have the expected VAD states, although the model stalls."""
    model.stalls, model.longest_stall = 0.02, 0.4
    calls = await asyncio.gather(*(one_call(100 * seed + number) for number in range(12)))
    for found, expected in calls:
        assert found == expected
    assert {state for found, _ in calls for state in found} == set(VADState)


def one_moving_call(seed: int) -> tuple[list[VADState], list[VADState]]:
    """Run a call whose event loop closes repeatedly.

    Returns:
        The VAD states of the call, and the VAD states of pipecat's analyzer for the same audio.
    """
    rng = random.Random(seed)
    ours, alone = ready(), chain.pipecats_analyzer()
    found: list[VADState] = []
    expected: list[VADState] = []
    with asyncio.Runner() as runner:
        for _ in range(12):
            loop = asyncio.new_event_loop()
            for _ in range(rng.randrange(1, 4)):
                piece = some_audio(rng)
                found.append(loop.run_until_complete(ours.analyze_audio(piece)))
                expected.append(runner.run(alone.analyze_audio(piece)))
            # Close the event loop while `analyze_audio` waits for its result.
            piece = some_audio(rng)
            task = loop.create_task(ours.analyze_audio(piece))
            loop.run_until_complete(asyncio.sleep(0))
            task.cancel()
            loop.run_until_complete(asyncio.gather(task, return_exceptions=True))
            loop.close()
            runner.run(alone.analyze_audio(piece))
            if rng.random() < 0.3:
                params = rng.choice(PARAMS)
                ours.set_params(params)
                alone.set_params(params)
        piece = noise(rng, 4000)
        found.append(asyncio.run(ours.analyze_audio(piece)))
        expected.append(runner.run(alone.analyze_audio(piece)))
        runner.run(alone.cleanup())
    assert not ours.uses_pipecat
    return found, expected


@pytest.mark.parametrize("seed", range(3))
def test_audio_of_a_closed_event_loop_still_counts_in_order(
    seed: int, model: chain.ChainModel
) -> None:
    """Audio that a worker has when an event loop closes is still part of its call."""
    model.stalls, model.longest_stall = 0.05, 0.4
    with ThreadPoolExecutor(6) as threads:
        for found, expected in threads.map(one_moving_call, range(10 * seed, 10 * seed + 6)):
            assert found == expected


async def test_worker_that_is_slow_to_store_its_result_does_not_store_it_twice(
    model: chain.ChainModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker counts as stalled while it stores a result: no other thread scores the audio."""
    rng = random.Random(1)
    pieces = [noise(rng, 4000) for _ in range(8)]
    expected = await states_of(chain.pipecats_analyzer(), pieces)
    reached, released, stored = threading.Event(), threading.Event(), threading.Event()
    store: Callable[..., VADState] = TelephoneVADAnalyzer._run_packet

    def store_slowly(*arguments: Any) -> VADState:
        in_worker = threading.current_thread().name == "speech-model"
        if not in_worker or stored.is_set():
            return store(*arguments)
        reached.set()
        released.wait(20)
        try:
            return store(*arguments)
        finally:
            stored.set()

    monkeypatch.setattr(TelephoneVADAnalyzer, "_run_packet", store_slowly)
    ours = ready()
    first = asyncio.create_task(ours.analyze_audio(pieces[0]))
    await asyncio.to_thread(reached.wait, 20)
    # Wait until all checks that could take the audio from the stalled worker have run.
    checked = asyncio.Event()
    asyncio.get_running_loop().call_later(5 * worker.STALL_TIMEOUT, checked.set)
    await checked.wait()
    released.set()
    await asyncio.to_thread(stored.wait, 20)
    assert [await first, *await states_of(ours, pieces[1:])] == expected
    assert not ours.uses_pipecat


def test_analyzer_that_is_busy_in_another_event_loop_is_refused(
    model: chain.ChainModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The use of an analyzer in a second running event loop raises an error."""
    ours, begun, refused = ready(), threading.Event(), threading.Event()
    score = model.score

    def score_later(calls: Any) -> list[Scores]:
        begun.set()
        refused.wait(20)
        return score(calls)

    monkeypatch.setattr(model, "score", score_later)
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(asyncio.run, ours.analyze_audio(bytes(4000)))
        assert begun.wait(20)
        with pytest.raises(RuntimeError, match="another event loop"):
            asyncio.run(ours.analyze_audio(bytes(4000)))
        refused.set()
        assert first.result(20) == VADState.QUIET


def test_stopped_worker_takes_no_jobs_and_finishes_its_own(model: chain.ChainModel) -> None:
    """A worker that is stopped answers the queued calls; later calls get another worker."""

    async def run() -> None:
        rng = random.Random(2)
        pieces = [noise(rng, 4000) for _ in range(8)]
        expected = await states_of(chain.pipecats_analyzer(), pieces)
        calls = [ready() for _ in range(5)]
        stopped = worker.shared_worker()
        first = [asyncio.create_task(one.analyze_audio(pieces[0])) for one in calls]
        await asyncio.sleep(0)
        worker.retire_worker(stopped)
        rest = [asyncio.create_task(states_of(one, pieces[1:])) for one in calls]
        assert await asyncio.gather(*first) == [expected[0]] * 5
        assert await asyncio.gather(*rest) == [expected[1:]] * 5
        assert worker.shared_worker() is not stopped
        await asyncio.to_thread(stopped.stop, 20)
        assert stopped._thread is not None
        assert not stopped._thread.is_alive()

    asyncio.run(run())


async def states_of(analyzer: VADAnalyzer, pieces: list[bytes]) -> list[VADState]:
    return [await analyzer.analyze_audio(piece) for piece in pieces]
