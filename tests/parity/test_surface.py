"""Tests that the class has each public member of pipecat's serializer, with the same signature."""

from __future__ import annotations

import inspect
import types
import typing
from enum import Enum
from types import SimpleNamespace
from typing import Any

import pipecat.serializers.genesys as theirs
import pipecat_genesys as ours
import pytest
from genesys import Genesys
from pipecat.frames.frames import StartFrame
from pipecat_genesys import audio

THEIRS = theirs.GenesysAudioHookSerializer
OURS = ours.GenesysAudioHookSerializer

PUBLIC = sorted(name for name, _ in inspect.getmembers(THEIRS) if not name.startswith("_"))
METHODS = [n for n in PUBLIC if inspect.isfunction(getattr(THEIRS, n))]
PROPERTIES = [n for n in PUBLIC if isinstance(getattr(THEIRS, n), property)]


def plain(hint: Any) -> Any:
    """Return a type in a form in which `Optional[X]` equals `X | None` and `Dict` equals `dict`."""
    arguments = typing.get_args(hint)
    if not arguments:
        return getattr(hint, "__name__", hint)
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return frozenset(map(plain, arguments))
    return (plain(origin), *map(plain, arguments))


def hints(function: Any) -> dict[str, Any]:
    return {name: plain(hint) for name, hint in typing.get_type_hints(function).items()}


def test_every_public_member_exists() -> None:
    assert [name for name in PUBLIC if not hasattr(OURS, name)] == []


@pytest.mark.parametrize("name", METHODS)
def test_parameters_have_the_same_names_kinds_and_defaults(name: str) -> None:
    def shape(cls: type) -> list[tuple[str, Any, Any]]:
        signature = inspect.signature(getattr(cls, name))
        return [(p.name, p.kind, p.default) for p in signature.parameters.values()]

    # The argument of `setup` is called `frame` up to pipecat 1.7; transports pass it by position.
    if name == "setup":
        assert len(shape(OURS)) == len(shape(THEIRS))
    else:
        assert shape(OURS) == shape(THEIRS)


@pytest.mark.parametrize(
    "name", [n for n in METHODS if n.startswith(("create_", "set_", "de", "se"))]
)
def test_parameters_have_the_same_types(name: str) -> None:
    if name == "setup":  # our `setup` also accepts the argument of older versions
        return
    expected = {**hints(getattr(THEIRS, name))}
    actual = hints(getattr(OURS, name))
    assert actual == expected


@pytest.mark.parametrize("name", PROPERTIES)
def test_properties_have_the_same_types(name: str) -> None:
    assert isinstance(inspect.getattr_static(OURS, name), property)
    assert hints(getattr(OURS, name).fget) == hints(getattr(THEIRS, name).fget)


@pytest.mark.parametrize(
    "name", ["AudioHookMessageType", "AudioHookChannel", "AudioHookMediaFormat"]
)
def test_enums_have_the_members_of_pipecats(name: str) -> None:
    expected: type[Enum] = getattr(theirs, name)
    actual = getattr(ours, name)
    assert {m.name: m.value for m in expected}.items() <= {m.name: m.value for m in actual}.items()
    for member in expected:
        assert getattr(actual, member.name) == member
        assert isinstance(getattr(actual, member.name), str)


def test_input_params_have_the_fields_of_pipecats_with_types_and_defaults() -> None:
    for name, field in THEIRS.InputParams.model_fields.items():
        assert name in OURS.InputParams.model_fields, name
        mine = OURS.InputParams.model_fields[name]
        assert mine.default == field.default, name
        assert plain(mine.annotation) == plain(field.annotation), name


def test_enum_members_of_pipecat_are_accepted() -> None:
    params = OURS.InputParams(
        channel=theirs.AudioHookChannel.BOTH, media_format=theirs.AudioHookMediaFormat.L16
    )
    assert params.channel is ours.AudioHookChannel.BOTH
    assert params.media_format is ours.AudioHookMediaFormat.L16


async def test_input_params_of_pipecat_are_accepted() -> None:
    serializer = OURS(THEIRS.InputParams(sample_rate=24000, start_paused=True))
    frame = await serializer.deserialize(Genesys().open())
    assert frame.message["parameters"]["startPaused"] is True


def test_protocol_version_is_the_same() -> None:
    assert OURS.PROTOCOL_VERSION == THEIRS.PROTOCOL_VERSION


def test_events_of_pipecat_exist() -> None:
    assert set(THEIRS()._event_handlers) <= set(OURS()._event_handlers)


def test_name_is_passed_to_the_base_class() -> None:
    assert OURS(name="call-7").name == THEIRS(name="call-7").name == "call-7"


def test_genesys_frame_serializer_is_an_alias() -> None:
    assert ours.GenesysFrameSerializer is OURS


@pytest.mark.parametrize(
    "setup",
    [SimpleNamespace(audio_in_sample_rate=24000), StartFrame(audio_in_sample_rate=24000)],
    ids=["FrameProcessorSetup", "StartFrame"],
)
async def test_setup_accepts_both_kinds_of_argument_and_may_be_repeated(setup: Any) -> None:
    serializer = OURS()
    await serializer.setup(setup)
    await serializer.deserialize(Genesys().open())
    first = await serializer.deserialize(b"\xff" * 160)
    await serializer.setup(setup)
    second = await serializer.deserialize(b"\x00" * 160)
    assert (first.sample_rate, len(first.audio)) == (24000, 960)
    # The second call of `setup` does not reset the resampler.
    stream = audio.InboundAudio("PCMU", 1, 24000)
    assert first.audio + second.audio == stream.process(b"\xff" * 160 + b"\x00" * 160)[0]
