"""What the server may send, and how it is written."""

import json
from itertools import product
from typing import Any

import pytest
from pipecat_genesys.protocol import (
    MAX_MESSAGE_BYTES,
    Draft,
    LocalProtocolError,
    Rule,
    State,
    server_messages,
)
from pipecat_genesys.protocol import AudioHookMessageType as Type

from .client import (
    EXTERNAL,
    SESSION,
    Call,
    call_in,
    started,
)
from .judging import ENVELOPE, IN_CALL, failed


class TestDisconnect:
    @pytest.mark.parametrize("state", [State.OPENING, *IN_CALL])
    @pytest.mark.parametrize("reason", ["completed", "error", "unauthorized"])
    def test_then_close_then_closed(self, state: State, reason: str) -> None:
        call = call_in(state)
        message = call.send(server_messages.disconnect(reason, output_variables={"a": "b"}))
        assert message["parameters"] == {"reason": reason, "outputVariables": {"a": "b"}}
        event = call.ask("close", {"reason": "disconnect"})
        assert call.send(event.reply)["parameters"] == {}
        assert [m["seq"] for m in call.wire] == list(range(1, len(call.wire) + 1))

    @pytest.mark.parametrize("first", ["completed", "error", "unauthorized"])
    @pytest.mark.parametrize("second", ["completed", "error"])
    def test_once(self, first: str, second: str) -> None:
        call = started()
        call.send(server_messages.disconnect(first))
        assert not call.session.allows(Type.DISCONNECT)
        with pytest.raises(LocalProtocolError):
            call.send(server_messages.disconnect(second))
        call.ask("close", {"reason": "disconnect"})
        with pytest.raises(LocalProtocolError):
            call.send(server_messages.disconnect(second))
        assert [m["type"] for m in call.wire] == ["opened", "disconnect"]

    def test_ours_and_the_faults_are_one(self) -> None:
        call = started()
        fault = failed(call.say("ping", seq=50), Rule.SEQ)
        call.send(server_messages.disconnect("completed"))
        with pytest.raises(LocalProtocolError):
            call.send(fault)

    def test_not_after_close(self) -> None:
        call = call_in(State.CLOSING)
        with pytest.raises(LocalProtocolError):
            call.send(server_messages.disconnect())

    @pytest.mark.parametrize("reason", ["completed", "error"])
    @pytest.mark.parametrize(
        "draft",
        [
            server_messages.barge_in(),
            server_messages.resume(),
            Draft(Type.PAUSE),
            server_messages.opened([EXTERNAL]),
        ],
    )
    def test_rejected_the_session_stays_unopened(self, reason: str, draft: Draft) -> None:
        call = call_in(State.OPENING)
        call.send(server_messages.disconnect(reason))
        for _ in range(2):
            with pytest.raises(LocalProtocolError):
                call.send(draft)
            call.say("close", {"reason": "disconnect"})

    def test_info(self) -> None:
        message = started().send(server_messages.disconnect("error", info="why"))
        assert message["parameters"] == {"reason": "error", "info": "why"}


class TestToWire:
    def test_the_envelope(self) -> None:
        call = started()
        for draft in (
            server_messages.barge_in(),
            call.ask("ping").reply,
            server_messages.disconnect(),
        ):
            assert set(call.send(draft)) == set(ENVELOPE)
        assert all(m["version"] == "2" and m["id"] == SESSION for m in call.wire)

    def test_clientseq_is_the_newest(self) -> None:
        call = started()
        for _ in range(4):
            call.ask("dtmf", {"digit": "1"})
        assert call.send(server_messages.barge_in())["clientseq"] == 5

    @pytest.mark.parametrize(
        "data",
        [float("nan"), float("inf"), {1, 2}, ..., b"x", {"a": [float("-inf")]}],
        ids=repr,
    )
    def test_what_is_not_json_is_refused_and_nothing_changes(self, data: Any) -> None:
        call = started()
        with pytest.raises(LocalProtocolError):
            call.send(server_messages.event("x", data))
        assert call.session.server_seq == 1
        assert call.send(server_messages.barge_in())["seq"] == 2

    @pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
    def test_nor_is_an_opened_that_is_not_json(self, number: float) -> None:
        call = Call()
        call.open()
        with pytest.raises(LocalProtocolError):
            call.send(server_messages.opened([{**EXTERNAL, "hint": [number]}]))
        assert call.opened()["seq"] == 1

    @pytest.mark.parametrize("hint", ["NaN", "to Infinity and beyond", "\ud800", '"', "\x00", "ü"])
    def test_an_opened_says_what_was_offered(self, hint: str) -> None:
        call = Call()
        call.open()
        offered = {**EXTERNAL, "hint": [hint, 0.1, 2**80, None, True]}
        assert call.send(server_messages.opened([offered]))["parameters"]["media"] == [offered]

    def test_a_disconnect_refused_was_none(self) -> None:
        call = started()
        with pytest.raises(LocalProtocolError):
            call.send(server_messages.disconnect(output_variables={"a": "x" * 64_000}))
        assert call.session.state is State.ACTIVE
        assert call.send(server_messages.disconnect())["seq"] == 2

    def test_the_largest_message(self) -> None:
        call = started()
        rest = len(call.session.to_wire(server_messages.event("x", "")).text)
        text = call.session.to_wire(
            server_messages.event("x", "y" * (MAX_MESSAGE_BYTES - rest))
        ).text
        assert len(text.encode()) == MAX_MESSAGE_BYTES
        with pytest.raises(LocalProtocolError):
            call.session.to_wire(server_messages.event("x", "y" * (MAX_MESSAGE_BYTES - rest + 1)))
        assert call.session.server_seq == 3

    @pytest.mark.parametrize("character", ["ü", "漢", "🎧", "\ud800", '"', "\x00"])
    def test_bytes_are_counted_and_not_characters(self, character: str) -> None:
        call = started()
        for n in (5_000, 10_000, 16_000, 21_000, 32_000, 63_000):
            try:
                text = call.session.to_wire(server_messages.event("x", character * n)).text
            except LocalProtocolError:
                continue
            assert len(text.encode()) <= MAX_MESSAGE_BYTES
            assert json.loads(text)["parameters"]["entities"][0]["data"] == character * n

    @pytest.mark.parametrize(
        "type", ["open", "close", "ping", "update", "paused", "resumed", "discarded", "error"]
    )
    @pytest.mark.parametrize("state", list(State))
    def test_client_messages_are_not_ours(self, state: State, type: str) -> None:
        call = call_in(state)
        assert not call.session.allows(Type(type))
        with pytest.raises(LocalProtocolError):
            call.send(Draft(Type(type)))

    @pytest.mark.parametrize(("state", "type"), list(product(State, Type)))
    def test_allows_tells_the_truth(self, state: State, type: Type) -> None:
        call = call_in(state)
        before = call.session.server_seq
        if call.session.allows(type):
            assert call.send(Draft(type))["seq"] == before + 1
        else:
            with pytest.raises(LocalProtocolError):
                call.send(Draft(type))
            assert (call.session.server_seq, call.session.state) == (before, state)
