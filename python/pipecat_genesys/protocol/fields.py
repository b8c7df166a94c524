"""Reads single fields of messages that are not validated, and writes JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic_core import to_json

from .types import NULL_UUID

# Maximum length of an id, in characters. Ids are UUIDs, but any text up to this length is accepted.
# The limit ensures that the id fits in every message.
_MAX_ID_LENGTH = 256
_T = TypeVar("_T")
# The check for circular values is disabled; encoding a circular value raises RecursionError.
_PLAIN = json.JSONEncoder(allow_nan=False, ensure_ascii=False, check_circular=False)
_ASCII = json.JSONEncoder(allow_nan=False, check_circular=False)


def parameters(raw: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the parameters of a message; empty if they are missing or not an object."""
    return typed(raw or {}, "parameters", dict) or {}


def typed(fields: Mapping[str, Any], name: str, kind: type[_T]) -> _T | None:
    """Return a field, or None if it is missing or has another type."""
    value = fields.get(name)
    return value if isinstance(value, kind) else None


def integer(raw: Mapping[str, Any], name: str) -> int | None:
    """Return an integer field, or None if it is missing or has another type, such as bool."""
    value = raw.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def is_usable_id(identity: object) -> bool:
    """Return whether a value can be the id of a session."""
    return isinstance(identity, str) and len(identity) <= _MAX_ID_LENGTH


def short(number: int) -> str:
    """Return a number as text for a log line, or ``out of range`` if it has over 20 digits."""
    return str(number) if abs(number) < 10**20 else "out of range"


def encode(value: object) -> str:
    """Encode a value as JSON that UTF-8 can encode.

    Raises:
        TypeError: If JSON cannot encode a value of this type.
        ValueError: If the value contains NaN or an infinite number.
        RecursionError: If the value is nested too deeply, or contains itself.
    """
    text = _PLAIN.encode(value)
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:  # JSON allows lone surrogates, but UTF-8 does not
            return _ASCII.encode(value)
    return text


def encode_read(value: object) -> str:
    """Encode a value that was decoded from JSON, in a third of the time of `encode`.

    Raises:
        ValueError: If the value contains NaN or an infinite number.
    """
    try:
        text = to_json(value).decode()
    except ValueError:  # the value has lone surrogates
        return encode(value)
    # `json` encodes NaN and infinite numbers as these words, which are not JSON.
    return encode(value) if "NaN" in text or "Infinity" in text else text


def wire_size(text: str) -> int:
    """Return the size of a text message in bytes."""
    return len(text) if text.isascii() else len(text.encode())


def is_probe(open_parameters: Mapping[str, Any]) -> bool:
    """Return whether ``open`` is a connection probe, which has no conversation or participant."""
    if open_parameters.get("conversationId") != NULL_UUID:
        return False
    return (typed(open_parameters, "participant", dict) or {}).get("id") == NULL_UUID
