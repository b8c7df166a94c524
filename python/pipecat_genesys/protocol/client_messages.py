"""Parses and validates client messages.

Every known type has a model of its parameters. A model has the fields that the protocol
requires. `validate` reports violations and never raises, because the session decides how to react
to an invalid message. Unknown fields are reported by name and are not used: new client versions add
fields.

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
"""Maximum length of a text message in characters: the limit of Genesys's reference implementation.
Genesys's own limit is 64,000 bytes."""

_MAX_DEPTH = 200
# Maximum length of a list whose entries are validated one by one. Clients send shorter lists.
_MAX_ENTRIES = 32

# Durations are kept as text, because most durations are never used. The session converts the
# durations that it uses to samples or fractions.
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
    """The fields that every client message has."""

    version: Literal["2"]
    id: StrictStr
    type: StrictStr
    seq: Sequence
    serverseq: Sequence
    position: Duration
    parameters: dict[str, Any]


class Participant(_Model):
    """The customer in the conversation. The values are any text and are not interpreted."""

    id: StrictStr
    ani: StrictStr
    ani_name: StrictStr
    dnis: StrictStr


class ContinuedSession(_Model):
    """An earlier session that the opened session continues, after a reconnection."""

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
    """Parameters of ``ping``: the round-trip time of the previous ping."""

    rtt: Duration | None = None


class UpdateParameters(_Model):
    """Parameters of ``update``."""

    language: StrictStr | None = None


class GapParameters(_Model):
    """Parameters of ``discarded`` and ``resumed``: the audio that was not sent."""

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
    """The empty parameters of a message whose type has no parameters."""


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
    # The protocol does not have this client message, but Pipecat's serializer handles it.
    Type.PAUSE: NoParameters,
}
"""The model of the parameters of each message that a client may send."""

TYPES: Mapping[str, Type] = {message_type.value: message_type for message_type in PARAMETERS}
"""The message types that a client may send, by name."""


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
    """Make a parser that accepts a message only if it is valid and has no unknown fields.

    The parser returns dicts and not model objects, which takes a third of the time.
    """
    kinds = tuple(
        _dict_of(Envelope, type=Literal[message_type.value], parameters=_dict_of(parameters))
        for message_type, parameters in PARAMETERS.items()
    )
    which: Any = Union[kinds]  # noqa: UP007 - the types are computed
    return TypeAdapter(Annotated[which, Field(discriminator="type")]).validator.validate_json


_read_faultless = _faultless()


def parse_strict(text: str) -> dict[str, Any] | None:
    """Parse the text of a message, if the message is valid and has no unknown field.

    Args:
        text: The text.

    Returns:
        The message, equal to the result of `decode`; None if it is not valid.
        `decode` and `validate` then report the reason.
    """
    if len(text) > MAX_TEXT_LENGTH:
        return None
    try:
        message = _read_faultless(text)
    except (ValueError, TypeError):
        return None
    # The parser accepts NaN, which is not JSON, in values of type `Any`. Only `open` has values of
    # this type.
    if message["type"] == "open" and ("NaN" in text or "Infinity" in text):
        return None
    return message


def decode(text: str) -> dict[str, Any]:
    """Decode the text of a message.

    Args:
        text: The text.

    Returns:
        The message as a dict. Its fields are not checked.

    Raises:
        RemoteProtocolError: If the text is too long, not JSON, nested too deeply, or not an
            object.
    """
    if len(text) > MAX_TEXT_LENGTH:
        raise RemoteProtocolError(
            Rule.TEXT_SIZE,
            f"text message has {len(text)} characters; the limit is {MAX_TEXT_LENGTH}",
        )
    try:
        # This parser is much faster than `json`, and stricter: the parser rejects lone surrogates,
        # and values with 200 nested levels.
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
    raise ValueError(f"{name} is not valid JSON")


def _is_shallow(message: object) -> bool:
    """Return whether a value can be encoded again without exceeding the recursion limit."""
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
        model: The model of this part.
        data: The part of the message.
        rule: The rule that a violation breaks.

    Returns:
        A pair. The first item is the part as an object of the model, or None if it is invalid. The
        second item has the violations, with field names but without values, because values can be
        personal data.
    """
    try:
        # The validator is called directly, because `model_validate`, which calls the same
        # validator, takes three times as long.
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
    """Return the location of an error, without field names that the peer has chosen."""
    named = takewhile(lambda part: isinstance(part, int) or part in _FIELDS, location)
    return ".".join(map(str, named)) or "(all)"


def _listed(names: Collection[str]) -> str:
    """Format field names from the peer for a log line. Invalid names are counted and not shown."""
    plain = sorted(name for name in names if _NAME.fullmatch(name))[:8]
    others = len(names) - len(plain)
    return ", ".join([*plain, *([f"{others} more"] if others else [])])


_NAME = re.compile(r"[A-Za-z][A-Za-z_]{0,30}")
_MODELS: tuple[type[_Model], ...] = (Envelope, Participant, ContinuedSession, *PARAMETERS.values())
_FIELDS = frozenset(
    field.alias or name for model in _MODELS for name, field in model.model_fields.items()
)
