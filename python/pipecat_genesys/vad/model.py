"""Runs pipecat's Silero model at 8 kHz. One run computes many windows of many calls.

A run of the graph in pipecat's model file scores one window of each call: it takes the recurrent
state before the window and returns the state after the window. Only one layer of the model, an
LSTM, needs the recurrent state. This module builds a second graph from the constants of the same
file. One run of the second graph takes several windows of each call, computes the layers before the
LSTM for all windows together, and then runs the LSTM on the windows of each call in order. When the
model is loaded, both graphs score the same audio; the second graph is used only if the results
agree.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib import import_module, resources
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from pipecat_genesys.errors import PipecatGenesysError

from .onnx_file import Node, Tensor, Value, read_branches, write_model

Floats = NDArray[np.float32]

SAMPLE_RATE = 8000
WINDOW_SAMPLES = 256
# `SpeechWindows` of the native module returns one row for each window. A row has four overlapping
# frames of the window, with the context before the window.
CONTEXT_SAMPLES = 32
FRAME_SAMPLES = 128
FRAME_STEP = 64
ROW_SAMPLES = 4 * FRAME_SAMPLES
STATE_SIZE = 128

# Maximum difference between the results of the two graphs. If the difference is larger, the second
# graph is not used.
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
    """The results of the model for the windows of one call.

    Attributes:
        confidences: Probability of speech in each window.
        state: Recurrent state of the model after the last window.
    """

    confidences: list[float]
    state: ModelState


class SpeechModel:
    """A loaded speech model. Threads may share it."""

    def __init__(self, session: Session) -> None:
        """Create a model from a session of `_second_graph`. Use `load_model` instead."""
        self._session = session

    def score(self, calls: Sequence[tuple[Floats, ModelState]]) -> list[Scores]:
        """Compute the speech probabilities of windows of many calls in one run of the model.

        The run releases the GIL.

        Args:
            calls: For each call, its windows in the order of time, of shape (windows, 512) with at
                least one window, and the call's state before the first window.

        Returns:
            The scores of each call, in the order of `calls`. The scores of a call do not depend on
            the other calls in the run.

        Raises:
            Exception: onnxruntime failed, for example because there is not enough memory.
        """
        lengths = tuple(len(rows) for rows, _ in calls)
        order, lengths_array = _order(lengths)
        if len(calls) == 1:
            rows, (hidden, cell) = calls[0]
        else:
            rows = np.concatenate([rows for rows, _ in calls])
            hidden = np.concatenate([state.hidden for _, state in calls], axis=1)
            cell = np.concatenate([state.cell for _, state in calls], axis=1)
        outputs = self._session.run(
            ("confidence", "next_hidden", "next_cell"),
            {
                "frames": rows.reshape(-1, FRAME_SAMPLES),
                "order": order,
                "lengths": lengths_array,
                "hidden": hidden,
                "cell": cell,
            },
        )
        # One row for each step of the LSTM, one column for each call.
        columns = outputs[0].reshape(-1, len(calls)).T.tolist()
        if len(calls) == 1:
            states = [ModelState(outputs[1], outputs[2])]
        else:
            # Copy the states, because a view would keep the states of all calls in memory.
            states = [
                ModelState(outputs[1][:, [call]], outputs[2][:, [call]])
                for call in range(len(calls))
            ]
        return [
            Scores(confidences[:length], state)
            for confidences, length, state in zip(columns, lengths, states, strict=True)
        ]


def load_model(content: bytes | None = None) -> SpeechModel:
    """Load the model at 8 kHz from pipecat's model file and check its results.

    Takes about 0.1 s.

    Args:
        content: Content of the model file. Default: the file of the installed pipecat.

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
    # With these two options, onnxruntime would keep memory for each of the many combinations of
    # input shapes.
    options.enable_cpu_mem_arena = False
    options.enable_mem_pattern = False
    # Log only errors, because onnxruntime logs warnings about constants that are also inputs.
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


