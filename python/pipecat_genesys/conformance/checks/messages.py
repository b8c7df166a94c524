"""Checks of the contents of every server message, with the messages of one sample call."""

from __future__ import annotations

from pipecat_genesys.conformance.check import (
    DOCUMENTED,
    LIMITS,
    MEASURED,
    REFERENCE,
    WARNING,
    check,
)
from pipecat_genesys.conformance.connection import Message, ReceivedMessage, parameters_of, shown
from pipecat_genesys.conformance.errors import CheckFailedError
from pipecat_genesys.conformance.target import Target
from pipecat_genesys.protocol.types import MAX_MESSAGE_BYTES

from .recorded_calls import sample_call

SERVER_MESSAGE_TYPES = frozenset(
    {"opened", "closed", "disconnect", "pong", "updated", "pause", "resume", "event", "reconnect"}
)
_FIELDS = frozenset({"version", "id", "type", "seq", "clientseq", "parameters"})


async def _texts(target: Target) -> list[ReceivedMessage]:
    connection = await sample_call(target)
    return [one for one in connection.received if not isinstance(one.content, bytes)]


async def _messages(target: Target) -> list[Message]:
    return (await sample_call(target)).messages


@check(REFERENCE)
async def message_json(target: Target) -> None:
    """Every text message of the server is a JSON object."""
    for text in await _texts(target):
        if isinstance(text.content, str):
            raise CheckFailedError(
                f"the server sent text that is not a JSON object: {shown(text.content)}"
            )


@check(REFERENCE)
async def message_version(target: Target) -> None:
    """`version` of every message is the string "2"."""
    for message in await _messages(target):
        if message.get("version") != "2":
            raise CheckFailedError(
                f"'version' of {shown(message.get('type'))} is {shown(message.get('version'))}, "
                'not "2"'
            )


@check(f"{REFERENCE}; {MEASURED}")
async def message_id(target: Target) -> None:
    """`id` of every message is the id of the session."""
    connection = await sample_call(target)
    for message in connection.messages:
        if message.get("id") != connection.call.session_id:
            raise CheckFailedError(
                f"'id' of {shown(message.get('type'))} is {shown(message.get('id'))}, "
                "not the id of the session"
            )


@check(MEASURED)
async def message_seq(target: Target) -> None:
    """`seq` of the server's messages is 1, 2, 3 ... in the order of arrival."""
    seqs = [message.get("seq") for message in await _messages(target)]
    if seqs != list(range(1, len(seqs) + 1)):
        raise CheckFailedError(
            f"the messages arrived with the 'seq' {shown(seqs)}, not 1, 2, 3 ..."
        )


@check(MEASURED)
async def message_clientseq(target: Target) -> None:
    """`clientseq` of every message is the `seq` of a message that the client had sent."""
    for text in await _texts(target):
        if isinstance(text.content, dict):
            value = text.content.get("clientseq")
            if type(value) is not int or not 0 <= value <= text.client_seq:
                raise CheckFailedError(
                    f"'clientseq' of {shown(text.content.get('type'))} is {shown(value)}; "
                    f"the newest message of the client had 'seq' {text.client_seq}"
                )


@check(MEASURED)
async def message_parameters(target: Target) -> None:
    """`parameters` of every message is an object, which may be empty."""
    for message in await _messages(target):
        if not isinstance(message.get("parameters"), dict):
            raise CheckFailedError(
                f"'parameters' of {shown(message.get('type'))} is "
                f"{shown(message.get('parameters'))}, not an object"
            )


@check(MEASURED)
async def message_types(target: Target) -> None:
    """`type` of every message is a type that the protocol defines for servers."""
    for message in await _messages(target):
        if message.get("type") not in SERVER_MESSAGE_TYPES:
            raise CheckFailedError(
                f"the server sent a message of the unknown type {shown(message.get('type'))}"
            )


@check(f"{REFERENCE}, ServerMessageBase; the reference client tolerates it", severity=WARNING)
async def message_position(target: Target) -> None:
    """Server messages have no `position`, which is a field of client messages."""
    found = {str(m.get("type")) for m in await _messages(target) if "position" in m}
    if found:
        raise CheckFailedError(f"these messages have a 'position': {', '.join(sorted(found))}")


@check(f"{REFERENCE}, ServerMessageBase", severity=WARNING)
async def message_fields(target: Target) -> None:
    """Server messages have no fields that the protocol does not define."""
    for message in await _messages(target):
        unknown = message.keys() - _FIELDS - {"position"}
        if unknown:
            raise CheckFailedError(
                f"{shown(message.get('type'))} has the unknown fields {shown(sorted(unknown))}"
            )


@check(f"{DOCUMENTED}; {LIMITS}")
async def message_size(target: Target) -> None:
    """No text message exceeds 64,000 bytes."""
    for text in await _texts(target):
        if text.size > MAX_MESSAGE_BYTES:
            raise CheckFailedError(
                f"a text message has {text.size} bytes, above the limit of {MAX_MESSAGE_BYTES}"
            )


@check(f"{MEASURED}: an event without entities ends the call")
async def event_entities(target: Target) -> None:
    """Every `event` has at least one entity, and each entity has `type` and `data`."""
    for message in await _messages(target):
        if message.get("type") == "event":
            entities = parameters_of(message).get("entities")
            if not isinstance(entities, list) or not entities:
                raise CheckFailedError(f"'entities' of an 'event' is {shown(entities)}")
            for entity in entities:
                if not (isinstance(entity, dict) and isinstance(entity.get("type"), str)):
                    raise CheckFailedError(f"an entity has no 'type': {shown(entity)}")
                if "data" not in entity:
                    raise CheckFailedError(f"an entity has no 'data': {shown(entity)}")


@check(f"{REFERENCE}, protocol validators", severity=WARNING)
async def event_one_entity(target: Target) -> None:
    """No `event` has more than one entity."""
    for message in await _messages(target):
        entities = parameters_of(message).get("entities")
        if isinstance(entities, list) and len(entities) > 1:
            raise CheckFailedError(f"an 'event' has {len(entities)} entities")
