"""Functions that validate server messages as Genesys's client does.

They do not read or change the session; values of `open` are arguments. `session.py` calls them in
the order of the reference client: first the JSON, then the envelope, the session id, the sequence
numbers, and then the type and its parameters.

Entities are checked against the types in Genesys's reference implementation
(`entities-transcript.ts`, `entities-agentassist.ts`) and in its Audio Connector sample
(`voice-bots.ts`). The checks share no code with the builders in `pipecat_genesys.protocol`, so
that a mistake in one of them is found by the other.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NoReturn

from pipecat_genesys.protocol.types import (
    PROTOCOL_VERSION,
    AudioHookMessageType,
    DisconnectReason,
    parse_duration,
)

from .rules import Breach, BrokenRuleError, ServerRule

_T = AudioHookMessageType
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")

_LANGUAGE = re.compile(r"[a-z]{2,3}-[A-Za-z]{2,3}")
"""Form of a code in `supportedLanguages`, as required by Genesys's conformance suite."""


# Validators of single values, from which the validators of messages are made.

Validator = Callable[[object], str | None]
"""A function that takes a value and returns None if it is valid. Otherwise it returns a text with
the path to the error and the expected value."""


def _expect(expected: str, is_valid: Callable[[Any], bool]) -> Validator:
    return lambda value: None if is_valid(value) else f" must be {expected}"


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_counter(value: object) -> bool:
    # JSON has one kind of number: the client accepts 3.0 as the integer 3.
    if isinstance(value, float):
        return value.is_integer() and value >= 0
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_duration(value: object) -> bool:
    try:
        parse_duration(value)
    except ValueError:
        return False
    return True


def _one_of(*values: str) -> Validator:
    return _expect(" or ".join(f'"{value}"' for value in values), lambda value: value in values)


def _list_of(item: Validator, *, at_least: int = 0, at_most: int | None = None) -> Validator:
    def validate(value: object) -> str | None:
        if not isinstance(value, list):
            return " must be an array"
        if len(value) < at_least:
            return f" must have at least {at_least}"
        if at_most is not None and len(value) > at_most:
            return f" must have at most {at_most}"
        errors = ((index, item(entry)) for index, entry in enumerate(value))
        return next((f"[{index}]{error}" for index, error in errors if error), None)

    return validate


def _object(
    required: Mapping[str, Validator], optional: Mapping[str, Validator] | None = None
) -> Validator:
    known = {**(optional or {}), **required}

    def validate(value: object) -> str | None:
        if not isinstance(value, dict):
            return " must be an object"
        for name in required:
            if name not in value:
                return f" lacks '{name}'"
        errors = ((name, known[name](value[name])) for name in known if name in value)
        return next((f".{name}{error}" for name, error in errors if error), None)

    return validate


def _map_of_text(value: object) -> str | None:
    if isinstance(value, dict) and all(isinstance(item, str) for item in value.values()):
        return None
    return " must be an object whose values are text"


def _anything(value: object) -> str | None:
    return None


_text = _expect("text", lambda value: isinstance(value, str))
_bool = _expect("true or false", lambda value: isinstance(value, bool))
_number = _expect("a number", _is_number)
_share = _expect("a number from 0 to 1", lambda value: _is_number(value) and 0 <= value <= 1)
_uuid = _expect("a UUID", lambda value: isinstance(value, str) and bool(_UUID.fullmatch(value)))
_duration = _expect("a duration such as 'PT1.5S'", _is_duration)
_channel_id = _expect("0 or 1", lambda value: type(value) is int and value in (0, 1))


# The envelope.


@dataclass(frozen=True, slots=True)
class ServerMessage:
    """A server message with a valid envelope.

    Attributes:
        type: Type of the message. It may be unknown.
        id: Session id in the message.
        seq: Sequence number of the message.
        clientseq: `seq` of the last client message that the server has received.
        parameters: Parameters of the message, not validated.
        extra: Names of envelope fields that the protocol does not define for servers.
    """

    type: str
    id: str
    seq: int
    clientseq: int
    parameters: Mapping[str, Any]
    extra: tuple[str, ...]


