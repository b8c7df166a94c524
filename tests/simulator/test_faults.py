"""Every fault on the wire, from the acting session alone, on a virtual clock."""

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
    ActingSession,
    CallMode,
    CallOptions,
    Fault,
    Moment,
    Party,
    build_report,
    find_fault,
)

from .transcript import PARAMETERS, Table

Said = list[tuple[float, dict[str, Any] | bytes]]
# Straight from the protocol guide's list of what a client may do to a server.
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


def table_of(fault: Fault, **parameters: Any) -> Table:
    changed = fault.parameters(replace(PARAMETERS, **parameters))
    return Table(
        changed, kind=ActingSession, acts=fault.acts, one_byte_frames=fault.one_byte_frames
    )


def play(name: str, seconds: float = 2.0) -> Table:
    """A call in which the fault happens, with frames of audio all along."""
    table = table_of(FAULTS[name])
    table.answers_pings = True
    if table.session.state == "opening":
        table.text("opened", {"media": [dict(table.session.parameters.media[0])]})
    while table.elapsed < seconds and table.session.state == "open":
        table.advance(0.2)
        if table.session.state == "open":
            media = table.session.media
            table.session.send_audio(
                b"\xff" * 1600 * (media.frame_bytes if media else 1), table.now
            )
            table._collect()
    return table


def texts(table: Table) -> list[dict[str, Any]]:
    return [message for _, message in table.said if isinstance(message, dict)]


def audio(table: Table) -> list[bytes]:
    return [message for _, message in table.said if isinstance(message, bytes)]


def test_every_fault_has_its_name() -> None:
    assert list(FAULTS) == NAMES
    assert all(name == fault.name for name, fault in FAULTS.items())
    assert find_fault("seq-gap") is FAULTS["seq-gap"]
    with pytest.raises(ValueError, match="no fault 'seqgap'; there are: seq-gap, "):
        find_fault("seqgap")


@pytest.mark.parametrize("name", NAMES)
def test_but_for_the_fault_every_message_is_right(name: str) -> None:
    """Whatever it does, it does once: the rest of the call is that of an honest client."""
    table = play(name)
    assert isinstance(table.session, ActingSession)
    acts = FAULTS[name].acts or FAULTS[name].one_byte_frames
    happened = FAULTS[name].needs_server_pause is False
    assert table.session.has_acted == (happened or not acts)
    messages = texts(table)
    odd = [m for m in messages if m["id"] != PARAMETERS.session_id or m["version"] != "2"]
    gaps = [(a["seq"], b["seq"]) for a, b in pairwise(messages) if b["seq"] != a["seq"] + 1]
    assert len(odd) == (name == "wrong-id")
    assert len(gaps) == (name in ("seq-gap", "seq-duplicate"))


def fault_message(name: str) -> dict[str, Any]:
    """The one message of a call that an honest client does not send."""
    (message,) = [
        m
        for m in texts(play(name))
        if m["type"] not in ("ping", "close") and not (m["type"] == "open" and m["seq"] == 1)
    ]
    return message


def test_seq_gap() -> None:
    seqs = [message["seq"] for message in texts(play("seq-gap"))]
    assert seqs[:3] == [1, 3, 4]


def test_seq_duplicate() -> None:
    seqs = [message["seq"] for message in texts(play("seq-duplicate"))]
    assert seqs[:3] == [1, 1, 2]


def test_wrong_id() -> None:
    message = fault_message("wrong-id")
    assert message["id"] != PARAMETERS.session_id
    assert len(message["id"]) == 36


def test_serverseq_ahead() -> None:
    assert fault_message("serverseq-ahead")["serverseq"] == 1001


