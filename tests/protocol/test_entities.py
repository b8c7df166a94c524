"""Tests that entities of `event` messages have the fields that the protocol documents."""

import json
import re
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pipecat_genesys.protocol import AudioHookMessageType as Type
from pipecat_genesys.protocol import Media, server_messages
from pipecat_genesys.protocol.entities import (
    AgentAssist,
    Alternative,
    ArticleSuggestion,
    BargeIn,
    BotTurnResponse,
    Entity,
    FaqSuggestion,
    Interpretation,
    SpeechStarted,
    Token,
    Transcript,
    Utterance,
)
from pipecat_genesys.protocol.types import parse_duration, parse_media
from pydantic import ValidationError

from .client import EXTERNAL, INVERTED, STEREO, started, unhurried

UTTERANCE = "30b0e395-84d3-4570-ac13-9a62d8f514c0"


def transcript(**changes: Any) -> Transcript:
    fields = {"id": UTTERANCE, "channel_id": 0, "offset": 1, "duration": 2, **changes}
    return Transcript.of("hello", **fields)


def test_transcript_has_the_fields_of_the_protocol() -> None:
    said = Transcript(
        id=UTTERANCE,
        channel_id=1,
        is_final=True,
        offset=Fraction(3, 2),
        duration="PT0.75S",
        alternatives=[
            Alternative(
                confidence=0.9,
                languages=["en-US"],
                interpretations=[
                    Interpretation(
                        transcript="hello there",
                        tokens=[
                            Token(value="hello", confidence=0.8, offset=1.5, duration=0.25),
                            Token(
                                value="there",
                                confidence=1,
                                offset=Decimal("1.8"),
                                duration="PT0.45S",
                                language="en-GB",
                            ),
                        ],
                    )
                ],
            )
        ],
    )
    assert said.data() == {
        "id": UTTERANCE,
        "channelId": 1,
        "isFinal": True,
        "offset": "PT1.5S",
        "duration": "PT0.75S",
        "alternatives": [
            {
                "confidence": 0.9,
                "languages": ["en-US"],
                "interpretations": [
                    {
                        "type": "display",
                        "transcript": "hello there",
                        "tokens": [
                            {
                                "type": "word",
                                "value": "hello",
                                "confidence": 0.8,
                                "offset": "PT1.5S",
                                "duration": "PT0.25S",
                            },
                            {
                                "type": "word",
                                "value": "there",
                                "confidence": 1.0,
                                "offset": "PT1.8S",
                                "duration": "PT0.45S",
                                "language": "en-GB",
                            },
                        ],
                    }
                ],
            }
        ],
    }


def test_transcript_of_text_has_one_alternative_with_one_interpretation() -> None:
    assert transcript(language="de-DE", confidence=0.5).data() == {
        "id": UTTERANCE,
        "channelId": 0,
        "isFinal": True,
        "offset": "PT1S",
        "duration": "PT2S",
        "alternatives": [
            {
                "confidence": 0.5,
                "languages": ["de-DE"],
                "interpretations": [{"type": "display", "transcript": "hello"}],
            }
        ],
    }


def test_agent_assist_has_the_fields_of_the_protocol() -> None:
    entity = AgentAssist(
        id=UTTERANCE,
        utterances=[
            Utterance(
                id="u1",
                position=2,
                text="my card is lost",
                language="en-US",
                confidence=0.75,
                channel="external",
                is_final=True,
                duration="PT1.5S",
            )
        ],
        suggestions=[
            FaqSuggestion(id="f", confidence=0.5, question="Lost?", answer="<b>Block it</b>"),
            ArticleSuggestion(
                id="a",
                confidence=0.25,
                title="Lost cards",
                excerpts=["Block it"],
                document_uri="https://kb.example/1",
                metadata={"k": "v"},
                position=3,
            ),
        ],
    )
    assert entity.data() == {
        "id": UTTERANCE,
        "utterances": [
            {
                "id": "u1",
                "position": "PT2S",
                "text": "my card is lost",
                "language": "en-US",
                "confidence": 0.75,
                "channel": "external",
                "isFinal": True,
                "duration": "PT1.5S",
            }
        ],
        "suggestions": [
            {
                "type": "faq",
                "id": "f",
                "confidence": 0.5,
                "question": "Lost?",
                "answer": "<b>Block it</b>",
            },
            {
                "type": "article",
                "id": "a",
                "confidence": 0.25,
                "title": "Lost cards",
                "excerpts": ["Block it"],
                "documentUri": "https://kb.example/1",
                "metadata": {"k": "v"},
                "position": "PT3S",
            },
        ],
    }
    assert AgentAssist(id=UTTERANCE).data() == {"id": UTTERANCE}