_ENVELOPE: Mapping[str, tuple[str, Callable[[object], bool]]] = MappingProxyType(
    {
        "version": (f'"{PROTOCOL_VERSION}"', lambda value: value == PROTOCOL_VERSION),
        "id": ("text", lambda value: isinstance(value, str)),
        "type": ("text", lambda value: isinstance(value, str)),
        "seq": ("an integer from 0", _is_counter),
        "clientseq": ("an integer from 0", _is_counter),
        "parameters": ("an object, even if empty", lambda value: isinstance(value, dict)),
    }
)


def _reject_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not valid JSON")


def parse_json(text: str) -> object:
    """Parse JSON as strictly as the client, which accepts neither NaN nor Infinity.

    Raises:
        BrokenRuleError: If the text is not JSON.
    """
    try:
        return json.loads(text, parse_constant=_reject_constant)
    except (ValueError, RecursionError) as error:
        raise BrokenRuleError(ServerRule.NOT_JSON, str(error)) from None


def parse_envelope(message: object) -> ServerMessage:
    """Check the envelope of a parsed message.

    Raises:
        BrokenRuleError: If the message is not an object, or if a field is missing or has the
            wrong type.
    """
    if not isinstance(message, dict):
        raise BrokenRuleError(ServerRule.NOT_A_SERVER_MESSAGE, "not a JSON object")
    for name, (expected, is_valid) in _ENVELOPE.items():
        if name not in message:
            raise BrokenRuleError(ServerRule.NOT_A_SERVER_MESSAGE, f"'{name}' is missing")
        if not is_valid(message[name]):
            raise BrokenRuleError(ServerRule.NOT_A_SERVER_MESSAGE, f"'{name}' must be {expected}")
    return ServerMessage(
        type=message["type"],
        id=message["id"],
        seq=int(message["seq"]),
        clientseq=int(message["clientseq"]),
        parameters=message["parameters"],
        extra=tuple(sorted(message.keys() - _ENVELOPE.keys())),
    )


# Validators of the parameters of each message type.

_medium = _object(
    {
        "type": _one_of("audio"),
        "format": _one_of("PCMU", "L16"),
        "channels": _list_of(_one_of("external", "internal"), at_least=1, at_most=2),
        "rate": _expect("8000", lambda value: value == 8000),
    }
)
_entity = _object({"type": _text, "data": _anything})

_SERVER_MESSAGES: Mapping[str, Mapping[str, tuple[Validator, bool]]] = MappingProxyType(
    {
        _T.OPENED: {
            "media": (_list_of(_medium), True),
            "discardTo": (_duration, False),
            "startPaused": (_bool, False),
            "supportedLanguages": (_list_of(_text), False),
        },
        # The protocol does not define `outputVariables` in `closed`, but the client tolerates this
        # parameter; see `_on_closed`.
        _T.CLOSED: {"outputVariables": (_anything, False)},
        _T.PONG: {},
        _T.UPDATED: {},
        _T.PAUSE: {},
        _T.RESUME: {},
        _T.EVENT: {"entities": (_list_of(_entity, at_least=1), True)},
        _T.RECONNECT: {"info": (_text, False)},
        _T.DISCONNECT: {
            "reason": (_one_of(*DisconnectReason), True),
            "info": (_text, False),
            # Invalid variables do not end the session; see `check_output_variables`.
            "outputVariables": (_anything, False),
        },
    }
)
"""Every message that a server may send: its parameters, their validators, and whether they are
required."""


def check_parameters(message: ServerMessage) -> Iterator[Breach]:
    """Check the type of a message, its parameters and its extra fields.

    Returns:
        The tolerated breaches: fields and parameters that the type does not have. The client
        ignores such fields and parameters.

    Raises:
        BrokenRuleError: If the type does not exist or may not be sent by a server, or if a
            parameter is missing or invalid.
    """
    known = _SERVER_MESSAGES.get(message.type)
    if known is None:
        exists = message.type in tuple(AudioHookMessageType)
        why = "is sent by the client only" if exists else "does not exist"
        raise BrokenRuleError(ServerRule.UNKNOWN_TYPE, f"message type '{message.type[:40]}' {why}")
    for name, (validator, is_required) in known.items():
        if name not in message.parameters:
            if is_required:
                raise BrokenRuleError(
                    ServerRule.BAD_PARAMETERS, f"'{message.type}' lacks the parameter '{name}'"
                )
        elif error := validator(message.parameters[name]):
            raise BrokenRuleError(
                ServerRule.BAD_PARAMETERS, _located(name, message.type, error, "parameter ")
            )
    return _extras(message, sorted(message.parameters.keys() - known.keys()))


