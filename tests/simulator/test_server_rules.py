"""Tests of the client's reaction to each rule that a server breaks.

The expected reactions were measured with Genesys's reference client. The limits are the limits of
Genesys Cloud.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pipecat_genesys.simulator import (
    PCMU_EXTERNAL,
    REACTIONS,
    Closed,
    MessageIgnored,
    Party,
    ProtocolWarning,
    ServerRule,
    SessionState,
    Violation,
    new_call,
)

from .session_driver import MEDIUM, PARAMETERS, SessionDriver, open_session

STEREO: dict[str, Any] = {
    "type": "audio",
    "format": "PCMU",
    "channels": ["external", "internal"],
    "rate": 8000,
}
L16: dict[str, Any] = {"type": "audio", "format": "L16", "channels": ["external"], "rate": 8000}


def offering(*media: dict[str, Any], **more: Any) -> SessionDriver:
    fields = {name: getattr(PARAMETERS, name) for name in ("session_id", "organization_id")}
    return SessionDriver(new_call(media=media, **fields, **more))


def assert_ends_with_error(
    driver: SessionDriver, code: int, rule: ServerRule, at: float = 0.0
) -> None:
    said = driver.take_sent()[-2:]
    assert [(when, kind) for when, kind, _ in said] == [(at, "error"), (at, "close")]
    assert said[0][2]["code"] == code
    assert said[0][2]["message"]
    assert said[1][2] == {"reason": "error"}
    (violation,) = driver.of(Violation)
    assert (violation.rule, violation.code, violation.ends_call) == (rule, code, True)
    assert driver.session.state is SessionState.CLOSING


def test_every_rule_has_a_reaction() -> None:
    assert set(REACTIONS) == set(ServerRule)
    for reaction in REACTIONS.values():
        assert not (reaction.ends_call and reaction.code is None)
        assert not (reaction.code and reaction.is_tolerated)


# Tests of the server's deadlines


def test_missing_opened_ends_the_call_after_five_seconds() -> None:
    driver = SessionDriver()
    driver.take_sent()
    driver.advance(4.999)
    assert driver.take_sent() == []
    driver.advance(0.001)
    assert_ends_with_error(driver, 408, ServerRule.OPEN_TIMEOUT, at=5.0)


def test_missing_closed_closes_the_socket_after_ten_seconds() -> None:
    driver = open_session()
    driver.advance(0.5)
    driver.call("hang_up")
    driver.advance(9.999)
    assert [kind for _, kind, _ in driver.take_sent()] == ["close"]
    driver.advance(0.001)
    assert driver.take_sent() == [
        (10.5, "error", {"code": 408, "message": "Close transaction timeout"})
    ]
    assert driver.session.socket_should_close
    assert [v.rule for v in driver.of(Violation)] == [ServerRule.CLOSE_TIMEOUT]


def test_missing_pong_ends_the_call_when_the_next_ping_is_due() -> None:
    driver = open_session()
    driver.advance(5.999)
    assert [kind for _, kind, _ in driver.take_sent()] == ["ping"]
    driver.advance(0.001)
    assert_ends_with_error(driver, 408, ServerRule.PONG_TIMEOUT, at=6.0)


def test_pong_with_wrong_clientseq_leaves_the_ping_unanswered() -> None:
    driver = open_session()
    driver.advance(1.0)
    driver.take_sent()
    driver.receive("pong", clientseq=1)
    ((_, kind, error),) = driver.take_sent()
    assert (kind, error["code"]) == ("error", 400)
    assert driver.session.state is SessionState.OPEN
    driver.advance(5.0)
    (_, kind, error), (at, close, _) = driver.take_sent()
    assert (at, kind, error["code"], close) == (6.0, "error", 408, "close")
    assert [v.rule for v in driver.of(Violation)] == [
        ServerRule.PONG_CLIENTSEQ,
        ServerRule.PONG_TIMEOUT,
    ]


def test_pong_with_the_clientseq_of_a_later_message_is_wrong() -> None:
    driver = open_session()
    driver.advance(1.0)
    driver.call("press_dtmf", "1")
    driver.receive("pong")  # the `clientseq` of this pong is the `seq` of `dtmf`
    assert [v.rule for v in driver.of(Violation)] == [ServerRule.PONG_CLIENTSEQ]


def test_right_pong_after_a_wrong_one_keeps_the_call() -> None:
    driver = open_session()
    driver.advance(1.0)
    driver.receive("pong", clientseq=1)
    driver.receive("pong", clientseq=2)
    driver.receive("pong", clientseq=4)  # this pong answers the second ping, which has `seq` 4
    driver.advance(5.0)
    assert driver.session.state is SessionState.OPEN


def test_pong_without_a_ping_is_answered_with_409() -> None:
    driver = open_session()
    driver.receive("pong")
    ((_, kind, error),) = driver.take_sent()
    assert (kind, error["code"]) == ("error", 409)
    assert driver.session.state is SessionState.OPEN
    assert [v.rule for v in driver.of(Violation)] == [ServerRule.PONG_UNEXPECTED]


# Tests of the envelope of server messages


@pytest.mark.parametrize(
    ("overrides", "code", "rule"),
    [
        ({"seq": 1}, 500, ServerRule.SEQUENCE),
        ({"seq": 3}, 500, ServerRule.SEQUENCE),
        ({"seq": 0}, 500, ServerRule.SEQUENCE),
        ({"id": "11111111-1111-4111-8111-111111111111"}, 400, ServerRule.WRONG_ID),
        ({"clientseq": 2}, 400, ServerRule.CLIENTSEQ_AHEAD),
        ({"version": "1"}, 400, ServerRule.NOT_A_SERVER_MESSAGE),
        ({"version": 2}, 400, ServerRule.NOT_A_SERVER_MESSAGE),
        ({"version": ...}, 400, ServerRule.NOT_A_SERVER_MESSAGE),
        ({"id": ...}, 400, ServerRule.NOT_A_SERVER_MESSAGE),
        ({"type": ...}, 400, ServerRule.NOT_A_SERVER_MESSAGE),
        ({"seq": ...}, 400, ServerRule.NOT_A_SERVER_MESSAGE),
        ({"seq": "2"}, 400, ServerRule.NOT_A_SERVER_MESSAGE),
        ({"seq": True}, 400, ServerRule.NOT_A_SERVER_MESSAGE),
        ({"seq": 2.5}, 400, ServerRule.NOT_A_SERVER_MESSAGE),
        ({"seq": -1}, 400, ServerRule.NOT_A_SERVER_MESSAGE),
        ({"clientseq": ...}, 400, ServerRule.NOT_A_SERVER_MESSAGE),
        ({"clientseq": None}, 400, ServerRule.NOT_A_SERVER_MESSAGE),
        ({"parameters": ...}, 400, ServerRule.NOT_A_SERVER_MESSAGE),
        ({"parameters": None}, 400, ServerRule.NOT_A_SERVER_MESSAGE),
        ({"parameters": []}, 400, ServerRule.NOT_A_SERVER_MESSAGE),
    ],
)
def test_invalid_envelope_ends_the_call(
    overrides: dict[str, Any], code: int, rule: ServerRule
) -> None:
    driver = open_session()
    driver.receive("updated", **overrides)
    assert_ends_with_error(driver, code, rule)


def test_seq_may_be_written_as_a_float() -> None:
    driver = open_session()
    driver.receive("updated", seq=2.0)
    assert driver.of(Violation) == []


@pytest.mark.parametrize("text", ["", "{", "nonsense", '{"version":"2",}', '{"seq": NaN}'])
def test_text_that_is_not_json_ends_the_call_with_400(text: str) -> None:
    driver = open_session()
    driver.receive_text(text)
    assert_ends_with_error(driver, 400, ServerRule.NOT_JSON)


def test_deeply_nested_json_ends_the_call_with_400() -> None:
    driver = open_session()
    driver.receive_text("[" * 60_000)
    assert_ends_with_error(driver, 400, ServerRule.NOT_JSON)


@pytest.mark.parametrize("text", ["5", "[]", "null", '"closed"', "true"])
def test_json_that_is_not_an_object_ends_the_call_with_400(text: str) -> None:
    driver = open_session()
    driver.receive_text(text)
    assert_ends_with_error(driver, 400, ServerRule.NOT_A_SERVER_MESSAGE)


@pytest.mark.parametrize(
    "kind", ["error", "ping", "paused", "resumed", "open", "dtmf", "close", "greeting", ""]
)
def test_type_that_servers_do_not_send_ends_the_call_with_500(kind: str) -> None:
    driver = open_session()
    driver.receive(kind, {"code": 500, "message": "oops"})
    assert_ends_with_error(driver, 500, ServerRule.UNKNOWN_TYPE)


@pytest.mark.parametrize(
    ("kind", "parameters"),
    [
        ("event", {}),
        ("event", {"entities": []}),
        ("event", {"entities": {}}),
        ("event", {"entities": [{"type": "barge_in"}]}),
        ("event", {"entities": [{"data": {}}]}),
        ("event", {"entities": ["barge_in"]}),
        ("disconnect", {}),
        ("disconnect", {"reason": "rejected"}),
        ("disconnect", {"reason": "completed", "info": 5}),
        ("reconnect", {"info": {}}),
    ],
)
def test_invalid_parameters_end_the_call_with_500(kind: str, parameters: dict[str, Any]) -> None:
    driver = open_session()
    driver.receive(kind, parameters)
    assert_ends_with_error(driver, 500, ServerRule.BAD_PARAMETERS)


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"media": None},
        {"media": MEDIUM},
        {"media": [{**MEDIUM, "rate": 16000}]},
        {"media": [{**MEDIUM, "rate": "8000"}]},
        {"media": [{**MEDIUM, "format": "OPUS"}]},
        {"media": [{**MEDIUM, "channels": []}]},
        {"media": [MEDIUM], "startPaused": 1},
        {"media": [MEDIUM], "discardTo": "1s"},
        {"media": [MEDIUM], "supportedLanguages": "en-US"},
    ],
)
def test_invalid_parameters_of_opened_end_the_call_with_500(parameters: dict[str, Any]) -> None:
    driver = SessionDriver()
    driver.receive("opened", parameters)
    assert_ends_with_error(driver, 500, ServerRule.BAD_PARAMETERS)


def test_message_without_parameters_is_not_counted_and_closed_is_out_of_sequence() -> None:
    driver = SessionDriver()
    driver.receive("opened", **{"parameters": ...})
    assert_ends_with_error(driver, 400, ServerRule.NOT_A_SERVER_MESSAGE)
    driver.receive("closed")
    assert driver.take_sent() == []
    assert not driver.session.socket_should_close
    driver.advance(10.0)
    ((at, kind, error),) = driver.take_sent()
    assert (at, kind, error["code"]) == (10.0, "error", 408)
    assert driver.session.socket_should_close


def test_opened_with_seq_two_ends_the_call_with_500() -> None:
    driver = SessionDriver()
    driver.seq = 1
    driver.accept()
    assert_ends_with_error(driver, 500, ServerRule.SEQUENCE)


@pytest.mark.parametrize("kind", ["pause", "resume", "closed"])
def test_message_that_needs_opened_first_ends_the_call_with_409(kind: str) -> None:
    driver = SessionDriver()
    driver.receive(kind)
    assert_ends_with_error(driver, 409, ServerRule.UNEXPECTED_MESSAGE)


@pytest.mark.parametrize("kind", ["opened", "closed"])
def test_message_that_does_not_fit_an_open_session_ends_the_call_with_409(kind: str) -> None:
    driver = open_session()
    driver.receive(kind, {"media": []} if kind == "opened" else {})
    assert_ends_with_error(driver, 409, ServerRule.UNEXPECTED_MESSAGE)


def test_event_before_opened_is_a_violation_without_an_error_message() -> None:
    driver = SessionDriver()
    driver.take_sent()
    driver.receive("event", {"entities": [{"type": "barge_in", "data": {}}]})
    assert [v.rule for v in driver.of(Violation)] == [ServerRule.EVENT_BEFORE_OPENED]
    assert driver.take_sent() == []
    driver.accept()
    assert driver.session.state is SessionState.OPEN


# Tests of the medium that the server selects


def choosing(*media: Any, offer: tuple[dict[str, Any], ...] = (MEDIUM,)) -> SessionDriver:
    driver = offering(*offer)
    driver.receive("opened", {"media": list(media)})
    return driver


def test_two_selected_media_end_the_call_with_400() -> None:
    driver = choosing(MEDIUM, STEREO, offer=(MEDIUM, STEREO))
    assert_ends_with_error(driver, 400, ServerRule.SEVERAL_MEDIA)


@pytest.mark.parametrize(
    "chosen",
    [
        L16,
        STEREO,
        {**MEDIUM, "channels": ["internal"]},
        {**STEREO, "channels": ["internal", "external"]},
    ],
)
def test_medium_that_was_not_offered_ends_the_call_with_400(chosen: dict[str, Any]) -> None:
    offer = (MEDIUM,) if chosen is STEREO else (MEDIUM, STEREO)
    assert_ends_with_error(choosing(chosen, offer=offer), 400, ServerRule.MEDIA_NOT_OFFERED)


def test_medium_may_select_an_offer_with_inverted_channels() -> None:
    inverted = {**STEREO, "channels": ["internal", "external"]}
    assert choosing(inverted, offer=(STEREO, inverted)).of(Violation) == []


def test_unknown_key_in_the_selected_medium_ends_the_call_with_400() -> None:
    driver = choosing({**MEDIUM, "bitrate": 64000})
    assert_ends_with_error(driver, 400, ServerRule.MEDIA_UNKNOWN_KEY)
    # If the offer also has this key, the key is valid.
    assert choosing({**MEDIUM, "x": 1}, offer=({**MEDIUM, "x": 1},)).of(Violation) == []


# Tests of the server's audio


def test_audio_before_opened_ends_the_call_with_415() -> None:
    driver = SessionDriver()
    driver.receive_audio(b"\xff" * 160)
    assert_ends_with_error(driver, 415, ServerRule.UNEXPECTED_BINARY)


@pytest.mark.parametrize("medium", [STEREO, {**MEDIUM, "channels": ["internal"]}, None])
def test_audio_on_a_medium_without_bot_audio_ends_the_call_with_415(
    medium: dict[str, Any] | None,
) -> None:
    driver = offering(medium or MEDIUM)
    driver.receive("opened", {"media": [medium] if medium else []})
    driver.receive_audio(b"\xff" * 160)
    assert_ends_with_error(driver, 415, ServerRule.UNEXPECTED_BINARY)


def test_l16_audio_that_ends_within_a_sample_ends_the_call_with_400() -> None:
    driver = offering(L16)
    driver.receive("opened", {"media": [L16]})
    driver.receive_audio(b"\0" * 320)
    assert driver.of(Violation) == []
    assert driver.session.playback.received == 160
    driver.receive_audio(b"\0" * 321)
    assert_ends_with_error(driver, 400, ServerRule.PARTIAL_SAMPLE)


def test_audio_message_may_have_64000_bytes_and_not_one_more() -> None:
    driver = open_session()
    driver.receive_audio(b"\xff" * 64_000)
    assert driver.of(Violation) == []
    driver.receive_audio(b"\xff" * 64_001)
    assert_ends_with_error(driver, 413, ServerRule.MESSAGE_TOO_LARGE)


def test_size_limit_of_text_counts_bytes_and_not_characters() -> None:
    padding = 64_000 - len('{"x":""}')
    for text, rule in (
        ('{"x":"' + "a" * padding + '"}', ServerRule.NOT_A_SERVER_MESSAGE),
        ('{"x":"' + "a" * (padding + 1) + '"}', ServerRule.MESSAGE_TOO_LARGE),
        ('{"x":"' + "é" * (padding // 2 + 1) + '"}', ServerRule.MESSAGE_TOO_LARGE),
    ):
        driver = open_session()
        driver.receive_text(text)
        assert [v.rule for v in driver.of(Violation)] == [rule]


def test_empty_audio_message_is_tolerated() -> None:
    driver = open_session()
    driver.receive_audio(b"")
    assert [w.rule for w in driver.of(ProtocolWarning)] == [ServerRule.EMPTY_AUDIO]
    assert driver.take_sent() == []


# Tests of the limits on message rates


def flood(driver: SessionDriver, send: Callable[[], None], most: int = 100) -> int:
    """Return the number of messages that are accepted before the first violation."""
    for count in range(most):
        send()
        if driver.of(Violation):
            return count
    return most


@pytest.mark.parametrize(
    ("rule", "message", "burst"),
    [
        (ServerRule.BINARY_RATE, None, 25),
        (ServerRule.TEXT_RATE, "updated", 24),  # the message `opened` took one token
        (ServerRule.PAUSE_RATE, "pause", 4),
        (ServerRule.RESUME_RATE, "resume", 4),
    ],
)
def test_first_message_above_the_burst_ends_the_call_with_429(
    rule: ServerRule, message: str | None, burst: int
) -> None:
    driver = open_session()
    send = (
        (lambda: driver.receive(message))
        if message
        else (lambda: driver.receive_audio(b"\xff" * 160))
    )
    assert flood(driver, send) == burst
    error = next(p for _, kind, p in driver.take_sent() if kind == "error")
    assert error["code"] == 429
    assert error["message"] == "Rate limit exceeded"
    wait = 0.5 if rule in (ServerRule.PAUSE_RATE, ServerRule.RESUME_RATE) else 0.2
    assert error["retryAfter"] == f"PT{wait + 0.001:g}S"
    assert [v.rule for v in driver.of(Violation)] == [rule]
    assert driver.session.state is SessionState.CLOSING
    driver.receive("closed")
    assert driver.session.socket_should_close


def test_five_audio_messages_per_second_are_accepted_and_six_are_not() -> None:
    for per_second, passes in ((5, True), (6, False)):
        driver = open_session()
        driver.answers_pings = True

        def send(driver: SessionDriver = driver, per_second: int = per_second) -> None:
            driver.receive_audio(b"\xff" * 160)
            driver.advance(1 / per_second)

        count = flood(driver, send, most=600)
        assert (count == 600) is passes
        # Each message takes one token. Six messages per second take one token more per second than
        # the token bucket receives.
        assert passes or 140 <= count <= 150


# Tests of violations that the client tolerates


@pytest.mark.parametrize(
    ("parameters", "overrides", "rule"),
    [
        ({}, {"position": "PT0S"}, ServerRule.POSITION_PRESENT),
        ({}, {"serverseq": 0}, ServerRule.UNKNOWN_FIELD),
        ({"extra": 1}, {}, ServerRule.UNKNOWN_PARAMETER),
    ],
)
def test_unknown_fields_and_parameters_are_tolerated(
    parameters: dict[str, Any], overrides: dict[str, Any], rule: ServerRule
) -> None:
    driver = open_session()
    driver.receive("event", {"entities": [{"type": "x", "data": 1}]} | parameters, **overrides)
    assert [w.rule for w in driver.of(ProtocolWarning)] == [rule]
    assert driver.of(Violation) == []
    assert driver.session.state is SessionState.OPEN


def test_languages_that_were_not_requested_are_tolerated() -> None:
    driver = SessionDriver()
    driver.accept(supportedLanguages=["en-US"], selectedLanguage="en-US")
    assert {w.rule for w in driver.of(ProtocolWarning)} == {
        ServerRule.LANGUAGES_NOT_ASKED,
        ServerRule.UNKNOWN_PARAMETER,
    }
    asked = offering(dict(PCMU_EXTERNAL), supported_languages=True)
    asked.accept(supportedLanguages=["en-US"])
    assert asked.of(ProtocolWarning) == []


def test_output_variables_in_closed_are_reported_without_a_warning_after_a_hang_up() -> None:
    driver = open_session()
    driver.call("hang_up")
    driver.receive("closed", {"outputVariables": {"intent": "sales"}})
    assert driver.of(Closed)[0].output_variables == {"intent": "sales"}
    assert driver.of(ProtocolWarning) == []
    assert driver.of(Violation) == []
    assert driver.session.socket_should_close


@pytest.mark.parametrize(
    ("in_disconnect", "warnings"),
    [({"intent": "sales"}, []), ({}, [ServerRule.CLOSED_PARAMETERS])],
)
def test_output_variables_in_closed_earn_a_warning_if_disconnect_lacked_them(
    in_disconnect: dict[str, str], warnings: list[ServerRule]
) -> None:
    driver = open_session()
    driver.receive("disconnect", {"reason": "completed", "outputVariables": in_disconnect})
    driver.receive("closed", {"outputVariables": {"intent": "sales"}})
    assert [w.rule for w in driver.of(ProtocolWarning)] == warnings


def test_other_parameters_of_closed_earn_a_warning() -> None:
    driver = open_session()
    driver.call("hang_up")
    driver.receive("closed", {"reason": "end"})
    assert [w.rule for w in driver.of(ProtocolWarning)] == [ServerRule.CLOSED_PARAMETERS]
    assert driver.session.socket_should_close


@pytest.mark.parametrize(
    ("variables", "kept"),
    [({"n": 1, "s": "x"}, {"n": 1, "s": "x"}), (["a"], {}), ("a", {}), ({"n": None}, {"n": None})],
)
def test_output_variables_that_are_not_text_are_a_violation(
    variables: Any, kept: dict[str, Any]
) -> None:
    driver = open_session()
    driver.receive("disconnect", {"reason": "completed", "outputVariables": variables})
    assert driver.take_sent() == [(0.0, "close", {"reason": "disconnect"})]
    assert [v.rule for v in driver.of(Violation)] == [ServerRule.OUTPUT_VARIABLES]
    assert driver.session.disconnected is not None
    assert driver.session.disconnected.output_variables == kept


def test_second_disconnect_is_tolerated_and_ignored() -> None:
    driver = open_session()
    driver.receive("disconnect", {"reason": "completed"})
    driver.take_sent()
    driver.receive("disconnect", {"reason": "error"})
    assert driver.take_sent() == []
    assert [w.rule for w in driver.of(ProtocolWarning)] == [ServerRule.REPEATED_DISCONNECT]


def test_disconnect_before_the_end_of_bot_audio_is_a_warning() -> None:
    driver = open_session()
    driver.receive_audio(b"\x55" * 8000)
    driver.advance(0.25)
    driver.receive("disconnect", {"reason": "completed"})
    assert [w.rule for w in driver.of(ProtocolWarning)] == [ServerRule.AUDIO_CUT]
    assert driver.session.unheard_at_end == 6000


# Tests of the end of the call


def test_messages_after_closed_are_violations() -> None:
    driver = open_session()
    driver.call("hang_up")
    driver.receive("closed")
    driver.take_sent()
    driver.receive("event", {"entities": [{"type": "x", "data": 1}]})
    driver.receive_audio(b"\xff")
    assert driver.take_sent() == []
    assert [v.rule for v in driver.of(Violation)] == [
        ServerRule.AFTER_CLOSED,
        ServerRule.AFTER_CLOSED,
    ]


@pytest.mark.parametrize("moment", ["opening", "open", "closing", "closed"])
def test_socket_closed_by_the_server_is_a_violation_in_every_state(moment: str) -> None:
    driver = SessionDriver()
    if moment != "opening":
        driver.accept()
    if moment in ("closing", "closed"):
        driver.call("hang_up")
    if moment == "closed":
        driver.receive("closed")
    assert driver.session.state.value == moment
    driver.session.socket_lost(driver.now, by=Party.SERVER, code=1000)
    driver._collect()
    (violation,) = driver.of(Violation)
    assert violation.rule is ServerRule.SERVER_CLOSED_SOCKET
    assert moment in violation.message
    assert driver.session.state is SessionState.DISCONNECTED
    assert driver.session.next_deadline() is None


def test_client_reports_only_the_first_fatal_error() -> None:
    driver = open_session()
    driver.receive("ping")
    driver.take_sent()
    driver.receive("ping")
    driver.receive("pong")
    assert driver.take_sent() == []
    assert len(driver.of(Violation)) == 3


def test_violation_while_closing_is_reported_and_the_call_still_closes() -> None:
    driver = open_session()
    driver.call("hang_up")
    driver.take_sent()
    driver.receive("greeting")
    ((_, kind, error),) = driver.take_sent()
    assert (kind, error["code"]) == ("error", 500)
    driver.receive("closed")
    assert driver.session.socket_should_close


def test_audio_that_was_sent_before_close_arrived_is_ignored() -> None:
    driver = open_session()
    driver.call("hang_up")
    for _ in range(40):
        driver.receive_audio(b"\xff" * 160)
    assert len(driver.of(MessageIgnored)) == 40
    assert driver.of(Violation) == []
    assert driver.session.playback.received == 0


def test_text_while_closing_has_no_rate_limit() -> None:
    driver = open_session()
    driver.call("hang_up")
    for _ in range(40):
        driver.receive("event", {"entities": [{"type": "x", "data": 1}]})
    assert driver.of(Violation) == []


def test_text_with_type_audio_is_not_captured_as_audio() -> None:
    driver = open_session()
    driver.receive_text('{"type": "audio"}')
    assert not any(entry.is_audio for entry in driver.session.capture.entries)


@pytest.mark.parametrize(("medium", "size"), [(L16, 3200), (STEREO, 3200), (MEDIUM, 1600)])
def test_position_counts_samples_of_one_channel_for_every_medium(
    medium: dict[str, Any], size: int
) -> None:
    driver = offering(medium)
    driver.receive("opened", {"media": [medium]})
    driver.take_sent()
    driver.call("send_audio", b"\0" * size)
    assert driver.session.position == 1600
    driver.call("send_audio", 100)
    assert [len(audio) for _, _, audio in driver.take_sent()] == [size, size // 16]
    assert driver.session.position == 1700
    if medium is not MEDIUM:
        with pytest.raises(ValueError, match="whole samples"):
            driver.call("send_audio", b"\0" * 3)


def test_capture_marks_the_message_that_broke_a_rule() -> None:
    driver = open_session()
    driver.receive("ping")
    entry = next(e for e in driver.session.capture.entries if e.type == "ping")
    assert entry.note == "unknown_type"
    assert "unknown_type" in str(entry)
