"""The comparison of two calls, message by message."""

from __future__ import annotations

import re
from collections.abc import Iterator
from difflib import SequenceMatcher
from itertools import zip_longest
from typing import Any

from pipecat_genesys.simulator import Direction

from .analysis import NOTE, CallAnalysis, Message, parse_object

_MAX_ROWS = 5000
_MAX_PATHS = 50
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_CHANGING = frozenset({"id", "seq", "serverseq", "clientseq", "position", "rtt"})
"""Fields that differ between two calls in which both parties acted in the same way."""


class _Row:
    """A text message, or successive audio messages of one direction."""

    def __init__(self, message: Message) -> None:
        self.first = message
        self.messages = 1
        self.seconds = message.audio_seconds or 0.0

    @property
    def key(self) -> tuple[Direction, str]:
        return self.first.direction, self.first.type

    def as_json(self) -> dict[str, Any]:
        entry = self.first.as_json()
        if self.first.type == "audio" and self.first.seq is None:
            entry["note"] = f"{self.messages} messages, {self.seconds:.2f} s"
            entry["audio_seconds"] = self.seconds
        return entry


def compare(a: CallAnalysis, b: CallAnalysis) -> list[dict[str, Any]]:
    """Compare two calls.

    Times, ids, sequence numbers and positions are not compared. Successive audio messages of one
    direction are one row. Their total durations count as equal if they differ by at most 0.2 s.

    Returns:
        The rows for the page, as dicts. `a` and `b` are the messages of the two calls, or None if
        one call does not have the message. `same` is true if the compared values of the messages
        are equal. `paths` lists the fields whose values differ, at most 50.

    Raises:
        ValueError: If a call has too many messages.
    """
    rows_a, rows_b = _rows(a), _rows(b)
    if max(len(rows_a), len(rows_b)) > _MAX_ROWS:
        raise ValueError(
            f"the calls have {len(rows_a)} and {len(rows_b)} messages; at most {_MAX_ROWS} can be "
            "compared"
        )
    matcher = SequenceMatcher(None, [r.key for r in rows_a], [r.key for r in rows_b], False)
    result: list[dict[str, Any]] = []
    for _, a0, a1, b0, b1 in matcher.get_opcodes():
        for one, two in zip_longest(rows_a[a0:a1], rows_b[b0:b1]):
            if one is not None and two is not None and one.key != two.key:
                result += [_pair(one, None), _pair(None, two)]
            else:
                result.append(_pair(one, two))
    return result


def _rows(call: CallAnalysis) -> list[_Row]:
    rows: list[_Row] = []
    open_runs: dict[Direction, _Row] = {}
    for message in call.messages:
        if message.type == NOTE:
            continue
        if message.audio_seconds is None:
            open_runs.clear()
        elif message.direction in open_runs:
            run = open_runs[message.direction]
            run.messages += 1
            run.seconds += message.audio_seconds
            continue
        rows.append(_Row(message))
        if message.audio_seconds is not None:
            open_runs[message.direction] = rows[-1]
    return rows


def _pair(one: _Row | None, two: _Row | None) -> dict[str, Any]:
    paths: list[str] = []
    if one is not None and two is not None:
        if one.first.audio_seconds is not None:
            paths = ["audio"] if abs(one.seconds - two.seconds) > 0.2 else []
        else:
            paths = list(_different(_comparable(one), _comparable(two), ""))[:_MAX_PATHS]
    return {
        "a": None if one is None else one.as_json(),
        "b": None if two is None else two.as_json(),
        "same": one is not None and two is not None and not paths,
        "paths": paths,
    }


def _comparable(row: _Row) -> object:
    content = row.first.content
    parsed = parse_object(content) if isinstance(content, str) else None
    if parsed is None:
        return content
    return {name: value for name, value in parsed.items() if name not in _CHANGING}


def _different(one: object, two: object, path: str) -> Iterator[str]:
    if isinstance(one, dict) and isinstance(two, dict):
        for name in sorted(one.keys() | two.keys()):
            inner = f"{path}.{name}" if path else str(name)
            if name not in one or name not in two:
                yield inner
            elif name not in _CHANGING:
                yield from _different(one[name], two[name], inner)
    elif isinstance(one, list) and isinstance(two, list):
        for index in range(max(len(one), len(two))):
            inner = f"{path}[{index}]"
            if index >= len(one) or index >= len(two):
                yield inner
            else:
                yield from _different(one[index], two[index], inner)
    elif isinstance(one, str) and isinstance(two, str):
        if _UUID.sub("", one) != _UUID.sub("", two):
            yield path or "text"
    elif one != two:
        yield path or "text"
