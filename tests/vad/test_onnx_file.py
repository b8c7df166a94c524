"""Tests that constants are read from ONNX files."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pipecat_genesys.vad.model import read_model_file
from pipecat_genesys.vad.onnx_file import read_branches


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


def test_an_empty_onnx_file_has_no_branches() -> None:
    assert read_branches(b"") == []
