"""Tests of the methods with which an application sends messages to Genesys."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from attached import AttachedCall
from calls import SerializerCall, handlers_done
from genesys import media
from pipecat.frames.frames import EndFrame, Frame
from pipecat_genesys.protocol.entities import BotTurnResponse, SpeechStarted, Token

ID = "b6f1a1f0-6a4e-4f0e-9f5a-0c7d6d0a5b11"


async def opened(*offer: dict[str, Any], **params: Any) -> AttachedCall:
    call = AttachedCall(**params)
    await call.open(*offer)
    return call


class TestMessages:
    async def test_pause_and_resume_send_their_messages(self) -> None:
        call = await opened()
        assert await call.serializer.call.pause()
        assert await call.serializer.call.resume()
        messages = await call.sent_messages()
        assert [(m["type"], m["parameters"]) for m in messages] == [("pause", {}), ("resume", {})]

    async def test_reconnect_sends_its_message(self) -> None:
        call = await opened()
        assert await call.serializer.call.reconnect("draining")
        (message,) = await call.sent_messages()
        assert (message["type"], message["parameters"]) == ("reconnect", {"info": "draining"})

    async def test_send_event_takes_entities_and_own_types(self) -> None:
        call = await opened()
        turn = BotTurnResponse(disposition="match", text="Hello", confidence=0.9)
        assert await call.serializer.call.send_event(turn)
        assert await call.serializer.call.send_event(SpeechStarted())
        assert await call.serializer.call.send_event("mood", ["good", 0.5, None])
        assert await call.serializer.call.send_event("ping")
        assert [m["parameters"]["entities"] for m in await call.sent_messages()] == [
            [
                {
                    "type": "bot_turn_response",
                    "data": {"disposition": "match", "text": "Hello", "confidence": 0.9},
                }
            ],
            [{"type": "speech_started", "data": {}}],
            [{"type": "mood", "data": ["good", 0.5, None]}],
            [{"type": "ping", "data": None}],
        ]

    @pytest.mark.parametrize(
        ("channels", "channel", "number"),
        [
            (("external", "internal"), "external", 0),
            (("external", "internal"), "internal", 1),
            (("internal", "external"), "external", 1),
            (("internal",), "internal", 0),
        ],
    )
    async def test_send_transcript_sends_a_complete_entity(
        self, channels: tuple[str, ...], channel: str, number: int
    ) -> None:
        call = await opened(media("PCMU", *channels), channel="both")
        assert await call.serializer.call.send_transcript(
            "hello",
            offset=0.513,
            duration="PT0.25S",
            channel=channel,
            confidence=0.75,
            language="en-US",
            id=ID,
            tokens=[Token(value="hello", confidence=1, offset=0.5, duration=0.25)],
        )
        (message,) = await call.sent_messages()
        (entity,) = message["parameters"]["entities"]
        assert entity["type"] == "transcript"
        assert entity["data"] == {
            "id": ID,
            "channelId": number,
            "isFinal": True,
            "offset": "PT0.513S",
            "duration": "PT0.25S",
            "alternatives": [
                {
                    "confidence": 0.75,
                    "languages": ["en-US"],
                    "interpretations": [
                        {
                            "type": "display",
                            "transcript": "hello",
                            "tokens": [
                                {
                                    "type": "word",
                                    "value": "hello",
                                    "confidence": 1.0,
                                    "offset": "PT0.5S",
                                    "duration": "PT0.25S",
                                }
                            ],
                        }
                    ],
                }
            ],
        }

    async def test_transcripts_get_different_ids(self) -> None:
        call = await opened()
        for _ in range(2):
            await call.serializer.call.send_transcript("x", offset=0, duration=1)
        ids = {m["parameters"]["entities"][0]["data"]["id"] for m in await call.sent_messages()}
        assert len(ids) == 2

    @pytest.mark.parametrize(
        ("own", "expected"), [(None, {"a": "1"}), ({"b": True}, {"b": "true"}), ({}, None)]
    )
    async def test_disconnect_has_its_own_output_variables_or_those_set_before(
        self, own: dict[str, Any] | None, expected: dict[str, str] | None
    ) -> None:
        call = await opened()
        call.serializer.set_output_variables({"a": "1"})
        assert await call.serializer.call.disconnect(info="done", output_variables=own)
        (message,) = await call.sent_messages()
        assert message["type"] == "disconnect"
        assert message["parameters"].pop("outputVariables", None) == expected
        assert message["parameters"] == {"reason": "completed", "info": "done"}
        # The server sends at most one `disconnect`.
        assert not await call.serializer.call.disconnect()
        assert await call.serializer.serialize(EndFrame()) is None


class TestInvalidArguments:
    async def test_unknown_disconnect_reason_raises(self) -> None:
        call = await opened()
        with pytest.raises(ValueError, match=r"'busy'.*completed"):
            await call.serializer.call.disconnect("busy")

    async def test_value_that_is_not_json_raises_with_the_name(self) -> None:
        call = await opened()
        with pytest.raises(ValueError, match="'mood'"):
            await call.serializer.call.send_event("mood", {1, 2})
        with pytest.raises(ValueError, match="'when'"):
            await call.serializer.call.disconnect(output_variables={"when": object()})

    async def test_message_that_is_too_large_raises_with_its_size(self) -> None:
        call = await opened()
        with pytest.raises(ValueError, match=r"'mood' has 640\d\d bytes"):
            await call.serializer.call.send_event("mood", "x" * 64_000)

    async def test_channel_that_the_medium_lacks_raises(self) -> None:
        call = await opened()
        with pytest.raises(ValueError, match=r"external, not internal"):
            await call.serializer.call.send_transcript(
                "x", offset=0, duration=1, channel="internal"
            )

    @pytest.mark.parametrize(
        ("field", "wrong"), [("offset", -1), ("duration", "1 s"), ("id", "one"), ("confidence", 2)]
    )
    async def test_invalid_field_of_a_transcript_raises_with_its_name(
        self, field: str, wrong: Any
    ) -> None:
        call = await opened()
        given = {"offset": 0, "duration": 1} | {field: wrong}
        with pytest.raises(ValueError, match=field):
            await call.serializer.call.send_transcript("x", **given)
        assert await call.sent_messages() == []

    async def test_sending_without_a_transport_raises(self) -> None:
        call = SerializerCall()
        await call.open()
        with pytest.raises(RuntimeError, match=r"attach\(transport\)"):
            await call.serializer.call.pause()


class TestTiming:
    async def test_pause_before_opened_sets_start_paused(self) -> None:
        call = AttachedCall()
        await call.connect()
        assert await call.serializer.call.pause()
        frame = await call.serializer.deserialize(call.genesys.open())
        # The server has not sent `opened` yet, so `resume` changes the contents of `opened`.
        assert await call.serializer.call.resume()
        message = call.genesys.receive(await call.serializer.serialize(frame))
        assert message["parameters"]["startPaused"] is False
        assert await call.sent_messages() == []

    async def test_event_before_opened_is_sent_after_it(self) -> None:
        call = AttachedCall()
        await call.connect()
        frame = await call.serializer.deserialize(call.genesys.open())
        assert await call.serializer.call.send_event("early")
        assert call.genesys.receive(await call.serializer.serialize(frame))["type"] == "opened"
        assert [m["type"] for m in await call.sent_messages()] == ["event"]

    async def test_methods_return_false_before_open_and_after_the_end(self) -> None:
        call = AttachedCall()
        await call.connect()
        serializer = call.serializer
        for end in (None, "close", "closed"):
            if end == "close":
                await call.exchange(call.genesys.open())
                frame = await serializer.deserialize(call.genesys.text("close", {"reason": "end"}))
                # The server may still send events before `closed`.
                assert await serializer.call.send_event("last")
            if end == "closed":
                await call.sent_messages()
                await serializer.serialize(frame)
            assert not await serializer.call.disconnect()
            assert not await serializer.call.reconnect()
            if end != "close":
                assert not await serializer.call.send_event("late")
                if end:
                    assert not await serializer.call.send_transcript("x", offset=0, duration=1)
            if end:
                assert not await serializer.call.pause()
                assert not await serializer.call.resume()
        assert await call.sent_messages() == []

    async def test_frames_go_to_the_pipeline_worker_without_a_transport(self) -> None:
        call = SerializerCall()
        frames: list[Frame] = []

        async def queue_frame(frame: Frame) -> None:
            frames.append(frame)

        worker = SimpleNamespace(queue_frame=queue_frame)
        setup = SimpleNamespace(audio_in_sample_rate=16000, pipeline_worker=worker)
        await call.serializer.setup(setup)
        await call.exchange(call.genesys.open())
        assert await call.serializer.call.pause()
        (frame,) = frames
        assert call.genesys.receive(await call.serializer.serialize(frame))["type"] == "pause"


class TestConnectionLost:
    async def test_connection_lost_before_closed_is_reported_once(self) -> None:
        call = await opened()
        lost: list[Any] = []
        call.serializer.add_event_handler("on_connection_lost", lambda _, e: lost.append(e.state))
        for _ in range(2):
            await call.transport.handlers["on_client_disconnected"](call.transport, None)
        await handlers_done(call.serializer)
        assert lost == ["active"]
        assert not call.serializer.is_open
        assert not await call.serializer.call.send_event("late")
        assert await call.serializer.serialize(EndFrame()) is None

    async def test_connection_lost_after_closed_is_not_reported(self) -> None:
        call = await opened()
        await call.exchange(call.genesys.text("close", {"reason": "end"}))
        lost: list[Any] = []
        call.serializer.add_event_handler("on_connection_lost", lambda _, e: lost.append(e))
        await call.serializer.call.connection_lost()
        await asyncio.sleep(0)
        await handlers_done(call.serializer)
        assert lost == []