def test_ping_before_opened() -> None:
    table = table_of(FAULTS["ping-before-opened"])
    assert [m["type"] for m in texts(table)] == ["open", "ping"]
    # A server that answers at once, and one that holds the pong back: both are right.
    for held in (False, True):
        table = table_of(FAULTS["ping-before-opened"])
        table.answers_pings = True
        steps: list[Callable[[], None]] = [
            lambda table=table: table.text("pong", clientseq=2),  # type: ignore[misc]
            table.opened,
        ]
        for step in reversed(steps) if held else steps:
            step()
        table.advance(7)
        assert not [e for e in table.events if type(e).__name__ == "Violation"]


def test_second_open() -> None:
    first, second = [m for m in texts(play("second-open")) if m["type"] == "open"]
    assert first["parameters"] == second["parameters"]
    assert second["seq"] == 2


def test_audio_before_opened() -> None:
    table = table_of(FAULTS["audio-before-opened"])
    assert [type(message) for _, message in table.said] == [dict, bytes]
    assert len(audio(table)[0]) == 1600
    # It counts in the stream, as all that was sent does.
    table.do("hang_up")
    assert texts(table)[-1]["position"] == "PT0.2S"


def test_odd_length_frame() -> None:
    table = play("odd-length-frame")
    assert table.session.media is not None
    assert table.session.media.format == "L16"
    lengths = {len(payload) for payload in audio(table)}
    assert lengths == {3200, 1601}


@pytest.mark.parametrize("name", ["oversize-text", "oversize-audio"])
def test_oversize(name: str) -> None:
    table = play(name)
    sizes = [
        len(m) if isinstance(m, bytes) else len(json.dumps(m, separators=(",", ":")))
        for _, m in table.said
    ]
    (large,) = [size for size in sizes if size > 64_000]
    assert large > 65_536


def test_unknown_type() -> None:
    assert fault_message("unknown-type")["type"] not in [t.value for t in AudioHookMessageType]


def test_unknown_fields() -> None:
    message = fault_message("unknown-fields")
    known = {"version", "type", "id", "seq", "serverseq", "position", "parameters"}
    assert message.keys() - known == {"priority", "trace"}
    assert message["parameters"].keys() - {"start", "discarded"} == {"mood"}
    opening = texts(play("unknown-fields"))[0]
    assert "region" in opening["parameters"]


def test_unsolicited_pause() -> None:
    table = play("unsolicited-pause")
    moves = [(m["type"], m["parameters"]) for m in texts(table)[1:4]]
    # The stream stood at 0.2 s when it was paused, and the sample clock ran on.
    assert moves == [
        ("paused", {}),
        ("paused", {}),
        ("resumed", {"start": "PT0.2S", "discarded": "PT0.4S"}),
    ]
    assert len(audio(table)) == 10 - 2


def test_unsolicited_resumed() -> None:
    message = fault_message("unsolicited-resumed")
    assert (message["type"], message["parameters"]) == (
        "resumed",
        {"start": message["position"], "discarded": "PT0S"},
    )


def test_overlapping_pauses() -> None:
    table = table_of(FAULTS["overlapping-pauses"])
    table.opened()
    table.text("pause")
    table.advance(0.5)
    table.text("resume")  # within the client's own pause: still paused
    table.advance(1.0)
    kinds = [m["type"] for m in texts(table) if m["type"] != "ping"]
    assert kinds == ["open", "paused", "paused", "paused", "resumed"]


def test_huge_catch_up() -> None:
    options = FAULTS["huge-catch-up"].options(CallOptions())
    assert options.catch_up_at_once
    # As much as a message of mu-law may hold, less what gathers while the server answers.
    assert 7 < options.backlog < 8


def test_one_byte_frames() -> None:
    table = play("one-byte-frames")
    assert [len(frame) for frame in audio(table)] == [1] * 1600 + [1600] * 9
    assert table.session.position == 16000


def test_socket_drop() -> None:
    table = play("socket-drop")
    assert isinstance(table.session, ActingSession)
    assert table.session.socket_should_drop
    assert [m["type"] for m in texts(table)][:1] == ["open"]
    assert "close" not in [m["type"] for m in texts(table)]