@lru_cache(maxsize=256)
def _order(lengths: tuple[int, ...]) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Return the inputs `order` and `lengths` of the second graph.

    `order` has the shape (steps, calls). Each element is the number of the row that a step of the
    LSTM reads for a call. Steps after the last window of a call may read any row, because the LSTM
    ignores these steps.

    Args:
        lengths: Number of windows of each call.
    """
    ends = list(itertools.accumulate(lengths))
    starts = np.array([0, *ends[:-1]], np.int64)
    steps = np.arange(max(lengths), dtype=np.int64)
    return np.minimum(starts + steps[:, None], ends[-1] - 1), np.array(lengths, np.int32)


def _second_graph(content: bytes) -> bytes:
    """Return an ONNX model with the constants of pipecat's file and inputs for many windows.

    onnxruntime computes the convolutions of short inputs slowly, with one matrix product for each
    window. In this graph, the three large convolutions are matrix products for all windows
    together, with the same sums in the same order. The two other convolutions take little time.
    """
    last_tap_order = {"perm": [0, 1, 3, 2]}
    recurrent_weights = ["steps", "input_weight", "recurrent_weight", "recurrent_bias"]
    nodes = [
        Node("MatMul", ["frames", "stft"], ["spectrum"]),
        Node("Split", ["spectrum"], ["real", "imaginary"], {"axis": 1}),
        Node("Mul", ["real", "real"], ["real_square"]),
        Node("Mul", ["imaginary", "imaginary"], ["imaginary_square"]),
        Node("Add", ["real_square", "imaginary_square"], ["power"]),
        Node("Sqrt", ["power"], ["magnitude"]),
        # Layer 0 converts 65 channels to 128, and 4 frames to 4. Each row of the product has the
        # three taps of each channel.
        Node("Reshape", ["magnitude", "shape_0"], ["frames_0"]),
        Node("Pad", ["frames_0", "padding_0"], ["padded_0"]),
        Node("Gather", ["padded_0", "taps_0"], ["taken_0"], {"axis": 1}),
        Node("Transpose", ["taken_0"], ["ordered_0"], last_tap_order),
        Node("Reshape", ["ordered_0", "row_shape_0"], ["rows_0"]),
        Node("Gemm", ["rows_0", "weight_0", "bias_0"], ["product_0"]),
        Node("Relu", ["product_0"], ["result_0"]),
        # Layer 1 converts 128 channels to 64, and 4 frames to 2. The product has two halves of 32
        # channels, because onnxruntime splits the sums of wider products.
        Node("Reshape", ["result_0", "shape_1"], ["frames_1"]),
        Node("Pad", ["frames_1", "padding_1"], ["padded_1"]),
        Node("Gather", ["padded_1", "taps_1"], ["taken_1"], {"axis": 1}),
        Node("Transpose", ["taken_1"], ["ordered_1"], last_tap_order),
        Node("Reshape", ["ordered_1", "row_shape_1"], ["rows_1"]),
        Node("MatMul", ["rows_1", "weight_1"], ["product_1"]),
        Node("Add", ["product_1", "bias_1"], ["biased_1"]),
        Node("Relu", ["biased_1"], ["halves_1"]),
        Node("Reshape", ["halves_1", "half_shape_1"], ["split_1"]),
        Node("Transpose", ["split_1"], ["joined_1"], {"perm": [1, 0, 3, 2]}),
        Node("Reshape", ["joined_1", "shape_2"], ["result_1"]),
        # Layer 2 converts 64 channels to 64, and 2 frames to 1. Layer 3 converts 64 channels to
        # 128.
        *_convolution(2, {"kernel_shape": [3], "strides": [2], "pads": [1, 1]}),
        *_convolution(3, {"kernel_shape": [3], "strides": [1], "pads": [1, 1]}),
        Node("Squeeze", ["result_3", "last_axis"], ["features"]),
        Node("Gather", ["features", "order"], ["steps"], {"axis": 0}),
        Node(
            "LSTM",
            [*recurrent_weights, "lengths", "hidden", "cell"],
            ["hidden_steps", "next_hidden", "next_cell"],
            {"hidden_size": STATE_SIZE},
        ),
        Node("Reshape", ["hidden_steps", "decoder_shape"], ["decoder_rows"]),
        Node("Relu", ["decoder_rows"], ["result_4"]),
        Node(
            "Conv",
            ["result_4", "decoder_weight", "decoder_bias"],
            ["logits"],
            {"kernel_shape": [1]},
        ),
        Node("Sigmoid", ["logits"], ["confidence"]),
    ]
    state = (1, "calls", STATE_SIZE)
    return write_model(
        nodes,
        inputs=[
            Value("frames", "f4", ["frames", FRAME_SAMPLES]),
            Value("order", "i8", ["steps", "calls"]),
            Value("lengths", "i4", ["calls"]),
            Value("hidden", "f4", state),
            Value("cell", "f4", state),
            # This constant is an input with a default value. Otherwise onnxruntime would rearrange
            # the constant and compute the sums in another order, which changes the results.
            Value("weight_1", "f4", [2, 384, 32]),
        ],
        outputs=[Value(name, "f4") for name in ("confidence", "next_hidden", "next_cell")],
        constants=_constants_at_8_khz(content),
    )


def _convolution(layer: int, attributes: Mapping[str, int | str | Sequence[int]]) -> list[Node]:
    inputs = [f"result_{layer - 1}", f"weight_{layer}", f"bias_{layer}"]
    return [
        Node("Conv", inputs, [f"product_{layer}"], attributes),
        Node("Relu", [f"product_{layer}"], [f"result_{layer}"]),
    ]


# The end of the name and the shape of each constant in the model file's branch for 8 kHz.
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
        # The order in PyTorch is input, forget, cell, output; the order in ONNX is input, output,
        # forget, cell.
        input_gate, forget, cell, output = np.split(found[f"decoder.rnn.{name}"], 4)
        return np.concatenate([input_gate, output, forget, cell])

    weights = [found[f"encoder.{layer}.reparam_conv.weight"] for layer in range(4)]
    biases = [found[f"encoder.{layer}.reparam_conv.bias"] for layer in range(4)]
    numbers = {
        "shape_0": [-1, 4, 65],
        "padding_0": [0, 1, 0, 0, 1, 0],
        "taps_0": [[0, 1, 2], [1, 2, 3], [2, 3, 4], [3, 4, 5]],
        "row_shape_0": [-1, 195],
        "shape_1": [-1, 4, 128],
        "padding_1": [0, 1, 0, 0, 0, 0],
        "taps_1": [[0, 1, 2], [2, 3, 4]],
        "row_shape_1": [-1, 384],
        "half_shape_1": [2, -1, 2, 32],
        "shape_2": [-1, 64, 2],
        "last_axis": [2],
        "decoder_shape": [-1, STATE_SIZE, 1],
    }
    return {
        **{name: np.array(value, np.int64) for name, value in numbers.items()},
        "stft": found["stft.forward_basis_buffer"][:, 0].T,
        "weight_0": weights[0].reshape(128, 195).T,
        "bias_0": biases[0],
        "weight_1": weights[1].reshape(2, 32, 384).transpose(0, 2, 1),
        "bias_1": biases[1].reshape(2, 1, 32),
        "weight_2": weights[2],
        "bias_2": biases[2],
        "weight_3": weights[3],
        "bias_3": biases[3],
        "input_weight": gates("weight_ih")[None],
        "recurrent_weight": gates("weight_hh")[None],
        "recurrent_bias": np.concatenate([gates("bias_ih"), gates("bias_hh")])[None],
        "decoder_weight": found["decoder.decoder.2.weight"],
        "decoder_bias": found["decoder.decoder.2.bias"],
    }


def _largest_difference(model: SpeechModel, original: Session) -> float:
    """Run both graphs with the same windows, and return the largest difference of the results."""
    random = np.random.default_rng(SAMPLE_RATE)
    # The power of the noise differs between windows, so that the confidences differ too.
    views = [
        (random.standard_normal((length, 288)) * 10.0 ** -random.uniform(0.5, 4, (length, 1)))
        .clip(-1, 1)
        .astype(np.float32)
        for length in (3, 1, 4)
    ]
    results = model.score([(_rows(view), INITIAL_STATE) for view in views])
    differences = []
    for view, result in zip(views, results, strict=True):
        state = np.zeros((2, 1, STATE_SIZE), np.float32)
        for window, confidence in zip(view, result.confidences, strict=True):
            expected, state = original.run(
                ("output", "stateN"),
                {"input": window[None], "state": state, "sr": np.array(SAMPLE_RATE, np.int64)},
            )
            differences.append(abs(confidence - float(expected[0, 0])))
        differences.append(float(np.abs(np.concatenate(result.state) - state).max()))
    return max(differences)


def _rows(views: Floats) -> Floats:
    """Cut windows into frames, and return the frames of each window as one row.

    Args:
        views: Windows with the samples before them, of shape (windows, 288).
    """
    mirrored = np.concatenate([views, views[:, -2:-34:-1]], axis=1)
    starts = range(0, mirrored.shape[1] - FRAME_SAMPLES + 1, FRAME_STEP)
    return np.concatenate([mirrored[:, at : at + FRAME_SAMPLES] for at in starts], axis=1)
