"""Tests that pipecat's model file is loaded, and that an unusable file is recognised."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from pipecat_genesys.vad import VADModelError, model
from pipecat_genesys.vad.model import UnusableModelError


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
