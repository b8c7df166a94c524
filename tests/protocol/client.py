"""A Genesys client, which numbers its messages and counts the position of the stream."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import HealthCheck, settings
from pipecat_genesys.protocol import (
    NULL_UUID,
    AudioHookSession,
    Draft,
    MediaPreference,
    State,
    events,
    server_messages,
)

unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""Settings of property tests: no time limit for an example."""

SESSION = "30b0e395-84d3-4570-ac13-9a62d8f514c0"
OWN_ID = "11111111-2222-4333-8444-555555555555"
"""The id of a session before `open`."""
ORGANIZATION = "d7934305-0972-4844-938e-9060eef73d05"
CONVERSATION = "e160e428-53e2-487c-977d-96989bf5c99d"
PARTICIPANT = "883efee8-3d6c-4537-b500-6d7ca4b92fa0"


class _Omit:
    def __repr__(self) -> str:
        return "OMIT"


OMIT: Any = _Omit()
"""A field with this value is left out of the message."""


def medium(
    channels: tuple[str, ...] = ("external",), format: str = "PCMU", rate: Any = 8000
) -> dict[str, Any]:
    return {"type": "audio", "format": format, "channels": list(channels), "rate": rate}


EXTERNAL = medium()
INTERNAL = medium(("internal",))
STEREO = medium(("external", "internal"))
INVERTED = medium(("internal", "external"))
L16 = medium(format="L16")
L16_STEREO = medium(("external", "internal"), "L16")


def without(fields: dict[str, Any]) -> dict[str, Any]:
    """Return a copy without the fields whose value is `OMIT`."""
    return {name: value for name, value in fields.items() if value is not OMIT}


def offer(*media: Any, **overrides: Any) -> dict[str, Any]:
    """Return the parameters of a valid `open`."""
    return without(
        {
            "organizationId": ORGANIZATION,
            "conversationId": CONVERSATION,
            "participant": {
                "id": PARTICIPANT,
                "ani": "tel:+4915112345678",
                "aniName": "Erika Mustermann",
                "dnis": "tel:+4930123456",
            },
            "media": list(media or (EXTERNAL,)),
            "language": "en-US",
            **overrides,
        }
    )


def probe(*media: Any, **overrides: Any) -> dict[str, Any]:
    """Return the parameters of the `open` of a connection probe."""
    nobody = {"id": NULL_UUID, "ani": "", "aniName": "", "dnis": ""}
    return offer(
        *media, **{"conversationId": NULL_UUID, "participant": nobody, "language": OMIT} | overrides
    )


def duration(samples: int) -> str:
    """Format a number of samples as a duration; do not use the package under test."""
    micros = samples * 125
    fraction = f".{micros % 1_000_000:06d}".rstrip("0") if micros % 1_000_000 else ""
    return f"PT{micros // 1_000_000}{fraction}S"


class MessageBuilder:
    """Builds the messages of a client.

    Attributes:
        id: The session id.
        seq: The last `seq` sent.
        serverseq: The last `seq` received.
        samples: The position of the stream, in samples.
    """

    def __init__(self, session_id: str = SESSION) -> None:
        self.id = session_id
        self.seq = 0
        self.serverseq = 0
        self.samples = 0

    def message(self, type: str, parameters: Any = None, /, **overrides: Any) -> dict[str, Any]:
        self.seq += 1
        return without(
            {
                "version": "2",
                "type": type,
                "id": self.id,
                "seq": self.seq,
                "serverseq": self.serverseq,
                "position": duration(self.samples),
                "parameters": {} if parameters is None else parameters,
                **overrides,
            }
        )

    def text(self, type: str, parameters: Any = None, /, **overrides: Any) -> str:
        return json.dumps(self.message(type, parameters, **overrides))


class SessionUnderTest:
    """A session under test, and the client that is connected to it.

    Attributes:
        session: The session under test.
        client: The client.
        wire: The messages that the session has sent.
    """

    def __init__(
        self, preference: MediaPreference | None = None, *, session_id: str = OWN_ID
    ) -> None:
        self.session = AudioHookSession(session_id, preference)
        self.client = MessageBuilder()
        self.wire: list[dict[str, Any]] = []

    def say(self, type: str, parameters: Any = None, /, **overrides: Any) -> list[events.Event]:
        """Deliver a message of the client; return the events. Replies are not sent."""
        return self.session.receive_text(self.client.text(type, parameters, **overrides))

    def ask(self, type: str, parameters: Any = None, /, **overrides: Any) -> events.Event:
        """Deliver a message of the client; return its only event. Replies are not sent."""
        found = self.say(type, parameters, **overrides)
        assert len(found) == 1, found
        return found[0]

    def send(self, draft: Draft | None) -> dict[str, Any]:
        """Let the session number and send a message; return the sent message.

        The client receives the message immediately.
        """
        assert draft is not None
        message: dict[str, Any] = json.loads(self.session.to_wire(draft).text)
        self.wire.append(message)
        self.client.serverseq = message["seq"]
        return message

    def audio(self, n_bytes: int) -> int:
        """Deliver audio of the client; return the number of bytes that the session accepts."""
        media = self.session.media
        assert media is not None
        self.client.samples += n_bytes // media.frame_bytes
        return self.session.receive_audio(n_bytes)

    def open(self, parameters: Any = None, /, **overrides: Any) -> events.OpenReceived:
        found = self.say("open", offer() if parameters is None else parameters, **overrides)
        assert isinstance(found[-1], events.OpenReceived), found
        return found[-1]

    def opened(self) -> dict[str, Any]:
        media = self.session.media
        return self.send(server_messages.opened([] if media is None else [media.raw]))

    def stands(self) -> State:
        """Return the state of the session.

        This is a method, because a type checker would narrow the type of an attribute.
        """
        return self.session.state

    @property
    def counted(self) -> dict[str, int]:
        return {rule.value: count for rule, count in self.session.faults.items() if count}


def started(
    *media: Any, preference: MediaPreference | None = None, **overrides: Any
) -> SessionUnderTest:
    """Return a session that has sent `opened`."""
    call = SessionUnderTest(preference)
    call.open(offer(*media, **overrides))
    call.opened()
    assert not call.counted
    return call


def call_in(state: State) -> SessionUnderTest:
    """Return a session that reached this state through valid messages."""
    if state is State.PREPARING:
        call = SessionUnderTest()
    elif state is State.OPENING:
        call = SessionUnderTest()
        call.open()
    else:
        call = started()
    if state is State.PAUSED:
        call.ask("paused")
    elif state is State.DISCONNECTING:
        call.send(server_messages.disconnect("completed"))
    elif state is State.FAILED:
        call.send(server_messages.disconnect("error"))
    elif state in (State.CLOSING, State.CLOSED):
        reply = call.ask("close", {"reason": "end"}).reply
        if state is State.CLOSED:
            call.send(reply)
    assert call.session.state is state
    return call


PARAMETERS: dict[str, Any] = {
    "open": offer(),
    "close": {"reason": "end"},
    "ping": {"rtt": "PT0.028693737S"},
    "update": {"language": "de-DE"},
    "pause": {},
    "paused": {},
    "resumed": {"start": "PT0S", "discarded": "PT0S"},
    "discarded": {"start": "PT0S", "discarded": "PT0S"},
    "dtmf": {"digit": "5"},
    "playback_started": {},
    "playback_completed": {},
    "error": {"code": 429, "message": "Rate limit exceeded", "retryAfter": "PT3S"},
}
"""Valid parameters of each client message."""
