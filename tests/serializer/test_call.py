"""Tests of calls through the serializer, and of the messages that Genesys receives."""

from __future__ import annotations

import asyncio
import copy
import json
from typing import Any

import pytest
from calls import SerializerCall, handlers_done
from genesys import media
from pipecat.audio.dtmf.types import KeypadEntry
from pipecat.frames.frames import (
    CancelFrame,
    EndFrame,
    InputDTMFFrame,
    InterruptionFrame,
    OutputAudioRawFrame,
    OutputTransportMessageUrgentFrame,
)
from pipecat_genesys import GenesysAudioHookSerializer


async def test_whole_call_from_open_to_closed() -> None:
    call = SerializerCall()
    assert (await call.open())["parameters"]["media"] == [media()]
    assert call.serializer.is_open
    assert (await call.exchange(call.genesys.text("ping")))["clientseq"] == 2
    frame = await call.serializer.deserialize(b"\xff" * 1600)
    assert frame.audio == bytes(6400)
    call.genesys.position = "PT0.2S"
    digit = await call.serializer.deserialize(call.genesys.text("dtmf", {"digit": "5"}))
    assert isinstance(digit, InputDTMFFrame)
    assert digit.button is KeypadEntry.FIVE
    barge_in = call.genesys.receive(await call.serializer.serialize(InterruptionFrame()))
    assert barge_in["parameters"] == {"entities": [{"type": "barge_in", "data": {}}]}
    call.serializer.set_output_variables({"intent": "billing"})
    disconnect = call.genesys.receive(await call.serializer.serialize(EndFrame()))
    assert disconnect["parameters"] == {
        "reason": "completed",
        "outputVariables": {"action": "transfer", "intent": "billing"},
    }
    closed = await call.exchange(call.genesys.text("close", {"reason": "disconnect"}))
    assert (closed["seq"], closed["clientseq"]) == (5, 4)
    assert closed["parameters"] == {"outputVariables": {"intent": "billing"}}
    assert not call.serializer.is_open
    assert call.serializer.call.faults == {}


async def test_probe_is_recognised_and_answered() -> None:
    call = SerializerCall()
    await call.connect()
    opened = await call.exchange(call.genesys.probe())
    assert opened["type"] == "opened"
    assert call.serializer.call.is_connection_probe
    closed = await call.exchange(call.genesys.text("close", {"reason": "end"}))
    assert closed["type"] == "closed"


async def test_probe_without_a_supported_medium_is_opened_without_one() -> None:
    call = SerializerCall()
    await call.connect()
    text = json.loads(call.genesys.probe())
    text["parameters"]["media"] = []
    opened = await call.exchange(json.dumps(text))
    assert opened["parameters"]["media"] == []


async def test_rejected_open_is_followed_by_close_and_closed() -> None:
    call = SerializerCall()
    await call.connect()
    disconnect = await call.exchange(call.genesys.open(media("OPUS")))
    assert disconnect["parameters"]["reason"] == "error"
    assert not call.serializer.is_open
    closed = await call.exchange(call.genesys.text("close", {"reason": "disconnect"}))
    assert (closed["type"], closed["seq"]) == ("closed", 2)


async def test_close_before_open_is_answered() -> None:
    call = SerializerCall()
    await call.connect()
    closed = await call.exchange(call.genesys.text("close", {"reason": "end"}))
    assert closed["type"] == "closed"


async def test_pipecats_action_and_variables_in_closed_can_be_switched_off() -> None:
    call = SerializerCall(disconnect_action=False, variables_in_closed=False)
    await call.open()
    call.serializer.set_output_variables({"a": "1"})
    disconnect = call.genesys.receive(await call.serializer.serialize(CancelFrame()))
    assert disconnect["parameters"]["outputVariables"] == {"a": "1"}
    closed = await call.exchange(call.genesys.text("close", {"reason": "disconnect"}))
    assert closed["parameters"] == {}


async def test_action_of_the_application_is_sent_if_the_default_is_off() -> None:
    call = SerializerCall(disconnect_action=False)
    await call.open()
    call.serializer.set_output_variables({"action": "mine"})
    disconnect = call.genesys.receive(await call.serializer.serialize(EndFrame()))
    assert disconnect["parameters"]["outputVariables"] == {"action": "mine"}


