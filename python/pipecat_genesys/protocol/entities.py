"""Typed entities for ``event`` messages, one class for each type that Genesys knows.

Sources: Genesys's reference implementation (``entities-transcript.ts``,
``entities-agentassist.ts``) for the Monitor and the Transcription Connector, its Audio Connector
sample (``voice-bots.ts``) for bots, and integrators' findings for the Bot Transcription Connector.
A server may also send other entities, with any JSON value as their data. A client ignores entities
that it does not know. `pipecat_genesys.protocol.server_messages.event` builds such entities.

Durations and offsets are stream positions in seconds (a number, exact as a ``Fraction``) or the
protocol's text. An invalid value raises pydantic's ``ValidationError``, which names the field.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    field_validator,
)
from pydantic.alias_generators import to_camel

from .types import Position, format_duration, parse_duration


def seconds(value: object) -> Fraction:
    """Convert a duration to exact seconds.

    Args:
        value: A number of seconds, or the protocol's text such as ``PT1.5S``.

    Returns:
        The seconds, exactly.

    Raises:
        ValueError: If the value is neither a number nor such a text, or is negative.
    """
    if isinstance(value, (str, bool)):
        return parse_duration(value)
    number: Any = value
    try:
        exact = Fraction(number)
    except (TypeError, ValueError, OverflowError):
        exact = Fraction(-1)
    if exact < 0:
        raise ValueError(f"a duration is a non-negative number of seconds, got {value!r}")
    return exact


Seconds = Annotated[
    Fraction, BeforeValidator(seconds), PlainSerializer(format_duration, return_type=str)
]
Confidence = Annotated[float, Field(ge=0, le=1)]
Uuid = Annotated[str, Field(pattern=r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$")]


class _EntityModel(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        alias_generator=to_camel,
        populate_by_name=True,
        arbitrary_types_allowed=True,
        allow_inf_nan=False,
    )


class Entity(_EntityModel):
    """Base class of the entities.

    Attributes:
        entity_type: The entity's ``type`` in a message.
    """

    entity_type: ClassVar[str]

    def data(self) -> dict[str, Any]:
        """Return the entity's data as JSON values; fields that are None are left out."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class BargeIn(Entity):
    """The caller interrupts the bot: the client discards the bot audio in its queue."""

    entity_type = "barge_in"


class SpeechStarted(Entity):
    """Speech was detected. The entity is sent once, before the transcript of the utterance.

    This entity is for Bot Transcription Connector.
    """

    entity_type = "speech_started"


class BotTurnResponse(Entity):
    """The bot's result for one turn of the caller, which Genesys shows in reports on the flow.

    This entity is for Audio Connector.

    Attributes:
        disposition: Whether the bot understood the caller.
        text: The bot's answer.
        confidence: The bot's confidence in its result.
    """

    entity_type = "bot_turn_response"

    disposition: Literal["no_input", "no_match", "match"]
    text: str | None = None
    confidence: float | None = None


class Token(_EntityModel):
    """One word of a transcript.

    Attributes:
        value: The word.
        confidence: The recogniser's confidence, 0 to 1.
        offset: Stream position of the word's beginning.
        duration: Length of the word.
        language: Language code of the word, if it differs from the language of the transcript.
    """

    type: Literal["word"] = "word"
    value: str
    confidence: Confidence
    offset: Seconds
    duration: Seconds
    language: str | None = None


class Interpretation(_EntityModel):
    """One way to write the words of an utterance, for example with digits instead of words.

    Attributes:
        transcript: The text.
        tokens: The words of the text; no two have the same offset.
    """

    type: Literal["display"] = "display"
    transcript: str
    tokens: tuple[Token, ...] | None = None

    @field_validator("tokens")
    @classmethod
    def _offsets_differ(cls, tokens: tuple[Token, ...] | None) -> tuple[Token, ...] | None:
        if tokens and len({token.offset for token in tokens}) < len(tokens):
            raise ValueError("two tokens have the same offset; give each word a different offset")
        return tokens


class Alternative(_EntityModel):
    """One hypothesis of the words of an utterance.

    Attributes:
        confidence: The recogniser's confidence, 0 to 1.
        interpretations: Different ways to write the words of the hypothesis.
        languages: Codes of the languages spoken.
    """

    confidence: Confidence
    interpretations: tuple[Interpretation, ...] = Field(min_length=1)
    languages: tuple[str, ...] | None = None


