"""A driver for a session of the simulator; it acts as the server, the clock and the caller."""

from __future__ import annotations

import json
from typing import Any, TypeVar

from pipecat_genesys.simulator import (
    CallParameters,
    Event,
    Fault,
    FaultInjector,
    GenesysClientSession,
)

ORIGIN = 1000.0
"""Time of `open` on the virtual clock. It is not 0, so that elapsed and absolute times differ."""

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


class SessionDriver:
    """A session that has sent `open`, on a virtual clock.

    Args:
        parameters: Parameters of the call.
        fault: The fault of the client; its changes to `parameters` are not applied.
        **options: Options of the session.

    Attributes:
        now: Time on the virtual clock.
        session: The session.
        injector: Performs the actions of the fault.
        seq: `seq` of the last server message.
        answers_pings: Whether every ping is answered immediately.
        events: All events of the session.
        sent: The messages that the client sent since the last `take_sent`, each with its time.
    """

    def __init__(
        self,
        parameters: CallParameters = PARAMETERS,
        fault: Fault | None = None,
        **options: Any,
    ) -> None:
        self.now = ORIGIN
        self.session = GenesysClientSession(parameters, **options)
        self.injector = FaultInjector(
            self.session,
            fault.acts if fault else (),
            fault.one_byte_frames if fault else 0,
        )
        self.seq = 0
        self.answers_pings = False
        self.events: list[Event] = []
        self.sent: list[tuple[float, dict[str, Any] | bytes]] = []
        self.session.start(self.now)
        self._collect()

    @property
    def elapsed(self) -> float:
        return self.now - ORIGIN

    def _collect(self) -> None:
        self.injector.update(self.now)
        for message in self.session.messages_to_send():
            parsed = json.loads(message) if isinstance(message, str) else message
            self.sent.append((round(self.elapsed, 6), parsed))
            if self.answers_pings and isinstance(parsed, dict) and parsed["type"] == "ping":
                self.receive("pong", clientseq=parsed["seq"])
        self.events += self.session.take_events()

    # Methods that act as the server

    def receive(self, kind: str, parameters: Any = None, /, **overrides: Any) -> None:
        """Let the session receive a message. `...` as an override removes the field."""
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
        self.receive_text(json.dumps(message))

    def receive_text(self, text: str) -> None:
        self.session.receive_text(text, self.now)
        self._collect()

    def receive_audio(self, payload: bytes) -> None:
        self.session.receive_binary(payload, self.now)
        self._collect()

    def accept(self, **parameters: Any) -> None:
        """Let the session receive the server's `opened`."""
        self.receive("opened", {"media": [MEDIUM]} | parameters)

    # Methods that advance the clock or act as the caller

    def advance(self, seconds: float) -> None:
        """Advance the clock, and call `tick` exactly at each deadline."""
        target = self.now + seconds
        while (due := self._next_deadline()) is not None and due <= target:
            self.now = max(self.now, due)
            self.session.tick(self.now)
            self._collect()
        self.now = target

    def _next_deadline(self) -> float | None:
        deadlines = (self.session.next_deadline(), self.injector.next_deadline())
        return min((moment for moment in deadlines if moment is not None), default=None)

    def send_frames(self, count: int, samples: int = 1600) -> None:
        """Send frames of caller audio."""
        for _ in range(count):
            self.session.send_audio(b"\x55" * samples, self.now)
            self._collect()

    def call(self, method: str, *arguments: Any) -> None:
        """Call a method of the session with the arguments and the time."""
        getattr(self.session, method)(*arguments, self.now)
        self._collect()

    def lose_socket(self, **arguments: Any) -> None:
        self.session.socket_lost(self.now, **arguments)
        self._collect()

    # Methods that return the output of the client

    def take_sent(self) -> list[tuple[float, str, Any]]:
        """Return the messages sent since the previous use of this method.

        Returns:
            For each message: its time, its type or `audio`, and its parameters or its audio.
        """
        taken = [
            (at, "audio", message)
            if isinstance(message, bytes)
            else (at, message["type"], message["parameters"])
            for at, message in self.sent
        ]
        self.sent.clear()
        return taken

    def take_types(self) -> list[str]:
        """Return the types of the messages sent since the previous use of this method."""
        return [kind for _, kind, _ in self.take_sent()]

    def of(self, kind: type[_E]) -> list[_E]:
        """Return the events that are instances of a class."""
        return [event for event in self.events if isinstance(event, kind)]

    def texts(self) -> list[dict[str, Any]]:
        """Return the text messages in `sent`, which is not changed."""
        return [message for _, message in self.sent if isinstance(message, dict)]

    def audio(self) -> list[bytes]:
        """Return the audio messages in `sent`, which is not changed."""
        return [message for _, message in self.sent if isinstance(message, bytes)]


def open_session(**options: Any) -> SessionDriver:
    """Return a driver whose session is open. No message is left in `sent`."""
    driver = SessionDriver(**options)
    driver.accept()
    driver.take_sent()
    return driver
