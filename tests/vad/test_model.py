"""Tests that the scores of a call do not depend on the other calls in the same run of the model."""

from __future__ import annotations

import sys
import threading
import time
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pipecat_genesys import audio
from pipecat_genesys.vad import VADModelError, model
from pipecat_genesys.vad.model import INITIAL_STATE, ModelState, SpeechModel, UnusableModelError

from . import oracle

TOLERANCE = 1e-4
# True if the scores of a shared run equal the scores of a separate run exactly.
EXACT = audio.instruction_set() == "avx512" and sys.platform == "linux"


@pytest.fixture(scope="module")
def speech_model() -> SpeechModel:
    return model.load_model()


def rows_of(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the model's input, one row for each window, computed with numpy from 8 kHz samples."""
    windows = samples[: len(samples) // 256 * 256].reshape(-1, 256)
    context = np.vstack([np.zeros((1, 32), np.float32), windows[:-1, -32:]])
    seen = np.hstack([context, windows, windows[:, -2:-34:-1]])
    return np.hstack([seen[:, start : start + 128] for start in (0, 64, 128, 192)])


def same(scores: model.Scores, expected: tuple[list[float], NDArray[np.float32]]) -> bool:
    confidences, state = np.array(scores.confidences), np.concatenate(scores.state)
    if EXACT:
        return np.array_equal(confidences, expected[0]) and np.array_equal(state, expected[1])
    return np.allclose(confidences, expected[0], rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("calls", [1, 2, 3, 4, 5, 8, 13, 16, 25, 32, 64, 100, 128])
def test_one_window_of_each_of_many_calls(speech_model: SpeechModel, calls: int) -> None:
    """One run of the model scores a window of each call, as separate runs would score it."""
    speech = oracle.as_floats(oracle.recording("caller-question", 8000))
    starts = np.linspace(0, len(speech) - 256, calls).astype(int)
    states, expected = [], []
    random = np.random.default_rng(calls)
    for start in starts:
        state = random.uniform(-1, 1, (2, 1, 128)).astype(np.float32)
        states.append(ModelState(state[:1], state[1:]))
        expected.append(oracle.model_alone(speech[start : start + 256], state))
    windows = [rows_of(speech[start : start + 256]) for start in starts]
    scores = speech_model.score(list(zip(windows, states, strict=True)))
    assert all(same(one, alone) for one, alone in zip(scores, expected, strict=True))


@pytest.mark.parametrize(
    "lengths", [(1,), (7,), (32,), (6, 7), (1, 31), (6, 6, 7, 6), (9, 1, 40, 2)]
)
def test_packets_of_different_lengths(speech_model: SpeechModel, lengths: tuple[int, ...]) -> None:
    """One run of the model scores calls with different numbers of windows."""
    speech = oracle.as_floats(oracle.conversation(8000))
    pieces = [speech[9000 * n : 9000 * n + 256 * length] for n, length in enumerate(lengths)]
    scores = speech_model.score([(rows_of(piece), INITIAL_STATE) for piece in pieces])
    assert [len(one.confidences) for one in scores] == list(lengths)
    assert all(
        same(one, oracle.model_alone(piece)) for one, piece in zip(scores, pieces, strict=True)
    )


def test_a_call_goes_on_from_its_state(speech_model: SpeechModel) -> None:
    """The score of a packet depends on the state after the previous packet of the call."""
    speech = oracle.as_floats(oracle.conversation(8000))[: 256 * 280]
    rows, state, confidences = rows_of(speech), INITIAL_STATE, []
    for start in range(0, 280, 7):
        [scores] = speech_model.score([(rows[start : start + 7], state)])
        state = scores.state
        confidences += scores.confidences
    assert same(model.Scores(confidences, state), oracle.model_alone(speech))
    assert min(confidences) < 0.1 < 0.9 < max(confidences)


def test_a_state_does_not_keep_the_states_of_other_calls_in_memory(
    speech_model: SpeechModel,
) -> None:
    rows = rows_of(np.zeros(256, np.float32))
    for scores in speech_model.score([(rows, INITIAL_STATE)] * 64):
        for array in scores.state:
            owner = array if array.base is None else array.base
            assert owner.nbytes == 512


def test_the_memory_arena_of_onnxruntime_is_off(speech_model: SpeechModel) -> None:
    """The arena would keep the memory of the largest run of each shape."""
    options = speech_model._session.get_session_options()  # type: ignore[attr-defined]
    assert not options.enable_cpu_mem_arena
    assert not options.enable_mem_pattern


def test_the_gil_is_free_while_the_model_runs(speech_model: SpeechModel) -> None:
    # One run of the model takes about 50 ms.
    calls = [(rows_of(np.zeros(256 * 50, np.float32)), INITIAL_STATE)] * 40
    started, ended = threading.Event(), threading.Event()

    class Session:
        """A model session that sets an event before each native run, and another one after it."""

        def run(self, names: Any, feed: Any) -> Any:
            started.set()
            outputs = speech_model._session.run(names, feed)
            ended.set()
            return outputs

    thread = threading.Thread(target=SpeechModel(Session()).score, args=(calls,))
    thread.start()
    assert started.wait(10)
    turns = 0
    while not ended.is_set():
        time.sleep(0.001)
        turns += 1
    thread.join()
    # If the model held the GIL, this thread would be blocked during the whole run.
    assert turns > 5


def test_missing_onnxruntime_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(VADModelError, match=r"install 'pipecat-genesys\[vad\]'"):
        model.load_model()


def test_missing_model_file_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(package: str) -> Any:
        raise ModuleNotFoundError(f"No module named {package!r}")

    monkeypatch.setattr(model.resources, "files", missing)
    with pytest.raises(VADModelError, match="cannot be read"):
        model.load_model()


def test_damaged_model_file_is_a_clear_error() -> None:
    with pytest.raises(VADModelError, match="onnxruntime cannot load"):
        model.load_model(model.read_model_file()[:10000])


def test_model_of_another_structure_is_recognised() -> None:
    renamed = model.read_model_file().replace(b"decoder.rnn.bias_hh", b"decoder.rnn.bias_xx")
    with pytest.raises(UnusableModelError, match="unknown structure"):
        model.load_model(renamed)


def test_model_with_other_results_is_recognised() -> None:
    content = model.read_model_file()
    # These bytes are the stride of the spectrum at 8 kHz, encoded as ints=64, type=INTS.
    name = b"strides\x40\x40\xa0\x01\x07"
    assert name in content
    with pytest.raises(UnusableModelError):
        model.load_model(content.replace(name, name.replace(b"\x40\x40", b"\x40\x41")))
