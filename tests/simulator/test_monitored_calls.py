"""Tests of calls to a server that sends no audio: offers, languages, entities, continuations."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from pipecat_genesys.protocol.types import AudioHookChannel, AudioHookMediaFormat, CloseReason
from pipecat_genesys.simulator import (
    MONITOR_OFFER,
    CallMode,
    MessageIgnored,
    Opened,
    PreviousSession,
    ProtocolWarning,
    ReconnectRequested,
    ServerEvent,
    ServerRule,
    Violation,
    as_probe,
    medium,
    new_call,
    new_monitor_call,
)

from .session_driver import PARAMETERS, SessionDriver

MONITOR = replace(PARAMETERS, mode=CallMode.MONITOR, media=MONITOR_OFFER, input_variables=None)
EXTERNAL, INTERNAL = AudioHookChannel.EXTERNAL, AudioHookChannel.INTERNAL
ID = "30b0e395-84d3-4570-ac13-9a62d8f514c0"


def monitored_call(choice: int = 0, **parameters: Any) -> SessionDriver:
    driver = SessionDriver(replace(MONITOR, **parameters))
    driver.receive("opened", {"media": [dict(driver.session.parameters.media[choice])]})
    driver.take_sent()
    return driver


def test_monitor_is_offered_both_parties_first_and_gets_no_bot_parameters() -> None:
    driver = SessionDriver(new_monitor_call(session_id=PARAMETERS.session_id))
    ((_, kind, parameters),) = driver.take_sent()
    assert kind == "open"
    assert [entry["channels"] for entry in parameters["media"]] == [
        ["external", "internal"],
        ["external"],
        ["internal"],
    ]
    assert {entry["format"] for entry in parameters["media"]} == {"PCMU"}
    assert "inputVariables" not in parameters
    assert "continuedSessions" not in parameters


@pytest.mark.parametrize("choice", [0, 1, 2])
def test_audio_from_a_monitoring_server_ends_the_call_with_415(choice: int) -> None:
    driver = monitored_call(choice)
    driver.receive_audio(b"\xff" * 1600)
    error, close = driver.take_sent()
    assert error[1:] == ("error", {"code": 415, "message": "Unexpected binary message"})
    assert close[1:] == ("close", {"reason": "error"})


@pytest.mark.parametrize(
    ("channels", "format", "width"),
    [
        ((EXTERNAL,), AudioHookMediaFormat.PCMU, 1),
        ((INTERNAL,), AudioHookMediaFormat.L16, 2),
        ((EXTERNAL, INTERNAL), AudioHookMediaFormat.PCMU, 2),
        ((INTERNAL, EXTERNAL), AudioHookMediaFormat.L16, 4),
    ],
)
def test_position_counts_samples_of_one_channel(
    channels: tuple[AudioHookChannel, ...], format: AudioHookMediaFormat, width: int
) -> None:
    driver = monitored_call(media=(medium(*channels, format=format),))
    assert driver.session.send_audio(b"\0" * 1600 * width, driver.now)
    assert driver.session.position == 1600
    driver.call("pause")
    ((_, _, payload), (_, kind, _)) = driver.take_sent()
    assert (len(payload), kind) == (1600 * width, "paused")


def test_audio_that_ends_within_a_sample_is_refused() -> None:
    driver = monitored_call()
    with pytest.raises(ValueError, match="not whole samples"):
        driver.session.send_audio(b"\0" * 1601, driver.now)


def test_supported_languages_are_requested_and_reported() -> None:
    driver = SessionDriver(replace(MONITOR, supported_languages=True))
    assert driver.take_sent()[0][2]["supportedLanguages"] is True
    driver.receive("opened", {"media": [], "supportedLanguages": ["en-US", "de-DE"]})
    (opened,) = driver.of(Opened)
    assert opened.supported_languages == ("en-US", "de-DE")
    assert driver.of(ProtocolWarning) == []


@pytest.mark.parametrize(
    ("answer", "rule"),
    [
        ({}, ServerRule.LANGUAGES_MISSING),
        ({"supportedLanguages": ["en"]}, ServerRule.LANGUAGE_CODE),
    ],
)
def test_missing_or_odd_languages_are_tolerated(answer: dict[str, Any], rule: ServerRule) -> None:
    driver = SessionDriver(replace(MONITOR, supported_languages=True))
    driver.receive("opened", {"media": [], **answer})
    assert [warning.rule for warning in driver.of(ProtocolWarning)] == [rule]
    assert driver.of(Violation) == []


def test_empty_list_of_languages_is_valid() -> None:
    driver = SessionDriver(replace(MONITOR, supported_languages=True))
    driver.receive("opened", {"media": [], "supportedLanguages": []})
    assert driver.of(ProtocolWarning) == []


def test_invalid_transcript_is_a_violation_without_an_error_message() -> None:
    driver = monitored_call()
    good = {
        "id": ID,
        "channelId": 1,
        "isFinal": True,
        "offset": "PT1.5S",
        "duration": "PT0.5S",
        "alternatives": [
            {"confidence": 0.5, "interpretations": [{"type": "display", "transcript": "hi"}]}
        ],
    }
    driver.receive("event", {"entities": [{"type": "transcript", "data": good}]})
    assert (driver.of(Violation), driver.of(ProtocolWarning)) == ([], [])
    del good["channelId"]
    driver.receive(
        "event", {"entities": [{"type": "transcript", "data": {**good, "channel": "x"}}]}
    )
    (violation,) = driver.of(Violation)
    assert violation.rule is ServerRule.BAD_ENTITY
    assert "channelId" in violation.message
    assert len(driver.of(ServerEvent)) == 2
    assert driver.take_sent() == []


def test_continued_session_lists_the_previous_one_and_the_previous_one_hands_over() -> None:
    old = monitored_call()
    old.send_frames(3)
    old.receive("reconnect", {"info": "going down"})
    assert old.of(ReconnectRequested)[0].info == "going down"
    assert [kind for _, kind, _ in old.take_sent()] == ["audio"] * 3
    parameters = replace(
        MONITOR,
        session_id="1b0e3953-84d3-4570-ac13-9a62d8f514c1",
        position=1600,
        continued_sessions=(
            PreviousSession(ID, old.session.last_server_seq, old.session.last_seq),
        ),
    )
    new = SessionDriver(parameters)
    ((_, _, opening),) = new.take_sent()
    assert opening["conversationId"] == PARAMETERS.conversation_id
    assert opening["continuedSessions"] == [{"id": ID, "serverseq": 2, "clientseq": 1}]
    assert new.session.position == 1600
    old.call("hand_over")
    assert old.take_sent()[0][1:] == ("close", {"reason": "reconnect"})
    assert old.session.close_reason is CloseReason.RECONNECT


def test_open_of_a_continued_session_has_the_position_of_the_repeated_audio() -> None:
    driver = SessionDriver(replace(MONITOR, position=8000))
    ((_, message),) = driver.sent
    assert isinstance(message, dict)
    assert (message["type"], message["position"]) == ("open", "PT1S")


def test_opened_that_was_sent_before_close_arrived_is_ignored() -> None:
    driver = SessionDriver()
    driver.call("hang_up")
    driver.accept()
    assert [event.type for event in driver.of(MessageIgnored)] == ["opened"]
    driver.receive("closed")
    assert driver.of(Violation) == []
    assert driver.session.socket_should_close


def test_second_opened_is_a_violation() -> None:
    driver = SessionDriver()
    driver.accept()
    driver.call("hang_up")
    driver.accept()
    assert [violation.rule for violation in driver.of(Violation)] == [ServerRule.UNEXPECTED_MESSAGE]


def test_probe_has_null_ids_and_the_usual_media_offer() -> None:
    probe = as_probe(new_call())
    assert probe.is_probe
    assert not new_call().is_probe
    opening = probe.open_parameters()
    null = "00000000-0000-0000-0000-000000000000"
    assert opening["conversationId"] == null
    assert opening["participant"] == {"id": null, "ani": "", "aniName": "", "dnis": ""}
    assert opening["media"] == new_call().open_parameters()["media"]
    assert "inputVariables" not in opening


def test_additional_parameters_of_open_replace_the_usual_ones() -> None:
    opening = new_call(more={"language": 5, "region": "mars"}).open_parameters()
    assert (opening["language"], opening["region"]) == (5, "mars")
