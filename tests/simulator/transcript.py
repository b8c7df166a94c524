"""A server played by hand against the simulator's session, on a virtual clock."""

from __future__ import annotations

import json
from typing import Any, TypeVar

from pipecat_genesys.simulator import CallParameters, Event, GenesysClientSession

ORIGIN = 1000.0
"""Where the virtual clock stands at ``open``: not zero, so that elapsed and absolute differ."""

PARAMETERS = CallParameters(
    session_id="30b0e395-84d3-4570-ac13-9a62d8f514c0",
    organization_id="d7934305-0972-4844-938e-9060eef73d05",
    conversation_id="090eaa2f-72fa-480a-83e0-8667ff89c0ec",
    participant_id="883efee8-3d6c-4537-b500-6d7ca4b92fa0",
    correlation_id="e160e428-53e2-487c-977d-96989bf5c99d",
    input_variables={"account": "4711"},
)

MEDIUM: dict[str, Any] = {
    "type": "audio",
    "format": "PCMU",
    "channels": ["external"],
    "rate": 8000,
}

_E = TypeVar("_E")


class Table:
    """The session under test, and the server's side of the table."""

    def __init__(
        self,
        parameters: CallParameters = PARAMETERS,
        kind: type[GenesysClientSession] = GenesysClientSession,
        **options: Any,
    ) -> None:
        self.now = ORIGIN
        self.session = kind(parameters, **options)
        self.seq = 0
        self.answers_pings = False
        self.events: list[Event] = []
        self.said: list[tuple[float, dict[str, Any] | bytes]] = []
        self.session.start(self.now)
        self._collect()

    @property
    def elapsed(self) -> float:
        return self.now - ORIGIN

    def _collect(self) -> None:
        for message in self.session.messages_to_send():
            parsed = json.loads(message) if isinstance(message, str) else message
            self.said.append((round(self.elapsed, 6), parsed))
            if self.answers_pings and isinstance(parsed, dict) and parsed["type"] == "ping":
                self.text("pong", clientseq=parsed["seq"])
        self.events += self.session.take_events()

    # What the server does.

    def text(self, kind: str, parameters: Any = None, /, **overrides: Any) -> None:
        """Send a message; fields can be overridden, or left out with ``...``."""
        self.seq += 1
        message = {
            "version": "2",
            "id": PARAMETERS.session_id,
            "type": kind,
            "seq": self.seq,
            "clientseq": self.session.last_seq,
            "parameters": {} if parameters is None else parameters,
        } | overrides
        message = {key: value for key, value in message.items() if value is not ...}
        self.raw(json.dumps(message))

    def raw(self, text: str) -> None:
        self.session.receive_text(text, self.now)
        self._collect()

    def audio(self, payload: bytes) -> None:
        self.session.receive_binary(payload, self.now)
        self._collect()

    def opened(self, **parameters: Any) -> None:
        self.text("opened", {"media": [MEDIUM]} | parameters)

    # What time and the caller do.

    def advance(self, seconds: float) -> None:
        """Let time pass, waking the session exactly when it asks to be woken."""
        target = self.now + seconds
        while (due := self.session.next_deadline()) is not None and due <= target:
            self.now = max(self.now, due)
            self.session.tick(self.now)
            self._collect()
        self.now = target

    def caller(self, frames: int, samples: int = 1600) -> None:
        for _ in range(frames):
            self.session.send_audio(b"\x55" * samples, self.now)
            self._collect()

    def do(self, verb: str, *arguments: Any) -> None:
        getattr(self.session, verb)(*arguments, self.now)
        self._collect()

    # What is to be looked at.

    def take(self) -> list[tuple[float, str, Any]]:
        """What the client said since the last look: time, type, and parameters or payload."""
        taken = [
            (at, "audio", message)
            if isinstance(message, bytes)
            else (at, message["type"], message["parameters"])
            for at, message in self.said
        ]
        self.said.clear()
        return taken

    def of(self, kind: type[_E]) -> list[_E]:
        return [event for event in self.events if isinstance(event, kind)]


def answered(**options: Any) -> Table:
    """A table at which ``open`` has been answered at once, and nothing else has happened."""
    table = Table(**options)
    table.opened()
    table.take()
    return table
