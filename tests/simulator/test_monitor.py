"""Calls to a server that only listens: offers, languages, entities, moving to a new session."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from pipecat_genesys.protocol.types import AudioHookChannel, AudioHookMediaFormat, CloseReason
from pipecat_genesys.simulator import (
    MONITOR_OFFER,
    CallMode,
    ContinuedSession,
    MessageIgnored,
    Opened,
    ProtocolWarning,
    ReconnectRequested,
    Rule,
    ServerEvent,
    Violation,
    as_probe,
    medium,
    new_call,
    new_monitor_call,
)

from .transcript import PARAMETERS, Table

MONITOR = replace(PARAMETERS, mode=CallMode.MONITOR, media=MONITOR_OFFER, input_variables=None)
EXTERNAL, INTERNAL = AudioHookChannel.EXTERNAL, AudioHookChannel.INTERNAL
ID = "30b0e395-84d3-4570-ac13-9a62d8f514c0"


def monitored(choice: int = 0, **parameters: Any) -> Table:
    table = Table(replace(MONITOR, **parameters))
    table.text("opened", {"media": [dict(table.session.parameters.media[choice])]})
    table.take()
    return table


def test_what_a_monitor_is_offered() -> None:
    table = Table(new_monitor_call(session_id=PARAMETERS.session_id))
    ((_, kind, parameters),) = table.take()
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
    table = monitored(choice)
    table.audio(b"\xff" * 1600)
    error, close = table.take()
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
    table = monitored(media=(medium(*channels, format=format),))
    assert table.session.send_audio(b"\0" * 1600 * width, table.now)
    assert table.session.position == 1600
    table.do("pause")
    ((_, _, payload), (_, kind, _)) = table.take()
    assert (len(payload), kind) == (1600 * width, "paused")


def test_a_broken_sample_is_the_testers_mistake() -> None:
    table = monitored()
    with pytest.raises(ValueError, match="not whole samples"):
        table.session.send_audio(b"\0" * 1601, table.now)


def test_asked_for_languages() -> None:
    table = Table(replace(MONITOR, supported_languages=True))
    assert table.take()[0][2]["supportedLanguages"] is True
    table.text("opened", {"media": [], "supportedLanguages": ["en-US", "de-DE"]})
    (opened,) = table.of(Opened)
    assert opened.supported_languages == ("en-US", "de-DE")
    assert table.of(ProtocolWarning) == []


@pytest.mark.parametrize(
    ("answer", "rule"),
    [({}, Rule.LANGUAGES_MISSING), ({"supportedLanguages": ["en"]}, Rule.LANGUAGE_CODE)],
)
def test_answers_about_languages_that_are_tolerated(answer: dict[str, Any], rule: Rule) -> None:
    table = Table(replace(MONITOR, supported_languages=True))
    table.text("opened", {"media": [], **answer})
    assert [warning.rule for warning in table.of(ProtocolWarning)] == [rule]
    assert table.of(Violation) == []


def test_an_empty_list_of_languages_is_an_answer() -> None:
    table = Table(replace(MONITOR, supported_languages=True))
    table.text("opened", {"media": [], "supportedLanguages": []})
    assert table.of(ProtocolWarning) == []


def test_a_transcript_that_is_right_and_one_that_is_not() -> None:
    table = monitored()
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
    table.text("event", {"entities": [{"type": "transcript", "data": good}]})
    assert (table.of(Violation), table.of(ProtocolWarning)) == ([], [])
    del good["channelId"]
    table.text("event", {"entities": [{"type": "transcript", "data": {**good, "channel": "x"}}]})
    (violation,) = table.of(Violation)
    assert violation.rule is Rule.BAD_ENTITY
    assert "channelId" in violation.message
    assert len(table.of(ServerEvent)) == 2
    # It is on record; what the real client does with it is not known, so nothing is sent.
    assert table.take() == []


def test_a_conversation_continues_in_another_session() -> None:
    old = monitored()
    old.caller(3)
    old.text("reconnect", {"info": "going down"})
    assert old.of(ReconnectRequested)[0].info == "going down"
    # The reference client only takes note.
    assert [kind for _, kind, _ in old.take()] == ["audio"] * 3
    parameters = replace(
        MONITOR,
        session_id="1b0e3953-84d3-4570-ac13-9a62d8f514c1",
        position=1600,
        continued_sessions=(
            ContinuedSession(ID, old.session.last_server_seq, old.session.last_seq),
        ),
    )
    new = Table(parameters)
    ((_, _, opening),) = new.take()
    assert opening["conversationId"] == PARAMETERS.conversation_id
    assert opening["continuedSessions"] == [{"id": ID, "serverseq": 2, "clientseq": 1}]
    assert new.session.position == 1600
    old.do("hand_over")
    assert old.take()[0][1:] == ("close", {"reason": "reconnect"})
    assert old.session.close_reason is CloseReason.RECONNECT


def test_open_of_a_continued_session_carries_the_position_of_its_window() -> None:
    table = Table(replace(MONITOR, position=8000))
    ((_, message),) = table.said
    assert isinstance(message, dict)
    assert (message["type"], message["position"]) == ("open", "PT1S")


def test_opened_that_crosses_our_close_is_no_fault() -> None:
    table = Table()
    table.do("hang_up")
    table.opened()
    assert [event.type for event in table.of(MessageIgnored)] == ["opened"]
    table.text("closed")
    assert table.of(Violation) == []
    assert table.session.socket_should_close


def test_opened_for_the_second_time_still_is_one() -> None:
    table = Table()
    table.opened()
    table.do("hang_up")
    table.opened()
    assert [violation.rule for violation in table.of(Violation)] == [Rule.UNEXPECTED_MESSAGE]


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
