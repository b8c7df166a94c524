"""An observer of all messages between client and server, for `test_cross_machine`.

The observer sees each message when the message is sent and when it arrives, and checks the message
against the protocol. The observer uses neither the two sessions nor their tables.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

RATE = 8000
CLIENT_ENVELOPE = {"version", "type", "id", "seq", "serverseq", "position", "parameters"}
SERVER_ENVELOPE = {"version", "type", "id", "seq", "clientseq", "parameters"}
SERVER_TYPES = frozenset(
    ["opened", "pong", "updated", "event", "pause", "resume", "reconnect", "disconnect", "closed"]
)
RUNNING_ONLY = {"updated", "pause", "resume", "reconnect"}
"""Messages that the server may send during a running call only."""
FIRST = {"opened", "disconnect", "closed"}
ERRORS_OF_ITS_OWN = {408, 429}
"""Codes of client errors that a valid server can cause: timeouts and rate limits."""


def samples(duration: str) -> int:
    """Parse a duration of whole samples, without the package under test."""
    assert duration.startswith("PT")
    assert duration.endswith("S")
    exact = Fraction(duration[2:-1]) * RATE
    assert exact.denominator == 1, duration
    return int(exact)


@dataclass(frozen=True)
class Forgery:
    """A fault that the test puts into a message, and the required reaction of the receiver.

    Attributes:
        rule: Name of the broken rule, as the receiver reports it.
        is_fatal: Whether the fault ends the call.
        code: The code of the client's `error`; None for messages of the client.
    """

    rule: str
    is_fatal: bool = True
    code: int | None = None


@dataclass
class Sent:
    """A message that was sent, and that has possibly not arrived yet.

    Attributes:
        content: Text or audio.
        answers: The type of the message that a `paused` or `resumed` of the client answers.
        at: The position at which caller audio begins, in samples.
        forgery: The fault that the test put into the message; None if it is valid.
    """

    content: str | bytes
    answers: str | None = None
    at: int = 0
    forgery: Forgery | None = None

    @property
    def message(self) -> dict[str, Any]:
        assert isinstance(self.content, str)
        message: dict[str, Any] = json.loads(self.content)
        return message


class ObservedClient:
    """The state of the client, computed from its messages."""

    def __init__(self, position: int) -> None:
        self.texts = 0
        self.types: Counter[str] = Counter()
        self.position = position
        """The stream position after all audio and gaps that the client sent, in samples."""
        self.paused_at: int | None = None
        self.playing = False
        self.audio_received = 0
        self.received = 0
        self.types_received: Counter[str] = Counter()
        self.pings: dict[int, float] = {}
        """Pings without a pong: their `seq`, and when they were sent."""

    @property
    def is_leaving(self) -> bool:
        return self.types["close"] > 0


class ObservedServer:
    """The state of the server, computed from its messages."""

    def __init__(self) -> None:
        self.texts = 0
        self.types: Counter[str] = Counter()
        self.clientseq = 0
        self.received = 0
        """The highest `seq` that the server received."""
        self.types_received: Counter[str] = Counter()
        self.pings: set[int] = set()
        """The `seq` of pings that the server received and has not answered."""
        self.wants_pause = False
        self.accepts = False
        """Whether the server received an `open` that it can accept."""
        self.must_end = False
        """Whether the server received a message that it must answer with `disconnect`."""
        self.is_gone = False

    @property
    def is_left(self) -> bool:
        """Return whether the server received `close`."""
        return self.types_received["close"] > 0

    @property
    def has_ended(self) -> bool:
        """Return whether the call is ending or has ended."""
        said = self.types["disconnect"] or self.types["closed"]
        return bool(self.must_end or said or self.is_left or self.is_gone)

    @property
    def is_open(self) -> bool:
        """Return whether the server sent `opened` and the call is not ending."""
        return self.types["opened"] > 0 and not self.has_ended

    @property
    def is_checking(self) -> bool:
        """Return whether an invalid envelope ends the session."""
        return self.accepts and not self.has_ended


class Wiretap:
    """Checks all messages of one call against the protocol."""

    def __init__(self, session_id: str, offer: list[Any], position: int) -> None:
        self.session_id = session_id
        self.offer = offer
        self.frame_bytes = 0
        """Bytes of one sample of all channels; 0 without a medium."""
        self.client = ObservedClient(position)
        self.server = ObservedServer()
        self.client_forges = False
        self.server_forges = False

    # -- the rules of the protocol ----------------------------------------------------------

    def may_send(self, type: str) -> bool:
        """Return whether the server may send a message of a type now.

        `opened` is the first message of the server. `disconnect` is sent once, instead of `opened`
        or later, before `close`. `closed` is sent once, after `close`. Nothing else is sent before
        `opened`, and nothing after `closed`.
        """
        server = self.server
        if server.is_gone or server.types["closed"] or type not in SERVER_TYPES:
            return False
        if type == "closed":
            return server.is_left
        if type == "opened":
            return server.accepts and not server.texts and not server.has_ended
        if type == "disconnect":
            known = server.accepts or server.must_end
            return known and not server.is_left and not server.types["disconnect"]
        if not server.types["opened"]:
            return False
        if type == "pong":
            return True
        if type == "event":
            return server.is_open or server.is_left
        return server.is_open

    # -- messages of the server -------------------------------------------------------------

    def server_sent(self, sent: Sent) -> None:
        """Check a message of the server's session, before the test makes it invalid."""
        assert not self.server.is_gone
        if isinstance(sent.content, bytes):
            assert self.server.is_open
            return
        assert len(sent.content.encode()) <= 64_000
        message, server = sent.message, self.server
        type = message["type"]
        assert message.keys() == SERVER_ENVELOPE
        assert message["version"] == "2"
        assert message["id"] == self.session_id
        assert isinstance(message["parameters"], dict)
        assert message["seq"] == server.texts + 1
        assert self.may_send(type)
        assert server.texts or type in FIRST
        if type == "pong":
            assert message["clientseq"] in server.pings or self.client_forges
            server.pings.discard(message["clientseq"])
        else:
            assert message["clientseq"] >= server.clientseq
            if not self.client_forges:
                assert message["clientseq"] == server.received
            server.clientseq = message["clientseq"]
        if type == "updated":
            assert server.types["updated"] < server.types_received["update"]
        if type == "opened":
            self._choose(message["parameters"]["media"])
        if type == "closed":
            assert message["parameters"] == {}
        if type == "disconnect" and server.must_end:
            assert message["parameters"]["reason"] == "error"
        if type in ("pause", "resume") or message["parameters"].get("startPaused"):
            server.wants_pause = type != "resume"
        server.texts += 1
        server.types[type] += 1

    def _choose(self, media: list[Any]) -> None:
        assert len(media) <= 1
        for entry in media:
            assert entry in self.offer
            self.frame_bytes = {"PCMU": 1, "L16": 2}[entry["format"]] * len(entry["channels"])

    def reached_client(self, sent: Sent) -> None:
        client = self.client
        if isinstance(sent.content, bytes):
            client.audio_received += 1
        elif not sent.forgery:
            message = sent.message
            client.received += 1
            client.types_received[message["type"]] += 1
            if message["type"] == "pong":
                client.pings.pop(message["clientseq"], None)

    # -- messages of the client -------------------------------------------------------------

    def client_sent(self, sent: Sent, now: float) -> None:
        if sent.forgery:
            return
        if isinstance(sent.content, bytes):
            self._client_spoke(sent)
            return
        message, client = sent.message, self.client
        type, parameters = message["type"], message["parameters"]
        assert message.keys() == CLIENT_ENVELOPE
        assert message["version"] == "2"
        assert message["id"] == self.session_id
        if not self.client_forges:
            assert message["seq"] == client.texts + 1
        client.texts = message["seq"]
        assert client.types["open"] == (type != "open")
        assert not client.is_leaving or type == "error"
        if type not in ("open", "close", "error"):
            assert client.types_received["opened"]
        if not self.server_forges:
            assert message["serverseq"] == client.received
            # After an invalid message of the client, the server may refer to a `seq` that the
            # client never used. The client reports this reference as an error.
            if type == "error" and not self.client_forges:
                assert parameters["code"] in ERRORS_OF_ITS_OWN
        self._move(type, parameters, samples(message["position"]))
        if type == "ping":
            client.pings[message["seq"]] = now
        elif type == "playback_started":
            assert client.types[type] < client.audio_received
            assert not client.playing
            client.playing = True
        elif type == "playback_completed":
            assert client.playing
            client.playing = False
        client.types[type] += 1

    def _client_spoke(self, sent: Sent) -> None:
        client = self.client
        assert client.types_received["opened"]
        assert not client.is_leaving
        assert client.paused_at is None
        assert len(sent.content) % self.frame_bytes == 0
        sent.at = client.position
        client.position += len(sent.content) // self.frame_bytes

    def _move(self, type: str, parameters: Any, position: int) -> None:
        """Check that a message has the position of the next sample, and advance the position."""
        client = self.client
        if type in ("discarded", "resumed"):
            start, length = samples(parameters["start"]), samples(parameters["discarded"])
            assert start + length == position
            if type == "discarded":
                assert start == client.position or client.paused_at is not None
                assert start >= client.position
            elif client.paused_at is None:
                assert (start, length) == (client.position, 0)
            else:
                assert start == client.paused_at
            client.position = position
        elif client.paused_at is None and self.frame_bytes:
            assert position == client.position
        else:
            assert position >= client.position
        if type == "paused" and client.paused_at is None:
            client.paused_at = position
        elif type == "resumed":
            client.paused_at = None
        if not self.frame_bytes:
            client.position = position

    def reached_server(self, sent: Sent) -> None:
        server = self.server
        if isinstance(sent.content, bytes) or sent.forgery:
            return
        message = sent.message
        server.received = message["seq"]
        server.types_received[message["type"]] += 1
        if message["type"] == "ping":
            server.pings.add(message["seq"])
