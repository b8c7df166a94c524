"""Is this entity of an ``event`` what it claims to be? Checked as the client's types have it.

Sources: ``entities-transcript.ts`` and ``entities-agentassist.ts`` of Genesys's reference
implementation, ``voice-bots.ts`` of its Audio Connector sample. Shares nothing with the builders
of `pipecat_genesys.protocol.entities`, so that each can be wrong alone. Pure checks.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from pipecat_genesys.protocol.types import parse_duration
from pipecat_genesys.simulator.rules import Rule

_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


@dataclass(frozen=True, slots=True)
class EntityFault:
    """What is wrong with an entity.

    Attributes:
        rule: The rule it breaks.
        detail: In what way, in words.
    """

    rule: Rule
    detail: str


Check = Callable[[object], str | None]
"""Says what a value must be, with the place of the fault before it; None if it is that."""


def _simple(expected: str, is_valid: Callable[[Any], bool]) -> Check:
    return lambda value: None if is_valid(value) else f" must be {expected}"


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_duration(value: object) -> bool:
    try:
        parse_duration(value)
    except ValueError:
        return False
    return True


_text = _simple("text", lambda v: isinstance(v, str))
_bool = _simple("true or false", lambda v: isinstance(v, bool))
_number = _simple("a number", _is_number)
_share = _simple("a number from 0 to 1", lambda v: _is_number(v) and 0 <= v <= 1)
_uuid = _simple("a UUID", lambda v: isinstance(v, str) and _UUID.fullmatch(v) is not None)
_duration = _simple("a duration such as 'PT1.5S'", _is_duration)
_channel_id = _simple(
    "0 or 1", lambda v: isinstance(v, int) and v in (0, 1) and v is not True and v is not False
)
_anything: Check = lambda value: None  # noqa: E731 - one of a row of checks


def _one_of(*values: str) -> Check:
    return _simple(" or ".join(f'"{v}"' for v in values), lambda v: v in values)


def _list_of(check: Check, *, at_least: int = 0) -> Check:
    def checked(value: object) -> str | None:
        if not isinstance(value, list):
            return " must be an array"
        if len(value) < at_least:
            return f" must have at least {at_least}"
        faults = ((index, check(item)) for index, item in enumerate(value))
        return next((f"[{index}]{fault}" for index, fault in faults if fault), None)

    return checked


def _object(required: Mapping[str, Check], optional: Mapping[str, Check] | None = None) -> Check:
    known = {**(optional or {}), **required}

    def checked(value: object) -> str | None:
        if not isinstance(value, dict):
            return " must be an object"
        for name in required:
            if name not in value:
                return f" lacks '{name}'"
        faults = ((name, check(value[name])) for name, check in known.items() if name in value)
        return next((f".{name}{fault}" for name, fault in faults if fault), None)

    return checked


def _map_of_text(value: object) -> str | None:
    if isinstance(value, dict) and all(isinstance(item, str) for item in value.values()):
        return None
    return " must be an object whose values are text"


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


KNOWN: Mapping[str, Check] = MappingProxyType(
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
"""The entities the client knows. Any other is legal, with any data, and ignored."""


def check_entity(entity: Mapping[str, Any], channels: int) -> Iterator[EntityFault]:
    """Check one entity.

    Args:
        entity: With ``type`` and ``data``, as it came.
        channels: Channels of the selected medium.

    Yields:
        What is wrong with it.
    """
    kind, data = entity["type"], entity["data"]
    fault = KNOWN.get(kind, _anything)(data)
    if fault is not None:
        yield EntityFault(
            Rule.BAD_ENTITY,
            f"'data{fault.partition(' ')[0]}' of '{kind[:40]}' {fault.partition(' ')[2]}",
        )
        return
    if kind == "transcript":
        yield from _check_transcript(data, channels)


def _check_transcript(data: Mapping[str, Any], channels: int) -> Iterator[EntityFault]:
    if data["channelId"] >= channels:
        # Tolerated: an example of the Bot Transcription Connector says 1 on a mono medium.
        detail = f"'channelId' is {data['channelId']}, the medium has {channels} channel(s)"
        yield EntityFault(Rule.CHANNEL_ID, detail)
    # The types leave these two optional; Genesys's conformance suite does not, in final ones.
    missing = [name for name in ("offset", "duration") if name not in data]
    if data["isFinal"] and missing:
        detail = f"a final transcript lacks {' and '.join(missing)}"
        yield EntityFault(Rule.TRANSCRIPT_TIMES, detail)
    for alternative in data["alternatives"]:
        for interpretation in alternative["interpretations"]:
            tokens = interpretation.get("tokens", [])
            if len({token["offset"] for token in tokens}) < len(tokens):
                yield EntityFault(Rule.BAD_ENTITY, "two tokens of a transcript begin at one offset")
                return
