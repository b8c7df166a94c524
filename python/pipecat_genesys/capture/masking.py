"""Removes personal data from the messages of a call, before they are written to a capture.

A masked message has the same fields as the original, with values that contain no information.
Masking a masked message does not change it. Fields that the protocol does not define, and text that
is not a message, are masked too, because they can contain personal data.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from pipecat_genesys.protocol.types import AudioHookMediaFormat
from pipecat_genesys.protocol.types import AudioHookMessageType as Type

MASK = "***"
"""The value of a masked text."""
MASKED_DIGIT = "*"
"""The value of a masked digit: a key of a keypad, so that a replay presses a key, too."""

_ENVELOPE = frozenset({"version", "type", "id", "seq", "serverseq", "position"})
_IMPERSONAL = frozenset(
    {
        "organizationId",
        "conversationId",
        "media",
        "language",
        "supportedLanguages",
        "continuedSessions",
        "reason",
        "rtt",
        "start",
        "discarded",
        "code",
        "message",
        "retryAfter",
    }
)
_LISTS_OF_TEXT = frozenset({"supportedLanguages", "channels"})
_LISTS_OF_OBJECTS = frozenset({"media", "continuedSessions"})
# Fields of the entries of `media` and `continuedSessions`.
_OF_ENTRIES = frozenset({"type", "format", "channels", "rate", "id", "serverseq", "clientseq"})
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
# Fields of a `transcript` entity that do not depend on the words.
_OF_TRANSCRIPTS = frozenset(
    {"id", "channelId", "offset", "duration", "isFinal", "confidence", "languages", "type"}
)


class Choice(StrEnum):
    """What a recording does with one kind of data."""

    RECORD = "record"
    """The data is written unchanged."""
    MASK = "mask"
    """The data is written as silence, as `*` or as `***`."""
    OMIT = "omit"
    """The data is left out."""


@dataclass(frozen=True, slots=True)
class Choices:
    """What a recording does with each kind of personal data.

    Attributes:
        audio: The audio of both parties.
        digits: The keys that the caller presses.
        variables: The values of input and output variables, and the integration's configuration.
        participant: The caller's number and name, and the number that was dialled.
        events: The data of `event` messages, such as transcripts.
    """

    audio: Choice = Choice.MASK
    digits: Choice = Choice.MASK
    variables: Choice = Choice.MASK
    participant: Choice = Choice.MASK
    events: Choice = Choice.MASK

    @property
    def paused(self) -> Choices:
        """The choices while the recording is paused: all personal data is masked or left out."""
        return Choices(
            **{
                name: Choice.MASK if choice is Choice.RECORD else choice
                for name, choice in asdict(self).items()
            }
        )

    @property
    def is_verbatim(self) -> bool:
        """Whether nothing is masked or left out."""
        return all(choice is Choice.RECORD for choice in asdict(self).values())


def silence(size: int, media_format: str | None) -> bytes:
    """Return silent audio.

    Args:
        size: Number of bytes.
        media_format: Format of the audio; None for mu-law.
    """
    return (b"\0" if media_format == AudioHookMediaFormat.L16 else b"\xff") * size


def mask_client_message(message: Mapping[str, Any], choices: Choices) -> dict[str, Any]:
    """Return a message of the client without the data that must not be recorded.

    Args:
        message: The decoded message; any JSON object. It is not changed.
        choices: What to do with each kind of data.
    """
    masked: dict[str, Any] = {}
    for name, value in message.items():
        if name == "parameters" and isinstance(value, dict):
            masked[name] = _client_parameters(value, choices)
        elif name in _ENVELOPE and not isinstance(value, (dict, list)):
            masked[name] = value
        else:
            _put(masked, name, value, choices.variables)
    return masked


def _client_parameters(parameters: Mapping[str, Any], choices: Choices) -> dict[str, Any]:
    masked: dict[str, Any] = {}
    for name, value in parameters.items():
        if name in _IMPERSONAL:
            masked[name] = _impersonal(name, value)
        elif name == "digit":
            if choices.digits is not Choice.OMIT:
                masked[name] = value if choices.digits is Choice.RECORD else MASKED_DIGIT
        elif name == "participant":
            masked[name] = _participant(value, choices.participant)
        else:
            _put(masked, name, value, choices.variables)
    return masked


def _impersonal(name: str, value: Any) -> Any:
    """Return the value of a field without personal data, in the form that the protocol defines.

    A hostile client may put other data into the field; it is masked.
    """
    if isinstance(value, list):
        if name in _LISTS_OF_TEXT:
            return [_flat(inner) for inner in value]
        if name in _LISTS_OF_OBJECTS:
            return [_entry(inner) for inner in value]
    return _flat(value)


def _entry(entry: Any) -> Any:
    if not isinstance(entry, dict):
        return blank(entry)
    return {
        name: _impersonal(name, inner) if name in _OF_ENTRIES else blank(inner)
        for name, inner in entry.items()
    }


def _flat(value: Any) -> Any:
    """Return a text or a number unchanged, and mask an object or a list."""
    return blank(value) if isinstance(value, (dict, list)) else value


def _participant(value: Any, choice: Choice) -> Any:
    """Return a participant without personal data. The ids of Genesys are kept."""
    if choice is Choice.RECORD:
        return value
    if not isinstance(value, dict):
        return blank(value)
    hidden = "" if choice is Choice.OMIT else MASK
    return {
        name: inner if name == "id" and _is_uuid(inner) else hidden for name, inner in value.items()
    }


def _is_uuid(value: Any) -> bool:
    return isinstance(value, str) and _UUID.fullmatch(value) is not None


def mask_server_parameters(
    message_type: str, parameters: Mapping[str, Any], choices: Choices
) -> Mapping[str, Any]:
    """Return the parameters of a server message without the data that must not be recorded.

    Args:
        message_type: Type of the message.
        parameters: The parameters; any object. They are not changed.
        choices: What to do with each kind of data.
    """
    if message_type in (Type.DISCONNECT, Type.CLOSED) and "outputVariables" in parameters:
        masked = {name: value for name, value in parameters.items() if name != "outputVariables"}
        _put(masked, "outputVariables", parameters["outputVariables"], choices.variables)
        return masked
    if message_type == Type.EVENT and choices.events is not Choice.RECORD:
        entities = parameters.get("entities")
        if not isinstance(entities, (list, tuple)):
            return {}
        return {"entities": [_entity(entity, choices.events) for entity in entities]}
    return parameters


def _entity(entity: Any, choice: Choice) -> Any:
    if not isinstance(entity, Mapping):
        return blank(entity)
    kind, data = entity.get("type"), entity.get("data")
    if choice is Choice.OMIT:
        return {"type": kind, "data": {}}
    return {"type": kind, "data": blank(data, _OF_TRANSCRIPTS if kind == "transcript" else ())}


def _put(masked: dict[str, Any], name: str, value: Any, choice: Choice) -> None:
    if choice is not Choice.OMIT:
        masked[name] = value if choice is Choice.RECORD else blank(value)


def blank(value: Any, kept: frozenset[str] | tuple[()] = ()) -> Any:
    """Return a JSON value with the same structure and no content.

    Args:
        value: The value.
        kept: Names of the members of JSON objects that are not changed.
    """
    if isinstance(value, Mapping):
        return {
            name: inner if name in kept else blank(inner, kept) for name, inner in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [blank(inner, kept) for inner in value]
    if isinstance(value, bool):
        return False
    if isinstance(value, (int, float)):
        return 0
    return None if value is None else MASK
