"""Tests that windows and energies of `SpeechWindows` equal values computed by numpy and scipy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pipecat_genesys import audio
from pipecat_genesys._native import SpeechWindows
from pipecat_genesys.vad.loudness import expected_scale
from scipy.signal import lfilter

from . import oracle

IDENTITY = (1.0, 0.0, 0.0, 0.0, 0.0)


def windows(rate: int, half_windows: int = 25) -> SpeechWindows:
    return SpeechWindows(rate, expected_scale(rate).sections, half_windows)


@pytest.mark.parametrize("rate", [8000, 16000])
def test_rows_have_frames_of_context_window_and_mirror_image(rate: int) -> None:
    """Each row has four frames of the context, the window and the mirrored end of the window."""
    pcm = oracle.conversation(rate)
    narrow = pcm if rate == 8000 else audio.Resampler(rate, 8000).process(pcm)
    samples = oracle.as_floats(narrow)
    rows, energies = windows(rate).process(pcm)
    count = len(samples) // 256
    assert len(energies) == count
    whole = samples[: count * 256].reshape(-1, 256)
    context = np.vstack([np.zeros((1, 32), np.float32), whole[:-1, -32:]])
    seen = np.hstack([context, whole, whole[:, ::-1][:, 1:33]])
    expected = np.hstack([seen[:, start : start + 128] for start in (0, 64, 128, 192)])
    np.testing.assert_array_equal(np.frombuffer(rows, np.float32).reshape(-1, 512), expected)


@pytest.mark.parametrize("rate", [8000, 16000])
@pytest.mark.parametrize("half_windows", [1, 2, 25, 64])
def test_energies_are_those_of_each_stretch_filtered_alone(rate: int, half_windows: int) -> None:
    """Each energy equals the energy of the same audio section if the section is filtered alone."""
    pcm = oracle.conversation(rate)
    samples = np.frombuffer(pcm, np.int16).astype(np.float64)
    _, energies = windows(rate, half_windows).process(pcm)
    window, length = rate * 32 // 1000, rate * 16 * half_windows // 1000
    first, second = expected_scale(rate).sections
    for number in range(0, len(energies), 5):
        end = (number + 1) * window
        if end < length:
            assert energies[number] == 0.0
            continue
        stretch = samples[end - length : end]
        for b0, b1, b2, a1, a2 in (first, second):
            stretch = lfilter([b0, b1, b2], [1.0, a1, a2], stretch)
        assert energies[number] == pytest.approx(np.sum(stretch**2), rel=1e-9)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 3000), max_size=20), st.sampled_from([8000, 16000]))
def test_results_do_not_depend_on_the_division_into_calls(sizes: list[int], rate: int) -> None:
    pcm = oracle.conversation(rate)[: 2 * sum(sizes)]
    whole = windows(rate).process(pcm)
    stream, position, rows, energies = windows(rate), 0, b"", []
    for size in sizes:
        part = stream.process(memoryview(pcm)[position : position + 2 * size])
        position += 2 * size
        rows += part[0]
        energies += part[1]
    assert (rows, energies) == whole


def test_a_cleared_context_is_silent() -> None:
    stream = windows(8000)
    stream.process(b"\1\2" * 300)
    stream.clear_context()
    row = np.frombuffer(stream.process(b"\1\2" * 212)[0], np.float32)
    assert not row[:32].any()
    assert row[32:].all()


@pytest.mark.parametrize("rate", [0, 1, 11025, 24000, 44100, 48000])
def test_other_rates_are_rejected(rate: int) -> None:
    with pytest.raises(audio.AudioError, match="8000 or 16000 Hz"):
        SpeechWindows(rate, (IDENTITY, IDENTITY), 2)


def test_unusable_arguments_are_rejected() -> None:
    unstable = (1.0, 0.0, 0.0, 0.0, 1.0)
    for sections, half_windows in [((IDENTITY, unstable), 2), ((IDENTITY, IDENTITY), 65)]:
        with pytest.raises(audio.AudioError, match="stable"):
            SpeechWindows(8000, sections, half_windows)
    with pytest.raises(TypeError):
        SpeechWindows(8000.5, (IDENTITY, IDENTITY), 2)  # type: ignore[arg-type]
    with pytest.raises(audio.AudioError, match="multiple of 2"):
        windows(8000).process(b"123")
    assert repr(windows(16000)) == "SpeechWindows(in_rate=16000)"
    assert windows(16000).in_rate == 16000
