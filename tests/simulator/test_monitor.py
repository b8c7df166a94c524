"""Calls to a server that only listens: offers, languages, entities, moving to a new session."""

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


def monitored(choice: int = 0, **parameters: Any) -> SessionDriver:
    driver = SessionDriver(replace(MONITOR, **parameters))
    driver.receive("opened", {"media": [dict(driver.session.parameters.media[choice])]})
    driver.take_sent()
    return driver


def test_what_a_monitor_is_offered() -> None:
    driver = SessionDriver(new_monitor_call(session_id=PARAMETERS.session_id))
    ((_, kind, parameters),) = driver.take_sent()
    assert kind == "open"
    assert [entry["channels"] for entry in parameters["media"]] == [
        ["external", "internal"],
        ["external"],
        ["internal"],
    ]
    assert {entry["format"] for entry in parameters["media"]} == {"PCMU"}
    # The fields of a bot's flow do not occur.
    assert "inputVariables" not in parameters
    assert "continuedSessions" not in parameters


@pytest.mark.parametrize("choice", [0, 1, 2])
def test_binary_from_a_server_that_should_only_listen(choice: int) -> None:
    driver = monitored(choice)
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
def test_positions_count_samples_of_one_channel(
    channels: tuple[AudioHookChannel, ...], format: AudioHookMediaFormat, width: int
) -> None:
    driver = monitored(media=(medium(*channels, format=format),))
    assert driver.session.send_audio(b"\0" * 1600 * width, driver.now)
    assert driver.session.position == 1600
    driver.call("pause")
    ((_, _, payload), (_, kind, _)) = driver.take_sent()
    assert (len(payload), kind) == (1600 * width, "paused")


def test_a_broken_sample_is_the_testers_mistake() -> None:
    driver = monitored()
    with pytest.raises(ValueError, match="not whole samples"):
        driver.session.send_audio(b"\0" * 1601, driver.now)


def test_asked_for_languages() -> None:
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
def test_answers_about_languages_that_are_tolerated(
    answer: dict[str, Any], rule: ServerRule
) -> None:
    driver = SessionDriver(replace(MONITOR, supported_languages=True))
    driver.receive("opened", {"media": [], **answer})
    assert [warning.rule for warning in driver.of(ProtocolWarning)] == [rule]
    assert driver.of(Violation) == []


def test_an_empty_list_of_languages_is_an_answer() -> None:
    driver = SessionDriver(replace(MONITOR, supported_languages=True))
    driver.receive("opened", {"media": [], "supportedLanguages": []})
    assert driver.of(ProtocolWarning) == []


def test_a_transcript_that_is_right_and_one_that_is_not() -> None:
    driver = monitored()
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
    # It is on record; what the real client does with it is not known, so nothing is sent.
    assert driver.take_sent() == []


def test_a_conversation_continues_in_another_session() -> None:
    old = monitored()
    old.send_frames(3)
    old.receive("reconnect", {"info": "going down"})
    assert old.of(ReconnectRequested)[0].info == "going down"
    # The reference client only takes note.
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


def test_open_of_a_continued_session_carries_the_position_of_its_window() -> None:
    driver = SessionDriver(replace(MONITOR, position=8000))
    ((_, message),) = driver.sent
    assert isinstance(message, dict)
    assert (message["type"], message["position"]) == ("open", "PT1S")


def test_opened_that_crosses_our_close_is_no_fault() -> None:
    driver = SessionDriver()
    driver.call("hang_up")
    driver.accept()
    assert [event.type for event in driver.of(MessageIgnored)] == ["opened"]
    driver.receive("closed")
    assert driver.of(Violation) == []
    assert driver.session.socket_should_close


def test_opened_for_the_second_time_still_is_one() -> None:
    driver = SessionDriver()
    driver.accept()
    driver.call("hang_up")
    driver.accept()
    assert [violation.rule for violation in driver.of(Violation)] == [ServerRule.UNEXPECTED_MESSAGE]


def test_a_probe() -> None:
    probe = as_probe(new_call())
    assert probe.is_probe
    assert not new_call().is_probe
    opening = probe.open_parameters()
    null = "00000000-0000-0000-0000-000000000000"
    assert opening["conversationId"] == null
    assert opening["participant"] == {"id": null, "ani": "", "aniName": "", "dnis": ""}
    assert opening["media"] == new_call().open_parameters()["media"]
    assert "inputVariables" not in opening


def test_parameters_of_ones_own() -> None:
    opening = new_call(more={"language": 5, "region": "mars"}).open_parameters()
    assert (opening["language"], opening["region"]) == (5, "mars")