def _extras(message: ServerMessage, unknown: Sequence[str]) -> Iterator[Breach]:
    for name in message.extra:
        is_position = name == "position"
        rule = ServerRule.POSITION_PRESENT if is_position else ServerRule.UNKNOWN_FIELD
        yield Breach(rule, f"'{message.type}' has a field '{name[:40]}'")
    for name in unknown:
        is_closed = message.type == _T.CLOSED
        rule = ServerRule.CLOSED_PARAMETERS if is_closed else ServerRule.UNKNOWN_PARAMETER
        yield Breach(rule, f"'{message.type}' has a parameter '{name[:40]}'")


def _located(name: str, kind: str, error: str, prefix: str = "") -> str:
    """Return an error text with the path of the value, the type and the expected value."""
    path, _, expectation = error.partition(" ")
    return f"{prefix}'{name}{path}' of '{kind[:40]}' {expectation}"


# Checks of single parameters that need the state of the call.


def select_medium(
    selected: Sequence[Mapping[str, Any]], offered: Iterable[Mapping[str, Any]]
) -> Mapping[str, Any] | None:
    """Find the offered medium that `opened` selects.

    Args:
        selected: `media` of `opened`, with valid entries.
        offered: `media` of `open`.

    Returns:
        The offered entry, or None if no medium is selected.

    Raises:
        BrokenRuleError: If several media are selected, if the selected medium was not offered, or
            if the selected medium has a key that the offered one does not have. Production has the
            last rule; the reference client does not.
    """
    if not selected:
        return None
    if len(selected) > 1:
        raise BrokenRuleError(ServerRule.SEVERAL_MEDIA, f"{len(selected)} media selected")
    (choice,) = selected
    essential = ("type", "format", "rate", "channels")
    for entry in offered:
        if all(choice[key] == entry[key] for key in essential):
            unknown = sorted(choice.keys() - entry.keys())
            if unknown:
                raise BrokenRuleError(ServerRule.MEDIA_UNKNOWN_KEY, f"'{unknown[0][:40]}'")
            return entry
    raise BrokenRuleError(ServerRule.MEDIA_NOT_OFFERED, json.dumps(choice)[:200])


def check_languages(languages: Sequence[str] | None, *, requested: bool) -> Iterator[Breach]:
    """Check `supportedLanguages` of `opened`.

    Args:
        languages: The language codes, or None if the parameter is missing.
        requested: Whether `open` asked for the parameter.

    Yields:
        The tolerated breaches.
    """
    if languages is None:
        if requested:
            yield Breach(
                ServerRule.LANGUAGES_MISSING,
                "'supportedLanguages' was requested; send an empty list for no languages",
            )
        return
    if not requested:
        yield Breach(ServerRule.LANGUAGES_NOT_ASKED, "'supportedLanguages' was not requested")
    odd = [code[:20] for code in languages if not _LANGUAGE.fullmatch(code)]
    if odd:
        detail = f"language codes must have the form 'en-US', got {', '.join(odd)[:100]}"
        yield Breach(ServerRule.LANGUAGE_CODE, detail)


def check_output_variables(variables: object) -> Iterator[Breach]:
    """Check `outputVariables` of `disconnect`.

    Yields:
        The breaches.
    """
    if not isinstance(variables, dict):
        yield Breach(ServerRule.OUTPUT_VARIABLES, "'outputVariables' is not an object")
        return
    wrong = sorted(name for name, value in variables.items() if not isinstance(value, str))
    if wrong:
        names = ", ".join(wrong)[:200]
        detail = f"the values of these output variables are not text: {names}"
        yield Breach(ServerRule.OUTPUT_VARIABLES, detail)


