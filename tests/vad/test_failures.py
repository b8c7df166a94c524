"""Tests of failures: pipecat's analyzer is used, or the constructor raises an error."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from pipecat.audio.vad.silero import SileroVADAnalyzer
from pipecat.audio.vad.vad_analyzer import VADAnalyzer, VADState
from pipecat_genesys.vad import TelephoneVADAnalyzer, VADModelError, analyzer, model
from pipecat_genesys.vad.model import UnusableModelError

from . import oracle

PACKET = 3200


@pytest.fixture
def no_model_yet() -> Iterator[None]:
    """Clear the cached model of the process before and after the test."""
    model._load_once.cache_clear()
    yield
    model._load_once.cache_clear()


def ready(kind: type[VADAnalyzer] = TelephoneVADAnalyzer) -> Any:
    made = kind()
    made.set_sample_rate(8000)
    return made


async def judge(one: VADAnalyzer, pieces: Sequence[bytes]) -> list[VADState]:
    return [await one.analyze_audio(piece) for piece in pieces]


async def test_changed_model_file_falls_back_to_pipecats_analyzer_with_one_warning(
    monkeypatch: pytest.MonkeyPatch, warnings_logged: list[str], no_model_yet: None
) -> None:
    loads = 0

    def changed() -> None:
        nonlocal loads
        loads += 1
        raise UnusableModelError("its structure is unknown")

    monkeypatch.setattr(model, "load_model", changed)
    pieces = oracle.packets(oracle.conversation(8000), PACKET)
    expected = await judge(ready(SileroVADAnalyzer), pieces)
    for _ in range(2):
        one = ready()
        assert one.uses_pipecat
        assert await judge(one, pieces) == expected
        await one.cleanup()
    assert loads == 1
    assert len(warnings_logged) == 1
    assert "SileroVADAnalyzer" in warnings_logged[0]
    assert "its structure is unknown" in warnings_logged[0]


async def test_fallback_follows_parameters_and_rates(
    monkeypatch: pytest.MonkeyPatch, warnings_logged: list[str]
) -> None:
    monkeypatch.setattr(analyzer, "_BASE_MEMBERS", ("_no_such_member",))
    one = TelephoneVADAnalyzer()
    assert "_no_such_member" in warnings_logged[0]
    with pytest.raises(ValueError, match="24000"):
        one.set_sample_rate(24000)
    one.set_sample_rate(16000)
    params = one.params.model_copy(update={"confidence": 0.25})
    one.set_params(params)
    own = one._pipecat_analyzer
    assert own is not None
    assert (own.sample_rate, own.params) == (16000, params)
    assert 0.0 <= one.voice_confidence(bytes(1024)) < 0.5


async def test_missing_onnxruntime_is_a_clear_error_at_construction(
    monkeypatch: pytest.MonkeyPatch, no_model_yet: None
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    for _ in range(2):
        with pytest.raises(VADModelError, match="onnxruntime cannot be imported"):
            TelephoneVADAnalyzer()


async def test_missing_model_file_is_a_clear_error_at_construction(
    monkeypatch: pytest.MonkeyPatch, no_model_yet: None
) -> None:
    def missing(package: str) -> Any:
        raise FileNotFoundError(f"{package} has no silero_vad.onnx")

    monkeypatch.setattr(model.resources, "files", missing)
    for _ in range(2):
        with pytest.raises(VADModelError, match=r"no silero_vad\.onnx.*install pipecat-ai again"):
            TelephoneVADAnalyzer()


@pytest.mark.parametrize("size", [PACKET, 32000])
async def test_failure_of_one_call_leaves_the_others_alone(
    size: int, monkeypatch: pytest.MonkeyPatch, warnings_logged: list[str]
) -> None:
    """After a failure, pipecat's analyzer processes all later audio of the call."""
    pieces = oracle.packets(oracle.conversation(8000), size)
    expected = await judge(ready(SileroVADAnalyzer), pieces)
    failing, other = ready(), ready()
    begun = len(pieces) // 3
    assert await judge(failing, pieces[:begun]) == expected[:begun]

    def fail(buffer: bytes) -> VADState:
        failing._vad_buffer += buffer
        raise MemoryError("not enough memory")

    monkeypatch.setattr(failing, "_run_analyzer", fail)
    found = await judge(failing, pieces[begun:])
    assert [failing.uses_pipecat, other.uses_pipecat] == [True, False]
    assert len(warnings_logged) == 1
    assert "not enough memory" in warnings_logged[0]
    assert await judge(other, pieces) == expected
    # pipecat's analyzer starts in the middle of the call, with a new state of the model.
    assert sum(one != other for one, other in zip(found, expected[begun:], strict=True)) <= 6


@pytest.mark.parametrize("length", [256, 1024])
async def test_base_class_with_other_windows_falls_back(
    length: int, warnings_logged: list[str]
) -> None:
    """If the base class has windows of another length, pipecat's analyzer is used."""
    one = ready()
    one._vad_frames_num_bytes = length
    await one.analyze_audio(bytes(PACKET))
    assert one.uses_pipecat
    assert "expected windows" in warnings_logged[0]
