"""Whoever listens on the wire between the two sessions, and knows the protocol and nothing else.

The oracle of `test_cross_machine`: it sees each message when it is sent and again when it arrives,
keeps its own books from that, and judges. It never looks at a session, nor at their tables.
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
"""What means nothing to a client that is leaving."""
FIRST = {"opened", "disconnect", "closed"}
ERRORS_OF_ITS_OWN = {408, 429}
"""What a client complains about on its own account: time and amounts."""


def samples(duration: str) -> int:
    """Read a duration, without the package under test; it must be whole samples."""
    assert duration.startswith("PT")
    assert duration.endswith("S")
    exact = Fraction(duration[2:-1]) * RATE
    assert exact.denominator == 1, duration
    return int(exact)


@dataclass(frozen=True)
class Forgery:
    """What is wrong with a message, and what is due for it.

    Attributes:
        rule: The rule that it breaks, by the name that its receiver has for it.
        is_fatal: Whether it ends a call.
        code: Of a server's message: the code of the client's ``error``.
    """

    rule: str
    is_fatal: bool = True
    code: int | None = None


@dataclass
class Sent:
    """Something on its way.

    Attributes:
        content: Text or audio.
        answers: Of a client's ``paused`` or ``resumed``: the type of message that it answers.
        at: Of caller audio: where on the client's timeline it begins, in samples.
        forgery: What is wrong with it, where a rule of the test made or spoiled it on purpose.
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


class Client:
    """What the wire tells of the client."""

    def __init__(self, position: int) -> None:
        self.texts = 0
        self.types: Counter[str] = Counter()
        self.position = position
        """Where its timeline is, by the audio and the gaps that it sent."""
        self.paused_at: int | None = None
        self.playing = False
        self.audio_received = 0
        self.received = 0
        self.types_received: Counter[str] = Counter()
        self.pings: dict[int, float] = {}
        """Pings that no pong has reached it for, and when they were sent."""

    @property
    def is_leaving(self) -> bool:
        return self.types["close"] > 0


class Server:
    """What the wire tells of the server."""

    def __init__(self) -> None:
        self.texts = 0
        self.types: Counter[str] = Counter()
        self.clientseq = 0
        self.received = 0
        """The highest `seq` that reached it."""
        self.types_received: Counter[str] = Counter()
        self.pings: set[int] = set()
        """Pings that reached it and have no pong yet."""
        self.wants_pause = False
        self.accepts = False
        """Whether an `open` reached it that it can accept."""
        self.must_end = False
        """Whether what reached it leaves nothing but a `disconnect`."""
        self.is_gone = False

    @property
    def is_left(self) -> bool:
        """Whether the client's `close` has reached it."""
        return self.types_received["close"] > 0

    @property
    def has_ended(self) -> bool:
        """Whether an end is under way."""
        said = self.types["disconnect"] or self.types["closed"]
        return bool(self.must_end or said or self.is_left or self.is_gone)

    @property
    def is_open(self) -> bool:
        """Whether it has accepted the call and no end is under way."""
        return self.types["opened"] > 0 and not self.has_ended

    @property
    def is_checking(self) -> bool:
        """Whether a broken envelope ends the session."""
        return self.accepts and not self.has_ended


class Wiretap:
    """The books of one call, and the laws."""

    def __init__(self, session_id: str, offer: list[Any], position: int) -> None:
        self.session_id = session_id
        self.offer = offer
        self.frame_bytes = 0
        """Bytes of a sample of every channel; 0 where no medium was chosen."""
        self.client = Client(position)
        self.server = Server()
        self.client_forges = False
        self.server_forges = False

    # -- what may be ------------------------------------------------------------------------

    def may_send(self, type: str) -> bool:
        """Whether the server may send a message of this type now, by section and verse:
        one `opened`, as the first; `disconnect` instead or later, once, before `close`; one
        `closed`, after `close`; nothing else before `opened`, and nothing after `closed`."""
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

    # -- the server's words -----------------------------------------------------------------

    def server_sent(self, sent: Sent) -> None:
        """Judge what the server's session made, before anyone spoils it."""
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

    # -- the client's words -----------------------------------------------------------------

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
            # Who forges numbers is answered with numbers of messages that it never sent.
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
        """Positions are those of the next sample: audio, what was discarded, and pauses."""
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
