"""Tests that ONNX files are read and written in the same way as onnxruntime reads them."""

from __future__ import annotations

import contextlib

import numpy as np
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pipecat_genesys.vad.model import read_model_file
from pipecat_genesys.vad.onnx_file import Node, Value, read_branches, write_model


def test_written_model_computes_what_its_nodes_say() -> None:
    """onnxruntime runs a written model, and the results equal the results computed with numpy."""
    random = np.random.default_rng(1)
    weight = random.standard_normal((3, 2, 2)).astype(np.float32)
    bias = random.standard_normal(3).astype(np.float32)
    model = write_model(
        [
            Node("Conv", ["x", "w", "b"], ["c"], {"kernel_shape": [2], "strides": [2]}),
            Node("Pad", ["c", "pads"], ["p"], {"mode": "reflect"}),
            Node("Flatten", ["p"], ["y"], {"axis": 1}),
        ],
        [Value("x", "f4", ["batch", 2, 8])],
        [Value("y", "f4")],
        {"w": weight, "b": bias, "pads": np.array([0, 0, 0, 0, 0, 1], np.int64)},
    )
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    x = random.standard_normal((5, 2, 8)).astype(np.float32)
    steps = x.reshape(5, 2, 4, 2)
    convolved = np.einsum("bits,ois->bot", steps, weight) + bias[:, None]
    expected = np.concatenate([convolved, convolved[:, :, 2:3]], axis=2).reshape(5, -1)
    np.testing.assert_allclose(session.run(None, {"x": x})[0], expected, rtol=1e-5, atol=1e-6)


def test_constants_of_both_branches_are_read_from_pipecats_file() -> None:
    branches = read_branches(read_model_file())
    shapes = [
        value.shape
        for branch in branches
        for name, value in branch.items()
        if name.endswith("stft.forward_basis_buffer")
    ]
    assert sorted(shapes) == [(130, 1, 128), (258, 1, 256)]


@pytest.mark.parametrize("content", [b"\xff" * 40, b"\x3a\x7f", b"\x3b", b"\x3a"])
def test_content_that_is_not_protobuf_raises_value_error(content: bytes) -> None:
    with pytest.raises(ValueError, match="protobuf"):
        read_branches(content)


@given(st.binary(max_size=200))
def test_arbitrary_content_raises_nothing_but_value_error(content: bytes) -> None:
    with contextlib.suppress(ValueError):
        assert isinstance(read_branches(content), list)


def test_an_onnx_file_without_branches_has_none() -> None:
    model = write_model(
        [Node("Relu", ["x"], ["y"])], [Value("x", "f4", [1])], [Value("y", "f4")], {}
    )
    assert read_branches(model) == []