@pytest.mark.parametrize(
    ("entity", "type", "data"),
    [
        (BargeIn(), "barge_in", {}),
        (SpeechStarted(), "speech_started", {}),
        (BotTurnResponse(disposition="no_input"), "bot_turn_response", {"disposition": "no_input"}),
        (
            BotTurnResponse(disposition="match", text="Your balance is", confidence=0.8),
            "bot_turn_response",
            {"disposition": "match", "text": "Your balance is", "confidence": 0.8},
        ),
        (transcript(), "transcript", transcript().data()),
        (AgentAssist(id=UTTERANCE), "agentassist", {"id": UTTERANCE}),
    ],
)
def test_event_message_holds_one_entity(entity: Entity, type: str, data: Any) -> None:
    sent = started().send(server_messages.entity(entity))
    assert sent["type"] == "event"
    assert sent["parameters"] == {"entities": [{"type": type, "data": data}]}


@pytest.mark.parametrize("data", [None, 5, "text", [1], {"deep": [{"er": True}]}])
def test_event_message_may_hold_an_entity_of_any_type(data: Any) -> None:
    sent = started().send(server_messages.event("sentiment", data))
    assert sent["parameters"] == {"entities": [{"type": "sentiment", "data": data}]}


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"id": "not a uuid"}, "id"),
        ({"id": None}, "id"),
        ({"channel_id": 2}, "channel_id"),
        ({"channel_id": "external"}, "channel_id"),
        ({"offset": -1}, "offset"),
        ({"offset": float("nan")}, "offset"),
        ({"offset": True}, "offset"),
        ({"duration": "1 s"}, "duration"),
        ({"duration": "PT1M"}, "duration"),
        ({"confidence": 1.5}, "confidence"),
        ({"confidence": -0.1}, "confidence"),
        ({"confidence": float("nan")}, "confidence"),
    ],
)
def test_validation_error_names_the_field(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(ValidationError, match=rf"\b{field}\b"):
        transcript(**changes)


@pytest.mark.parametrize("missing", ["alternatives", "interpretations"])
def test_transcript_needs_an_alternative_and_an_interpretation(missing: str) -> None:
    alternatives = [{"confidence": 1, "interpretations": []}] if missing != "alternatives" else []
    with pytest.raises(ValidationError, match=missing):
        Transcript(id=UTTERANCE, channel_id=0, is_final=True, alternatives=alternatives)


def test_two_tokens_at_one_offset_are_refused() -> None:
    word = Token(value="a", confidence=1, offset=1, duration=1)
    with pytest.raises(ValidationError, match="tokens"):
        Interpretation(transcript="a a", tokens=[word, word])


@pytest.mark.parametrize("disposition", ["", "matched", None])
def test_unknown_disposition_is_refused(disposition: Any) -> None:
    with pytest.raises(ValidationError, match="disposition"):
        BotTurnResponse(disposition=disposition)


def test_unknown_field_is_refused() -> None:
    with pytest.raises(ValidationError, match="channel"):
        Transcript(
            id=UTTERANCE,
            channel_id=0,
            is_final=False,
            alternatives=[Alternative(confidence=1, interpretations=[{"transcript": ""}])],
            channel="external",
        )


@given(st.integers(0, 10**9), st.integers(0, 10**9))
@unhurried
def test_offsets_are_exact_to_the_sample(first: int, count: int) -> None:
    said = transcript(offset=Fraction(first, 8000), duration=Fraction(count, 8000)).data()
    assert parse_duration(said["offset"]) == Fraction(first, 8000)
    assert parse_duration(said["duration"]) == Fraction(count, 8000)
    # Genesys's reference implementation validates durations with this pattern.
    assert re.fullmatch(r"PT(?:\d*\.)?\d+S", said["offset"])


@given(st.text(), st.floats(0, 1))
@unhurried
def test_arbitrary_text_survives_json(text: str, confidence: float) -> None:
    said = Transcript.of(
        text, id=UTTERANCE, channel_id=0, offset=0, duration=0, confidence=confidence
    )
    written = json.loads(json.dumps(said.data()))
    assert written["alternatives"][0]["interpretations"][0]["transcript"] == text


@pytest.mark.parametrize(
    ("entry", "channel", "expected"),
    [
        (EXTERNAL, "external", 0),
        (STEREO, "external", 0),
        (STEREO, "internal", 1),
        (INVERTED, "external", 1),
        (INVERTED, "internal", 0),
    ],
)
def test_channel_id_is_the_index_of_the_channel_in_the_medium(
    entry: Any, channel: str, expected: int
) -> None:
    medium = parse_media(entry)
    assert isinstance(medium, Media)
    assert medium.channel_id(channel) == expected


def test_channel_that_the_medium_lacks_raises() -> None:
    medium = parse_media(EXTERNAL)
    assert medium is not None
    with pytest.raises(ValueError, match="external, not internal"):
        medium.channel_id("internal")


def test_control_messages_have_the_parameters_of_the_protocol() -> None:
    assert server_messages.pause().parameters == {}
    assert server_messages.resume().parameters == {}
    assert server_messages.reconnect().parameters == {}
    assert server_messages.reconnect("maintenance").parameters == {"info": "maintenance"}
    opened = server_messages.opened([EXTERNAL], discard_to=Fraction(1, 8000))
    assert opened.parameters["discardTo"] == "PT0.000125S"
    assert opened.type is Type.OPENED
    with pytest.raises(ValueError, match="duration"):
        server_messages.opened([EXTERNAL], discard_to=-1)