class Transcript(Entity):
    """The words of one party.

    This entity is for Transcription Connector and Bot Transcription Connector.

    Attributes:
        id: Id of the utterance; its interim results and its final result share the id.
        channel_id: The party: its index in the channels of the selected medium
            (`Media.channel_id` returns it).
        is_final: Whether the transcript is final.
        alternatives: Hypotheses, best first.
        offset: Stream position of the utterance's beginning. Genesys's conformance suite requires
            ``offset`` and ``duration`` in final transcripts.
        duration: Length of the utterance.
    """

    entity_type = "transcript"

    id: Uuid
    channel_id: Literal[0, 1]
    is_final: bool
    alternatives: tuple[Alternative, ...] = Field(min_length=1)
    offset: Seconds | None = None
    duration: Seconds | None = None

    @classmethod
    def of(
        cls,
        text: str,
        *,
        id: str,
        channel_id: int,
        offset: Position,
        duration: Position,
        is_final: bool = True,
        confidence: float = 1.0,
        language: str | None = None,
        tokens: Sequence[Token] | None = None,
    ) -> Transcript:
        """Create a transcript with one hypothesis, which has one interpretation.

        Args:
            text: The words.
            id: Id of the utterance, a UUID.
            channel_id: Index of the party's channel, 0 or 1.
            offset: Stream position of the utterance's beginning.
            duration: Length of the utterance.
            is_final: Whether the transcript is final.
            confidence: The recogniser's confidence, 0 to 1.
            language: Code of the language spoken.
            tokens: The single words, if they are known.

        Raises:
            pydantic.ValidationError: If an argument is invalid. The error names the argument.
        """
        return cls.model_validate(
            {
                "id": id,
                "channel_id": channel_id,
                "is_final": is_final,
                "offset": offset,
                "duration": duration,
                "alternatives": (
                    {
                        "confidence": confidence,
                        "languages": None if language is None else (language,),
                        "interpretations": (
                            {"transcript": text, "tokens": None if tokens is None else [*tokens]},
                        ),
                    },
                ),
            }
        )


class Utterance(_EntityModel):
    """An utterance, for agent assistance.

    Attributes:
        id: Id of the utterance.
        position: Stream position of the utterance's beginning.
        text: The words.
        language: Code of the language spoken.
        confidence: The recogniser's confidence.
        channel: The party that spoke.
        is_final: Whether the text is final.
        duration: Length of the utterance.
    """

    id: str
    position: Seconds
    text: str
    language: str
    confidence: float
    channel: Literal["external", "internal"]
    is_final: bool
    duration: Seconds | None = None


class FaqSuggestion(_EntityModel):
    """A suggested answer for the agent.

    Attributes:
        id: Id of the suggestion.
        confidence: Confidence that the suggestion fits.
        question: The question, in plain text.
        answer: The answer, in limited HTML.
        position: Stream position that the suggestion refers to.
    """

    type: Literal["faq"] = "faq"
    id: str
    confidence: float
    question: str
    answer: str
    position: Seconds | None = None


class ArticleSuggestion(_EntityModel):
    """A suggested article for the agent.

    Attributes:
        id: Id of the suggestion.
        confidence: Confidence that the article fits.
        title: Title of the article.
        excerpts: The relevant parts of the article.
        document_uri: Address of the article.
        metadata: Other properties of the article, as strings by name.
        position: Stream position that the suggestion refers to.
    """

    type: Literal["article"] = "article"
    id: str
    confidence: float
    title: str
    excerpts: tuple[str, ...]
    document_uri: str
    metadata: dict[str, str] | None = None
    position: Seconds | None = None


class AgentAssist(Entity):
    """Utterances and suggestions for the agent.

    This entity is for AudioHook Monitor. Genesys calls it experimental.

    Attributes:
        id: Id of the entity.
        utterances: New utterances. The client keeps the history, so each utterance is sent once.
        suggestions: Suggestions for the agent.
    """

    entity_type = "agentassist"

    id: Uuid
    utterances: tuple[Utterance, ...] | None = None
    suggestions: tuple[FaqSuggestion | ArticleSuggestion, ...] | None = None
