"""The speech model: pipecat's Silero model at 8 kHz, for many windows of many calls in one run.

A run of the graph in pipecat's model file scores one window of each call: it takes the recurrent
state before the window and returns the state after it. Only one layer of the model, an LSTM, needs
that state. This module builds a second graph from the constants of the same file. One run of it
takes several windows of each call, computes the layers before the LSTM for all windows at once,
and lets the LSTM step through the windows of each call. When the model is loaded, both graphs
score the same audio; the second graph is used only if the results agree.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from importlib import import_module, resources
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from pipecat_genesys.errors import PipecatGenesysError

from .onnx_file import Node, Tensor, Value, read_branches, write_model

Floats = NDArray[np.float32]

SAMPLE_RATE = 8000
# A row of `SpeechWindows`: the context, the window and the mirror image of its end.
CONTEXT_SAMPLES = 32
WINDOW_SAMPLES = 256
ROW_SAMPLES = CONTEXT_SAMPLES + WINDOW_SAMPLES + 32
STATE_SIZE = 128

# Largest difference between the two graphs at which the second one is used.
TOLERANCE = 1e-4


class VADModelError(PipecatGenesysError):
    """The speech model cannot be loaded. The message names the cause and the remedy."""


class UnusableModelError(VADModelError):
    """The shared model cannot be used, but pipecat's own analyzer can.

    `TelephoneVADAnalyzer` handles this exception. The message gives the reason.
    """


class Session(Protocol):
    """The part of `onnxruntime.InferenceSession` that this package uses."""

    def run(self, output_names: Sequence[str], input_feed: Mapping[str, Tensor]) -> list[Tensor]:
        """Run the graph. Releases the GIL."""


class ModelState(NamedTuple):
    """The recurrent state of one call.

    Attributes:
        hidden: Hidden state of the LSTM, of shape (1, 1, 128).
        cell: Cell state of the LSTM, of shape (1, 1, 128).
    """

    hidden: Floats
    cell: Floats


INITIAL_STATE = ModelState(
    np.zeros((1, 1, STATE_SIZE), np.float32), np.zeros((1, 1, STATE_SIZE), np.float32)
)
for _array in INITIAL_STATE:
    _array.flags.writeable = False


class Scores(NamedTuple):
    """The result of one call's windows.

    Attributes:
        confidences: Probability of speech in each window.
        state: State of the call after the last window.
    """

    confidences: list[float]
    state: ModelState


class SpeechModel:
    """A loaded speech model. Threads may share it."""

    def __init__(self, session: Session) -> None:
        """Create a model from a session of `_second_graph`. Use `load_model` instead."""
        self._session = session

    def score(self, calls: Sequence[tuple[Floats, ModelState]]) -> list[Scores]:
        """Score windows of any number of calls in one run. Releases the GIL during the run.

        Args:
            calls: For each call, its windows in the order of time, of shape (windows, 320) with at
                least one window, and the call's state before the first window.

        Returns:
            The scores of each call, in the order of `calls`. They do not depend on which other
            calls take part in the run.

        Raises:
            Exception: onnxruntime failed, for example for lack of memory.
        """
        lengths = [len(rows) for rows, _ in calls]
        if len(calls) == 1:
            rows, (hidden, cell) = calls[0]
        else:
            rows = np.concatenate([rows for rows, _ in calls])
            hidden = np.concatenate([state.hidden for _, state in calls], axis=1)
            cell = np.concatenate([state.cell for _, state in calls], axis=1)
        outputs = self._session.run(
            ("confidence", "next_hidden", "next_cell"),
            {
                "rows": rows.reshape(-1, 1, ROW_SAMPLES),
                "order": _order(lengths),
                "lengths": np.array(lengths, np.int32),
                "hidden": hidden,
                "cell": cell,
            },
        )
        # One row for each step of the LSTM, one column for each call.
        columns = outputs[0].reshape(-1, len(calls)).T.tolist()
        if len(calls) == 1:
            states = [ModelState(outputs[1], outputs[2])]
        else:
            # Copies, because a view would keep the states of all calls in memory.
            states = [
                ModelState(outputs[1][:, [call]], outputs[2][:, [call]])
                for call in range(len(calls))
            ]
        return [
            Scores(confidences[:length], state)
            for confidences, length, state in zip(columns, lengths, states, strict=True)
        ]


def load_model(content: bytes | None = None) -> SpeechModel:
    """Load the model at 8 kHz from pipecat's model file and compare it with that file.

    Takes about 0.1 s.

    Args:
        content: Content of the model file. Default: the file that the installed pipecat has.

    Raises:
        VADModelError: The file or onnxruntime is missing or unusable.
        UnusableModelError: The file has another structure, or the second graph's results differ.
    """
    if content is None:
        content = read_model_file()
    original = open_session(content)
    try:
        model = SpeechModel(open_session(_second_graph(content)))
        difference = _largest_difference(model, original)
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
    """Open an ONNX model on one CPU thread.

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
    # Both would keep memory for each combination of input shapes, of which there are many.
    options.enable_cpu_mem_arena = False
    options.enable_mem_pattern = False
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


def _order(lengths: Sequence[int]) -> NDArray[np.int64]:
    """Return the number of the row that each step of the LSTM reads for each call.

    The shape is (steps, calls). Steps after the last window of a call read any row, because the
    LSTM ignores them.
    """
    ends = list(itertools.accumulate(lengths))
    starts = np.array([0, *ends[:-1]], np.int64)
    steps = np.arange(max(lengths), dtype=np.int64)
    order: NDArray[np.int64] = np.minimum(starts + steps[:, None], ends[-1] - 1)
    return order


