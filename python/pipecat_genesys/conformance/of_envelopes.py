"""What every message of the server's has, judged by those of an ordinary call."""

from __future__ import annotations

from collections.abc import Iterator

from pipecat_genesys.protocol.types import MAX_MESSAGE_BYTES

from .checking import DOCUMENTED, LIMITS, MEASURED, REFERENCE, WARNING, BrokenRule, check
from .line import Heard, Message, shown
from .target import Target

SERVER_TYPES = frozenset(
    {"opened", "closed", "disconnect", "pong", "updated", "pause", "resume", "event", "reconnect"}
)
_FIELDS = frozenset({"version", "id", "type", "seq", "clientseq", "parameters"})


async def _texts(target: Target) -> list[Heard]:
    line = await target.ordinary_call()
    return [one for one in line.heard if not isinstance(one.message, bytes)]


async def _messages(target: Target) -> Iterator[Message]:
    line = await target.ordinary_call()
    return iter(line.messages)


@check("message-json", "every text message is a JSON object", REFERENCE)
async def _(target: Target) -> None:
    for one in await _texts(target):
        if isinstance(one.message, str):
            raise BrokenRule(f"not one: {shown(one.message)}")


@check("message-version", "'version' is \"2\"", REFERENCE)
async def _(target: Target) -> None:
    for message in await _messages(target):
        if message.get("version") != "2":
            raise BrokenRule(f"{message.get('type')}: version {shown(message.get('version'))}")


@check("message-id", "'id' is the session's", f"{REFERENCE}; {MEASURED}")
async def _(target: Target) -> None:
    line = await target.ordinary_call()
    for message in line.messages:
        if message.get("id") != line.call.session_id:
            raise BrokenRule(f"{message.get('type')}: id {shown(message.get('id'))}")


@check("message-seq", "'seq' counts 1, 2, 3 ... in the order of arrival", MEASURED)
async def _(target: Target) -> None:
    seqs = [message.get("seq") for message in await _messages(target)]
    if seqs != list(range(1, len(seqs) + 1)):
        raise BrokenRule(f"the order of arrival was {shown(seqs)}")


@check("message-clientseq", "'clientseq' is that of a message the client has sent", MEASURED)
async def _(target: Target) -> None:
    for one in await _texts(target):
        if isinstance(one.message, dict):
            value = one.message.get("clientseq")
            if type(value) is not int or not 0 <= value <= one.sent:
                kind = one.message.get("type")
                raise BrokenRule(f"{kind}: clientseq {shown(value)}, {one.sent} had been sent")


@check("message-parameters", "every message has 'parameters', be it an empty object", MEASURED)
async def _(target: Target) -> None:
    for message in await _messages(target):
        if not isinstance(message.get("parameters"), dict):
            raise BrokenRule(f"{message.get('type')}: {shown(message.get('parameters'))}")


@check("message-types", "the server sends server messages only", MEASURED)
async def _(target: Target) -> None:
    for message in await _messages(target):
        if message.get("type") not in SERVER_TYPES:
            raise BrokenRule(f"{shown(message.get('type'))} is none of the server's")


@check(
    "message-position",
    "server messages have no 'position'; that is the client's",
    f"{REFERENCE}, ServerMessageBase; the reference client tolerates it",
    severity=WARNING,
)
async def _(target: Target) -> None:
    found = {str(m.get("type")) for m in await _messages(target) if "position" in m}
    if found:
        raise BrokenRule(f"it is in: {', '.join(sorted(found))}")


@check(
    "message-fields",
    "server messages have no fields that the protocol does not have",
    f"{REFERENCE}, ServerMessageBase",
    severity=WARNING,
)
async def _(target: Target) -> None:
    for message in await _messages(target):
        more = message.keys() - _FIELDS - {"position"}
        if more:
            raise BrokenRule(f"{message.get('type')} has {shown(sorted(more))}")


@check("message-size", "no text message exceeds 64,000 bytes", f"{DOCUMENTED}; {LIMITS}")
async def _(target: Target) -> None:
    for one in await _texts(target):
        if one.size > MAX_MESSAGE_BYTES:
            raise BrokenRule(f"one has {one.size} bytes")


@check(
    "event-entities",
    "an event has entities, each with a type and data",
    f"{MEASURED}: none at all ends the call",
)
async def _(target: Target) -> None:
    for message in await _messages(target):
        if message.get("type") == "event":
            entities = (message.get("parameters") or {}).get("entities")
            if not isinstance(entities, list) or not entities:
                raise BrokenRule(f"'entities' is {shown(entities)}")
            for entity in entities:
                if not (isinstance(entity, dict) and isinstance(entity.get("type"), str)):
                    raise BrokenRule(f"an entity without a type: {shown(entity)}")
                if "data" not in entity:
                    raise BrokenRule(f"an entity without data: {shown(entity)}")


@check(
    "event-one-entity",
    "an event has one entity",
    f"{REFERENCE}, protocol validators",
    severity=WARNING,
)
async def _(target: Target) -> None:
    for message in await _messages(target):
        entities = (message.get("parameters") or {}).get("entities")
        if isinstance(entities, list) and len(entities) > 1:
            raise BrokenRule(f"one has {len(entities)}")
