"""Client messages, validated.

Every known type has a model of its parameters. Models say what the protocol requires; what to do
about a message that falls short is the session's business, so `validate` reports and never raises.
Unknown fields are kept out and reported by name: new client versions add fields.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, StrictInt, StrictStr
from pydantic import ValidationError as PydanticValidationError
from pydantic.alias_generators import to_camel

from .errors import RemoteProtocolError, Rule
from .types import AudioHookMessageType as Type
from .types import parse_duration

MAX_TEXT_LENGTH = 65_535
"""Longest text message taken, in characters: the reference implementation's limit. Genesys's own
is 64,000 bytes, so nothing legitimate comes near."""

_MAX_DEPTH = 200
_LARGEST = 1.7976931348623157e308

Duration = Annotated[Fraction, BeforeValidator(parse_duration)]
Sequence = Annotated[StrictInt, Field(ge=0)]


class _Model(BaseModel):
    model_config = ConfigDict(
        extra="allow",
        frozen=True,
        alias_generator=to_camel,
        populate_by_name=True,
        arbitrary_types_allowed=True,
    )


class Envelope(_Model):
    """What every client message carries."""

    version: Literal["2"]
    id: StrictStr
    type: StrictStr
    seq: Sequence
    serverseq: Sequence
    position: Duration
    parameters: dict[str, Any]


class Participant(_Model):
    """The customer's side of the conversation; the values are opaque text."""

    id: StrictStr
    ani: StrictStr
    ani_name: StrictStr
    dnis: StrictStr


class ContinuedSession(_Model):
    """A session this one continues (reconnection)."""

    id: StrictStr
    serverseq: Sequence
    clientseq: Sequence


class OpenParameters(_Model):
    """Parameters of ``open``."""

    organization_id: StrictStr
    conversation_id: StrictStr
    participant: Participant
    media: list[dict[str, Any]]
    language: StrictStr | None = None
    supported_languages: StrictBool | None = None
    continued_sessions: list[ContinuedSession] | None = None
    custom_config: dict[str, Any] | None = None
    input_variables: dict[str, StrictStr] | None = None


class CloseParameters(_Model):
    """Parameters of ``close``."""

    reason: StrictStr


class PingParameters(_Model):
    """Parameters of ``ping``: the round trip of the one before."""

    rtt: Duration | None = None


class UpdateParameters(_Model):
    """Parameters of ``update``."""

    language: StrictStr | None = None


class GapParameters(_Model):
    """Parameters of ``discarded`` and ``resumed``: the stretch of audio that was not sent."""

    start: Duration
    discarded: Duration


class DtmfParameters(_Model):
    """Parameters of ``dtmf``: one key."""

    digit: Annotated[StrictStr, Field(min_length=1)]


class ErrorParameters(_Model):
    """Parameters of ``error``."""

    code: StrictInt
    message: StrictStr = ""
    retry_after: Duration | None = None


class NoParameters(_Model):
    """Parameters of messages that have none."""


PARAMETERS: Mapping[Type, type[_Model]] = {
    Type.OPEN: OpenParameters,
    Type.CLOSE: CloseParameters,
    Type.PING: PingParameters,
    Type.UPDATE: UpdateParameters,
    Type.PAUSED: NoParameters,
    Type.RESUMED: GapParameters,
    Type.DISCARDED: GapParameters,
    Type.DTMF: DtmfParameters,
    Type.PLAYBACK_STARTED: NoParameters,
    Type.PLAYBACK_COMPLETED: NoParameters,
    Type.ERROR: ErrorParameters,
    # Not a client message in the protocol; pipecat's serializer takes it for a hold.
    Type.PAUSE: NoParameters,
}
"""The messages a client may send, and the model of their parameters."""


def decode(text: str) -> dict[str, Any]:
    """Read the text of a message.

    Args:
        text: What the socket delivered.

    Returns:
        The message: a JSON object, not otherwise checked.

    Raises:
        RemoteProtocolError: If the text is too long, not JSON, nested beyond what the parser
            takes, or not an object.
    """
    if len(text) > MAX_TEXT_LENGTH:
        raise RemoteProtocolError(
            Rule.TEXT_SIZE, f"text message of {len(text)} characters; limit {MAX_TEXT_LENGTH}"
        )
    try:
        message = json.loads(text, parse_constant=_refuse, parse_float=_number)
    except (ValueError, RecursionError) as error:
        detail = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise RemoteProtocolError(Rule.JSON, f"text message is not JSON: {detail}") from None
    if not _is_shallow(message):
        raise RemoteProtocolError(Rule.JSON, "text message is nested too deeply")
    if not isinstance(message, dict):
        raise RemoteProtocolError(
            Rule.NOT_AN_OBJECT, f"text message is a JSON {type(message).__name__}, not an object"
        )
    return message


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _number(digits: str) -> float:
    """Keep what JSON may carry and no reply could repeat, such as 1e999, within range."""
    return max(-_LARGEST, min(_LARGEST, float(digits)))


def _is_shallow(message: object) -> bool:
    """Whether nothing is nested so deeply that writing it again could overflow the stack."""
    level = [message]
    for _ in range(_MAX_DEPTH):
        inner: list[object] = []
        for value in level:
            if isinstance(value, dict):
                inner += value.values()
            elif isinstance(value, list):
                inner += value
        if not inner:
            return True
        level = inner
    return False


def validate(
    model: type[_Model], data: object, rule: Rule
) -> tuple[_Model | None, list[RemoteProtocolError]]:
    """Check part of a message against its model.

    Args:
        model: What the part should be.
        data: The part.
        rule: What to call a violation.

    Returns:
        The typed part, or None where it does not fit, and what was found wrong: one error a
        violation, naming fields and never values, which may be personal.
    """
    try:
        typed = model.model_validate(data)
    except PydanticValidationError as error:
        fields = {".".join(map(str, e["loc"])) or "(all)" for e in error.errors()}
        return None, [RemoteProtocolError(rule, f"missing or invalid: {_listed(fields)}")]
    if typed.model_extra:
        detail = f"unknown fields: {_listed(typed.model_extra)}"
        return typed, [RemoteProtocolError(Rule.UNKNOWN_FIELD, detail)]
    return typed, []


def _listed(names: Iterable[str]) -> str:
    """Names for a line of log; a peer chose some of them."""
    return ", ".join(sorted(map(repr, names)))[:200]
