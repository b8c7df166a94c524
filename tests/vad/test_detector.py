"""Tests that the results of `SpeechDetector` equal values computed by onnxruntime and scipy."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pipecat_genesys import audio
from pipecat_genesys._native import SpeechDetector, SpeechModel
from pipecat_genesys.vad.loudness import expected_scale

from . import oracle

IDENTITY = (1.0, 0.0, 0.0, 0.0, 0.0)
TOLERANCE = 1e-4


def detector(rate: int, half_windows: int = 25) -> SpeechDetector:
    return SpeechDetector(oracle.native_model(), rate, expected_scale(rate).sections, half_windows)


@pytest.mark.parametrize("windows", [1, 2, 3, 5, 6, 7, 8, 9, 16, 31, 1000])
def test_probabilities_are_those_of_onnxruntime(windows: int) -> None:
    """The probabilities equal those of onnxruntime, for any number of windows in a packet."""
    pcm = oracle.conversation(8000)
    stream, found = detector(8000), []
    for packet in oracle.packets(pcm, 512 * windows):
        stream.process(packet)
        found += [probability for probability, _ in oracle.take_windows(stream)]
    assert found == pytest.approx(oracle.model_alone(oracle.as_floats(pcm)), abs=TOLERANCE)
    assert min(found) < 0.1 < 0.9 < max(found)


@pytest.mark.parametrize("amplitude", [0, 1, 100, 32767])
def test_probabilities_of_silence_and_of_full_scale_are_those_of_onnxruntime(
    amplitude: int,
) -> None:
    random = np.random.default_rng(amplitude)
    samples = random.choice([-amplitude - 1, amplitude], 8000 // 256 * 256) if amplitude else None
    pcm = bytes(16000 // 512 * 512) if samples is None else samples.astype(np.int16).tobytes()
    found = [one for one, _ in oracle.windows(8000, (IDENTITY, IDENTITY), pcm)]
    assert found == pytest.approx(oracle.model_alone(oracle.as_floats(pcm)), abs=TOLERANCE)


@pytest.mark.parametrize("windows_before", [0, 3, 6])
def test_a_reset_model_is_a_new_model(windows_before: int) -> None:
    """After `reset_model`, the probabilities equal those of a stream that begins at this window."""
    pcm = oracle.recording("caller-question", 8000)[: 512 * 60]
    stream = detector(8000)
    stream.process(pcm[: 512 * 20])
    oracle.take_windows(stream)
    assert stream.process(pcm[512 * 20 : 512 * 26]) == 6
    for _ in range(windows_before):
        stream.next_window()
    stream.reset_model()
    stream.process(pcm[512 * 26 :])
    found = [probability for probability, _ in oracle.take_windows(stream)]
    expected = oracle.model_alone(oracle.as_floats(pcm[512 * (20 + windows_before) :]))
    assert found == pytest.approx(expected, abs=TOLERANCE)


def test_wideband_audio_is_resampled() -> None:
    pcm = oracle.conversation(16000)
    narrow = audio.Resampler(16000, 8000).process(pcm)
    found = [one for one, _ in oracle.windows(16000, (IDENTITY, IDENTITY), pcm)]
    assert found == pytest.approx(oracle.model_alone(oracle.as_floats(narrow)), abs=TOLERANCE)


@pytest.mark.parametrize("rate", [8000, 16000])
@pytest.mark.parametrize("half_windows", [1, 2, 25, 64])
def test_energies_are_those_of_each_stretch_filtered_alone(rate: int, half_windows: int) -> None:
    """Each energy equals the energy of the same audio section if the section is filtered alone."""
    # Each worker collects all tests, and scipy.signal takes 0.5 s to load.
    from scipy.signal import lfilter

    pcm = oracle.conversation(rate)
    samples = np.frombuffer(pcm, np.int16).astype(np.float64)
    first, second = expected_scale(rate).sections
    found = oracle.windows(rate, (first, second), pcm, half_windows)
    window, length = rate * 32 // 1000, rate * 16 * half_windows // 1000
    for number in range(0, len(found), 5):
        end = (number + 1) * window
        if end < length:
            assert found[number][1] == 0.0
            continue
        stretch = samples[end - length : end]
        for b0, b1, b2, a1, a2 in (first, second):
            stretch = lfilter([b0, b1, b2], [1.0, a1, a2], stretch)
        assert found[number][1] == pytest.approx(np.sum(stretch**2), rel=1e-9)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 3000), max_size=20), st.sampled_from([8000, 16000]), st.booleans())
def test_results_do_not_depend_on_the_division_into_calls(
    sizes: list[int], rate: int, late: bool
) -> None:
    pcm = oracle.conversation(rate)[: 2 * sum(sizes)]
    whole = oracle.windows(rate, expected_scale(rate).sections, pcm)
    stream, position, found = detector(rate), 0, []
    for size in sizes:
        stream.process(memoryview(pcm)[position : position + 2 * size])
        position += 2 * size
        if not late:
            found += oracle.take_windows(stream)
    found += oracle.take_windows(stream)
    assert [one for one, _ in found] == pytest.approx([one for one, _ in whole], abs=1e-5)
    assert [energy for _, energy in found] == [energy for _, energy in whole]


def test_the_gil_is_free_while_the_model_runs_on_long_audio() -> None:
    # The model takes about 100 ms for these windows.
    pcm, ended = bytes(512 * 10_000), threading.Event()
    stream = detector(8000)

    def run() -> None:
        stream.process(pcm)
        ended.set()

    thread = threading.Thread(target=run)
    thread.start()
    turns = 0
    while not ended.is_set():
        time.sleep(0.001)
        turns += 1
    thread.join()
    # If the model held the GIL, this thread would be blocked during the whole run.
    assert turns > 5


@pytest.mark.parametrize("rate", [0, 1, 11025, 24000, 44100, 48000])
def test_other_rates_are_rejected(rate: int) -> None:
    with pytest.raises(audio.AudioError, match="8000 or 16000 Hz"):
        SpeechDetector(oracle.native_model(), rate, (IDENTITY, IDENTITY), 2)


def test_unusable_arguments_are_rejected() -> None:
    unstable = (1.0, 0.0, 0.0, 0.0, 1.0)
    model = oracle.native_model()
    for sections, half_windows in [((IDENTITY, unstable), 2), ((IDENTITY, IDENTITY), 65)]:
        with pytest.raises(audio.AudioError, match="stable"):
            SpeechDetector(model, 8000, sections, half_windows)
    with pytest.raises(TypeError):
        SpeechDetector(model, 8000.5, (IDENTITY, IDENTITY), 2)  # type: ignore[arg-type]
    with pytest.raises(audio.AudioError, match="multiple of 2"):
        detector(8000).process(b"123")
    assert repr(detector(16000)) == "SpeechDetector(in_rate=16000)"
    assert detector(16000).in_rate == 16000


def test_constants_of_another_model_are_rejected() -> None:
    lengths = {11: 512, 12: 512, 13: 128}
    weights = [np.zeros(lengths.get(number, 3), np.float32) for number in range(15)]
    with pytest.raises(audio.AudioError, match="must have 16640 values, got 3"):
        SpeechModel(weights)
    with pytest.raises(ValueError, match="15"):
        SpeechModel([np.zeros(3, np.float32)])
    with pytest.raises(BufferError):
        SpeechModel([b"1234"] * 15)
