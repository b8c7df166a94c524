"""What the client does about a server that misbehaves.

The oracle is what the reference client was measured to do, and the limits of production: which
error code, whether the session ends, and when.
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
    Rule,
    SessionState,
    Severity,
    Violation,
    new_call,
)

from .transcript import MEDIUM, PARAMETERS, Table, answered

STEREO: dict[str, Any] = {
    "type": "audio",
    "format": "PCMU",
    "channels": ["external", "internal"],
    "rate": 8000,
}
L16: dict[str, Any] = {"type": "audio", "format": "L16", "channels": ["external"], "rate": 8000}


def offering(*media: dict[str, Any], **more: Any) -> Table:
    fields = {name: getattr(PARAMETERS, name) for name in ("session_id", "organization_id")}
    return Table(new_call(media=media, **fields, **more))


def assert_ends_with_error(table: Table, code: int, rule: Rule, at: float = 0.0) -> None:
    said = table.take()[-2:]
    assert [(when, kind) for when, kind, _ in said] == [(at, "error"), (at, "close")]
    assert said[0][2]["code"] == code
    assert said[0][2]["message"]
    assert said[1][2] == {"reason": "error"}
    (violation,) = table.of(Violation)
    assert (violation.rule, violation.code, violation.ends_call) == (rule, code, True)
    assert table.session.state is SessionState.CLOSING


def test_every_rule_has_a_reaction() -> None:
    assert set(REACTIONS) == set(Rule)
    for reaction in REACTIONS.values():
        assert not (reaction.ends_call and reaction.code is None)
        assert not (reaction.code and reaction.severity is Severity.WARNING)


# Deadlines.


def test_no_opened_within_five_seconds() -> None:
    table = Table()
    table.take()
    table.advance(4.999)
    assert table.take() == []
    table.advance(0.001)
    assert_ends_with_error(table, 408, Rule.OPEN_TIMEOUT, at=5.0)


def test_no_closed_within_ten_seconds() -> None:
    table = answered()
    table.advance(0.5)
    table.do("hang_up")
    table.advance(9.999)
    assert [kind for _, kind, _ in table.take()] == ["close"]
    table.advance(0.001)
    assert table.take() == [(10.5, "error", {"code": 408, "message": "Close transaction timeout"})]
    assert table.session.socket_should_close
    assert [v.rule for v in table.of(Violation)] == [Rule.CLOSE_TIMEOUT]


def test_no_pong_when_the_next_ping_is_due() -> None:
    table = answered()
    table.advance(5.999)
    assert [kind for _, kind, _ in table.take()] == ["ping"]
    table.advance(0.001)
    assert_ends_with_error(table, 408, Rule.PONG_TIMEOUT, at=6.0)


def test_a_pong_with_the_wrong_clientseq_leaves_the_ping_without_an_answer() -> None:
    table = answered()
    table.advance(1.0)
    table.take()
    table.text("pong", clientseq=1)
    ((_, kind, error),) = table.take()
    assert (kind, error["code"]) == ("error", 400)
    assert table.session.state is SessionState.OPEN
    table.advance(5.0)
    (_, kind, error), (at, close, _) = table.take()
    assert (at, kind, error["code"], close) == (6.0, "error", 408, "close")
    assert [v.rule for v in table.of(Violation)] == [Rule.PONG_CLIENTSEQ, Rule.PONG_TIMEOUT]


def test_a_pong_names_its_ping_and_not_the_newest_message() -> None:
    table = answered()
    table.advance(1.0)
    table.do("press_dtmf", "1")
    table.text("pong")  # with the ``seq`` of the key
    assert [v.rule for v in table.of(Violation)] == [Rule.PONG_CLIENTSEQ]


def test_the_right_pong_after_a_wrong_one_saves_the_call() -> None:
    table = answered()
    table.advance(1.0)
    table.text("pong", clientseq=1)
    table.text("pong", clientseq=2)
    table.text("pong", clientseq=4)  # to the second ping, behind the error
    table.advance(5.0)
    assert table.session.state is SessionState.OPEN


def test_a_pong_nobody_asked_for() -> None:
    table = answered()
    table.text("pong")
    ((_, kind, error),) = table.take()
    assert (kind, error["code"]) == ("error", 409)
    assert table.session.state is SessionState.OPEN
    assert [v.rule for v in table.of(Violation)] == [Rule.PONG_UNEXPECTED]


# The envelope.


@pytest.mark.parametrize(
    ("overrides", "code", "rule"),
    [
        ({"seq": 1}, 500, Rule.SEQUENCE),
        ({"seq": 3}, 500, Rule.SEQUENCE),
        ({"seq": 0}, 500, Rule.SEQUENCE),
        ({"id": "11111111-1111-4111-8111-111111111111"}, 400, Rule.WRONG_ID),
        ({"clientseq": 2}, 400, Rule.CLIENTSEQ_AHEAD),
        ({"version": "1"}, 400, Rule.NOT_A_SERVER_MESSAGE),
        ({"version": 2}, 400, Rule.NOT_A_SERVER_MESSAGE),
        ({"version": ...}, 400, Rule.NOT_A_SERVER_MESSAGE),
        ({"id": ...}, 400, Rule.NOT_A_SERVER_MESSAGE),
        ({"type": ...}, 400, Rule.NOT_A_SERVER_MESSAGE),
        ({"seq": ...}, 400, Rule.NOT_A_SERVER_MESSAGE),
        ({"seq": "2"}, 400, Rule.NOT_A_SERVER_MESSAGE),
        ({"seq": True}, 400, Rule.NOT_A_SERVER_MESSAGE),
        ({"seq": 2.5}, 400, Rule.NOT_A_SERVER_MESSAGE),
        ({"seq": -1}, 400, Rule.NOT_A_SERVER_MESSAGE),
        ({"clientseq": ...}, 400, Rule.NOT_A_SERVER_MESSAGE),
        ({"clientseq": None}, 400, Rule.NOT_A_SERVER_MESSAGE),
        ({"parameters": ...}, 400, Rule.NOT_A_SERVER_MESSAGE),
        ({"parameters": None}, 400, Rule.NOT_A_SERVER_MESSAGE),
        ({"parameters": []}, 400, Rule.NOT_A_SERVER_MESSAGE),
    ],
)
def test_a_bad_envelope_ends_the_call(overrides: dict[str, Any], code: int, rule: Rule) -> None:
    table = answered()
    table.text("updated", **overrides)
    assert_ends_with_error(table, code, rule)


def test_json_has_one_kind_of_number() -> None:
    table = answered()
    table.text("updated", seq=2.0)
    assert table.of(Violation) == []


@pytest.mark.parametrize("text", ["", "{", "nonsense", '{"version":"2",}', '{"seq": NaN}'])
def test_text_that_is_not_json(text: str) -> None:
    table = answered()
    table.raw(text)
    assert_ends_with_error(table, 400, Rule.NOT_JSON)


def test_absurdly_nested_json_is_no_traceback() -> None:
    table = answered()
    table.raw("[" * 60_000)
    assert_ends_with_error(table, 400, Rule.NOT_JSON)


@pytest.mark.parametrize("text", ["5", "[]", "null", '"closed"', "true"])
def test_json_that_is_not_an_object(text: str) -> None:
    table = answered()
    table.raw(text)
    assert_ends_with_error(table, 400, Rule.NOT_A_SERVER_MESSAGE)


@pytest.mark.parametrize(
    "kind", ["error", "ping", "paused", "resumed", "open", "dtmf", "close", "greeting", ""]
)
def test_a_type_no_server_may_send(kind: str) -> None:
    table = answered()
    table.text(kind, {"code": 500, "message": "oops"})
    assert_ends_with_error(table, 500, Rule.UNKNOWN_TYPE)


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
def test_parameters_the_type_does_not_take(kind: str, parameters: dict[str, Any]) -> None:
    table = answered()
    table.text(kind, parameters)
    assert_ends_with_error(table, 500, Rule.BAD_PARAMETERS)


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
def test_parameters_that_opened_does_not_take(parameters: dict[str, Any]) -> None:
    table = Table()
    table.text("opened", parameters)
    assert_ends_with_error(table, 500, Rule.BAD_PARAMETERS)


def test_after_a_message_without_parameters_closed_is_out_of_sequence_too() -> None:
    # Measured: the bad message does not count, so the server's ``closed`` comes one too high and
    # the close runs into its timeout.
    table = Table()
    table.text("opened", **{"parameters": ...})
    assert_ends_with_error(table, 400, Rule.NOT_A_SERVER_MESSAGE)
    table.text("closed")
    assert table.take() == []
    assert not table.session.socket_should_close
    table.advance(10.0)
    ((at, kind, error),) = table.take()
    assert (at, kind, error["code"]) == (10.0, "error", 408)
    assert table.session.socket_should_close


def test_opened_with_seq_two() -> None:
    table = Table()
    table.seq = 1
    table.opened()
    assert_ends_with_error(table, 500, Rule.SEQUENCE)


@pytest.mark.parametrize("kind", ["pause", "resume", "closed"])
def test_what_must_not_come_before_opened(kind: str) -> None:
    table = Table()
    table.text(kind)
    assert_ends_with_error(table, 409, Rule.UNEXPECTED_MESSAGE)


@pytest.mark.parametrize("kind", ["opened", "closed"])
def test_what_must_not_come_while_open(kind: str) -> None:
    table = answered()
    table.text(kind, {"media": []} if kind == "opened" else {})
    assert_ends_with_error(table, 409, Rule.UNEXPECTED_MESSAGE)


def test_an_event_before_opened_is_put_on_record() -> None:
    table = Table()
    table.take()
    table.text("event", {"entities": [{"type": "barge_in", "data": {}}]})
    assert [v.rule for v in table.of(Violation)] == [Rule.EVENT_BEFORE_OPENED]
    assert table.take() == []
    table.opened()
    assert table.session.state is SessionState.OPEN


# The medium.


def choosing(*media: Any, offer: tuple[dict[str, Any], ...] = (MEDIUM,)) -> Table:
    table = offering(*offer)
    table.text("opened", {"media": list(media)})
    return table


def test_two_media_are_one_too_many() -> None:
    table = choosing(MEDIUM, STEREO, offer=(MEDIUM, STEREO))
    assert_ends_with_error(table, 400, Rule.SEVERAL_MEDIA)


@pytest.mark.parametrize(
    "chosen",
    [
        L16,
        STEREO,
        {**MEDIUM, "channels": ["internal"]},
        {**STEREO, "channels": ["internal", "external"]},
    ],
)
def test_a_medium_that_was_not_offered(chosen: dict[str, Any]) -> None:
    offer = (MEDIUM,) if chosen is STEREO else (MEDIUM, STEREO)
    assert_ends_with_error(choosing(chosen, offer=offer), 400, Rule.MEDIA_NOT_OFFERED)


def test_channel_order_is_that_of_the_offer() -> None:
    inverted = {**STEREO, "channels": ["internal", "external"]}
    assert choosing(inverted, offer=(STEREO, inverted)).of(Violation) == []


def test_an_unknown_key_in_the_medium_is_refused_as_production_does() -> None:
    table = choosing({**MEDIUM, "bitrate": 64000})
    assert_ends_with_error(table, 400, Rule.MEDIA_UNKNOWN_KEY)
    # What the offer itself contains is a copy, not an invention.
    assert choosing({**MEDIUM, "x": 1}, offer=({**MEDIUM, "x": 1},)).of(Violation) == []


# Audio.


def test_audio_before_opened() -> None:
    table = Table()
    table.audio(b"\xff" * 160)
    assert_ends_with_error(table, 415, Rule.UNEXPECTED_BINARY)


@pytest.mark.parametrize("medium", [STEREO, {**MEDIUM, "channels": ["internal"]}, None])
def test_audio_on_a_medium_that_only_listens(medium: dict[str, Any] | None) -> None:
    table = offering(medium or MEDIUM)
    table.text("opened", {"media": [medium] if medium else []})
    table.audio(b"\xff" * 160)
    assert_ends_with_error(table, 415, Rule.UNEXPECTED_BINARY)


def test_an_odd_number_of_bytes_is_no_l16() -> None:
    table = offering(L16)
    table.text("opened", {"media": [L16]})
    table.audio(b"\0" * 320)
    assert table.of(Violation) == []
    assert table.session.playback.received == 160
    table.audio(b"\0" * 321)
    assert_ends_with_error(table, 400, Rule.PARTIAL_SAMPLE)


def test_sixty_four_thousand_bytes_are_allowed_and_one_more_is_not() -> None:
    table = answered()
    table.audio(b"\xff" * 64_000)
    assert table.of(Violation) == []
    table.audio(b"\xff" * 64_001)
    assert_ends_with_error(table, 413, Rule.MESSAGE_TOO_LARGE)


def test_the_limit_on_text_counts_bytes() -> None:
    padding = 64_000 - len('{"x":""}')
    for text, rule in (
        ('{"x":"' + "a" * padding + '"}', Rule.NOT_A_SERVER_MESSAGE),
        ('{"x":"' + "a" * (padding + 1) + '"}', Rule.MESSAGE_TOO_LARGE),
        ('{"x":"' + "é" * (padding // 2 + 1) + '"}', Rule.MESSAGE_TOO_LARGE),
    ):
        table = answered()
        table.raw(text)
        assert [v.rule for v in table.of(Violation)] == [rule]


def test_an_empty_audio_message_is_pointless_and_harmless() -> None:
    table = answered()
    table.audio(b"")
    assert [w.rule for w in table.of(ProtocolWarning)] == [Rule.EMPTY_AUDIO]
    assert table.take() == []


# Rates.


def flood(table: Table, send: Callable[[], None], most: int = 100) -> int:
    """How many messages pass before the client has had enough."""
    for count in range(most):
        send()
        if table.of(Violation):
            return count
    return most


@pytest.mark.parametrize(
    ("rule", "message", "burst"),
    [
        (Rule.BINARY_RATE, None, 25),
        (Rule.TEXT_RATE, "updated", 24),  # ``opened`` was the first
        (Rule.PAUSE_RATE, "pause", 4),
        (Rule.RESUME_RATE, "resume", 4),
    ],
)
def test_one_message_beyond_the_burst(rule: Rule, message: str | None, burst: int) -> None:
    table = answered()
    send = (lambda: table.text(message)) if message else (lambda: table.audio(b"\xff" * 160))
    assert flood(table, send) == burst
    error = next(p for _, kind, p in table.take() if kind == "error")
    assert error["code"] == 429
    assert error["message"] == "Rate limit exceeded"
    wait = 0.5 if rule in (Rule.PAUSE_RATE, Rule.RESUME_RATE) else 0.2
    assert error["retryAfter"] == f"PT{wait + 0.001:g}S"
    assert [v.rule for v in table.of(Violation)] == [rule]
    assert table.session.state is SessionState.CLOSING
    table.text("closed")
    assert table.session.socket_should_close


def test_five_audio_messages_a_second_go_on_for_ever_and_six_do_not() -> None:
    for per_second, passes in ((5, True), (6, False)):
        table = answered()
        table.answers_pings = True

        def send(table: Table = table, per_second: int = per_second) -> None:
            table.audio(b"\xff" * 160)
            table.advance(1 / per_second)

        count = flood(table, send, most=600)
        assert (count == 600) is passes
        # Six a second drain the bucket of 25 by one token in a second.
        assert passes or 140 <= count <= 150


# Tolerated, with a remark.


@pytest.mark.parametrize(
    ("parameters", "overrides", "rule"),
    [
        ({}, {"position": "PT0S"}, Rule.POSITION_PRESENT),
        ({}, {"serverseq": 0}, Rule.UNKNOWN_FIELD),
        ({"extra": 1}, {}, Rule.UNKNOWN_PARAMETER),
    ],
)
def test_extras_are_tolerated_with_a_warning(
    parameters: dict[str, Any], overrides: dict[str, Any], rule: Rule
) -> None:
    table = answered()
    table.text("event", {"entities": [{"type": "x", "data": 1}]} | parameters, **overrides)
    assert [w.rule for w in table.of(ProtocolWarning)] == [rule]
    assert table.of(Violation) == []
    assert table.session.state is SessionState.OPEN


def test_languages_nobody_asked_for() -> None:
    table = Table()
    table.opened(supportedLanguages=["en-US"], selectedLanguage="en-US")
    assert {w.rule for w in table.of(ProtocolWarning)} == {
        Rule.LANGUAGES_NOT_ASKED,
        Rule.UNKNOWN_PARAMETER,
    }
    asked = offering(dict(PCMU_EXTERNAL), supported_languages=True)
    asked.opened(supportedLanguages=["en-US"])
    assert asked.of(ProtocolWarning) == []


def test_closed_with_parameters_is_tolerated_and_kept() -> None:
    table = answered()
    table.do("hang_up")
    table.text("closed", {"outputVariables": {"intent": "sales"}})
    assert table.of(Closed)[0].output_variables == {"intent": "sales"}
    assert [w.rule for w in table.of(ProtocolWarning)] == [Rule.CLOSED_PARAMETERS]
    assert table.of(Violation) == []
    assert table.session.socket_should_close


@pytest.mark.parametrize(
    ("variables", "kept"),
    [({"n": 1, "s": "x"}, {"n": 1, "s": "x"}), (["a"], {}), ("a", {}), ({"n": None}, {"n": None})],
)
def test_output_variables_that_are_not_text(variables: Any, kept: dict[str, Any]) -> None:
    table = answered()
    table.text("disconnect", {"reason": "completed", "outputVariables": variables})
    assert table.take() == [(0.0, "close", {"reason": "disconnect"})]
    assert [v.rule for v in table.of(Violation)] == [Rule.OUTPUT_VARIABLES]
    assert table.session.disconnected is not None
    assert table.session.disconnected.output_variables == kept


def test_a_second_disconnect() -> None:
    table = answered()
    table.text("disconnect", {"reason": "completed"})
    table.take()
    table.text("disconnect", {"reason": "error"})
    assert table.take() == []
    assert [w.rule for w in table.of(ProtocolWarning)] == [Rule.REPEATED_DISCONNECT]


def test_a_disconnect_that_cuts_the_last_words_off() -> None:
    table = answered()
    table.audio(b"\x55" * 8000)
    table.advance(0.25)
    table.text("disconnect", {"reason": "completed"})
    assert [w.rule for w in table.of(ProtocolWarning)] == [Rule.AUDIO_CUT]
    assert table.session.unheard_at_end == 6000


# The end.


def test_nothing_may_follow_closed() -> None:
    table = answered()
    table.do("hang_up")
    table.text("closed")
    table.take()
    table.text("event", {"entities": [{"type": "x", "data": 1}]})
    table.audio(b"\xff")
    assert table.take() == []
    assert [v.rule for v in table.of(Violation)] == [Rule.AFTER_CLOSED, Rule.AFTER_CLOSED]


@pytest.mark.parametrize("moment", ["opening", "open", "closing", "closed"])
def test_a_server_that_closes_the_socket_is_put_on_record(moment: str) -> None:
    table = Table()
    if moment != "opening":
        table.opened()
    if moment in ("closing", "closed"):
        table.do("hang_up")
    if moment == "closed":
        table.text("closed")
    assert table.session.state.value == moment
    table.session.socket_lost(table.now, by=Party.SERVER, code=1000)
    table._collect()
    (violation,) = table.of(Violation)
    assert violation.rule is Rule.SERVER_CLOSED_SOCKET
    assert moment in violation.message
    assert table.session.state is SessionState.DISCONNECTED
    assert table.session.next_deadline() is None


def test_after_one_fatal_error_the_client_reports_no_other() -> None:
    table = answered()
    table.text("ping")
    table.take()
    table.text("ping")
    table.text("pong")
    assert table.take() == []
    assert len(table.of(Violation)) == 3


def test_a_fault_while_hanging_up_is_reported_and_changes_nothing_else() -> None:
    table = answered()
    table.do("hang_up")
    table.take()
    table.text("greeting")
    ((_, kind, error),) = table.take()
    assert (kind, error["code"]) == ("error", 500)
    table.text("closed")
    assert table.session.socket_should_close


def test_audio_on_its_way_when_the_call_closes_is_ignored() -> None:
    table = answered()
    table.do("hang_up")
    for _ in range(40):
        table.audio(b"\xff" * 160)
    assert len(table.of(MessageIgnored)) == 40
    assert table.of(Violation) == []
    assert table.session.playback.received == 0


def test_text_on_its_way_when_the_call_closes_is_not_counted() -> None:
    table = answered()
    table.do("hang_up")
    for _ in range(40):
        table.text("event", {"entities": [{"type": "x", "data": 1}]})
    assert table.of(Violation) == []


def test_text_cannot_pass_for_audio() -> None:
    table = answered()
    table.raw('{"type": "audio"}')
    assert not any(entry.is_audio for entry in table.session.capture.entries)


@pytest.mark.parametrize(("medium", "size"), [(L16, 3200), (STEREO, 3200), (MEDIUM, 1600)])
def test_the_position_counts_samples_of_one_channel(medium: dict[str, Any], size: int) -> None:
    table = offering(medium)
    table.text("opened", {"media": [medium]})
    table.take()
    table.do("send_audio", b"\0" * size)
    assert table.session.position == 1600
    table.do("send_audio", 100)
    assert [len(audio) for _, _, audio in table.take()] == [size, size // 16]
    assert table.session.position == 1700
    if medium is not MEDIUM:
        with pytest.raises(ValueError, match="whole samples"):
            table.do("send_audio", b"\0" * 3)


def test_the_capture_says_which_message_broke_the_rule() -> None:
    table = answered()
    table.text("ping")
    entry = next(e for e in table.session.capture.entries if e.type == "ping")
    assert entry.note == "unknown_type"
    assert "unknown_type" in str(entry)
