"""Tests of scenarios: files, fields, the call that they place, and the verdict."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from pipecat_genesys.protocol.types import AudioHookChannel
from pipecat_genesys.simulator import (
    FAULTS,
    CallMode,
    CallOptions,
    ConnectFailedError,
    Scenario,
    make_scenario,
    place_call,
    read_scenario,
    sample_speech,
    synthesize,
    write_wav,
)
from scripted import ScriptedCall, scripted
from virtual_loop import virtual_time

FILE = """
# A caller asks about an order.
language = "en-GB"
ani = "tel:+4930123456"
dnis = "tel:+4930654321"
organization = "d7934305-0972-4844-938e-9060eef73d05"
conversation = "090eaa2f-72fa-480a-83e0-8667ff89c0ec"
input = { tier = "gold" }
ask-languages = true
patience = 3
hang-up-after = 30

steps = [
    'say:"Where is my order?"',
    "say:hello.wav",
    "press:9",
    "wait:end",
]
expect = ["bot ends the call", "output variable intent is billing"]
"""


def written(folder: Path, text: str = FILE) -> Path:
    write_wav(folder / "hello.wav", b"\x10\x20" * 800, bytes(1600))
    path = folder / "order.toml"
    path.write_text(text, encoding="utf-8")
    return path


async def goodbye(peer: ScriptedCall, message: dict[str, Any]) -> None:
    await peer.text("disconnect", {"reason": "completed", "outputVariables": {"intent": "billing"}})


async def accept_languages(peer: ScriptedCall, message: dict[str, Any]) -> None:
    media = message["parameters"]["media"][:1]
    await peer.text("opened", {"media": media, "supportedLanguages": []})


@virtual_time
async def test_scenario_of_a_file_places_its_call_and_meets_its_expectations(
    tmp_path: Path,
) -> None:
    scenario = read_scenario(written(tmp_path))
    async with scripted(open=accept_languages, dtmf=goodbye) as server:
        verdict = await place_call(server.url, scenario)
    assert verdict.passed, str(verdict)
    assert [str(judgement) for judgement in verdict.judgements] == [
        "met: bot ends the call (the reason of 'close' is disconnect)",
        "met: output variable intent is billing (it is 'billing')",
    ]
    opening = server.peer.received[0]["parameters"]
    assert opening["language"] == "en-GB"
    assert opening["supportedLanguages"] is True
    assert opening["participant"]["ani"] == "tel:+4930123456"
    assert opening["participant"]["dnis"] == "tel:+4930654321"
    assert opening["organizationId"] == "d7934305-0972-4844-938e-9060eef73d05"
    assert opening["conversationId"] == "090eaa2f-72fa-480a-83e0-8667ff89c0ec"
    assert opening["inputVariables"] == {"tier": "gold"}
    heard = b"".join(server.peer.audio)
    assert synthesize("Where is my order?", "en-GB") in heard
    assert [m["parameters"] for m in server.peer.received if m["type"] == "dtmf"] == [
        {"digit": "9"}
    ]


def test_every_call_of_a_scenario_has_ids_of_its_own() -> None:
    scenario = Scenario(conversation="c")
    first, second = scenario.parameters(), scenario.parameters()
    assert first.session_id != second.session_id
    assert first.organization_id != second.organization_id
    assert first.conversation_id == second.conversation_id == "c"


@virtual_time
async def test_expectation_that_is_not_met_is_a_problem_of_a_clean_call() -> None:
    scenario = Scenario(steps=("hang-up",), expect=("hears at least 1 s", "hears at most 1 s"))
    async with scripted() as server:
        verdict = await place_call(server.url, scenario)
    assert verdict.report.clean
    assert not verdict.passed
    assert verdict.problem == "1 of 2 expectations not met"
    assert str(verdict).splitlines() == [
        "1 of 2 expectations not met",
        "not met: hears at least 1 s (0.00 s)",
        "met: hears at most 1 s (0.00 s)",
    ]


@virtual_time
async def test_verdict_as_text_names_broken_rules_and_the_step_that_failed() -> None:
    async def wrong_pong(peer: ScriptedCall, message: dict[str, Any]) -> None:
        await peer.text("pong", clientseq=1)

    scenario = Scenario(steps=("wait:bot",), patience=2.0, expect=("no gaps",))
    async with scripted(ping=wrong_pong) as server:
        verdict = await place_call(server.url, scenario)
    text = str(verdict)
    assert text.startswith("not clean\nscript: waited 2 s for BotAudioStarted")
    assert "pong_clientseq: 'clientseq' is 1" in text
    assert text.endswith("met: no gaps (none)")


@virtual_time
async def test_fault_that_is_handled_passes_and_expectations_are_judged_as_well() -> None:
    async with scripted() as server:
        verdict = await place_call(
            server.url,
            Scenario(expect=("greets within 1 s",)),
            fault=FAULTS["unknown-fields"],
        )
    assert verdict.problem == "1 of 1 expectations not met"
    async with scripted() as server:
        scenario = Scenario(steps=("wait:1",))
        verdict = await place_call(server.url, scenario, fault=FAULTS["overlapping-pauses"])
    assert "did not happen; the fault needs a server that pauses the call" in verdict.problem


@virtual_time
async def test_call_without_steps_speaks_for_two_seconds_and_ends_after_ten() -> None:
    async with scripted() as server:
        verdict = await place_call(server.url, options=CallOptions(rtt=0))
    assert verdict.passed, str(verdict)
    assert verdict.report.duration == pytest.approx(10, abs=0.1)
    speech = [frame for frame in server.peer.audio if frame.strip(b"\xff")]
    assert len(speech) == pytest.approx(10, abs=2)


@virtual_time
async def test_agent_speaks_without_steps_if_a_fault_makes_the_call_a_monitored_one() -> None:
    async with scripted() as server:
        verdict = await place_call(server.url, fault=FAULTS["inverted-channels"])
    assert verdict.passed, str(verdict)
    # The fault offers the internal channel first.
    assert sample_speech(2.0, AudioHookChannel.INTERNAL) in b"".join(server.peer.audio)[::2]


@virtual_time
async def test_hang_up_after_ends_the_call_even_if_steps_remain() -> None:
    async with scripted() as server:
        scenario = Scenario(steps=("wait:20",), hang_up_after=1.0)
        verdict = await place_call(server.url, scenario, options=CallOptions(rtt=0))
    assert verdict.passed, str(verdict)
    assert verdict.report.duration == pytest.approx(1, abs=0.1)


async def test_server_that_is_not_there_raises() -> None:
    with pytest.raises(ConnectFailedError):
        await place_call("ws://127.0.0.1:9/bot", Scenario())


@virtual_time
async def test_monitored_scenario_offers_both_parties_and_the_agent_speaks(tmp_path: Path) -> None:
    text = """
    mode = "monitor"
    steps = ["say:tone:300:0.2", 'agent:"How can I help you?"']
    """
    async with scripted() as server:
        scenario = read_scenario(written(tmp_path, text))
        verdict = await place_call(server.url, scenario)
        await asyncio.wait_for(server.done.wait(), 5)
    assert verdict.passed, str(verdict)
    offer = server.peer.received[0]["parameters"]["media"]
    assert [medium["channels"] for medium in offer] == [
        ["external", "internal"],
        ["external"],
        ["internal"],
    ]


def test_channels_and_formats_make_the_offer_in_order() -> None:
    scenario = make_scenario(
        {"mode": "monitor", "channels": ["inverted", "external"], "format": ["L16", "PCMU"]}
    )
    offer = [(m["format"], m["channels"]) for m in scenario.parameters().media]
    assert offer == [
        ("L16", ["internal", "external"]),
        ("L16", ["external"]),
        ("PCMU", ["internal", "external"]),
        ("PCMU", ["external"]),
    ]
    assert scenario.parameters().mode is CallMode.MONITOR
    assert scenario.parameters().input_variables is None


def test_empty_language_is_left_out_and_texts_are_still_spoken() -> None:
    scenario = Scenario(language="", steps=('say:"hello"',))
    assert "language" not in scenario.parameters().open_parameters()


def test_replace_keeps_the_other_fields_and_the_folder(tmp_path: Path) -> None:
    scenario = read_scenario(written(tmp_path)).replace(language="de-DE", hang_up_after=None)
    assert (scenario.language, scenario.patience, scenario.hang_up_after) == ("de-DE", 3.0, None)
    assert scenario.steps[1] == "say:hello.wav"
    with pytest.raises(ValueError, match="unknown verb 'sing'"):
        scenario.replace(steps=["sing"])


def test_folder_of_a_file_is_relative_to_the_file(tmp_path: Path) -> None:
    (tmp_path / "sounds").mkdir()
    write_wav(tmp_path / "sounds" / "hi.wav", b"\x10\x20" * 800, bytes(1600))
    path = tmp_path / "hi.toml"
    path.write_text('folder = "sounds"\nsteps = ["say:hi.wav"]\n')
    assert read_scenario(path).steps == ("say:hi.wav",)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("steps = [", "is not a TOML file: "),
        ("steps = ['sing:song']", "step 'sing:song': unknown verb 'sing'"),
        ("steps = ['say:missing.wav']", "No such file"),
        ("steps = 'wait:1'", "steps: Input should be a list, got 'wait:1'"),
        ("expect = ['is nice']", "unknown expectation 'is nice'"),
        ("patience = 0", "patience: Input should be greater than 0, got 0"),
        ("patience = inf", "patience: Input should be a finite number, got inf"),
        ("mode = 'human'", "mode: Input should be 'bot' or 'monitor', got 'human'"),
        ("input = { age = 7 }", "input.age: Input should be a valid string, got 7"),
        ("anni = 'tel:+1'", "unknown key 'anni'; the keys are steps, expect, mode, "),
        ("language = 'xx'\nsteps = ['say:\"hi\"']", "no voice for the language 'xx'"),
        ("folder = 7", "No such file"),
    ],
)
def test_error_for_a_file_names_the_file_the_key_and_the_reason(
    text: str, why: str, tmp_path: Path
) -> None:
    if "folder" in text:
        text += "\nsteps = ['say:hello.wav']"
    with pytest.raises(ValueError, match=r"order\.toml") as raised:
        read_scenario(written(tmp_path, text))
    assert why in str(raised.value)
    assert "pydantic" not in str(raised.value)


def test_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="is not a TOML file"):
        read_scenario(path)
    with pytest.raises(FileNotFoundError):
        read_scenario(tmp_path / "missing.toml")