async def test_session_that_starts_paused_lasts_until_the_application_resumes() -> None:
    call = SerializerCall(start_paused=True)
    assert (await call.open())["parameters"]["startPaused"] is True
    await call.send_unanswered(call.genesys.text("paused"))
    assert call.serializer.is_paused
    await call.send_unanswered(b"\xff" * 1600)
    resume = OutputTransportMessageUrgentFrame(message=call.serializer.create_resumed_response())
    assert call.genesys.receive(await call.serializer.serialize(resume))["type"] == "resume"
    call.genesys.position = "PT1.2S"
    await call.send_unanswered(
        call.genesys.text("resumed", {"start": "PT0S", "discarded": "PT1.2S"})
    )
    assert await call.serializer.deserialize(b"\xff" * 1600) is not None
    assert call.serializer.call.faults == {"audio-state": 1}


async def test_event_handlers_get_every_message() -> None:
    call = SerializerCall()
    heard: list[tuple[str, Any]] = []
    complete = asyncio.Event()
    names = [
        "on_open",
        "on_ping",
        "on_pause",
        "on_resumed",
        "on_discarded",
        "on_update",
        "on_error",
        "on_dtmf",
        "on_playback_started",
        "on_playback_completed",
        "on_close",
    ]
    for name in names:

        def handler(serializer: Any, message: dict[str, Any], name: str = name) -> None:
            assert serializer is call.serializer
            heard.append((name, message["type"]))
            if name == "on_close":
                complete.set()

        call.serializer.add_event_handler(name, handler)
    await call.open()
    for name, parameters in [
        ("ping", {}),
        ("paused", {}),
        ("resumed", {"start": "PT0S", "discarded": "PT0S"}),
        ("discarded", {"start": "PT0S", "discarded": "PT0S"}),
        ("update", {"language": "de-DE"}),
        ("error", {"code": 429, "message": "Rate limit exceeded"}),
        ("dtmf", {"digit": "1"}),
        ("playback_started", {}),
        ("playback_completed", {}),
        ("close", {"reason": "end"}),
    ]:
        await call.serializer.deserialize(call.genesys.text(name, parameters))
    await asyncio.wait_for(complete.wait(), 5)
    assert [name for name, _ in heard] == names
    assert call.serializer.call.faults == {}


async def test_serializers_do_not_share_state() -> None:
    one, two = SerializerCall(), SerializerCall()
    await one.open()
    assert not two.serializer.is_open
    assert two.serializer.session_id != one.serializer.session_id


@pytest.mark.parametrize("closing", ["end", "disconnect", "error", "reconnect"])
async def test_close_is_answered_with_closed_for_every_reason(closing: str) -> None:
    call = SerializerCall()
    await call.open()
    assert (await call.exchange(call.genesys.text("close", {"reason": closing})))["seq"] == 2


async def test_caller_audio_is_accepted_after_disconnect_and_bot_audio_is_not() -> None:
    call = SerializerCall()
    await call.open()
    await call.serializer.serialize(EndFrame())
    assert await call.serializer.deserialize(b"\xff" * 1600) is not None
    speech = OutputAudioRawFrame(bytes(6400), 16000, 1)
    assert await call.serializer.serialize(speech) is None


