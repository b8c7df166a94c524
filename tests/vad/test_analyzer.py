"""Tests that VAD states equal those of pipecat's analyzer, for any packet size and call count."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import numpy as np
import pytest
from pipecat.audio.vad.silero import SileroVADAnalyzer
from pipecat.audio.vad.vad_analyzer import VADAnalyzer, VADParams, VADState
from pipecat_genesys import audio
from pipecat_genesys.vad import TelephoneVADAnalyzer, resets

from . import oracle


@pytest.fixture(autouse=True)
def no_reset_by_the_wall_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Disable the model's resets by the wall clock, so that the speed of the test has no effect."""
    monkeypatch.setattr(resets.WallClockReset, "is_due", lambda *_, **__: False)
    monkeypatch.setattr("pipecat.audio.vad.silero._MODEL_RESET_STATES_TIME", 1e12, raising=False)


async def states(
    analyzer: VADAnalyzer, pcm: bytes, packet: int, rate: int = 8000
) -> list[VADState]:
    analyzer.set_sample_rate(rate)
    return [await analyzer.analyze_audio(piece) for piece in oracle.packets(pcm, packet)]


def changes(found: Sequence[VADState]) -> list[tuple[int, VADState]]:
    """Return packet number and state at each change that `VADController` reports."""
    known, reported = VADState.QUIET, []
    for number, state in enumerate(found):
        if state in (VADState.QUIET, VADState.SPEAKING) and state != known:
            known = state
            reported.append((number, state))
    return reported


@pytest.mark.parametrize("milliseconds", [10, 20, 32, 100, 200, 500, 1000, 3000])
async def test_states_at_8_khz_are_pipecats(milliseconds: int) -> None:
    """At 8 kHz, the VAD state after each packet equals that of pipecat's analyzer."""
    pcm, packet = oracle.conversation(8000), 16 * milliseconds
    ours = await states(TelephoneVADAnalyzer(), pcm, packet)
    assert ours == await states(SileroVADAnalyzer(), pcm, packet)
    if milliseconds <= 200:
        assert len(changes(ours)) >= 4


async def test_states_at_8_khz_are_pipecats_with_other_parameters() -> None:
    pcm = oracle.conversation(8000, seed=5)
    params = VADParams(confidence=0.4, start_secs=0.06, stop_secs=0.5, min_volume=0.3)
    ours = TelephoneVADAnalyzer(params=params)
    assert ours.params == params
    assert await states(ours, pcm, 640) == await states(SileroVADAnalyzer(params=params), pcm, 640)


async def test_packets_may_have_any_length() -> None:
    pcm, random = oracle.conversation(8000), np.random.default_rng(4)
    both = [TelephoneVADAnalyzer(), SileroVADAnalyzer()]
    for analyzer in both:
        analyzer.set_sample_rate(8000)
    position = 0
    while position < len(pcm):
        piece = pcm[position : position + 2 * int(random.integers(0, 2000))]
        position += len(piece)
        ours, pipecats = [await analyzer.analyze_audio(piece) for analyzer in both]
        assert ours == pipecats


@pytest.mark.parametrize("milliseconds", [20, 200])
async def test_speech_at_16_khz_starts_and_stops_as_with_pipecat(milliseconds: int) -> None:
    pcm, packet = oracle.conversation(16000), 32 * milliseconds
    ours = changes(await states(TelephoneVADAnalyzer(), pcm, packet, 16000))
    pipecats = changes(await states(SileroVADAnalyzer(), pcm, packet, 16000))
    assert [state for _, state in ours] == [state for _, state in pipecats]
    # The model gets 8 kHz audio, so its states can change some windows of 32 ms earlier or later
    # than the states of pipecat's analyzer.
    assert all(
        abs(one - other) * milliseconds <= max(200, milliseconds)
        for (one, _), (other, _) in zip(ours, pipecats, strict=True)
    )


