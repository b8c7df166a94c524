"""Tests of `on_opening`, `on_updating` and `on_closing`, which run before the reply is sent."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from attached import AttachedCall
from calls import SerializerCall, handlers_done
from genesys import media
from pipecat.frames.frames import EndFrame
from pipecat_genesys import GenesysOpenFrame


def on(call: SerializerCall, name: str) -> Any:
    return call.serializer.event_handler(name)


class TestOpening:
    async def test_on_opening_runs_before_opened_with_the_details_of_the_call(self) -> None:
        call = SerializerCall()
        seen: list[Any] = []

        @on(call, "on_opening")
        async def on_opening(serializer: Any, message: dict[str, Any]) -> None:
            seen.append((serializer.is_open, serializer.call.organization_id, message["type"]))
            await asyncio.sleep(0)
            seen.append(serializer.call.media.raw)

        await call.open()
        assert seen == [(False, "d7934305-0972-4844-938e-9060eef73d05", "open"), media()]

    async def test_on_opening_may_set_the_supported_languages(self) -> None:
        for asked in (True, False):
            call = SerializerCall(supported_languages=["fr-FR"])

            @on(call, "on_opening")
            async def on_opening(serializer: Any, _: Any) -> None:
                serializer.call.set_supported_languages(["en-US", "de-DE"])

            opened = await call.open(supportedLanguages=asked)
            named = opened["parameters"].get("supportedLanguages")
            assert named == (["en-US", "de-DE"] if asked else None)

    @pytest.mark.parametrize("configured", [True, False])
    async def test_on_opening_may_pause_or_resume(self, configured: bool) -> None:
        call = SerializerCall(start_paused=configured)

        @on(call, "on_opening")
        async def on_opening(serializer: Any, _: Any) -> None:
            assert await (serializer.call.resume() if configured else serializer.call.pause())

        opened = await call.open()
        assert opened["parameters"]["startPaused"] is not configured

    async def test_on_opening_may_set_discard_to(self) -> None:
        call = SerializerCall()

        @on(call, "on_opening")
        async def on_opening(serializer: Any, _: Any) -> None:
            (before,) = serializer.call.continued_sessions
            assert (before.serverseq, before.clientseq) == (7, 9)
            serializer.call.set_discard_to("PT12.5S")

        continued = [{"id": "x", "serverseq": 7, "clientseq": 9}]
        opened = await call.open(continuedSessions=continued)
        assert opened["parameters"]["discardTo"] == "PT12.5S"

    @pytest.mark.parametrize("reason", ["unauthorized", "error", "completed"])
    async def test_on_opening_may_disconnect(self, reason: str) -> None:
        call = SerializerCall()
        opened: list[Any] = []
        call.serializer.add_event_handler("on_open", lambda *_: opened.append(1))

        @on(call, "on_opening")
        async def on_opening(serializer: Any, _: Any) -> None:
            assert await serializer.call.disconnect(reason, info="unknown tenant")

        await call.connect()
        frame = await call.serializer.deserialize(call.genesys.open())
        # Processors that wait for a `GenesysOpenFrame` must not receive one.
        assert not isinstance(frame, GenesysOpenFrame)
        await handlers_done(call.serializer)
        assert opened == []
        assert not call.serializer.is_open
        refusal = call.genesys.receive(await call.serializer.serialize(frame))
        assert refusal["type"] == "disconnect"
        assert refusal["parameters"] == {"reason": reason, "info": "unknown tenant"}
        # The server sends only one `disconnect`, and answers `close` with `closed`.
        assert await call.serializer.serialize(EndFrame()) is None
        closed = await call.exchange(call.genesys.text("close", {"reason": "disconnect"}))
        assert (closed["type"], closed["seq"]) == ("closed", 2)

    async def test_on_opening_is_not_called_for_a_rejected_offer(self) -> None:
        call = SerializerCall()
        asked: list[Any] = []
        call.serializer.add_event_handler("on_opening", lambda *_: asked.append(1))
        await call.connect()
        rejection = await call.exchange(call.genesys.open(media("OPUS")))
        assert (rejection["type"], asked) == ("disconnect", [])


class TestUpdating:
    async def test_on_updating_may_answer_with_pause(self) -> None:
        call = AttachedCall()
        await call.open()
        languages: list[Any] = []

        @on(call, "on_updating")
        async def on_updating(serializer: Any, _: Any) -> None:
            languages.append(serializer.call.language)
            if serializer.call.language == "fi-FI":
                assert await serializer.call.pause()

        answers = [
            await call.exchange(call.genesys.text("update", {"language": language}))
            for language in ("de-DE", "fi-FI")
        ]
        assert [answer["type"] for answer in answers] == ["updated", "pause"]
        assert languages == ["de-DE", "fi-FI"]
        assert call.transport.frames == []

    async def test_on_updating_may_answer_with_disconnect(self) -> None:
        call = SerializerCall()
        await call.open()

        @on(call, "on_updating")
        async def on_updating(serializer: Any, _: Any) -> None:
            await serializer.call.disconnect("error", info="no such language")

        answer = await call.exchange(call.genesys.text("update", {"language": "fi-FI"}))
        assert (answer["type"], answer["parameters"]["reason"]) == ("disconnect", "error")

    async def test_on_updating_is_not_called_for_an_update_without_a_reply(self) -> None:
        call = SerializerCall()
        asked: list[Any] = []
        call.serializer.add_event_handler("on_updating", lambda *_: asked.append(1))
        await call.open()
        await call.send_unanswered(call.genesys.text("update", {}))
        assert asked == []


class TestClosing:
    async def test_on_closing_may_send_events_and_set_output_variables(self) -> None:
        call = AttachedCall()
        await call.open()

        @on(call, "on_closing")
        async def on_closing(serializer: Any, message: dict[str, Any]) -> None:
            assert message["parameters"]["reason"] == "end"
            serializer.set_output_variables({"intent": "billing"})
            assert await serializer.call.send_event("summary", {"text": "billing"})

        frame = await call.serializer.deserialize(call.genesys.text("close", {"reason": "end"}))
        (event,) = await call.sent_messages()
        assert event["parameters"]["entities"][0]["type"] == "summary"
        closed = call.genesys.receive(await call.serializer.serialize(frame))
        assert closed["parameters"] == {"outputVariables": {"intent": "billing"}}


class TestLimits:
    @pytest.mark.parametrize("name", ["on_opening", "on_updating", "on_closing"])
    async def test_handler_that_hangs_is_cancelled_and_the_reply_is_sent(self, name: str) -> None:
        call = SerializerCall(hook_timeout_secs=0.01)
        cancelled: list[str] = []

        @on(call, name)
        async def hang(*_: Any) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.append(name)

        opened = await call.open()
        updated = await call.exchange(call.genesys.text("update", {"language": "de-DE"}))
        closed = await call.exchange(call.genesys.text("close", {"reason": "end"}))
        types = [message["type"] for message in (opened, updated, closed)]
        assert types == ["opened", "updated", "closed"]
        assert cancelled == [name]
        assert call.serializer.call.faults == {}

    async def test_decision_before_the_time_limit_counts(self) -> None:
        """`disconnect` of a handler is sent, although the handler exceeds its time limit later."""
        call = SerializerCall(hook_timeout_secs=0.01)

        @on(call, "on_opening")
        async def hang(serializer: Any, _: Any) -> None:
            await serializer.call.disconnect("unauthorized")
            await asyncio.Event().wait()

        assert (await call.open())["type"] == "disconnect"

    async def test_handler_that_raises_does_not_prevent_the_reply(self) -> None:
        call = SerializerCall()

        @on(call, "on_opening")
        async def broken(*_: Any) -> None:
            raise RuntimeError("no connection to the database")

        assert (await call.open())["type"] == "opened"

    async def test_methods_send_messages_after_the_handler(self) -> None:
        """After the handler has returned, the methods send messages again."""
        call = AttachedCall()

        @on(call, "on_opening")
        async def on_opening(*_: Any) -> None:
            pass

        await call.open()
        assert await call.serializer.call.disconnect("error")
        (message,) = await call.sent_messages()
        assert message["parameters"]["reason"] == "error"


@pytest.mark.parametrize("languages", ["en-US", [5], ["en-US", None]])
def test_supported_languages_must_be_a_list_of_codes(languages: Any) -> None:
    with pytest.raises(TypeError, match="en-US"):
        SerializerCall().serializer.call.set_supported_languages(languages)


@pytest.mark.parametrize("position", ["1.5", -1, None, "PT1M"])
def test_discard_to_must_be_a_duration(position: Any) -> None:
    with pytest.raises(ValueError, match=r"duration|seconds"):
        SerializerCall().serializer.call.set_discard_to(position)
