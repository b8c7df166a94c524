"""Tests that personal data is removed from messages, and that the rest of a message stays."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from genesys import Genesys
from pipecat_genesys.capture import Choice, Choices, mask_client_message, mask_server_parameters
from pipecat_genesys.protocol import server_messages
from pipecat_genesys.protocol.client_messages import parse_strict

RECORD, MASK, OMIT = Choice.RECORD, Choice.MASK, Choice.OMIT
VERBATIM = Choices(RECORD, RECORD, RECORD, RECORD, RECORD)
OMITTED = Choices(OMIT, OMIT, OMIT, OMIT, OMIT)
PLANTED = "planted-4711"


def opening(client: Genesys | None = None) -> dict[str, Any]:
    text = (client or Genesys()).open(
        inputVariables={"account": PLANTED}, customConfig={"a": [{"b": PLANTED}, 4711]}
    )
    message: dict[str, Any] = json.loads(text)
    message["parameters"]["participant"]["aniName"] = PLANTED
    return message


def is_in(value: object, choices: Choices, message: dict[str, Any]) -> bool:
    return str(value) in json.dumps(mask_client_message(message, choices))


def test_masked_open_is_a_valid_open_without_personal_data() -> None:
    message = opening()
    masked = mask_client_message(message, Choices())
    assert PLANTED not in json.dumps(masked)
    assert "4711" not in json.dumps(masked)
    assert "+1555" not in json.dumps(masked)
    assert parse_strict(json.dumps(masked)) == masked
    parameters = masked["parameters"]
    assert parameters["inputVariables"] == {"account": "***"}
    assert parameters["participant"]["id"] == message["parameters"]["participant"]["id"]
    for name in ("organizationId", "conversationId", "media"):
        assert parameters[name] == message["parameters"][name]
    assert message["parameters"]["inputVariables"] == {"account": PLANTED}


@pytest.mark.parametrize("kind", ["digits", "variables", "participant"])
def test_each_kind_of_data_is_recorded_masked_or_omitted_by_its_own_choice(kind: str) -> None:
    client = Genesys()
    message = opening(client)
    digit = json.loads(client.text("dtmf", {"digit": "7"}))
    shown = {
        "digits": lambda choices: is_in('"digit": "7"', choices, digit),
        "variables": lambda choices: is_in(f'"account": "{PLANTED}"', choices, message),
        "participant": lambda choices: is_in("tel:+15555551234", choices, message),
    }
    alone = Choices(**{"audio": OMIT, "digits": OMIT, "variables": OMIT, "participant": OMIT})
    for choice in Choice:
        choices = Choices(
            **{
                name: choice if name == kind else getattr(alone, name)
                for name in ("audio", "digits", "variables", "participant")
            }
        )
        assert {name for name, is_shown in shown.items() if is_shown(choices)} == (
            {kind} if choice is RECORD else set()
        )


def test_omitted_variables_and_digits_are_missing() -> None:
    client = Genesys()
    masked = mask_client_message(opening(client), OMITTED)["parameters"]
    assert {"inputVariables", "customConfig"}.isdisjoint(masked)
    assert masked["participant"]["ani"] == ""
    digit = json.loads(client.text("dtmf", {"digit": "7"}))
    assert mask_client_message(digit, OMITTED)["parameters"] == {}


def test_masked_digit_is_a_key_of_a_keypad() -> None:
    digit = json.loads(Genesys().text("dtmf", {"digit": "4111111111111111"}))
    assert mask_client_message(digit, Choices())["parameters"] == {"digit": "*"}


@pytest.mark.parametrize(
    "message",
    [
        {"type": "dtmf", "digit": PLANTED},
        {"type": "dtmf", "parameters": PLANTED},
        {"type": "dtmf", "parameters": {"digits": [PLANTED]}},
        {"type": "x", "parameters": {"inner": {"deep": PLANTED}}},
        {"type": "open", "parameters": {"participant": PLANTED}},
        {"type": "open", "parameters": {"participant": {"id": {"x": PLANTED}, "x": PLANTED}}},
        {"type": "open", "parameters": {"participant": {"id": PLANTED}}},
        {"type": "open", "parameters": {"inputVariables": PLANTED}},
        {"type": "open", "parameters": {"media": [{"type": "audio", "x": PLANTED}]}},
        {"type": "open", "parameters": {"media": [{"channels": [{"x": PLANTED}]}]}},
        {"type": "open", "parameters": {"media": {"x": PLANTED}}},
        {"type": "open", "parameters": {"continuedSessions": [{"id": "x", "ani": PLANTED}]}},
        {"type": "open", "parameters": {"supportedLanguages": [[PLANTED]]}},
        {"type": "close", "parameters": {"reason": {"x": PLANTED}}},
        {"type": "error", "parameters": {"code": [PLANTED]}},
        {"type": {"x": PLANTED}, "id": [PLANTED]},
    ],
)
@pytest.mark.parametrize("choices", [Choices(), OMITTED], ids=["masked", "omitted"])
def test_data_at_an_unexpected_place_is_masked(message: dict[str, Any], choices: Choices) -> None:
    assert PLANTED not in json.dumps(mask_client_message(message, choices))


def server_side() -> list[tuple[str, Mapping[str, Any]]]:
    drafts = [
        server_messages.disconnect(info="done", output_variables={"intent": PLANTED}),
        server_messages.closed({"intent": PLANTED}),
        server_messages.event("custom", {"a": [PLANTED, {"b": 4711}], "text": PLANTED}),
        server_messages.event(
            "transcript",
            {
                "id": "7d2a", "offset": "PT1S", "isFinal": True,
                "alternatives": [{"interpretations": [{"transcript": PLANTED}]}],
            },
        ),
    ]  # fmt: skip
    return [(draft.type.value, draft.parameters) for draft in drafts]


@pytest.mark.parametrize("choices", [Choices(), OMITTED, VERBATIM.paused])
def test_server_messages_have_no_variables_and_no_words(choices: Choices) -> None:
    for name, parameters in server_side():
        text = json.dumps(mask_server_parameters(name, parameters, choices))
        assert PLANTED not in text
        assert "4711" not in text
        assert PLANTED in json.dumps(mask_server_parameters(name, parameters, VERBATIM))


def test_masked_transcript_keeps_its_times_and_masked_disconnect_its_reason() -> None:
    masked = {name: mask_server_parameters(name, p, Choices()) for name, p in server_side()}
    (entity,) = masked["event"]["entities"]
    assert entity["data"]["offset"] == "PT1S"
    assert entity["data"]["alternatives"] == [{"interpretations": [{"transcript": "***"}]}]
    assert masked["disconnect"] == {
        "reason": "completed",
        "info": "done",
        "outputVariables": {"intent": "***"},
    }


@pytest.mark.parametrize("choices", [Choices(), OMITTED])
def test_masking_twice_changes_nothing(choices: Choices) -> None:
    once = mask_client_message(opening(), choices)
    assert mask_client_message(once, choices) == once
    for name, parameters in server_side():
        masked = mask_server_parameters(name, parameters, choices)
        assert mask_server_parameters(name, masked, choices) == masked


def test_pause_masks_what_is_recorded_and_leaves_out_what_is_omitted() -> None:
    assert Choices(RECORD, RECORD, OMIT, MASK, RECORD).paused == Choices(
        MASK, MASK, OMIT, MASK, MASK
    )
    assert VERBATIM.is_verbatim
    assert not VERBATIM.paused.is_verbatim