def test_close_before_opened() -> None:
    table = table_of(FAULTS["close-before-opened"])
    assert [m["type"] for m in texts(table)] == ["open", "close"]


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
def test_open_differs(name: str, field: str, value: str | None) -> None:
    honest = PARAMETERS.open_parameters()
    opening = texts(table_of(FAULTS[name]))[0]["parameters"]
    assert honest[field] != value
    assert opening.get(field) == value


def test_offers() -> None:
    def offers(name: str, **parameters: Any) -> list[dict[str, Any]]:
        offered: list[dict[str, Any]] = texts(table_of(FAULTS[name], **parameters))[0][
            "parameters"
        ]["media"]
        return offered

    assert [(m["format"], m["channels"]) for m in offers("l16")] == [("L16", ["external"])]
    assert [(m["format"], m["channels"]) for m in offers("l16", mode=CallMode.MONITOR)] == [
        ("L16", ["external", "internal"])
    ]
    assert [(m["format"], m["channels"]) for m in offers("inverted-channels")] == [
        ("PCMU", ["internal", "external"])
    ]


def test_retry() -> None:
    assert FAULTS["retry"].options(CallOptions()).lost_attempts == 1


def ended(table: Table, code: int | None = 1005, by: Party = Party.CLIENT) -> Table:
    table.session.socket_lost(table.now, by=by, code=code)
    table._collect()
    return table


def test_what_counts_as_dealt_with() -> None:
    def judged(table: Table, name: str, script_error: str | None = None) -> bool:
        report = build_report(table.session, table.events, table.now, script_error)
        return FAULTS[name].is_handled(report)

    table = play("seq-gap", 0.4)
    table.text("disconnect", {"reason": "error"})
    table.text("closed")
    assert judged(ended(table), "seq-gap", "the call ended")
    assert not judged(table, "unknown-type", "the call ended")

    silent = play("wrong-id", 0.4)
    silent.do("hang_up")
    silent.advance(11)
    assert not judged(ended(silent), "wrong-id")

    for code, handled in ((1009, True), (1006, False)):
        refused = ended(play("oversize-audio", 0.4), code, Party.SERVER)
        assert judged(refused, "oversize-audio") is handled
        assert not judged(refused, "seq-gap")

    assert judged(ended(play("socket-drop", 0.4), None), "socket-drop", "the call ended")
    assert not judged(ended(play("socket-drop", 0.4), None, Party.SERVER), "socket-drop")


def test_acts_that_the_call_does_not_allow_any_more_are_left_undone() -> None:
    table = table_of(FAULTS["unsolicited-pause"])
    table.opened()
    table.do("hang_up")
    table.advance(1)
    assert [m["type"] for m in texts(table)] == ["open", "close"]
    assert isinstance(table.session, ActingSession)
    assert not table.session.has_acted


def test_an_act_that_makes_no_sense_is_left_undone() -> None:
    acts = (Act(Moment.OPEN_SENT, 0.0, lambda s, now: s.press_dtmf("1", now)),)
    table = Table(kind=ActingSession, acts=acts)
    assert [m["type"] for m in texts(table)] == ["open"]


def test_acts_of_one_moment_are_done_in_their_order() -> None:
    acts = tuple(
        Act(Moment.OPENED, 0.1, lambda s, now, key=key: s.press_dtmf(key, now)) for key in "123"
    )
    table = Table(kind=ActingSession, acts=acts)
    table.opened()
    table.advance(0.1)
    keys = [m["parameters"]["digit"] for m in texts(table) if m["type"] == "dtmf"]
    assert keys == ["1", "2", "3"]


def test_silence_can_go_out_in_single_bytes_too() -> None:
    table = table_of(FAULTS["one-byte-frames"])
    table.opened()
    assert table.session.send_audio(3, table.now)
    table._collect()
    assert audio(table) == [b"\xff"] * 3
