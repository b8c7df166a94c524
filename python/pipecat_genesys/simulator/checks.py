"""Is this text a message a server may send? Pure checks, no state of a call.

The order of the checks and what each failure is answered with follow the reference client: first
JSON, then the envelope (both leave its counter of server messages alone), then, after the
sequence check, the type and its parameters.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NoReturn

from pipecat_genesys.protocol.types import (
    PROTOCOL_VERSION,
    AudioHookMessageType,
    DisconnectReason,
    parse_duration,
)
from pipecat_genesys.simulator.rules import BrokenRuleError, Rule

_ENVELOPE = frozenset({"version", "id", "type", "seq", "clientseq", "parameters"})


@dataclass(frozen=True, slots=True)
class Envelope:
    """A server message whose envelope is in order.

    Attributes:
        type: Its type, possibly none that exists.
        id: The session it names.
        seq: The server's counter.
        clientseq: The last client message the server says it has seen.
        parameters: As they came.
        extra: Names of envelope fields the protocol does not define for a server.
    """

    type: str
    id: str
    seq: int
    clientseq: int
    parameters: Mapping[str, Any]
    extra: tuple[str, ...]


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def decode(text: str) -> object:
    """Decode JSON as strictly as the client does: no NaN, no Infinity.

    Raises:
        BrokenRuleError: If it is not JSON.
    """
    try:
        return json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise BrokenRuleError(Rule.NOT_JSON, str(error)) from None


def _is_counter(value: object) -> bool:
    # JSON has one kind of number: 3.0 is the integer 3 to the client.
    if isinstance(value, float):
        return value.is_integer() and value >= 0
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


_FIELDS: Mapping[str, tuple[str, Callable[[object], bool]]] = MappingProxyType(
    {
        "version": (f'"{PROTOCOL_VERSION}"', lambda value: value == PROTOCOL_VERSION),
        "id": ("text", lambda value: isinstance(value, str)),
        "type": ("text", lambda value: isinstance(value, str)),
        "seq": ("an integer from 0", _is_counter),
        "clientseq": ("an integer from 0", _is_counter),
        "parameters": ("an object, even if empty", lambda value: isinstance(value, dict)),
    }
)


def read_envelope(message: object) -> Envelope:
    """Check the envelope of a decoded message.

    Raises:
        BrokenRuleError: If it is no object, or a field is missing or of the wrong type.
    """
    if not isinstance(message, dict):
        raise BrokenRuleError(Rule.NOT_A_SERVER_MESSAGE, "not a JSON object")
    for name, (expected, is_valid) in _FIELDS.items():
        if name not in message:
            raise BrokenRuleError(Rule.NOT_A_SERVER_MESSAGE, f"'{name}' is missing")
        if not is_valid(message[name]):
            raise BrokenRuleError(Rule.NOT_A_SERVER_MESSAGE, f"'{name}' must be {expected}")
    return Envelope(
        type=message["type"],
        id=message["id"],
        seq=int(message["seq"]),
        clientseq=int(message["clientseq"]),
        parameters=message["parameters"],
        extra=tuple(sorted(message.keys() - _ENVELOPE)),
    )


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_bool(value: object) -> bool:
    return isinstance(value, bool)


def _is_duration(value: object) -> bool:
    try:
        parse_duration(value)
    except ValueError:
        return False
    return True


def _is_array_of(is_item: Callable[[object], bool]) -> Callable[[object], bool]:
    return lambda value: isinstance(value, list) and all(is_item(item) for item in value)


def _is_medium(value: object) -> bool:
    if not isinstance(value, dict):
        return False
    channels = value.get("channels")
    rate = value.get("rate")
    return (
        value.get("type") == "audio"
        and value.get("format") in ("PCMU", "L16")
        and rate == 8000
        and not isinstance(rate, bool)
        and isinstance(channels, list)
        and len(channels) in (1, 2)
        and all(channel in ("external", "internal") for channel in channels)
    )


def _is_entity(value: object) -> bool:
    return isinstance(value, dict) and _is_text(value.get("type")) and "data" in value


def _is_reason(value: object) -> bool:
    return isinstance(value, str) and value in tuple(DisconnectReason)


@dataclass(frozen=True, slots=True)
class _Parameter:
    is_valid: Callable[[object], bool]
    required: bool = False


_T = AudioHookMessageType
_NONE: Mapping[str, _Parameter] = MappingProxyType({})

SERVER_MESSAGES: Mapping[str, Mapping[str, _Parameter]] = MappingProxyType(
    {
        _T.OPENED: {
            "media": _Parameter(_is_array_of(_is_medium), required=True),
            "discardTo": _Parameter(_is_duration),
            "startPaused": _Parameter(_is_bool),
            "supportedLanguages": _Parameter(_is_array_of(_is_text)),
        },
        _T.CLOSED: _NONE,
        _T.PONG: _NONE,
        _T.UPDATED: _NONE,
        _T.PAUSE: _NONE,
        _T.RESUME: _NONE,
        _T.EVENT: {"entities": _Parameter(_is_array_of(_is_entity), required=True)},
        _T.RECONNECT: {"info": _Parameter(_is_text)},
        _T.DISCONNECT: {
            "reason": _Parameter(_is_reason, required=True),
            "info": _Parameter(_is_text),
            # Only a record is made of bad variables, so they are looked at elsewhere.
            "outputVariables": _Parameter(lambda _: True),
        },
    }
)
"""The messages a server may send, with their parameters. There are no others."""


def check_parameters(message: Envelope) -> tuple[str, ...]:
    """Check that the type exists and that its parameters are those it takes.

    Returns:
        Names of parameters the type does not have; the client ignores them.

    Raises:
        BrokenRuleError: Otherwise.
    """
    known = SERVER_MESSAGES.get(message.type)
    if known is None:
        real = message.type in tuple(AudioHookMessageType)
        why = "goes from client to server only" if real else "does not exist"
        raise BrokenRuleError(Rule.UNKNOWN_TYPE, f"message type '{message.type[:40]}' {why}")
    for name, parameter in known.items():
        if name not in message.parameters:
            if parameter.required:
                raise BrokenRuleError(
                    Rule.BAD_PARAMETERS, f"'{message.type}' lacks the parameter '{name}'"
                )
        elif not parameter.is_valid(message.parameters[name]):
            raise BrokenRuleError(
                Rule.BAD_PARAMETERS, f"parameter '{name}' of '{message.type}' is not valid"
            )
    if message.type == _T.EVENT and not message.parameters["entities"]:
        raise BrokenRuleError(Rule.BAD_PARAMETERS, "'entities' of 'event' is empty")
    return tuple(sorted(message.parameters.keys() - known.keys()))


def select_medium(
    chosen: Sequence[Mapping[str, Any]], offered: Iterable[Mapping[str, Any]]
) -> Mapping[str, Any] | None:
    """Find the offered medium that ``opened`` selects.

    Args:
        chosen: ``media`` of ``opened``, its entries well-formed.
        offered: ``media`` of ``open``.

    Returns:
        The offered entry, None where none is selected.

    Raises:
        BrokenRuleError: If several are selected, one that was not offered, or one with a key the
            offer does not have. The last is production's rule: its object mapper is strict
            there, where the reference client is not.
    """
    if not chosen:
        return None
    if len(chosen) > 1:
        raise BrokenRuleError(Rule.SEVERAL_MEDIA, f"{len(chosen)} media selected")
    (choice,) = chosen
    essential = ("type", "format", "rate", "channels")
    for entry in offered:
        if all(choice[key] == entry[key] for key in essential):
            unknown = sorted(choice.keys() - entry.keys())
            if unknown:
                raise BrokenRuleError(Rule.MEDIA_UNKNOWN_KEY, f"'{unknown[0][:40]}'")
            return entry
    raise BrokenRuleError(Rule.MEDIA_NOT_OFFERED, json.dumps(choice)[:200])
