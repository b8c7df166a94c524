"""Tests of the validation of event entities against the types of Genesys's client."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
from pipecat_genesys.protocol import entities as builders
from pipecat_genesys.simulator import ServerRule
from pipecat_genesys.simulator.session.validation import check_entity

ID = "30b0e395-84d3-4570-ac13-9a62d8f514c0"
TRANSCRIPT: dict[str, Any] = {
    "id": ID,
    "channelId": 0,
    "isFinal": True,
    "offset": "PT0S",
    "duration": "PT1.25S",
    "alternatives": [
        {
            "confidence": 1,
            "languages": ["en-US"],
            "interpretations": [
                {
                    "type": "display",
                    "transcript": "two words",
                    "tokens": [
                        {
                            "type": "word",
                            "value": "two",
                            "confidence": 0.5,
                            "offset": "PT0S",
                            "duration": "PT0.5S",
                            "language": "en-US",
                        },
                        {
                            "type": "word",
                            "value": "words",
                            "confidence": 0.5,
                            "offset": "PT0.5S",
                            "duration": "PT0.5S",
                        },
                    ],
                }
            ],
        }
    ],
}
ASSIST: dict[str, Any] = {
    "id": ID,
    "utterances": [
        {
            "id": "u",
            "position": "PT1S",
            "text": "hi",
            "language": "en-US",
            "confidence": 0.5,
            "channel": "internal",
            "isFinal": False,
        }
    ],
    "suggestions": [
        {"type": "faq", "id": "f", "confidence": 1, "question": "q", "answer": "<b>a</b>"},
        {
            "type": "article",
            "id": "a",
            "confidence": 1,
            "title": "t",
            "excerpts": ["e"],
            "documentUri": "https://example.com",
            "metadata": {"k": "v"},
            "position": "PT1S",
        },
    ],
}
TURN = {"disposition": "match", "text": "hi", "confidence": 0.5}
GOOD = {"transcript": TRANSCRIPT, "agentassist": ASSIST, "bot_turn_response": TURN}
_REMOVED = object()


def breaches(kind: str, data: object, channels: int = 2) -> list[tuple[ServerRule, str]]:
    found = check_entity({"type": kind, "data": data}, channels)
    return [(breach.rule, breach.detail) for breach in found]


def changed(kind: str, path: str, value: object) -> object:
    """Return the data of a valid entity with one value replaced or removed."""
    whole = {"data": deepcopy(GOOD[kind])}
    at: Any = whole
    *way, last = ["data", *filter(None, path.split("."))]
    for step in way:
        at = at[int(step)] if step.isdigit() else at[step]
    if value is _REMOVED:
        del at[last]
    else:
        at[last] = value
    return whole["data"]


@pytest.mark.parametrize("kind", GOOD)
def test_valid_entity_has_no_breach(kind: str) -> None:
    assert breaches(kind, GOOD[kind]) == []


@pytest.mark.parametrize("data", [{}, {"anything": [1]}])
@pytest.mark.parametrize("kind", ["barge_in", "speech_started"])
def test_signal_entity_accepts_any_object(kind: str, data: object) -> None:
    assert breaches(kind, data) == []
    assert [rule for rule, _ in breaches(kind, "now")] == [ServerRule.BAD_ENTITY]


@pytest.mark.parametrize("data", [None, 5, "x", {"a": 1}])
def test_unknown_entity_accepts_any_data(data: object) -> None:
    assert breaches("of_ones_own", data) == []


TOKEN = "alternatives.0.interpretations.0.tokens.0"


@pytest.mark.parametrize(
    ("kind", "path", "value"),
    [
        ("transcript", "", 5),
        ("transcript", "id", "7"),
        ("transcript", "id", _REMOVED),
        ("transcript", "channelId", _REMOVED),
        ("transcript", "channelId", 2),
        ("transcript", "channelId", True),
        ("transcript", "channelId", "external"),
        ("transcript", "isFinal", "yes"),
        ("transcript", "offset", 1.5),
        ("transcript", "offset", "1.5"),
        ("transcript", "duration", "PT1M"),
        ("transcript", "alternatives", []),
        ("transcript", "alternatives", {}),
        ("transcript", "alternatives.0.confidence", 1.5),
        ("transcript", "alternatives.0.confidence", True),
        ("transcript", "alternatives.0.languages", "en-US"),
        ("transcript", "alternatives.0.interpretations", _REMOVED),
        ("transcript", "alternatives.0.interpretations.0.type", "lexical"),
        ("transcript", "alternatives.0.interpretations.0.transcript", None),
        ("transcript", f"{TOKEN}.type", "punctuation"),
        ("transcript", f"{TOKEN}.value", _REMOVED),
        ("transcript", f"{TOKEN}.offset", "PT0.5S"),
        ("transcript", f"{TOKEN}.duration", 0.5),
        ("transcript", f"{TOKEN}.language", 7),
        ("agentassist", "id", "u"),
        ("agentassist", "utterances.0.channel", "both"),
        ("agentassist", "utterances.0.isFinal", _REMOVED),
        ("agentassist", "suggestions.0.answer", _REMOVED),
        ("agentassist", "suggestions.1.metadata", {"k": 1}),
        ("agentassist", "suggestions.1.documentUri", _REMOVED),
        ("agentassist", "suggestions.1.type", "joke"),
        ("bot_turn_response", "disposition", "maybe"),
        ("bot_turn_response", "disposition", _REMOVED),
        ("bot_turn_response", "confidence", "0.5"),
    ],
)
def test_invalid_entity_is_a_breach_that_names_the_field(
    kind: str, path: str, value: object
) -> None:
    data = value if not path else changed(kind, path, value)
    ((rule, detail),) = breaches(kind, data)
    assert rule is ServerRule.BAD_ENTITY
    assert (path.split(".")[-1] or "object") in detail


def test_breach_has_the_full_path_to_the_field() -> None:
    ((_, detail),) = breaches("transcript", changed("transcript", f"{TOKEN}.duration", 5))
    assert detail == (
        "'data.alternatives[0].interpretations[0].tokens[0].duration' of 'transcript' "
        "must be a duration such as 'PT1.5S'"
    )


@pytest.mark.parametrize("name", ["offset", "duration"])
def test_final_transcript_needs_offset_and_duration(name: str) -> None:
    without = changed("transcript", name, _REMOVED)
    ((rule, detail),) = breaches("transcript", without)
    assert rule is ServerRule.TRANSCRIPT_TIMES
    assert name in detail
    assert isinstance(without, dict)
    assert breaches("transcript", {**without, "isFinal": False}) == []


def test_transcript_of_a_channel_that_the_medium_lacks_is_a_breach() -> None:
    assert [rule for rule, _ in breaches("transcript", {**TRANSCRIPT, "channelId": 1}, 1)] == [
        ServerRule.CHANNEL_ID
    ]


def test_entities_built_by_this_package_are_valid() -> None:
    token = builders.Token(value="hi", confidence=1, offset=0, duration=1)
    transcript = builders.Transcript.of(
        "hi", id=ID, channel_id=1, offset=1.5, duration=2, tokens=[token], language="en-US"
    )
    utterance = builders.Utterance(
        id="u",
        position=1,
        text="hi",
        language="en-US",
        confidence=1,
        channel="external",
        is_final=True,
    )
    faq = builders.FaqSuggestion(id="f", confidence=1, question="q", answer="a")
    article = builders.ArticleSuggestion(
        id="a", confidence=1, title="t", excerpts=("e",), document_uri="https://example.com"
    )
    made = [
        transcript,
        builders.AgentAssist(id=ID, utterances=(utterance,), suggestions=(faq, article)),
        builders.BotTurnResponse(disposition="match", text="hi", confidence=1),
        builders.BargeIn(),
        builders.SpeechStarted(),
    ]
    for entity in made:
        assert breaches(entity.entity_type, entity.data()) == []