async def test_confidences_at_16_khz_are_those_of_the_model_at_8_khz(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """At 16 kHz, the confidences equal those of the 8 kHz model for resampled audio."""
    monkeypatch.setattr(resets.NonSpeechReset, "is_due", lambda *_, **__: False)
    pcm = oracle.conversation(16000)
    expected = oracle.model_alone(oracle.as_floats(audio.Resampler(16000, 8000).process(pcm)))
    analyzer, found = TelephoneVADAnalyzer(), []
    one_by_one = analyzer.voice_confidence

    def noted(buffer: bytes) -> float:
        found.append(one_by_one(buffer))
        return found[-1]

    monkeypatch.setattr(analyzer, "voice_confidence", noted)
    await states(analyzer, pcm, 6400, 16000)
    assert found == pytest.approx(expected, abs=1e-4)


async def test_calls_at_once_have_the_states_that_they_have_alone() -> None:
    """The VAD states of concurrent calls equal those of the same calls one after another."""
    calls = [oracle.conversation(8000, seed) for seed in range(8)]
    sizes = [320, 3200, 1600, 2000]
    alone = [
        await states(TelephoneVADAnalyzer(), pcm, sizes[number % 4])
        for number, pcm in enumerate(calls)
    ]
    together = await asyncio.gather(
        *(
            states(TelephoneVADAnalyzer(), pcm, sizes[number % 4])
            for number, pcm in enumerate(calls)
        )
    )
    assert together == alone


async def test_a_packet_needs_no_thread() -> None:
    before = set(threading.enumerate())
    analyzers = [TelephoneVADAnalyzer() for _ in range(30)]
    pcm = oracle.recording("caller-question", 8000)[:16000]
    await asyncio.gather(*(states(analyzer, pcm, 3200) for analyzer in analyzers))
    # Threads of earlier tests may end in the meantime.
    assert set(threading.enumerate()) <= before


async def test_a_call_with_much_audio_lets_other_tasks_run() -> None:
    """A task that passes one packet after the other does not hold the event loop."""
    analyzer, turns, finished = TelephoneVADAnalyzer(), 0, False

    async def other() -> None:
        nonlocal turns
        while not finished:
            turns += 1
            await asyncio.sleep(0)

    waiting = asyncio.create_task(other())
    pcm = oracle.conversation(8000)
    await states(analyzer, pcm, 3200)
    finished = True
    await waiting
    # The other task runs at least once for each second of audio.
    assert turns >= len(pcm) // 16000


async def test_audio_passed_at_once_is_processed_in_order() -> None:
    pcm = oracle.conversation(8000)
    analyzer = TelephoneVADAnalyzer(sample_rate=8000)
    analyzer.set_sample_rate(8000)
    # Some pieces are shorter than a window; one piece is so long that a thread processes it.
    pieces = [pcm[:100], pcm[100:40000], *oracle.packets(pcm[40000:], 1700)]
    found = await asyncio.gather(*(analyzer.analyze_audio(piece) for piece in pieces))
    pipecats = SileroVADAnalyzer(sample_rate=8000)
    pipecats.set_sample_rate(8000)
    assert found == [await pipecats.analyze_audio(piece) for piece in pieces]


async def test_audio_of_a_cancelled_caller_still_counts() -> None:
    """If `analyze_audio` is cancelled while it runs, its audio is still part of the stream."""
    pcm, size = oracle.conversation(8000), 16000
    pieces = oracle.packets(pcm, size)
    expected = await states(SileroVADAnalyzer(), pcm, size)
    analyzer = TelephoneVADAnalyzer()
    analyzer.set_sample_rate(8000)
    for number, piece in enumerate(pieces):
        caller = asyncio.create_task(analyzer.analyze_audio(piece))
        if number % 3 == 1:
            await asyncio.sleep(0)
            caller.cancel()
            with pytest.raises(asyncio.CancelledError):
                await caller
        else:
            assert await caller == expected[number]


async def test_audio_of_a_cancelled_caller_that_waits_still_counts() -> None:
    """If `analyze_audio` is cancelled while earlier audio is processed, its audio is not lost."""
    pcm = oracle.conversation(8000)
    pieces = [pcm[:32000], *oracle.packets(pcm[32000:], 3200)]
    analyzer = TelephoneVADAnalyzer()
    analyzer.set_sample_rate(8000)
    first, second, third = [
        asyncio.create_task(analyzer.analyze_audio(piece)) for piece in pieces[:3]
    ]
    await asyncio.sleep(0)
    second.cancel()
    found = [await first, await third]
    found += [await analyzer.analyze_audio(piece) for piece in pieces[3:]]
    pipecats = SileroVADAnalyzer(sample_rate=8000)
    pipecats.set_sample_rate(8000)
    expected = [await pipecats.analyze_audio(piece) for piece in pieces]
    assert found == [expected[0], *expected[2:]]


async def test_a_flood_of_one_call_does_not_change_another() -> None:
    """Unprocessed audio of one call does not change the VAD states of another call."""
    pcm = oracle.conversation(8000)
    flood, other = TelephoneVADAnalyzer(), TelephoneVADAnalyzer()
    flood.set_sample_rate(8000)
    tasks = [asyncio.create_task(flood.analyze_audio(pcm)) for _ in range(5)]
    tasks += [asyncio.create_task(flood.analyze_audio(pcm[:6400])) for _ in range(50)]
    expected = await states(SileroVADAnalyzer(), pcm, 3200)
    assert await states(other, pcm, 3200) == expected
    await asyncio.gather(*tasks)


async def test_set_params_makes_the_state_quiet_and_keeps_the_audio() -> None:
    pcm = oracle.recording("caller-question", 8000)
    both = [TelephoneVADAnalyzer(), SileroVADAnalyzer()]
    found = []
    for analyzer in both:
        first = await states(analyzer, pcm[:20100], 700)
        analyzer.set_params(VADParams(start_secs=0.5, confidence=0.5))
        rest = [await analyzer.analyze_audio(piece) for piece in oracle.packets(pcm[20100:], 700)]
        found.append(first + rest)
    assert found[0] == found[1]


async def test_setting_the_same_rate_again_keeps_the_stream() -> None:
    pcm = oracle.recording("caller-question", 8000)
    both = [TelephoneVADAnalyzer(), SileroVADAnalyzer()]
    found = [
        await states(analyzer, pcm[:20100], 700) + await states(analyzer, pcm[20100:], 700)
        for analyzer in both
    ]
    assert found[0] == found[1]


async def test_another_rate_starts_a_new_stream() -> None:
    analyzer = TelephoneVADAnalyzer()
    await states(analyzer, oracle.recording("caller-question", 16000)[:20100], 700, 16000)
    pcm = oracle.conversation(8000)
    expected = await states(TelephoneVADAnalyzer(), pcm, 700)
    assert await states(analyzer, pcm, 700) == expected


def test_windows_and_defaults_are_pipecats() -> None:
    """Window length, sample rate and default parameters equal those of pipecat's analyzer."""
    for rate in (8000, 16000):
        ours, pipecats = TelephoneVADAnalyzer(), SileroVADAnalyzer()
        ours.set_sample_rate(rate)
        pipecats.set_sample_rate(rate)
        assert ours.num_frames_required() == pipecats.num_frames_required()
        assert ours.sample_rate == pipecats.sample_rate
        assert ours.num_channels == pipecats.num_channels
        assert ours.params == pipecats.params
        assert not ours.uses_pipecat


@pytest.mark.parametrize("rate", [0, 11025, 22050, 24000, 48000])
def test_other_rates_are_rejected_as_pipecat_rejects_them(rate: int) -> None:
    for analyzer in (SileroVADAnalyzer(), TelephoneVADAnalyzer()):
        with pytest.raises(ValueError, match=str(rate)):
            analyzer.set_sample_rate(rate)
    with pytest.raises(ValueError, match="8000 and 16000 Hz"):
        TelephoneVADAnalyzer(sample_rate=rate)


def test_rate_that_differs_from_the_pipelines_is_warned_of(warnings_logged: list[str]) -> None:
    TelephoneVADAnalyzer(sample_rate=8000).set_sample_rate(8000)
    assert warnings_logged == []
    TelephoneVADAnalyzer(sample_rate=8000).set_sample_rate(16000)
    assert len(warnings_logged) == 1
    assert "16000 Hz" in warnings_logged[0]


async def test_audio_before_the_rate_is_a_clear_error() -> None:
    with pytest.raises(RuntimeError, match="set_sample_rate"):
        await TelephoneVADAnalyzer().analyze_audio(bytes(3200))


async def test_odd_byte_at_the_end_is_dropped_with_one_warning(warnings_logged: list[str]) -> None:
    pcm = oracle.conversation(8000)
    expected = await states(SileroVADAnalyzer(), pcm, 3200)
    analyzer = TelephoneVADAnalyzer()
    analyzer.set_sample_rate(8000)
    found = [await analyzer.analyze_audio(piece + b"\x55") for piece in oracle.packets(pcm, 3200)]
    assert found == expected
    assert len(warnings_logged) == 1
    assert "3201 bytes" in warnings_logged[0]


def test_voice_confidence_judges_one_window_after_the_other() -> None:
    """Consecutive calls of `voice_confidence` return the scores of consecutive windows."""
    pcm = oracle.recording("caller-question", 8000)
    ours, pipecats = TelephoneVADAnalyzer(), SileroVADAnalyzer()
    for analyzer in (ours, pipecats):
        analyzer.set_sample_rate(8000)
    for window in oracle.packets(pcm[: len(pcm) // 512 * 512], 512):
        expected = float(np.asarray(pipecats.voice_confidence(window)).item())
        assert ours.voice_confidence(window) == pytest.approx(expected, abs=1e-4)


def test_window_of_a_wrong_length_has_no_confidence(warnings_logged: list[str]) -> None:
    analyzer = TelephoneVADAnalyzer()
    assert analyzer.voice_confidence(bytes(512)) == 0.0
    analyzer.set_sample_rate(8000)
    assert analyzer.voice_confidence(bytes(510)) == 0.0
    assert len(warnings_logged) == 2


@pytest.mark.parametrize("size", [3200, 32000])
async def test_cleanup_while_audio_is_judged(size: int) -> None:
    """`cleanup` does not cancel an `analyze_audio` call that is running."""
    analyzer = TelephoneVADAnalyzer()
    analyzer.set_sample_rate(8000)
    judged = asyncio.create_task(analyzer.analyze_audio(bytes(size)))
    await asyncio.sleep(0)
    await analyzer.cleanup()
    assert await judged == VADState.QUIET
    # Audio after `cleanup` is processed, too.
    assert await analyzer.analyze_audio(bytes(size)) == VADState.QUIET
