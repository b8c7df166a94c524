"""Functions that create server messages, one for each type.

The functions return a `Draft`, which has no ``seq``. `AudioHookSession.to_wire` adds the sequence
number when the message is sent. The functions do not check whether the message may be sent now.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from .entities import BargeIn, Entity, seconds
from .types import AudioHookMessageType as Type
from .types import DisconnectReason, Position, format_duration

# Every ping and every call needs these enumeration members, and a lookup in the enumeration is
# slow.
_PONG, _OPENED = Type.PONG, Type.OPENED
# Creates a named tuple in half the time of its constructor.
_new_tuple = tuple.__new__
_NONE: Mapping[str, Any] = MappingProxyType({})
_COMPACT = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


class Draft(NamedTuple):
    """A server message without the fields of the envelope, such as ``seq`` and ``id``.

    Attributes:
        type: The message's type.
        parameters: The message's parameters. Clients refuse messages without `parameters`, so this
            attribute is a dict even if it is empty.
        answers: The ``clientseq`` of the message. A pong must have the ``seq`` of its ping. None
            stands for the newest ``seq`` received.
    """

    type: Type
    parameters: Mapping[str, Any] = _NONE
    answers: int | None = None


class WireMessage(NamedTuple):
    """A server message with its envelope, ready to send.

    Attributes:
        text: The JSON text to send.
        type: The message's type.
        seq: The message's sequence number.
        parameters: The parameters in the text. The application may change this object later.
    """

    text: str
    type: Type
    seq: int
    parameters: Mapping[str, Any] = _NONE


_CLOSED, _UPDATED = Draft(Type.CLOSED), Draft(Type.UPDATED)


def opened(
    media: Sequence[Mapping[str, Any]],
    *,
    start_paused: bool = False,
    supported_languages: Sequence[str] | None = None,
    discard_to: Position | None = None,
) -> Draft:
    """Return the message that accepts a session.

    Args:
        media: A list with the medium chosen from the offer, unchanged; or an empty list.
        start_paused: Whether the client sends no audio until ``resume``.
        supported_languages: Language codes; None if the client did not ask for them.
        discard_to: Stream position, in seconds or as the protocol's text, from which the client
            sends its stored audio after a reconnection: the end of the audio that this side already
            has. The client reports the omitted audio with ``discarded``.

    Raises:
        ValueError: If ``discard_to`` is not a duration.
    """
    parameters: dict[str, Any] = {"startPaused": start_paused, "media": [dict(m) for m in media]}
    if supported_languages is not None:
        parameters["supportedLanguages"] = list(supported_languages)
    if discard_to is not None:
        parameters["discardTo"] = format_duration(seconds(discard_to))
    return _new_tuple(Draft, (_OPENED, parameters, None))


def pong(ping_seq: int | None) -> Draft:
    """Return the answer to the ping that has this ``seq``."""
    return _new_tuple(Draft, (_PONG, _NONE, ping_seq))


def closed(output_variables: Mapping[str, str] | None = None) -> Draft:
    """Return the answer to ``close``.

    Args:
        output_variables: Variables for the Architect flow. The protocol has no variables in
            ``closed``; docs/parity.md says why they may be sent.
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
    """Return the message that ends the session. The client answers with ``close``.

    Args:
        reason: One of `DisconnectReason`.
        info: A line for Genesys's log, without personal data.
        output_variables: Variables for the Architect flow, strings only.
    """
    parameters: dict[str, Any] = {"reason": str(reason)}
    if info:
        parameters["info"] = info
    if output_variables:
        parameters["outputVariables"] = dict(output_variables)
    return Draft(Type.DISCONNECT, parameters)


def event(entity_type: str, data: object) -> Draft:
    """Return an `event` message with one entity of the given type.

    A message has only one entity, because clients record only the first entity of a message.
    """
    return Draft(Type.EVENT, {"entities": [{"type": entity_type, "data": data}]})


def entity(reported: Entity) -> Draft:
    """Return an `event` message that contains this entity."""
    return event(reported.entity_type, reported.data())


def barge_in() -> Draft:
    """Return an `event` message that makes the client discard the bot audio in its queue."""
    return entity(BargeIn())


def updated() -> Draft:
    """Return the answer to ``update``."""
    return _UPDATED


def pause() -> Draft:
    """Return the request to pause the audio, which the client answers with ``paused``."""
    return Draft(Type.PAUSE)


def resume() -> Draft:
    """Return the request to end a pause.

    The client answers with ``resumed``, or with ``paused`` if it still pauses the audio itself.
    """
    return Draft(Type.RESUME)


def reconnect(info: str | None = None) -> Draft:
    """Return the request to continue in a new session, if the Genesys integration allows this.

    This session and its audio continue until the client sends ``close`` with the reason
    ``reconnect``.

    Args:
        info: A line for Genesys's log, without personal data.
    """
    return Draft(Type.RECONNECT, {"info": info} if info else {})


def to_string_map(variables: Mapping[Any, Any]) -> dict[str, str]:
    """Convert output variables to a map from string to string, as the protocol requires.

    Strings are kept; every other value becomes compact JSON (``true``, ``0.95``), which a flow can
    parse as the type that it declared.

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
        return str.__str__(value)  # converts a member of a string enumeration to `str`
    try:
        return _COMPACT.encode(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(
            f"output variable {str(name)!r} cannot be sent: {error}; use strings, numbers, "
            "booleans, None, or lists and dicts of these"
        ) from None
