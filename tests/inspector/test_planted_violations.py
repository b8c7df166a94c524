"""Tests that the proxy shows each broken rule while the call runs, with its source."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import pytest
from pipecat_genesys.inspector.analysis import BrokenRule, CallAnalysis
from pipecat_genesys.inspector.calls import InspectedCall
from pipecat_genesys.protocol.types import samples_to_duration
from pipecat_genesys.simulator import CallParameters, Direction, new_call, new_monitor_call
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve

from .proxied import proxied

FRAME = b"\xff" * 1600
MEDIUM = {"type": "audio", "format": "PCMU", "channels": ["external"], "rate": 8000}
Plant = Callable[["ViolatingServer"], Awaitable[None]]


class ViolatingServer:
    """A server that sends the invalid messages of a test."""

    def __init__(self, socket: ServerConnection, opening: dict[str, Any]) -> None:
        self.socket = socket
        self.opening = opening
        self.seq = 0

    async def send(self, kind: str, parameters: Any = None, /, **overrides: Any) -> None:
        """Send a message; `overrides` replace fields of its envelope."""
        self.seq += 1
        message = {
            "version": "2",
            "type": kind,
            "id": self.opening["id"],
            "seq": self.seq,
            "clientseq": 1,
            "parameters": {} if parameters is None else parameters,
        }
        await self.socket.send(json.dumps(message | overrides))

    async def opened(self, **more: Any) -> None:
        """Send `opened`; `more` adds or replaces parameters."""
        await self.send("opened", {"media": self.opening["parameters"]["media"][:1]} | more)


async def call_with(plant: Plant, parameters: CallParameters | None = None) -> BrokenRule:
    """Place a call through the proxy; return the first broken rule while the call still runs."""
    parameters = parameters or new_call()

    async def handle(socket: ServerConnection) -> None:
        server = ViolatingServer(socket, json.loads(await socket.recv()))
        await plant(server)
        await socket.wait_closed()

    async with (
        serve(handle, "127.0.0.1", 0, close_timeout=1) as running,
        proxied(f"ws://127.0.0.1:{running.sockets[0].getsockname()[1]}/") as proxy,
        connect(proxy.url, close_timeout=1) as client,
    ):
        await client.send(opening(parameters))
        reading = asyncio.create_task(read_all(client))
        seen = await proxy.until(lambda call: any(broken_rules(call)))
        assert seen.is_running
        reading.cancel()
    return next(iter(broken_rules(seen)))


async def read_all(client: ClientConnection) -> None:
    async for _ in client:
        pass


def broken_rules(call: InspectedCall) -> Iterable[BrokenRule]:
    return (rule for message in call.analysis.messages for rule in message.rules)


def opening(parameters: CallParameters) -> str:
    return client_message(parameters, "open", 1, parameters.open_parameters())


def client_message(
    parameters: CallParameters, kind: str, seq: int, content: Any = None, **overrides: Any
) -> str:
    message = {
        "version": "2",
        "type": kind,
        "id": parameters.session_id,
        "seq": seq,
        "serverseq": 0,
        "position": "PT0S",
        "parameters": {} if content is None else content,
    }
    return json.dumps(message | overrides)


async def opened_and(
    server: ViolatingServer, kind: str, content: Any = None, /, **overrides: Any
) -> None:
    await server.opened()
    await server.send(kind, content, **overrides)


def entity(kind: str, data: Any) -> dict[str, Any]:
    return {"entities": [{"type": kind, "data": data}]}


async def text_too_large(server: ViolatingServer) -> None:
    await opened_and(server, "event", entity("custom", "x" * 64_000))


async def many_audio_messages(server: ViolatingServer) -> None:
    await server.opened()
    for _ in range(40):
        await server.socket.send(FRAME[:80])


async def many_text_messages(server: ViolatingServer) -> None:
    await server.opened()
    for _ in range(40):
        await server.send("event", entity("custom", {}))


async def many_pauses(server: ViolatingServer) -> None:
    await server.opened()
    for _ in range(6):
        await server.send("pause")


async def audio_first(server: ViolatingServer) -> None:
    await server.socket.send(FRAME)


async def not_json(server: ViolatingServer) -> None:
    await server.socket.send("{not json")


async def no_object(server: ViolatingServer) -> None:
    await server.socket.send("[1, 2]")


async def binary_of_nothing(server: ViolatingServer) -> None:
    await server.opened()
    await server.socket.send(b"")


PLANTED: dict[str, Plant] = {
    "not_json": not_json,
    "not_a_server_message": no_object,
    "wrong_id": lambda s: s.send("opened", {"media": [MEDIUM]}, id="another"),
    "sequence": lambda s: s.send("opened", {"media": [MEDIUM]}, seq=2),
    "clientseq_ahead": lambda s: s.send("opened", {"media": [MEDIUM]}, clientseq=7),
    "unknown_type": lambda s: opened_and(s, "hello"),
    "bad_parameters": lambda s: s.send("opened", {"media": "PCMU"}),
    "unexpected_message": lambda s: s.send("closed"),
    "several_media": lambda s: s.opened(media=[MEDIUM, MEDIUM]),
    "media_not_offered": lambda s: s.opened(media=[MEDIUM | {"format": "L16"}]),
    "media_unknown_key": lambda s: s.opened(media=[MEDIUM | {"extra": 1}]),
    "pong_unexpected": lambda s: opened_and(s, "pong"),
    "event_before_opened": lambda s: s.send("event", entity("custom", {})),
    "output_variables": lambda s: opened_and(
        s, "disconnect", {"reason": "completed", "outputVariables": {"a": 1}}
    ),
    "bad_entity": lambda s: opened_and(s, "event", entity("bot_turn_response", {"text": 5})),
    "unexpected_binary": audio_first,
    "message_too_large": text_too_large,
    "binary_rate": many_audio_messages,
    "text_rate": many_text_messages,
    "pause_rate": many_pauses,
    "position_present": lambda s: s.send("opened", {"media": [MEDIUM]}, position="PT0S"),
    "unknown_parameter": lambda s: s.opened(extra=1),
    "languages_not_asked": lambda s: s.opened(supportedLanguages=["en-US"]),
    "several_entities": lambda s: opened_and(
        s, "event", {"entities": [{"type": "custom", "data": {}}] * 2}
    ),
    "updated_unexpected": lambda s: opened_and(s, "updated"),
    "empty_audio": binary_of_nothing,
}


@pytest.mark.parametrize("rule", PLANTED)
async def test_a_broken_rule_of_the_server_is_shown_with_its_source(rule: str) -> None:
    broken = await call_with(PLANTED[rule])
    assert broken.rule == rule
    assert broken.source
    assert broken.message


async def test_audio_to_a_monitoring_client_is_a_violation() -> None:
    async def talks(server: ViolatingServer) -> None:
        await server.opened()
        await server.socket.send(FRAME)

    broken = await call_with(talks, new_monitor_call())
    assert (broken.rule, broken.severity) == ("unexpected_binary", "violation")


def followed(*messages: tuple[str | bytes, float]) -> CallAnalysis:
    """Return the analysis of a call with `open`, `opened`, and these messages of its client."""
    parameters = PARAMETERS
    analysis = CallAnalysis()
    analysis.receive(0.0, Direction.TO_SERVER, opening(parameters))
    opened = {
        "version": "2",
        "type": "opened",
        "id": parameters.session_id,
        "seq": 1,
        "clientseq": 1,
        "parameters": {"media": [MEDIUM]},
    }
    analysis.receive(0.01, Direction.FROM_SERVER, json.dumps(opened))
    for content, at in messages:
        analysis.receive(at, Direction.TO_SERVER, content)
    return analysis


PARAMETERS = new_call()
POSITION = {"position": samples_to_duration(1600)}


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        ("client-seq", client_message(PARAMETERS, "ping", 3, **POSITION)),
        ("client-seq", client_message(PARAMETERS, "ping", 1, **POSITION)),
        ("client-serverseq", client_message(PARAMETERS, "ping", 2, serverseq=9, **POSITION)),
        ("client-id", client_message(PARAMETERS, "ping", 2, id="another", **POSITION)),
        ("client-version", client_message(PARAMETERS, "ping", 2, version="3", **POSITION)),
        ("client-position", client_message(PARAMETERS, "ping", 2, position="PT0.1S")),
        ("client-parameters", client_message(PARAMETERS, "dtmf", 2, {}, **POSITION)),
        ("client-json", "{"),
        ("client-not-an-object", "7"),
        ("client-unknown-type", client_message(PARAMETERS, "hello", 2, **POSITION)),
    ],
    # The messages hold a random session id, and pytest-xdist needs the same ids in all processes.
    ids=[
        "seq skipped",
        "seq repeated",
        "serverseq",
        "id",
        "version",
        "position",
        "parameters",
        "not JSON",
        "not an object",
        "unknown type",
    ],
)
def test_a_broken_rule_of_the_client_is_shown_with_its_source(rule: str, text: str) -> None:
    analysis = followed((FRAME, 0.2), (text, 0.3))
    rules = {one.rule: one.source for message in analysis.messages for one in message.rules}
    assert rules.get(rule)


def test_a_correct_client_breaks_no_rule() -> None:
    analysis = followed(
        (FRAME, 0.2),
        (client_message(PARAMETERS, "dtmf", 2, {"digit": "5"}, serverseq=1, **POSITION), 0.3),
        (client_message(PARAMETERS, "close", 3, {"reason": "end"}, serverseq=1, **POSITION), 0.4),
    )
    assert [rule for message in analysis.messages for rule in message.rules] == []


def test_missing_replies_are_shown_without_a_message() -> None:
    analysis = CallAnalysis()
    analysis.receive(0.0, Direction.TO_SERVER, opening(PARAMETERS))
    analysis.tick(4.9)
    assert analysis.violations == 0
    analysis.tick(5.1)
    [note] = [message for message in analysis.messages if message.type == "note"]
    assert [rule.rule for rule in note.rules] == ["open_timeout"]
    analysis.receive(
        5.2, Direction.TO_SERVER, client_message(PARAMETERS, "close", 2, {"reason": "error"})
    )
    analysis.tick(15.3)
    assert [r.rule for m in analysis.messages for r in m.rules] == ["open_timeout", "close_timeout"]
