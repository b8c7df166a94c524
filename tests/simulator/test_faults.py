"""Tests of the messages of each fault, with a session without a server, on a virtual clock."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from pipecat_genesys.protocol.types import AudioHookMessageType
from pipecat_genesys.simulator import (
    FAULTS,
    Act,
    CallMode,
    CallOptions,
    Fault,
    Moment,
    Party,
    Violation,
    build_report,
    find_fault,
)

from .session_driver import PARAMETERS, SessionDriver

# These are the client faults that the description of the protocol lists.
NAMES = [
    "seq-gap",
    "seq-duplicate",
    "wrong-id",
    "serverseq-ahead",
    "ping-before-opened",
    "second-open",
    "audio-before-opened",
    "odd-length-frame",
    "oversize-text",
    "oversize-audio",
    "unknown-type",
    "unknown-fields",
    "unsolicited-pause",
    "unsolicited-resumed",
    "overlapping-pauses",
    "huge-catch-up",
    "one-byte-frames",
    "socket-drop",
    "close-before-opened",
    "no-input-variables",
    "probe",
    "l16",
    "inverted-channels",
    "language-en",
    "language-es-419",
    "language-missing",
    "retry",
]


def faulty(name: str, **parameters: Any) -> SessionDriver:
    """Return a session with a fault; the session has sent `open`."""
    fault = FAULTS[name]
    return SessionDriver(fault.parameters(replace(PARAMETERS, **parameters)), fault)


def complete(name: str, seconds: float = 2.0) -> SessionDriver:
    """Return the session of an accepted call that has a fault and has sent audio.

    Args:
        name: Name of the fault.
        seconds: Time for which the session sends audio, unless the fault ends the call before.
    """
    driver = faulty(name)
    driver.answers_pings = True
    if driver.session.state == "opening":
        driver.receive("opened", {"media": [dict(driver.session.parameters.media[0])]})
    media = driver.session.media
    while driver.elapsed < seconds and driver.session.state == "open":
        driver.advance(0.2)
        if driver.session.state == "open":
            driver.send_frames(1, 1600 * (media.frame_bytes if media else 1))
    return driver


def additional_message(name: str) -> dict[str, Any]:
    """Return the one message of a call that a client without the fault does not send."""
    (message,) = [
        m
        for m in complete(name).texts()
        if m["type"] not in ("ping", "close") and not (m["type"] == "open" and m["seq"] == 1)
    ]
    return message


def test_faults_are_found_by_name() -> None:
    assert list(FAULTS) == NAMES
    assert all(name == fault.name for name, fault in FAULTS.items())
    assert find_fault("seq-gap") is FAULTS["seq-gap"]


def test_error_for_unknown_fault_lists_the_faults() -> None:
    with pytest.raises(ValueError, match="unknown fault 'seqgap'; the faults are: seq-gap, "):
        find_fault("seqgap")


@pytest.mark.parametrize("name", NAMES)
def test_fault_happens_once_and_all_other_messages_are_valid(name: str) -> None:
    driver = complete(name)
    acts = FAULTS[name].acts or FAULTS[name].one_byte_frames
    happened = FAULTS[name].needs_server_pause is False
    assert driver.injector.has_acted == (happened or not acts)
    messages = driver.texts()
    wrong = [m for m in messages if m["id"] != PARAMETERS.session_id or m["version"] != "2"]
    gaps = [(a["seq"], b["seq"]) for a, b in pairwise(messages) if b["seq"] != a["seq"] + 1]
    assert len(wrong) == (name == "wrong-id")
    # After `seq-gap`, the next message continues the numbers before the gap.
    assert len(gaps) == {"seq-gap": 2, "seq-duplicate": 1}.get(name, 0)


def test_seq_gap_sends_one_number_too_early_and_then_continues() -> None:
    assert [message["seq"] for message in complete("seq-gap").texts()][:3] == [1, 3, 2]


def test_seq_duplicate_repeats_one_sequence_number() -> None:
    assert [message["seq"] for message in complete("seq-duplicate").texts()][:3] == [1, 1, 2]


def test_wrong_id_sends_a_message_with_another_uuid() -> None:
    message = additional_message("wrong-id")
    assert message["id"] != PARAMETERS.session_id
    assert len(message["id"]) == 36


def test_serverseq_ahead_acknowledges_messages_that_were_not_sent() -> None:
    assert additional_message("serverseq-ahead")["serverseq"] == 1001


@pytest.mark.parametrize("pong_before_opened", [True, False])
def test_ping_before_opened_accepts_an_early_and_a_delayed_pong(pong_before_opened: bool) -> None:
    driver = faulty("ping-before-opened")
    assert driver.take_types() == ["open", "ping"]
    driver.answers_pings = True
    steps: list[Callable[[], None]] = [lambda: driver.receive("pong", clientseq=2), driver.accept]
    for step in steps if pong_before_opened else reversed(steps):
        step()
    driver.advance(7)
    assert driver.of(Violation) == []


def test_second_open_repeats_the_parameters_of_the_first() -> None:
    first, second = [m for m in complete("second-open").texts() if m["type"] == "open"]
    assert first["parameters"] == second["parameters"]
    assert second["seq"] == 2


def test_audio_before_opened_sends_one_frame_and_advances_the_position() -> None:
    driver = faulty("audio-before-opened")
    assert [type(message) for _, message in driver.sent] == [dict, bytes]
    assert len(driver.audio()[0]) == 1600
    driver.call("hang_up")
    assert driver.texts()[-1]["position"] == "PT0.2S"


def test_odd_length_frame_is_l16_audio_with_half_a_sample() -> None:
    driver = complete("odd-length-frame")
    assert driver.session.media is not None
    assert driver.session.media.format == "L16"
    assert {len(payload) for payload in driver.audio()} == {3200, 1601}


@pytest.mark.parametrize("name", ["oversize-text", "oversize-audio"])
def test_oversize_message_is_above_the_limits_of_protocol_and_libraries(name: str) -> None:
    sizes = [
        len(m) if isinstance(m, bytes) else len(json.dumps(m, separators=(",", ":")))
        for _, m in complete(name).sent
    ]
    (large,) = [size for size in sizes if size > 64_000]
    assert large > 65_536


def test_unknown_type_is_not_a_type_of_the_protocol() -> None:
    kind = additional_message("unknown-type")["type"]
    assert kind not in [known.value for known in AudioHookMessageType]


def test_unknown_fields_are_in_envelope_parameters_and_open() -> None:
    message = additional_message("unknown-fields")
    known = {"version", "type", "id", "seq", "serverseq", "position", "parameters"}
    assert message.keys() - known == {"priority", "trace"}
    assert message["parameters"].keys() - {"start", "discarded"} == {"mood"}
    opening = complete("unknown-fields").texts()[0]
    assert "region" in opening["parameters"]


def test_unsolicited_pause_sends_paused_twice_and_withholds_two_frames() -> None:
    driver = complete("unsolicited-pause")
    moves = [(m["type"], m["parameters"]) for m in driver.texts()[1:4]]
    assert moves == [
        ("paused", {}),
        ("paused", {}),
        ("resumed", {"start": "PT0.2S", "discarded": "PT0.4S"}),
    ]
    assert len(driver.audio()) == 10 - 2


def test_unsolicited_resumed_reports_an_empty_gap() -> None:
    message = additional_message("unsolicited-resumed")
    assert message["type"] == "resumed"
    assert message["parameters"] == {"start": message["position"], "discarded": "PT0S"}


def test_overlapping_pauses_answer_the_server_with_paused_until_both_pauses_end() -> None:
    driver = faulty("overlapping-pauses")
    driver.accept()
    driver.receive("pause")
    driver.advance(0.5)
    driver.receive("resume")
    driver.advance(1.0)
    types = [kind for kind in driver.take_types() if kind != "ping"]
    assert types == ["open", "paused", "paused", "paused", "resumed"]


def test_huge_catch_up_sends_almost_as_much_audio_as_a_message_may_hold() -> None:
    options = FAULTS["huge-catch-up"].options(CallOptions())
    assert options.catch_up_at_once
    # 64,000 bytes are 8 s of audio. More audio is added while the server answers `open`.
    assert 7 < options.backlog < 8


def test_one_byte_frames_split_one_frame() -> None:
    driver = complete("one-byte-frames")
    assert [len(frame) for frame in driver.audio()] == [1] * 1600 + [1600] * 9
    assert driver.session.position == 16000


def test_one_byte_frames_split_generated_silence() -> None:
    driver = faulty("one-byte-frames")
    driver.accept()
    assert driver.session.send_audio(3, driver.now)
    driver.advance(0)
    driver.call("press_dtmf", "1")
    assert driver.audio() == [b"\xff"] * 3


def test_socket_drop_aborts_the_socket_without_close() -> None:
    driver = complete("socket-drop")
    assert driver.injector.socket_should_drop
    types = [message["type"] for message in driver.texts()]
    assert types[0] == "open"
    assert "close" not in types


def test_close_before_opened_sends_close_right_after_open() -> None:
    assert faulty("close-before-opened").take_types() == ["open", "close"]


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("no-input-variables", "inputVariables", None),
        ("language-en", "language", "en"),
        ("language-es-419", "language", "es-419"),
        ("language-missing", "language", None),
        ("probe", "conversationId", "00000000-0000-0000-0000-000000000000"),
    ],
)
def test_fault_of_open_changes_one_field(name: str, field: str, value: str | None) -> None:
    assert PARAMETERS.open_parameters()[field] != value
    assert faulty(name).texts()[0]["parameters"].get(field) == value


@pytest.mark.parametrize(
    ("name", "mode", "offer"),
    [
        ("l16", CallMode.BOT, [("L16", ["external"])]),
        ("l16", CallMode.MONITOR, [("L16", ["external", "internal"])]),
        ("inverted-channels", CallMode.BOT, [("PCMU", ["internal", "external"])]),
    ],
)
def test_fault_of_the_offer_changes_format_or_channels(
    name: str, mode: CallMode, offer: list[tuple[str, list[str]]]
) -> None:
    media = faulty(name, mode=mode).texts()[0]["parameters"]["media"]
    assert [(medium["format"], medium["channels"]) for medium in media] == offer


def test_retry_loses_one_connection() -> None:
    assert FAULTS["retry"].options(CallOptions()).lost_attempts == 1


# Tests of the method that decides whether a server handled a fault


def is_handled(driver: SessionDriver, name: str, script_error: str | None = None) -> bool:
    report = build_report(driver.session, driver.events, driver.now, script_error)
    return FAULTS[name].is_handled(report)


def test_server_may_end_a_call_with_an_illegal_fault_only() -> None:
    driver = complete("seq-gap", 0.4)
    driver.receive("disconnect", {"reason": "error"})
    driver.receive("closed")
    driver.lose_socket(by=Party.CLIENT, code=1005)
    assert is_handled(driver, "seq-gap", "the call ended")
    assert not is_handled(driver, "unknown-type", "the call ended")


def test_server_that_never_sends_closed_did_not_handle_the_fault() -> None:
    driver = complete("wrong-id", 0.4)
    driver.call("hang_up")
    driver.advance(11)
    driver.lose_socket(by=Party.CLIENT, code=1005)
    assert not is_handled(driver, "wrong-id")


def test_server_may_refuse_a_call_that_offers_only_l16() -> None:
    driver = faulty("l16")
    driver.receive("disconnect", {"reason": "error"})
    driver.receive("closed")
    driver.lose_socket(by=Party.CLIENT, code=1005)
    assert is_handled(driver, "l16", "the call ended")
    assert not is_handled(driver, "unknown-fields", "the call ended")


def test_server_that_opened_a_call_with_l16_must_not_end_it() -> None:
    driver = complete("l16", 0.4)
    driver.receive("disconnect", {"reason": "error"})
    driver.receive("closed")
    driver.lose_socket(by=Party.CLIENT, code=1005)
    assert not is_handled(driver, "l16", "the call ended")


@pytest.mark.parametrize(("code", "handled"), [(1009, True), (1006, False)])
def test_server_may_close_the_socket_with_1009_for_an_oversize_message(
    code: int, handled: bool
) -> None:
    driver = complete("oversize-audio", 0.4)
    driver.lose_socket(by=Party.SERVER, code=code)
    assert is_handled(driver, "oversize-audio") is handled
    assert not is_handled(driver, "seq-gap")


@pytest.mark.parametrize("party", list(Party))
def test_socket_drop_is_handled_if_the_client_aborted_the_socket(party: Party) -> None:
    driver = complete("socket-drop", 0.4)
    driver.lose_socket(by=party)
    assert is_handled(driver, "socket-drop", "the call ended") is (party is Party.CLIENT)


# Tests of the injector


def test_acts_are_skipped_after_the_call_began_to_close() -> None:
    driver = faulty("unsolicited-pause")
    driver.accept()
    driver.call("hang_up")
    driver.advance(1)
    assert driver.take_types() == ["open", "close"]
    assert not driver.injector.has_acted


def test_act_that_the_state_does_not_allow_is_skipped() -> None:
    acts = (Act(Moment.OPEN_SENT, 0.0, lambda i, now: i.session.press_dtmf("1", now)),)
    driver = SessionDriver(fault=Fault("early-key", "a key before opened", acts=acts))
    assert driver.take_types() == ["open"]
    assert not driver.injector.has_acted


def test_acts_of_one_moment_are_performed_in_order() -> None:
    acts = tuple(
        Act(Moment.OPENED, 0.1, lambda i, now, key=key: i.session.press_dtmf(key, now))
        for key in "123"
    )
    driver = SessionDriver(fault=Fault("keys", "three keys", acts=acts))
    driver.accept()
    driver.advance(0.1)
    digits = [m["parameters"]["digit"] for m in driver.texts() if m["type"] == "dtmf"]
    assert digits == ["1", "2", "3"]
