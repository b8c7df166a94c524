"""Tests of deliberate differences from pipecat's serializer: one test per row of docs/parity.md.

Each test checks both serializers, so it fails if pipecat changes and the row is obsolete.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from calls import handlers_done
from genesys import Genesys, media
from loguru import logger
from pipecat.frames.frames import (
    EndFrame,
    InterruptionFrame,
    OutputAudioRawFrame,
    OutputTransportMessageUrgentFrame,
    SystemFrame,
)

PARITY = Path(__file__).parents[2] / "docs" / "parity.md"
ROWS: set[str] = set()


def row(name: str) -> Callable[[Any], Any]:
    ROWS.add(name)
    return lambda function: function


def sent(payload: Any) -> Any:
    return json.loads(payload) if isinstance(payload, str) else payload


def frame(message: dict[str, Any]) -> OutputTransportMessageUrgentFrame:
    return OutputTransportMessageUrgentFrame(message=message)


def tone(rate: int, seconds: float = 0.2) -> bytes:
    t = np.arange(int(rate * seconds)) / rate
    return (8000 * np.sin(2 * np.pi * 440 * t)).astype("<i2").tobytes()


def speech(rate: int = 16000, seconds: float = 0.2) -> OutputAudioRawFrame:
    return OutputAudioRawFrame(tone(rate, seconds), rate, 1)


async def opened(both: Any, *offer: dict[str, Any], **parameters: Any) -> tuple[Genesys, Any, Any]:
    genesys = Genesys()
    theirs, ours = await both.wire(genesys.open(*offer, **parameters))
    genesys.serverseq = 1
    return genesys, theirs, ours


# -- opening ---------------------------------------------------------------------------------


@row("media-copied")
async def test_opened_copies_the_offered_entry(twin: Any) -> None:
    inverted = media("PCMU", "internal", "external")
    _, theirs, ours = await opened(twin(channel="both"), inverted)
    assert theirs["parameters"]["media"] == [media("PCMU", "external", "internal")]
    assert ours["parameters"]["media"] == [inverted]


@row("media-rejected")
async def test_offer_without_a_supported_medium_is_rejected(twin: Any) -> None:
    _, theirs, ours = await opened(twin(), media("OPUS", rate=48000))
    assert theirs["type"] == "opened"
    assert (ours["type"], ours["seq"]) == ("disconnect", 1)
    assert ours["parameters"]["reason"] == "error"


@row("params-untouched")
async def test_params_are_not_mutated(twin: Any) -> None:
    both = twin(channel="external")
    await opened(both, media("PCMU", "external", "internal"))
    assert both.theirs._params.channel == "both"
    assert both.ours._params.channel == "external"


@row("languages")
async def test_supported_languages_are_sent_only_on_request(twin: Any) -> None:
    params = {"supported_languages": ["en-US"], "selected_language": "en-US"}
    _, theirs, ours = await opened(twin(**params))
    assert {"supportedLanguages", "selectedLanguage"} <= theirs["parameters"].keys()
    assert ours["parameters"].keys() == {"startPaused", "media"}
    _, _, ours = await opened(twin(**params), supportedLanguages=True)
    assert ours["parameters"]["supportedLanguages"] == ["en-US"]


@row("second-open")
async def test_second_open_is_not_answered(twin: Any) -> None:
    both = twin()
    genesys, _, _ = await opened(both)
    theirs, ours = await both.wire(genesys.open())
    assert theirs["type"] == "opened"
    assert ours is None


@row("wire-rate")
def test_wire_sample_rate_other_than_8000_raises(twin: Any) -> None:
    with pytest.raises(ValueError, match="8000"):
        twin(genesys_sample_rate=16000)


@row("no-channel")
def test_processing_no_channel_raises(twin: Any) -> None:
    with pytest.raises(ValueError, match="process_external"):
        twin(process_external=False, process_internal=False)


# -- numbering and order -----------------------------------------------------------------------


@row("seq")
async def test_seq_is_assigned_in_wire_order(twin: Any) -> None:
    both = twin()
    genesys, _, _ = await opened(both)
    # The pong is created first, but the message of an interruption is sent before the pong.
    pongs = await both.deserialize(genesys.text("ping"))
    events = await both.serialize(InterruptionFrame())
    wire = [
        [sent(event)["seq"], sent(await side.serialize(pong))["seq"]]
        for side, event, pong in zip((both.theirs, both.ours), events, pongs, strict=True)
    ]
    assert wire == [[3, 2], [2, 3]]


@row("position")
async def test_server_messages_have_no_position(twin: Any) -> None:
    both = twin()
    genesys, _, _ = await opened(both)
    theirs, ours = await both.wire(genesys.text("ping"))
    assert "position" in theirs
    assert ours.keys() == {"version", "type", "id", "seq", "clientseq", "parameters"}


@row("pong-clientseq")
async def test_pong_has_the_seq_of_its_ping(twin: Any) -> None:
    both = twin()
    genesys, _, _ = await opened(both)
    _, first = await both.deserialize(genesys.text("ping"))
    _, second = await both.deserialize(genesys.text("ping"))
    assert sent(await both.ours.serialize(first))["clientseq"] == 2
    assert sent(await both.ours.serialize(second))["clientseq"] == 3


@row("peer-checked")
@pytest.mark.parametrize(
    "envelope", [{"seq": 9}, {"seq": 1}, {"serverseq": 7}, {"id": "other"}, {"version": "3"}]
)
async def test_gap_in_seq_gives_one_disconnect(twin: Any, envelope: Any) -> None:
    both = twin()
    genesys, _, _ = await opened(both)
    theirs, ours = await both.wire(genesys.text("ping", **envelope))
    assert theirs["type"] == "pong"
    assert (ours["type"], ours["parameters"]["reason"]) == ("disconnect", "error")
    assert "outputVariables" not in ours["parameters"]
    _, again = await both.wire(genesys.text("ping", seq=99))
    assert again is None or again["type"] == "pong"


@row("before-opened")
async def test_no_message_is_sent_before_opened(twin: Any) -> None:
    both = twin()
    pongs = await both.deserialize(Genesys().text("ping"))
    assert await both.theirs.serialize(pongs[0]) is not None
    assert await both.ours.serialize(pongs[1]) is None
    for early in (InterruptionFrame(), EndFrame()):
        theirs, ours = await both.serialize(early)
        assert theirs is not None
        assert ours is None


@row("audio-waits")
async def test_bot_audio_waits_for_opened(twin: Any) -> None:
    both = twin()
    await both.setup()
    replies = await both.deserialize(Genesys().open())
    early = await both.serialize(speech())
    assert early[0]
    assert early[1] is None
    assert sent(await both.ours.serialize(replies[1]))["type"] == "opened"
    assert [len(await both.ours.serialize(speech())) for _ in range(3)] == [3200, 1600, 1600]


@row("after-close")
async def test_messages_after_close_are_ignored(twin: Any) -> None:
    both = twin()
    genesys, _, _ = await opened(both)
    await both.wire(genesys.text("close", {"reason": "end"}))
    theirs, ours = await both.deserialize(genesys.text("dtmf", {"digit": "1"}))
    assert theirs is not None
    assert ours is None
    await both.deserialize(genesys.text("pause"))
    assert (both.theirs.is_paused, both.ours.is_paused) == (True, False)


@row("after-closed")
async def test_no_message_is_sent_after_closed(twin: Any) -> None:
    both = twin()
    genesys, _, _ = await opened(both)
    theirs, ours = await both.wire(genesys.text("close", {"reason": "end"}))
    assert theirs["type"] == ours["type"] == "closed"
    for late in (EndFrame(), InterruptionFrame()):
        theirs, ours = await both.serialize(late)
        assert theirs is not None
        assert ours is None
    theirs, ours = await both.wire(genesys.text("close", {"reason": "end"}))
    assert theirs["type"] == "closed"
    assert ours is None


@row("one-disconnect")
async def test_disconnect_is_sent_once(twin: Any) -> None:
    both = twin()
    await opened(both)
    first = await both.serialize(EndFrame())
    assert all(first)
    theirs, ours = await both.serialize(EndFrame())
    assert theirs is not None
    assert ours is None


# -- messages ----------------------------------------------------------------------------------


@row("updated")
async def test_language_update_is_answered(twin: Any) -> None:
    both = twin()
    genesys, _, _ = await opened(both)
    theirs, ours = await both.wire(genesys.text("update", {"language": "es-ES"}))
    assert theirs is None
    assert (ours["type"], ours["parameters"]) == ("updated", {})
    assert both.ours.call.language == "es-ES"


@row("resume")
async def test_resumed_of_the_server_is_sent_as_resume(twin: Any) -> None:
    both = twin()
    await opened(both)
    theirs = await both.theirs.serialize(frame(both.theirs.create_resumed_response()))
    ours = await both.ours.serialize(frame(both.ours.create_resumed_response()))
    assert sent(theirs)["type"] == "resumed"
    assert (sent(ours)["type"], sent(ours)["parameters"]) == ("resume", {})


@row("paused")
async def test_paused_of_the_client_is_understood(twin: Any) -> None:
    both = twin()
    await both.setup()
    genesys, _, _ = await opened(both)
    await both.deserialize(genesys.text("paused"))
    assert (both.theirs.is_paused, both.ours.is_paused) == (False, True)
    resumed = genesys.text("resumed", {"start": "PT0S", "discarded": "PT1S"})
    await both.deserialize(resumed)
    assert both.ours.is_paused is False
    await handlers_done(both.theirs, both.ours)
    assert [name for name, _ in both.calls["ours"]] == ["on_open", "on_pause"]
    assert [name for name, _ in both.calls["theirs"]] == ["on_open"]


@row("frames")
async def test_messages_of_genesys_reach_the_pipeline_as_frames(twin: Any) -> None:
    both = twin()
    await both.setup()
    genesys = Genesys()
    gap = {"start": "PT0S", "discarded": "PT1S"}
    said: list[tuple[str, Any, str]] = [
        (genesys.open(), OutputTransportMessageUrgentFrame, "Open"),
        (genesys.text("ping", serverseq=1), OutputTransportMessageUrgentFrame, "Ping"),
        (genesys.text("playback_started"), None, "PlaybackStarted"),
        (genesys.text("playback_completed"), None, "PlaybackCompleted"),
        (genesys.text("paused"), None, "Paused"),
        (genesys.text("resumed", gap, position="PT1S"), None, "Resumed"),
        (genesys.text("discarded", gap, position="PT1S"), None, "Discarded"),
        (genesys.text("close", {"reason": "end"}), OutputTransportMessageUrgentFrame, "Close"),
    ]
    for text, kind, name in said:
        theirs, ours = await both.deserialize(text)
        assert theirs is None if kind is None else type(theirs) is kind
        assert type(ours).__name__ == f"Genesys{name}Frame"
        assert isinstance(ours, kind or SystemFrame)
        wire = await both.ours.serialize(ours)
        assert (wire is None) is (kind is None)


@row("error-message")
async def test_error_of_the_server_is_not_sent(twin: Any) -> None:
    both = twin()
    await opened(both)
    theirs = await both.theirs.serialize(frame(both.theirs.create_error_message(500, "no")))
    assert sent(theirs)["type"] == "error"
    assert await both.ours.serialize(frame(both.ours.create_error_message(500, "no"))) is None


@row("disconnect-reason")
async def test_unknown_disconnect_reason_is_sent_as_error(twin: Any) -> None:
    both = twin()
    await opened(both)
    theirs, ours = [
        sent(await side.serialize(frame(side.create_disconnect_message(reason="timeout"))))
        for side in (both.theirs, both.ours)
    ]
    assert theirs["parameters"]["reason"] == "timeout"
    assert (ours["parameters"]["reason"], ours["parameters"]["info"]) == ("error", "timeout")


@row("empty-event")
async def test_event_without_entities_is_not_sent(twin: Any) -> None:
    both = twin()
    await opened(both)
    theirs, ours = await both.serialize(
        frame({"version": "2", "type": "event", "parameters": {"entities": []}})
    )
    assert theirs is not None
    assert ours is None


@row("unknown-server-message")
@pytest.mark.parametrize("name", ["paused", "open", "made_up", None])
async def test_messages_of_the_client_are_not_sent(twin: Any, name: Any) -> None:
    both = twin()
    await opened(both)
    theirs, ours = await both.serialize(frame({"version": "2", "type": name, "parameters": {}}))
    assert theirs is not None
    assert ours is None


@row("not-json")
async def test_message_that_is_not_json_is_not_sent(twin: Any) -> None:
    both = twin()
    await opened(both)
    bad = frame({"version": "2", "type": "event", "parameters": {"entities": [object()]}})
    with pytest.raises(TypeError):
        await both.theirs.serialize(bad)
    assert await both.ours.serialize(bad) is None


@row("hostile-text")
@pytest.mark.parametrize("text", ["[1]", "5", '"x"', "null", '{"type":"close","parameters":null}'])
async def test_invalid_text_does_not_raise(twin: Any, text: str) -> None:
    both = twin()
    with pytest.raises((AttributeError, TypeError)):
        await both.theirs.deserialize(text)
    await both.ours.deserialize(text)
    assert sum(both.ours.call.faults.values()) >= 1
    for odd in (None, 5):
        with pytest.raises(TypeError):
            await both.theirs.deserialize(odd)
        assert await both.ours.deserialize(odd) is None  # type: ignore[arg-type]


@row("typed-properties")
async def test_values_of_a_wrong_type_are_read_as_none(twin: Any) -> None:
    both = twin()
    text = Genesys().open(conversationId=5, inputVariables=["x"])
    await both.deserialize(text)
    assert (both.theirs.conversation_id, both.theirs.input_variables) == (5, ["x"])
    assert (both.ours.conversation_id, both.ours.input_variables) == (None, None)


@row("digit-type")
async def test_digit_that_is_no_string_gives_no_event(twin: Any) -> None:
    both = twin()
    assert await both.deserialize(Genesys().text("dtmf", {"digit": 7})) == (None, None)
    await handlers_done(both.theirs, both.ours)
    assert [name for name, _ in both.calls["theirs"]] == ["on_dtmf"]
    assert both.calls["ours"] == []


# -- variables -----------------------------------------------------------------------------------


@row("variables-are-strings")
async def test_variables_are_strings_on_the_wire(twin: Any) -> None:
    both = twin()
    await opened(both)
    for side in (both.theirs, both.ours):
        side.set_output_variables({"s": "é", "b": True, "n": 0.95, "d": {"a": [1]}, "none": None})
    theirs, ours = (sent(payload) for payload in await both.serialize(EndFrame()))
    assert theirs["parameters"]["outputVariables"]["b"] is True
    assert ours["parameters"]["outputVariables"] == {
        "action": "transfer",
        "s": "é",
        "b": "true",
        "n": "0.95",
        "d": '{"a":[1]}',
        "none": "null",
    }


@row("variables-checked")
@pytest.mark.parametrize("value", [object(), float("nan"), {1, 2}, b"x"])
def test_output_variables_that_are_not_json_raise_when_set(twin: Any, value: Any) -> None:
    both = twin()
    both.theirs.set_output_variables({"v": value})
    with pytest.raises(ValueError, match="'v'"):
        both.ours.set_output_variables({"v": value})
    assert both.ours.output_variables is None


@row("variables-in-on-close")
async def test_variables_set_while_closing_are_sent(twin: Any) -> None:
    both = twin()
    genesys, _, _ = await opened(both)
    for side in (both.theirs, both.ours):

        @side.event_handler("on_close")
        async def on_close(serializer: Any, _: Any) -> None:
            serializer.set_output_variables({"set": "in on_close"})

    replies = await both.deserialize(genesys.text("close", {"reason": "end"}))
    await handlers_done(both.theirs, both.ours)
    theirs = sent(await both.theirs.serialize(replies[0]))
    ours = sent(await both.ours.serialize(replies[1]))
    assert theirs["parameters"] == {}
    assert ours["parameters"] == {"outputVariables": {"set": "in on_close"}}


@row("too-large")
async def test_output_variables_that_are_too_large_are_not_sent(twin: Any) -> None:
    both = twin()
    await opened(both)
    for side in (both.theirs, both.ours):
        side.set_output_variables({"huge": "x" * 70_000, "intent": "billing"})
    theirs, ours = await both.serialize(EndFrame())
    assert len(theirs) > 64_000
    assert sent(ours)["parameters"]["outputVariables"] == {
        "action": "transfer",
        "intent": "billing",
    }


# -- audio -----------------------------------------------------------------------------------------


@row("caller-audio")
async def test_caller_audio_is_complete_in_every_packet(twin: Any) -> None:
    both = twin()
    await both.setup(16000)
    await opened(both)
    theirs, ours = zip(*[await both.deserialize(b"\x55" * 160) for _ in range(10)], strict=True)
    assert [len(f.audio) for f in ours] == [640] * 10
    assert sum(len(f.audio) for f in theirs if f is not None) < 6400


@row("bot-audio")
async def test_bot_audio_is_complete_in_every_packet(twin: Any) -> None:
    both = twin()
    await opened(both)
    theirs, ours = zip(*[await both.serialize(speech(24000)) for _ in range(5)], strict=True)
    assert [len(payload) for payload in ours] == [1600] * 5
    assert sum(len(payload or b"") for payload in theirs) < 8000


@row("message-per-frame")
async def test_every_audio_frame_is_a_message(twin: Any) -> None:
    both = twin()
    await opened(both)
    sent_by = [await both.serialize(speech(24000, 0.04)) for _ in range(25)]
    theirs, ours = (sum(1 for payload in side if payload) for side in zip(*sent_by, strict=True))
    assert theirs < 10
    assert ours == 25


@row("interruption")
async def test_interruption_clears_the_filter_history(twin: Any) -> None:
    both = twin()
    await opened(both)
    silence = OutputAudioRawFrame(bytes(9600), 24000, 1)
    await both.serialize(speech(24000))
    await both.serialize(InterruptionFrame())
    theirs, ours = await both.serialize(silence)
    assert set(theirs) != {0xFF}
    assert set(ours) == {0xFF}


@row("early-audio")
async def test_bot_audio_from_before_open_is_sent_after_opened(twin: Any) -> None:
    both = twin()
    await both.setup()
    assert await both.serialize(speech()) == (None, None)
    replies = await both.deserialize(Genesys().open())
    assert sent(await both.ours.serialize(replies[1]))["type"] == "opened"
    await both.theirs.serialize(replies[0])
    theirs, ours = await both.serialize(speech())
    assert len(theirs) <= 1600
    assert len(ours) == 3200


@row("protected-audio")
async def test_barge_in_is_not_sent_while_protected_audio_is_left(twin: Any) -> None:
    if not hasattr(OutputAudioRawFrame(b"", 8000, 1), "interruptible"):
        pytest.skip("pipecat before 1.11 has no uninterruptible audio")
    both = twin()
    await opened(both)
    queue = SimpleNamespace(has_frame=lambda kind: kind is OutputAudioRawFrame)
    senders = {None: SimpleNamespace(_audio_queue=queue)}
    output = SimpleNamespace(_media_senders=senders)
    transport = SimpleNamespace(output=lambda: output, add_event_handler=lambda *_: None)
    both.ours.attach(transport)
    theirs, ours = await both.serialize(InterruptionFrame())
    assert "barge_in" in theirs
    assert ours is None


@row("l16")
async def test_l16_works_in_both_directions(twin: Any) -> None:
    both = twin(media_format="L16")
    await both.setup(8000)
    _, _, ours = await opened(both, media("PCMU"), media("L16"))
    assert ours["parameters"]["media"] == [media("L16")]
    pcm = tone(8000)
    assert await both.serialize(OutputAudioRawFrame(pcm, 8000, 1)) == (None, pcm)
    theirs, heard = await both.deserialize(pcm)
    assert theirs is None
    assert heard.audio == pcm


@row("stereo-internal")
async def test_the_internal_channel_is_usable(twin: Any) -> None:
    both = twin(process_external=False, process_internal=True)
    await both.setup(8000)
    await opened(both, media("PCMU", "external", "internal"))
    theirs, ours = await both.deserialize(bytes([0x00, 0x80]) * 160)
    assert set(np.frombuffer(theirs.audio, "<i2")) == {-32124}
    assert set(np.frombuffer(ours.audio, "<i2")) == {32124}


@row("stereo-both")
async def test_both_channels_are_usable(twin: Any) -> None:
    both = twin(process_internal=True)
    await both.setup(8000)
    await opened(both, media("PCMU", "internal", "external"))
    theirs, ours = await both.deserialize(bytes([0x00, 0x80]) * 160)
    assert theirs.num_channels == 1
    assert (ours.num_channels, len(ours.audio)) == (2, 640)
    assert np.frombuffer(ours.audio, "<i2").reshape(-1, 2).tolist() == [[32124, -32124]] * 160


@row("stereo-pcm")
async def test_stereo_bot_audio_is_mixed_down(twin: Any) -> None:
    both = twin()
    await opened(both)
    left = np.frombuffer(tone(8000), "<i2")
    stereo = np.stack([left, np.zeros_like(left)], 1).tobytes()
    theirs, ours = await both.serialize(OutputAudioRawFrame(stereo, 8000, 2))
    assert len(theirs) == 3200
    mono = OutputAudioRawFrame((left // 2).astype("<i2").tobytes(), 8000, 1)
    assert ours == await both.ours.serialize(mono)


@row("listen-only")
async def test_listen_only_medium_gets_no_bot_audio(twin: Any) -> None:
    both = twin()
    await opened(both, media("PCMU", "external", "internal"))
    theirs, ours = await both.serialize(speech(8000))
    assert theirs
    assert ours is None


@row("audio-message-size")
async def test_audio_too_long_for_a_message_raises(twin: Any) -> None:
    both = twin()
    await opened(both)
    theirs = await both.theirs.serialize(speech(8000, 9))
    assert len(theirs) > 64_000
    with pytest.raises(ValueError, match="audio_out_10ms_chunks"):
        await both.ours.serialize(speech(8000, 9))


# -- logs --------------------------------------------------------------------------------------


@row("logs")
async def test_logs_contain_no_personal_data(twin: Any) -> None:
    lines: list[tuple[str, str]] = []
    sink = logger.add(lambda m: lines.append((m.record["function"], str(m))), level="DEBUG")
    try:
        both = twin()
        genesys, _, _ = await opened(both, inputVariables={"pin": "271828"})
        await both.deserialize(genesys.text("dtmf", {"digit": "8"}))
        for side in (both.theirs, both.ours):
            side.set_output_variables({"card": "4111-1111"})
    finally:
        logger.remove(sink)
    theirs = "".join(t for _, t in lines if "pipecat.serializers" in t)
    ours = "".join(t for _, t in lines if "pipecat_genesys" in t)
    assert all(secret in theirs for secret in ("15555551234", "DTMF received: 8", "4111-1111"))
    assert not any(secret in ours for secret in ("1555555", ": 8", "4111-1111", "271828"))


def test_every_row_has_a_test_and_every_test_a_row() -> None:
    documented = set(re.findall(r"^\| `([a-z0-9-]+)` \|", PARITY.read_text(), re.MULTILINE))
    assert documented == ROWS