# Entities.

_token = _object(
    {
        "type": _one_of("word"),
        "value": _text,
        "confidence": _share,
        "offset": _duration,
        "duration": _duration,
    },
    {"language": _text},
)
_interpretation = _object(
    {"type": _one_of("display"), "transcript": _text}, {"tokens": _list_of(_token)}
)
_alternative = _object(
    {"confidence": _share, "interpretations": _list_of(_interpretation)},
    {"languages": _list_of(_text)},
)
_transcript = _object(
    {
        "id": _uuid,
        "channelId": _channel_id,
        "isFinal": _bool,
        "alternatives": _list_of(_alternative, at_least=1),
    },
    {"offset": _duration, "duration": _duration},
)
_utterance = _object(
    {
        "id": _text,
        "position": _duration,
        "text": _text,
        "language": _text,
        "confidence": _number,
        "channel": _one_of("external", "internal"),
        "isFinal": _bool,
    },
    {"duration": _duration},
)
_faq = _object(
    {
        "type": _one_of("faq"),
        "id": _text,
        "confidence": _number,
        "question": _text,
        "answer": _text,
    },
    {"position": _duration},
)
_article = _object(
    {
        "type": _one_of("article"),
        "id": _text,
        "confidence": _number,
        "title": _text,
        "excerpts": _list_of(_text),
        "documentUri": _text,
    },
    {"position": _duration, "metadata": _map_of_text},
)


def _suggestion(value: object) -> str | None:
    kinds = {"faq": _faq, "article": _article}
    kind = value.get("type") if isinstance(value, dict) else None
    known = kinds.get(kind) if isinstance(kind, str) else None
    return '.type must be "faq" or "article"' if known is None else known(value)


_ENTITIES: Mapping[str, Validator] = MappingProxyType(
    {
        "transcript": _transcript,
        "agentassist": _object(
            {"id": _uuid},
            {"utterances": _list_of(_utterance), "suggestions": _list_of(_suggestion)},
        ),
        "bot_turn_response": _object(
            {"disposition": _one_of("no_input", "no_match", "match")},
            {"text": _text, "confidence": _number},
        ),
        "barge_in": _object({}),
        "speech_started": _object({}),
    }
)
"""The entity types that the client knows. It ignores entities of any other type."""


def check_entity(entity: Mapping[str, Any], channels: int) -> Iterator[Breach]:
    """Check one entity of an `event` message.

    Args:
        entity: The entity as received, with `type` and `data`.
        channels: Number of channels of the selected medium.

    Yields:
        The breaches.
    """
    kind, data = entity["type"], entity["data"]
    error = _ENTITIES.get(kind, _anything)(data)
    if error is not None:
        yield Breach(ServerRule.BAD_ENTITY, _located("data", kind, error))
    elif kind == "transcript":
        yield from _check_transcript(data, channels)


def _check_transcript(data: Mapping[str, Any], channels: int) -> Iterator[Breach]:
    if data["channelId"] >= channels:
        # The client tolerates this, because an example of the Bot Transcription Connector has the
        # `channelId` 1 on a mono medium.
        detail = f"'channelId' is {data['channelId']}, the medium has {channels} channel(s)"
        yield Breach(ServerRule.CHANNEL_ID, detail)
    # These fields are optional in Genesys's types, but Genesys's conformance suite requires them in
    # final transcripts.
    missing = [name for name in ("offset", "duration") if name not in data]
    if data["isFinal"] and missing:
        detail = f"a final transcript lacks {' and '.join(missing)}"
        yield Breach(ServerRule.TRANSCRIPT_TIMES, detail)
    for alternative in data["alternatives"]:
        for interpretation in alternative["interpretations"]:
            tokens = interpretation.get("tokens", [])
            if len({token["offset"] for token in tokens}) < len(tokens):
                detail = "two tokens of a transcript have the same offset"
                yield Breach(ServerRule.BAD_ENTITY, detail)
                return
