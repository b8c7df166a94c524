"""Server messages before they have a place on the wire.

A `Draft` has no ``seq``: sequence numbers are given in wire order, by
`AudioHookSession.to_wire`, at the moment a message is handed to the socket. The builders here know
what each message may contain, and nothing about whether it may be sent now.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from .entities import BargeIn, Entity, seconds
from .types import AudioHookMessageType as Type
from .types import DisconnectReason, format_duration

# Every ping and every call has one, and looking them up in the enumeration is slow.
_PONG, _OPENED = Type.PONG, Type.OPENED
_NONE: Mapping[str, Any] = MappingProxyType({})


class Draft(NamedTuple):
    """A server message without envelope.

    Attributes:
        type: What it is.
        parameters: Its parameters; an object even when empty, as clients refuse messages
            without one.
        answers: The client's ``seq`` this message must name as its ``clientseq``; a pong must
            name its ping's. None means the newest.
    """

    type: Type
    parameters: Mapping[str, Any] = _NONE
    answers: int | None = None


class WireMessage(NamedTuple):
    """A server message as it goes on the wire.

    Attributes:
        text: The JSON text to send.
        type: The message's type.
        seq: The message's sequence number.
    """

    text: str
    type: Type
    seq: int


_CLOSED, _UPDATED = Draft(Type.CLOSED), Draft(Type.UPDATED)


def opened(
    media: Sequence[Mapping[str, Any]],
    *,
    start_paused: bool = False,
    supported_languages: Sequence[str] | None = None,
    discard_to: Any = None,
) -> Draft:
    """Accept a session.

    Args:
        media: No entry, or the one chosen from the offer, verbatim.
        start_paused: Ask the client to hold the audio until ``resume``.
        supported_languages: Only where the client asked for them.
        discard_to: Stream position, in seconds or as the protocol's text, before which the
            client need not send the audio it kept: after a reconnection, how far this side had
            come. It does what it can, and reports ``discarded``.

    Raises:
        ValueError: If ``discard_to`` is not a duration.
    """
    parameters: dict[str, Any] = {"startPaused": start_paused, "media": [dict(m) for m in media]}
    if supported_languages is not None:
        parameters["supportedLanguages"] = list(supported_languages)
    if discard_to is not None:
        parameters["discardTo"] = format_duration(seconds(discard_to))
    return Draft(_OPENED, parameters)


def pong(ping_seq: int | None) -> Draft:
    """Answer the ping with this ``seq``."""
    return Draft(_PONG, _NONE, ping_seq)


def closed(output_variables: Mapping[str, str] | None = None) -> Draft:
    """Answer ``close``.

    Args:
        output_variables: The protocol has none here; see docs/parity.md for why a caller may
            still want them.
    """
    return (
        Draft(Type.CLOSED, {"outputVariables": output_variables}) if output_variables else _CLOSED
    )


def disconnect(
    reason: str = DisconnectReason.COMPLETED,
    *,
    info: str | None = None,
    output_variables: Mapping[str, str] | None = None,
) -> Draft:
    """End the session from this side; the client answers ``close``.

    Args:
        reason: One of `DisconnectReason`.
        info: A line for Genesys's log, hence no personal data.
        output_variables: For the Architect flow, strings only.
    """
    parameters: dict[str, Any] = {"reason": str(reason)}
    if info:
        parameters["info"] = info
    if output_variables:
        parameters["outputVariables"] = dict(output_variables)
    return Draft(Type.DISCONNECT, parameters)


def event(entity_type: str, data: Any) -> Draft:
    """Report one entity; clients record only the first of a message, so there is one."""
    return Draft(Type.EVENT, {"entities": [{"type": entity_type, "data": data}]})


def entity(reported: Entity) -> Draft:
    """Report one of the entities Genesys knows."""
    return event(reported.entity_type, reported.data())


def barge_in() -> Draft:
    """The caller talks over the bot: the client drops the bot audio it has queued."""
    return entity(BargeIn())


def updated() -> Draft:
    """Accept an ``update``."""
    return _UPDATED


def pause() -> Draft:
    """Ask the client to stop the audio; it answers ``paused``."""
    return Draft(Type.PAUSE)


def resume() -> Draft:
    """Ask for the audio after a pause; answered ``resumed``, or ``paused`` by a paused client."""
    return Draft(Type.RESUME)


def reconnect(info: str | None = None) -> Draft:
    """Ask the client to continue in a new session, where it is configured to.

    This session goes on, audio included, until the client sends ``close`` with the reason
    ``reconnect``.

    Args:
        info: A line for Genesys's log, hence no personal data.
    """
    return Draft(Type.RECONNECT, {"info": info} if info else {})


def to_string_map(variables: Mapping[Any, Any]) -> dict[str, str]:
    """Make output variables what the protocol has: a map from string to string.

    Strings stay as they are; everything else becomes compact JSON (``true``, ``0.95``), so that
    a flow can tell ``"1"`` set as text from nothing at all and parse what it declared.

    Args:
        variables: Names and values.

    Returns:
        A new map.

    Raises:
        ValueError: If JSON cannot encode a name or value; the message names the variable.
    """
    return {_as_text(name, name): _as_text(name, value) for name, value in variables.items()}


def _as_text(name: Any, value: Any) -> str:
    if isinstance(value, str):
        return str.__str__(value)  # the text itself, for enumerations too
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(
            f"output variable {str(name)!r} cannot be sent: {error}; use strings, numbers, "
            "booleans, None, or lists and dicts of these"
        ) from None
