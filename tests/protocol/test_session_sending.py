"""Tests of messages of the server: when the server may send them, and their text."""

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
    SessionUnderTest,
    call_in,
    started,
)
from .judging import ENVELOPE, IN_CALL, failed


class TestDisconnect:
    @pytest.mark.parametrize("state", [State.OPENING, *IN_CALL])
    @pytest.mark.parametrize("reason", ["completed", "error", "unauthorized"])
    def test_disconnect_is_followed_by_close_and_closed(self, state: State, reason: str) -> None:
        call = call_in(state)
        message = call.send(server_messages.disconnect(reason, output_variables={"a": "b"}))
        assert message["parameters"] == {"reason": reason, "outputVariables": {"a": "b"}}
        event = call.ask("close", {"reason": "disconnect"})
        assert call.send(event.reply)["parameters"] == {}
        assert [m["seq"] for m in call.wire] == list(range(1, len(call.wire) + 1))

    @pytest.mark.parametrize("first", ["completed", "error", "unauthorized"])
    @pytest.mark.parametrize("second", ["completed", "error"])
    def test_second_disconnect_raises(self, first: str, second: str) -> None:
        call = started()
        call.send(server_messages.disconnect(first))
        assert not call.session.allows(Type.DISCONNECT)
        with pytest.raises(LocalProtocolError):
            call.send(server_messages.disconnect(second))
        call.ask("close", {"reason": "disconnect"})
        with pytest.raises(LocalProtocolError):
            call.send(server_messages.disconnect(second))
        assert [m["type"] for m in call.wire] == ["opened", "disconnect"]

    def test_disconnect_of_the_application_replaces_that_of_a_fault(self) -> None:
        call = started()
        fault = failed(call.say("ping", seq=50), Rule.SEQ)
        call.send(server_messages.disconnect("completed"))
        with pytest.raises(LocalProtocolError):
            call.send(fault)

    def test_disconnect_after_close_raises(self) -> None:
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
    def test_rejected_session_sends_nothing_more(self, reason: str, draft: Draft) -> None:
        call = call_in(State.OPENING)
        call.send(server_messages.disconnect(reason))
        for _ in range(2):
            with pytest.raises(LocalProtocolError):
                call.send(draft)
            call.say("close", {"reason": "disconnect"})

    def test_disconnect_has_the_info(self) -> None:
        message = started().send(server_messages.disconnect("error", info="why"))
        assert message["parameters"] == {"reason": "error", "info": "why"}


class TestToWire:
    def test_envelope_has_exactly_the_fields_of_the_protocol(self) -> None:
        call = started()
        for draft in (
            server_messages.barge_in(),
            call.ask("ping").reply,
            server_messages.disconnect(),
        ):
            assert set(call.send(draft)) == set(ENVELOPE)
        assert all(m["version"] == "2" and m["id"] == SESSION for m in call.wire)

    def test_clientseq_is_the_newest_seq_of_the_client(self) -> None:
        call = started()
        for _ in range(4):
            call.ask("dtmf", {"digit": "1"})
        assert call.send(server_messages.barge_in())["clientseq"] == 5

    @pytest.mark.parametrize(
        "data",
        [float("nan"), float("inf"), {1, 2}, ..., b"x", {"a": [float("-inf")]}],
        ids=repr,
    )
    def test_message_that_is_not_json_raises_and_uses_no_seq(self, data: Any) -> None:
        call = started()
        with pytest.raises(LocalProtocolError):
            call.send(server_messages.event("x", data))
        assert call.session.server_seq == 1
        assert call.send(server_messages.barge_in())["seq"] == 2

    @pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
    def test_opened_that_is_not_json_raises_and_uses_no_seq(self, number: float) -> None:
        call = SessionUnderTest()
        call.open()
        with pytest.raises(LocalProtocolError):
            call.send(server_messages.opened([{**EXTERNAL, "hint": [number]}]))
        assert call.opened()["seq"] == 1

    @pytest.mark.parametrize("hint", ["NaN", "to Infinity and beyond", "\ud800", '"', "\x00", "ü"])
    def test_opened_repeats_odd_values_of_the_offer(self, hint: str) -> None:
        call = SessionUnderTest()
        call.open()
        offered = {**EXTERNAL, "hint": [hint, 0.1, 2**80, None, True]}
        assert call.send(server_messages.opened([offered]))["parameters"]["media"] == [offered]

    def test_disconnect_may_be_sent_after_one_that_was_too_large(self) -> None:
        call = started()
        with pytest.raises(LocalProtocolError):
            call.send(server_messages.disconnect(output_variables={"a": "x" * 64_000}))
        assert call.session.state is State.ACTIVE
        assert call.send(server_messages.disconnect())["seq"] == 2

    def test_message_of_64000_bytes_is_sent_and_a_longer_one_raises(self) -> None:
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
    def test_message_size_is_counted_in_bytes(self, character: str) -> None:
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
    def test_message_of_the_client_raises(self, state: State, type: str) -> None:
        call = call_in(state)
        assert not call.session.allows(Type(type))
        with pytest.raises(LocalProtocolError):
            call.send(Draft(Type(type)))

    @pytest.mark.parametrize(("state", "type"), list(product(State, Type)))
    def test_to_wire_raises_exactly_for_types_that_allows_denies(
        self, state: State, type: Type
    ) -> None:
        call = call_in(state)
        before = call.session.server_seq
        if call.session.allows(type):
            assert call.send(Draft(type))["seq"] == before + 1
        else:
            with pytest.raises(LocalProtocolError):
                call.send(Draft(type))
            assert (call.session.server_seq, call.session.state) == (before, state)
