"""Tests that windows are processed once and in order, in the event loop and in threads.

The expected results come from pipecat's analyzer, which processes the same audio in one thread.
"""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from pipecat.audio.vad.vad_analyzer import VADParams, VADState
from pipecat_genesys.vad import TelephoneVADAnalyzer, analyzer, resets

from . import chain

pytestmark = pytest.mark.usefixtures("model")

PARAMS = (
    VADParams(),
    VADParams(start_secs=0.1, stop_secs=0.1),
    VADParams(start_secs=0.03, stop_secs=0.5, min_volume=0.0),
)


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Use `ChainDetector`, which stalls at random in threads, and switch threads often."""
    monkeypatch.setattr(analyzer, "SpeechDetector", chain.ChainDetector)
    monkeypatch.setattr(chain.ChainDetector, "stalls", 0.2)
    monkeypatch.setattr(chain.ChainDetector, "longest_stall", 0.02)
    monkeypatch.setattr(resets.WallClockReset, "is_due", lambda *_, **__: False)
    monkeypatch.setattr("pipecat.audio.vad.silero._MODEL_RESET_STATES_TIME", 1e12, raising=False)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(interval)


def ready() -> TelephoneVADAnalyzer:
    analyzer = TelephoneVADAnalyzer()
    analyzer.set_sample_rate(8000)
    return analyzer


def noise(rng: random.Random, samples: int) -> bytes:
    """Return noise that is loud enough to count as speech."""
    generator = np.random.default_rng(rng.randrange(1 << 30))
    return (generator.standard_normal(samples) * 6000).astype(np.int16).tobytes()


def some_audio(rng: random.Random) -> bytes:
    longest = 20_000 if rng.random() < 0.1 else 2500
    return noise(rng, rng.randrange(longest))


async def one_call(seed: int) -> tuple[list[VADState], list[VADState]]:
    """Run a call with random actions; return its VAD states and those of pipecat's analyzer."""
    rng = random.Random(seed)
    ours, alone = ready(), chain.pipecats_analyzer()
    found: list[VADState] = []
    expected: list[VADState] = []
    for _ in range(25):
        action = rng.choice(("params", "restart", "cancel", "flood", *["none"] * 6))
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
async def test_calls_that_behave_at_random_have_the_states_of_the_model_alone(seed: int) -> None:
    """Calls with random actions have the expected VAD states, although threads stall."""
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
def test_audio_of_a_closed_event_loop_still_counts_in_order(seed: int) -> None:
    """If an event loop closes while a thread processes audio, the audio is not lost."""
    with ThreadPoolExecutor(6) as threads:
        for found, expected in threads.map(one_moving_call, range(10 * seed, 10 * seed + 6)):
            assert found == expected