def _second_graph(content: bytes) -> bytes:
    """Return an ONNX model with the constants of pipecat's file and inputs for many windows."""
    constants = _constants_at_8_khz(content)
    nodes = [
        Node("Conv", ["rows", "stft"], ["spectrum"], {"kernel_shape": [128], "strides": [64]}),
        Node("Split", ["spectrum"], ["real", "imaginary"], {"axis": 1}),
        Node("Mul", ["real", "real"], ["real_square"]),
        Node("Mul", ["imaginary", "imaginary"], ["imaginary_square"]),
        Node("Add", ["real_square", "imaginary_square"], ["power"]),
        Node("Sqrt", ["power"], ["layer_0"]),
    ]
    for layer, stride in enumerate((1, 2, 2, 1)):
        inputs = [f"layer_{layer}", f"weight_{layer}", f"bias_{layer}"]
        convolution = {"kernel_shape": [3], "strides": [stride], "pads": [1, 1]}
        nodes += [
            Node("Conv", inputs, [f"convolved_{layer}"], convolution),
            Node("Relu", [f"convolved_{layer}"], [f"layer_{layer + 1}"]),
        ]
    recurrent_inputs = ["steps", "input_weight", "recurrent_weight", "recurrent_bias"]
    nodes += [
        Node("Squeeze", ["layer_4", "last_axis"], ["features"]),
        Node("Gather", ["features", "order"], ["steps"], {"axis": 0}),
        Node(
            "LSTM",
            [*recurrent_inputs, "lengths", "hidden", "cell"],
            ["hidden_steps", "next_hidden", "next_cell"],
            {"hidden_size": STATE_SIZE},
        ),
        Node("Reshape", ["hidden_steps", "decoder_shape"], ["decoder_rows"]),
        Node("Relu", ["decoder_rows"], ["positive_rows"]),
        Node(
            "Conv",
            ["positive_rows", "decoder_weight", "decoder_bias"],
            ["logits"],
            {"kernel_shape": [1]},
        ),
        Node("Sigmoid", ["logits"], ["confidence"]),
    ]
    state = (1, "calls", STATE_SIZE)
    return write_model(
        nodes,
        inputs=[
            Value("rows", "f4", ["windows", 1, ROW_SAMPLES]),
            Value("order", "i8", ["steps", "calls"]),
            Value("lengths", "i4", ["calls"]),
            Value("hidden", "f4", state),
            Value("cell", "f4", state),
        ],
        outputs=[Value(name, "f4") for name in ("confidence", "next_hidden", "next_cell")],
        constants=constants,
    )


# Constants of the model file, by the end of their name, and their shapes in the branch for 8 kHz.
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


def _constants_at_8_khz(content: bytes) -> dict[str, Tensor]:
    for branch in read_branches(content):
        found = {
            end: value
            for end, shape in _SHAPES.items()
            for name, value in branch.items()
            if name.endswith(end) and value.shape == shape
        }
        if len(found) == len(_SHAPES):
            break
    else:
        raise ValueError("no branch has the constants of the 8 kHz model")

    def gates(name: str) -> Tensor:
        # PyTorch has the order input, forget, cell, output; ONNX input, output, forget, cell.
        input_gate, forget, cell, output = np.split(found[f"decoder.rnn.{name}"], 4)
        return np.concatenate([input_gate, output, forget, cell])

    constants = {
        "stft": found["stft.forward_basis_buffer"],
        "input_weight": gates("weight_ih")[None],
        "recurrent_weight": gates("weight_hh")[None],
        "recurrent_bias": np.concatenate([gates("bias_ih"), gates("bias_hh")])[None],
        "decoder_weight": found["decoder.decoder.2.weight"],
        "decoder_bias": found["decoder.decoder.2.bias"],
        "decoder_shape": np.array([-1, STATE_SIZE, 1], np.int64),
        "last_axis": np.array([2], np.int64),
    }
    for layer in range(4):
        constants[f"weight_{layer}"] = found[f"encoder.{layer}.reparam_conv.weight"]
        constants[f"bias_{layer}"] = found[f"encoder.{layer}.reparam_conv.bias"]
    return constants


def _largest_difference(model: SpeechModel, original: Session) -> float:
    """Score the same windows with both graphs and return the largest difference of the results."""
    random = np.random.default_rng(8000)
    lengths = (3, 1, 4)
    # Noise of rising power, so that the confidences cover a wide range.
    rows = [
        (
            random.standard_normal((length, ROW_SAMPLES))
            * 10.0 ** -random.uniform(0.5, 4, (length, 1))
        )
        for length in lengths
    ]
    windows = [np.clip(row, -1, 1).astype(np.float32) for row in rows]
    end = CONTEXT_SAMPLES + WINDOW_SAMPLES
    for row in windows:
        row[:, end:] = row[:, end - 2 : CONTEXT_SAMPLES + WINDOW_SAMPLES - 34 : -1]
    results = model.score([(row, INITIAL_STATE) for row in windows])
    differences = []
    for row, result in zip(windows, results, strict=True):
        state = np.zeros((2, 1, STATE_SIZE), np.float32)
        for window, confidence in zip(row, result.confidences, strict=True):
            expected, state = original.run(
                ("output", "stateN"),
                {
                    "input": window[None, :end],
                    "state": state,
                    "sr": np.array(SAMPLE_RATE, np.int64),
                },
            )
            differences.append(abs(confidence - float(expected[0, 0])))
        differences.append(float(np.abs(np.concatenate(result.state) - state).max()))
    return max(differences)
