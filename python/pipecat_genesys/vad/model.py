"""Loads pipecat's Silero model at 8 kHz.

The native module computes the model. It gets the constants from pipecat's model file. When the
model is loaded, onnxruntime runs pipecat's file on a short signal; the native model is used only if
the results agree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module, resources
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pipecat_genesys._native import SpeechDetector, SpeechModel
from pipecat_genesys.errors import PipecatGenesysError

from .onnx_file import Tensor, read_branches

SAMPLE_RATE = 8000
WINDOW_SAMPLES = 256
# Number of samples before a window that the model reads together with the window.
CONTEXT_SAMPLES = 32
STATE_SIZE = 128

# Maximum difference between a probability of the native model and of onnxruntime. If a difference
# is larger, the native model is not used.
TOLERANCE = 1e-4
# Number of windows of the signal for the comparison.
_COMPARED_WINDOWS = 24

_UNFILTERED = (1.0, 0.0, 0.0, 0.0, 0.0)

# The end of the name, and the shape, of each constant in the model file's branch for 8 kHz, in the
# order that `SpeechModel` expects.
_SHAPES = {
    "stft.forward_basis_buffer": (130, 1, 128),
    "encoder.0.reparam_conv.weight": (128, 65, 3),
    "encoder.0.reparam_conv.bias": (128,),
    "encoder.1.reparam_conv.weight": (64, 128, 3),
    "encoder.1.reparam_conv.bias": (64,),
    "encoder.2.reparam_conv.weight": (64, 64, 3),
    "encoder.2.reparam_conv.bias": (64,),
    "encoder.3.reparam_conv.weight": (128, 64, 3),
    "encoder.3.reparam_conv.bias": (128,),
    "decoder.rnn.weight_ih": (512, 128),
    "decoder.rnn.weight_hh": (512, 128),
    "decoder.rnn.bias_ih": (512,),
    "decoder.rnn.bias_hh": (512,),
    "decoder.decoder.2.weight": (1, 128, 1),
    "decoder.decoder.2.bias": (1,),
}


class VADModelError(PipecatGenesysError):
    """The speech model cannot be loaded. The message names the cause and the remedy."""


class UnusableModelError(VADModelError):
    """The native model cannot be used, but pipecat's own analyzer can be used.

    `TelephoneVADAnalyzer` handles this exception. The message gives the reason.
    """


class Session(Protocol):
    """The part of `onnxruntime.InferenceSession` that this package uses."""

    def run(
        self, output_names: Sequence[str], input_feed: Mapping[str, NDArray[Any]]
    ) -> list[NDArray[Any]]:
        """Run the graph."""


def shared_model() -> SpeechModel:
    """Return the model of this process. The first use loads it, which takes 0.1 s.

    Raises:
        VADModelError: The model cannot be loaded, and pipecat's own analyzer cannot be used either.
        UnusableModelError: pipecat's own analyzer has to be used.
    """
    loaded = _load_once()
    if isinstance(loaded, str):
        raise UnusableModelError(loaded)
    return loaded


@cache
def _load_once() -> SpeechModel | str:
    """Return the model, or the reason why it cannot be used."""
    try:
        return load_model()
    except UnusableModelError as error:
        return str(error)


def load_model(content: bytes | None = None) -> SpeechModel:
    """Load the model at 8 kHz from pipecat's model file and check its results.

    Args:
        content: Content of the model file. Default: the file of the installed pipecat.

    Raises:
        VADModelError: The file or onnxruntime is missing or unusable.
        UnusableModelError: The file has an unknown structure, or the results of the native model
            differ from the results of onnxruntime.
    """
    if content is None:
        content = read_model_file()
    session = open_session(content)
    try:
        constants: list[Any] = [*_constants_at_8_khz(content)]
        model = SpeechModel(constants)
        difference = _largest_difference(model, session)
    except Exception as error:
        raise UnusableModelError(
            f"pipecat's Silero model file has an unknown structure ({error})"
        ) from error
    if not difference <= TOLERANCE:
        raise UnusableModelError(
            "pipecat's Silero model file has an unknown structure (the results differ by "
            f"{difference:.2g})"
        )
    return model


def read_model_file() -> bytes:
    """Read the Silero model file of the installed pipecat.

    Raises:
        VADModelError: The file cannot be read.
    """
    try:
        return resources.files("pipecat.audio.vad.data").joinpath("silero_vad.onnx").read_bytes()
    except (ImportError, OSError) as error:
        raise VADModelError(
            f"pipecat's Silero model file cannot be read ({error}); install pipecat-ai again"
        ) from error


def open_session(content: bytes) -> Session:
    """Load an ONNX model into a session that uses one CPU thread.

    Raises:
        VADModelError: onnxruntime is missing or rejects the model.
    """
    try:
        onnxruntime: Any = import_module("onnxruntime")
    except ImportError as error:
        raise VADModelError(
            "onnxruntime cannot be imported, and voice activity detection needs it "
            f"({error}); install 'pipecat-genesys[vad]'"
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    # Log only errors, because onnxruntime logs warnings about unused constants.
    options.log_severity_level = 3
    try:
        session: Session = onnxruntime.InferenceSession(
            content, sess_options=options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:
        raise VADModelError(
            f"onnxruntime cannot load pipecat's Silero model ({error}); install pipecat-ai and "
            "onnxruntime again"
        ) from error
    return session


def model_alone(session: Session, samples: Tensor) -> list[float]:
    """Run pipecat's graph on a signal, one window after the other.

    Args:
        session: Session of pipecat's model file.
        samples: Samples at 8 kHz from -1 to 1, in whole windows.

    Returns:
        The probability of speech in each window.
    """
    state = np.zeros((2, 1, STATE_SIZE), np.float32)
    rate = np.array(SAMPLE_RATE, np.int64)
    padded = np.concatenate([np.zeros(CONTEXT_SAMPLES, np.float32), samples])
    probabilities = []
    for start in range(0, len(samples), WINDOW_SAMPLES):
        view = padded[None, start : start + CONTEXT_SAMPLES + WINDOW_SAMPLES]
        output, state = session.run(
            ("output", "stateN"), {"input": view, "state": state, "sr": rate}
        )
        probabilities.append(float(output[0, 0]))
    return probabilities


def _constants_at_8_khz(content: bytes) -> list[Tensor]:
    for branch in read_branches(content):
        found = {
            end: value
            for end, shape in _SHAPES.items()
            for name, value in branch.items()
            if name.endswith(end) and value.shape == shape
        }
        if len(found) == len(_SHAPES):
            return [found[end] for end in _SHAPES]
    raise ValueError("no branch of the ONNX graph contains the constants of the 8 kHz model")


def _largest_difference(model: SpeechModel, session: Session) -> float:
    """Run both models on the same signal, and return the largest difference of the results."""
    random = np.random.default_rng(SAMPLE_RATE)
    # A voiced sound with noise. The levels differ between windows, so that the probabilities of the
    # windows differ.
    time = np.arange(_COMPARED_WINDOWS * WINDOW_SAMPLES) / SAMPLE_RATE
    voice = sum(np.sin(2 * np.pi * 140 * harmonic * time) / harmonic for harmonic in range(1, 16))
    noise = random.standard_normal(len(time)) * 10.0 ** -random.uniform(0, 3, len(time))
    level = np.repeat(10.0 ** random.uniform(1, 4, _COMPARED_WINDOWS), WINDOW_SAMPLES)
    samples = ((voice + noise) * level).clip(-32768, 32767).astype(np.int16)
    detector = SpeechDetector(model, SAMPLE_RATE, (_UNFILTERED, _UNFILTERED), 1)
    detector.process(samples.tobytes())
    expected = model_alone(session, samples.astype(np.float32) / 32768.0)
    differences = []
    for probability in expected:
        window = detector.next_window()
        if window is None:
            raise ValueError("the native model returned fewer windows than onnxruntime")
        differences.append(abs(window[0] - probability))
    return float(np.max(differences))
