"""What an ``event`` message reports: the entities Genesys knows, typed.

Sources: Genesys's reference implementation (``entities-transcript.ts``,
``entities-agentassist.ts``) for the Monitor and the Transcription Connector, its Audio Connector
sample (``voice-bots.ts``) for bots, and integrators' findings for the Bot Transcription Connector.
Any other entity is legal, with any JSON as its data, and ignored by clients that do not know it:
`pipecat_genesys.protocol.server_messages.event` sends those.

Durations and offsets are seconds on the stream's timeline (a number, exact as a ``Fraction``) or
the protocol's text. A mistake raises pydantic's ``ValidationError``, which names the field.
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

from .types import format_duration, parse_duration


def seconds(value: object) -> Fraction:
    """Take seconds as applications have them.

    Args:
        value: A number, or the protocol's text.

    Returns:
        The seconds, exactly.

    Raises:
        ValueError: If it is neither, or negative.
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


class _Model(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        alias_generator=to_camel,
        populate_by_name=True,
        arbitrary_types_allowed=True,
        allow_inf_nan=False,
    )


class Entity(_Model):
    """Base of the entities.

    Attributes:
        entity_type: What the entity is called in a message.
    """

    entity_type: ClassVar[str]

    def data(self) -> dict[str, Any]:
        """Write the entity's data as the protocol has it; what is None is left out."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class BargeIn(Entity):
    """The caller talks over the bot: the client drops the bot audio it has queued."""

    entity_type = "barge_in"


class SpeechStarted(Entity):
    """Speech was detected (Bot Transcription Connector); once, before its transcript."""

    entity_type = "speech_started"


class BotTurnResponse(Entity):
    """What the bot made of the caller's turn, for reports on the flow (Audio Connector).

    Attributes:
        disposition: Whether the caller was understood.
        text: What the bot says.
        confidence: How sure the bot is.
    """

    entity_type = "bot_turn_response"

    disposition: Literal["no_input", "no_match", "match"]
    text: str | None = None
    confidence: float | None = None


class Token(_Model):
    """A word of a transcript.

    Attributes:
        value: The word.
        confidence: 0 to 1.
        offset: Where it begins.
        duration: How long it is.
        language: A code, where it is not the transcript's.
    """

    type: Literal["word"] = "word"
    value: str
    confidence: Confidence
    offset: Seconds
    duration: Seconds
    language: str | None = None


class Interpretation(_Model):
    """One way to write what was said.

    Attributes:
        transcript: The text.
        tokens: Its words; no two begin at one offset.
    """

    type: Literal["display"] = "display"
    transcript: str
    tokens: tuple[Token, ...] | None = None

    @field_validator("tokens")
    @classmethod
    def _offsets_differ(cls, tokens: tuple[Token, ...] | None) -> tuple[Token, ...] | None:
        if tokens and len({token.offset for token in tokens}) < len(tokens):
            raise ValueError("two tokens begin at one offset")
        return tokens


class Alternative(_Model):
    """One hypothesis of what was said.

    Attributes:
        confidence: 0 to 1.
        interpretations: Ways to write it.
        languages: Codes of what was spoken.
    """

    confidence: Confidence
    interpretations: tuple[Interpretation, ...] = Field(min_length=1)
    languages: tuple[str, ...] | None = None


class Transcript(Entity):
    """What one party said (Transcription Connector, Bot Transcription Connector).

    Attributes:
        id: The utterance's; interim results and the final one of an utterance share it.
        channel_id: Whose voice: the index in the channels of the selected medium
            (`Media.channel_id` gives it).
        is_final: Whether this will not change any more.
        alternatives: Hypotheses, best first.
        offset: Where the utterance begins. Genesys's conformance suite asks for it, and for
            ``duration``, in final transcripts.
        duration: How long it is.
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
        offset: Any,
        duration: Any,
        is_final: bool = True,
        confidence: float = 1.0,
        language: str | None = None,
        tokens: Sequence[Token] | None = None,
    ) -> Transcript:
        """Make the transcript most recognisers give: one hypothesis, written in one way.

        Args:
            text: What was said.
            id: The utterance's, a UUID.
            channel_id: Whose voice, 0 or 1.
            offset: Where it begins.
            duration: How long it is.
            is_final: Whether this will not change any more.
            confidence: 0 to 1.
            language: Code of what was spoken.
            tokens: The words, where they are known.

        Raises:
            pydantic.ValidationError: If one of them makes no sense.
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


class Utterance(_Model):
    """Something said, for agent assistance.

    Attributes:
        id: The utterance's.
        position: Where it begins.
        text: What was said.
        language: Its code.
        confidence: How sure the recogniser is.
        channel: Whose voice.
        is_final: Whether this will not change any more.
        duration: How long it is.
    """

    id: str
    position: Seconds
    text: str
    language: str
    confidence: float
    channel: Literal["external", "internal"]
    is_final: bool
    duration: Seconds | None = None


class FaqSuggestion(_Model):
    """An answer the agent may give.

    Attributes:
        id: The suggestion's.
        confidence: How well it fits.
        question: Plain text.
        answer: Limited HTML.
        position: Where in the stream it belongs.
    """

    type: Literal["faq"] = "faq"
    id: str
    confidence: float
    question: str
    answer: str
    position: Seconds | None = None


class ArticleSuggestion(_Model):
    """An article the agent may read.

    Attributes:
        id: The suggestion's.
        confidence: How well it fits.
        title: The article's.
        excerpts: What of it matters.
        document_uri: Where it is.
        metadata: Whatever else, as text.
        position: Where in the stream it belongs.
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
    """Utterances and suggestions for the agent (Monitor; experimental on Genesys's side).

    Attributes:
        id: The entity's.
        utterances: What was said; each once, as the client keeps the history.
        suggestions: What may help.
    """

    entity_type = "agentassist"

    id: Uuid
    utterances: tuple[Utterance, ...] | None = None
    suggestions: tuple[FaqSuggestion | ArticleSuggestion, ...] | None = None