class TestEndings:
    @pytest.mark.parametrize("order", ["fault first", "end first"])
    async def test_disconnect_after_a_fault_has_reason_error_whichever_is_sent_first(
        self, order: str
    ) -> None:
        call = SerializerCall()
        await call.open()
        call.serializer.set_output_variables({"intent": "success"})
        fault = await call.serializer.deserialize(call.genesys.text("ping", seq=9))
        assert not call.serializer.is_open
        frames = [fault, EndFrame()] if order == "fault first" else [EndFrame(), fault]
        texts = [await call.serializer.serialize(frame) for frame in frames]
        assert texts[1] is None
        parameters = call.genesys.receive(texts[0])["parameters"]
        assert parameters["reason"] == "error"
        assert "seq" in parameters["info"]
        assert "outputVariables" not in parameters

    async def test_output_variables_are_copied_when_set(self) -> None:
        call = SerializerCall()
        await call.open()
        variables: dict[str, Any] = {"good": 1}
        call.serializer.set_output_variables(variables)
        variables["bad"] = object()
        disconnect = call.genesys.receive(await call.serializer.serialize(EndFrame()))
        assert disconnect["parameters"]["outputVariables"] == {"action": "transfer", "good": "1"}

    async def test_output_variables_may_be_cleared(self) -> None:
        call = SerializerCall()
        await call.open()
        call.serializer.set_output_variables({"a": "1"})
        call.serializer.set_output_variables(None)  # type: ignore[arg-type]
        closed = await call.exchange(call.genesys.text("close", {"reason": "end"}))
        assert closed["parameters"] == {}

    async def test_as_many_variables_as_fit_are_sent(self) -> None:
        call = SerializerCall()
        await call.open()
        call.serializer.set_output_variables({f"v{n}": "x" * 20 for n in range(4000)})
        text = await call.serializer.serialize(EndFrame())
        assert isinstance(text, str)
        assert 55_000 < len(text.encode()) <= 64_000

    @pytest.mark.parametrize(
        ("variables", "kept"),
        [
            # The text has 54 kB in UTF-8, and 108 kB in ASCII escapes.
            ({"summary": "語" * 18_000}, {"summary"}),
            # A lone surrogate needs ASCII escapes. The escapes make the summary too large.
            ({"summary": "語" * 18_000, "odd": "\ud800"}, {"odd"}),
        ],
    )
    async def test_size_of_variables_is_counted_in_bytes_on_the_wire(
        self, variables: dict[str, str], kept: set[str]
    ) -> None:
        call = SerializerCall()
        await call.open()
        call.serializer.set_output_variables(variables)
        text = await call.serializer.serialize(EndFrame())
        assert isinstance(text, str)
        assert len(text.encode()) <= 64_000
        assert call.genesys.receive(text)["parameters"]["outputVariables"].keys() == {
            "action",
            *kept,
        }

    async def test_odd_or_long_info_does_not_displace_the_variables(self) -> None:
        for info in (b"bytes", "x" * 100_000, "ü" * 100_000, 5):
            call = SerializerCall()
            await call.open()
            message = call.serializer.create_disconnect_message(
                info=info,  # type: ignore[arg-type]
                output_variables={"a": "b" * 30_000},
            )
            frame = OutputTransportMessageUrgentFrame(message=message)
            disconnect = call.genesys.receive(await call.serializer.serialize(frame))
            assert disconnect["parameters"]["outputVariables"]["a"] == "b" * 30_000

    async def test_variables_set_after_close_are_sent_with_a_copied_closed(self) -> None:
        call = SerializerCall()
        await call.open()
        frame = await call.serializer.deserialize(call.genesys.text("close", {"reason": "end"}))
        call.serializer.set_output_variables({"late": "yes"})
        copied = OutputTransportMessageUrgentFrame(message=copy.deepcopy(frame.message))
        closed = call.genesys.receive(await call.serializer.serialize(copied))
        assert closed["parameters"] == {"outputVariables": {"late": "yes"}}


@pytest.mark.parametrize("variables", [["a"], "a", 5])
def test_output_variables_that_are_no_dict_raise(variables: Any) -> None:
    with pytest.raises(TypeError, match=type(variables).__name__):
        SerializerCall().serializer.set_output_variables(variables)


def test_params_of_another_type_raise() -> None:
    with pytest.raises(TypeError, match="InputParams"):
        GenesysAudioHookSerializer({"channel": "both"})  # type: ignore[arg-type]


async def test_changes_by_handlers_to_a_message_do_not_reach_the_wire() -> None:
    call = SerializerCall()
    await call.connect()

    @call.serializer.event_handler("on_open")
    async def on_open(_: Any, message: dict[str, Any]) -> None:
        message["parameters"]["media"][0]["channels"].append("nonsense")

    frame = await call.serializer.deserialize(call.genesys.open())
    frame.message["parameters"]["media"][0]["rate"] = 1
    await handlers_done(call.serializer)
    opened = call.genesys.receive(await call.serializer.serialize(frame))
    assert opened["parameters"]["media"] == [media()]


async def test_session_id_missing_in_open_is_taken_from_the_next_message() -> None:
    call = SerializerCall()
    await call.connect()
    text = json.loads(call.genesys.open())
    del text["id"]
    await call.exchange(json.dumps(text))
    pong = await call.exchange(call.genesys.text("ping"))
    assert (pong["type"], pong["id"]) == ("pong", call.genesys.session_id)
    assert (await call.exchange(call.genesys.text("ping", id="another")))["type"] == "disconnect"


async def test_seq_is_checked_from_open_on() -> None:
    call = SerializerCall()
    await call.connect()
    await call.serializer.deserialize(call.genesys.text("ping", seq=1000))
    call.genesys.seq = 0
    await call.exchange(call.genesys.open())
    assert (await call.exchange(call.genesys.text("ping")))["type"] == "pong"
