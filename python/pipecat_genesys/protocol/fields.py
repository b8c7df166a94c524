"""Reading single fields of messages that may hold anything, and writing whole ones."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic_core import to_json

from .types import NULL_UUID

# Ids are UUIDs; anything is taken for one, but every message of ours must have room for it.
_MAX_ID_LENGTH = 256
_T = TypeVar("_T")
# What refers to itself is nested too deeply.
_PLAIN = json.JSONEncoder(allow_nan=False, ensure_ascii=False, check_circular=False)
_ASCII = json.JSONEncoder(allow_nan=False, check_circular=False)


def parameters(raw: Mapping[str, Any] | None) -> dict[str, Any]:
    """The parameters of a message, or none where it has no object of them."""
    return typed(raw or {}, "parameters", dict) or {}


def typed(fields: Mapping[str, Any], name: str, kind: type[_T]) -> _T | None:
    """A field, or None where it is missing or of another type."""
    value = fields.get(name)
    return value if isinstance(value, kind) else None


def integer(raw: Mapping[str, Any], name: str) -> int | None:
    """A number, or None where it is missing or something else; ``true`` is not 1."""
    value = raw.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def is_usable_id(identity: object) -> bool:
    """Whether this can be a session's id."""
    return isinstance(identity, str) and len(identity) <= _MAX_ID_LENGTH


def short(number: int) -> str:
    """A number for a message; a peer's may have thousands of digits."""
    return str(number) if abs(number) < 10**20 else "out of range"


def encode(value: Any) -> str:
    """Write JSON that UTF-8 can carry.

    Raises:
        TypeError: If JSON has no such value.
        ValueError: If it holds what is no number.
        RecursionError: If it is nested too deeply, or refers to itself.
    """
    text = _PLAIN.encode(value)
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:  # lone surrogates, which JSON can carry and UTF-8 cannot
            return _ASCII.encode(value)
    return text


def encode_read(value: Any) -> str:
    """The same of what has been read from JSON, in a third of the time.

    Raises:
        ValueError: If it holds what is no number.
    """
    try:
        text = to_json(value).decode()
    except ValueError:  # lone surrogates
        return encode(value)
    # Numbers that JSON does not have are written like these words.
    return encode(value) if "NaN" in text or "Infinity" in text else text


def wire_size(text: str) -> int:
    """Bytes that a text message takes."""
    return len(text) if text.isascii() else len(text.encode())


def is_probe(open_parameters: Mapping[str, Any]) -> bool:
    """Whether an ``open`` only tests the connection: conversation and participant are nobody."""
    if open_parameters.get("conversationId") != NULL_UUID:
        return False
    return (typed(open_parameters, "participant", dict) or {}).get("id") == NULL_UUID
