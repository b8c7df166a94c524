"""Client messages, validated.

Every known type has a model of its parameters. Models say what the protocol requires; what to do
about a message that falls short is the session's business, so `validate` reports and never raises.
Unknown fields are kept out and reported by name: new client versions add fields.

Nearly all messages are valid. `parse_strict` parses and checks a valid message in one step, with a
validator made from the same models. A message that it rejects goes through `decode` and
`validate`, which report what is wrong.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping
from itertools import takewhile
from typing import Annotated, Any, Literal, NotRequired, TypeVar, Union

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    StrictStr,
    TypeAdapter,
)
from pydantic import ValidationError as PydanticValidationError
from pydantic.alias_generators import to_camel
from pydantic_core import from_json
from typing_extensions import TypedDict

from .errors import RemoteProtocolError, Rule
from .types import DURATION_PATTERN
from .types import AudioHookMessageType as Type

MAX_TEXT_LENGTH = 65_535
"""Longest text message taken, in characters: the reference implementation's limit. Genesys's own
is 64,000 bytes, so nothing legitimate comes near."""

_MAX_DEPTH = 200
# Far more than there are; what is wrong with each of thousands need not be found out.
_MAX_ENTRIES = 32

# Stays text: most are never looked at, and those that are become samples or fractions of seconds.
Duration = Annotated[StrictStr, Field(pattern=f"^{DURATION_PATTERN}$")]
Sequence = Annotated[StrictInt, Field(ge=0)]


class _Model(BaseModel):
    model_config = ConfigDict(
        extra="allow",
        frozen=True,
        alias_generator=to_camel,
        populate_by_name=True,
    )


_M = TypeVar("_M", bound=_Model)


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
    media: list[dict[str, Any]] = Field(max_length=_MAX_ENTRIES)
    language: StrictStr | None = None
    supported_languages: StrictBool | None = None
    continued_sessions: list[ContinuedSession] | None = Field(None, max_length=_MAX_ENTRIES)
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

TYPES: Mapping[str, Type] = {message_type.value: message_type for message_type in PARAMETERS}
"""The same messages, by what the wire calls them."""


def _dict_of(model: type[_Model], **instead: Any) -> Any:
    fields = {}
    for name, field in model.model_fields.items():
        kind: Any = instead.get(name, field.annotation)
        if kind is Participant:
            kind = _dict_of(Participant)
        if field.metadata and name not in instead:
            kind = Annotated[(kind, *field.metadata)]
        fields[field.alias or name] = kind if field.is_required() else NotRequired[kind]
    make: Any = TypedDict
    made = make(model.__name__, fields)
    made.__pydantic_config__ = ConfigDict(extra="forbid")
    return made


def _faultless() -> Callable[[str], dict[str, Any]]:
    """Make a reader for just what the models have: no more, no less, nothing else.

    Of dicts, as pydantic makes no models then: a third of the price.
    """
    kinds = tuple(
        _dict_of(Envelope, type=Literal[message_type.value], parameters=_dict_of(parameters))
        for message_type, parameters in PARAMETERS.items()
    )
    which: Any = Union[kinds]  # noqa: UP007 - the kinds are made here
    return TypeAdapter(Annotated[which, Field(discriminator="type")]).validator.validate_json


_read_faultless = _faultless()


def parse_strict(text: str) -> dict[str, Any] | None:
    """Read the text of a message, if it is complete and has nothing wrong and nothing unknown.

    Args:
        text: What the socket delivered.

    Returns:
        The message, as `decode` gives it; or None, and `decode` and `validate` tell why.
    """
    if len(text) > MAX_TEXT_LENGTH:
        return None
    try:
        message = _read_faultless(text)
    except (ValueError, TypeError):
        return None
    # Where anything may stand, the reader takes what is no JSON; that is in `open` alone.
    if message["type"] == "open" and ("NaN" in text or "Infinity" in text):
        return None
    return message


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
        # Much faster, and stricter: it takes neither lone surrogates nor 200 levels.
        message = from_json(text, allow_inf_nan=False)
    except (ValueError, TypeError):
        message = _decode(text)
    if not isinstance(message, dict):
        raise RemoteProtocolError(
            Rule.NOT_AN_OBJECT, f"text message is a JSON {type(message).__name__}, not an object"
        )
    return message


def _decode(text: str) -> object:
    try:
        message = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        detail = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise RemoteProtocolError(Rule.JSON, f"text message is not JSON: {detail}") from None
    if not _is_shallow(message):
        raise RemoteProtocolError(Rule.JSON, "text message is nested too deeply")
    return message


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


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
    model: type[_M], data: object, rule: Rule
) -> tuple[_M | None, list[RemoteProtocolError]]:
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
        # What `model_validate` calls, at a third of its price.
        typed = model.__pydantic_validator__.validate_python(data)
    except PydanticValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
        fields = sorted({_schema_path(part["loc"]) for part in found})
        return None, [RemoteProtocolError(rule, f"missing or invalid: {', '.join(fields[:8])}")]
    extra = typed.__pydantic_extra__
    if extra:
        detail = f"unknown fields: {_listed(extra)}"
        return typed, [RemoteProtocolError(Rule.UNKNOWN_FIELD, detail)]
    return typed, []


def _schema_path(location: tuple[int | str, ...]) -> str:
    """The part of an error's location that the protocol names; the peer chose the rest."""
    named = takewhile(lambda part: isinstance(part, int) or part in _FIELDS, location)
    return ".".join(map(str, named)) or "(all)"


def _listed(names: Collection[str]) -> str:
    """Names that a peer chose, for a line of log: only those that look like names."""
    plain = sorted(name for name in names if _NAME.fullmatch(name))[:8]
    others = len(names) - len(plain)
    return ", ".join([*plain, *([f"{others} more"] if others else [])])


_NAME = re.compile(r"[A-Za-z][A-Za-z_]{0,30}")
_MODELS: tuple[type[_Model], ...] = (Envelope, Participant, ContinuedSession, *PARAMETERS.values())
_FIELDS = frozenset(
    field.alias or name for model in _MODELS for name, field in model.model_fields.items()
)
