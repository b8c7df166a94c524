"""Tests of a session with a random client, valid or hostile, and a random application."""

from __future__ import annotations

import json
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from pipecat_genesys.protocol import (
    AudioHookChannel,
    AudioHookMediaFormat,
    AudioHookSession,
    Draft,
    LocalProtocolError,
    MediaPreference,
    State,
    events,
    server_messages,
)
from pipecat_genesys.protocol import AudioHookMessageType as Type

from .client import (
    EXTERNAL,
    INTERNAL,
    INVERTED,
    L16,
    L16_STEREO,
    OMIT,
    OWN_ID,
    SESSION,
    STEREO,
    MessageBuilder,
    duration,
    medium,
    offer,
    probe,
    unhurried,
)

ENVELOPE = {"version", "type", "seq", "clientseq", "id", "parameters"}
REJECTIONS = {"disconnect", "closed"}
USABLE = [EXTERNAL, INTERNAL, STEREO, INVERTED, L16, L16_STEREO]
USELESS = [medium(rate=16000), medium(format="OPUS"), None, 5]
GARBAGE = ["", "{", "[]", "null", "5", '{"type":', "NaN", "[" * 3_000, "\ud800", "x" * 65_536]

samples = st.integers(0, 200_000)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=4,
)
# This strategy generates no objects, because a session treats an object as a message with a
# sequence number.
unnumbered = json_values.filter(lambda value: not isinstance(value, dict))


class ClientAndSession(RuleBasedStateMachine):
    """A model of the call that uses only the protocol and the messages on the wire.

    Positions are fractions of seconds. The expected state is computed from the messages.
    """

    def __init__(self) -> None:
        super().__init__()
        self.session = AudioHookSession(OWN_ID)
        self.client = MessageBuilder()
        self.owed: list[Draft] = []
        self.wire: list[dict[str, Any]] = []
        self.position = Fraction(0)
        self.ping_seqs: set[int] = set()
        self.said = 0
        self.unreadable = 0
        self.frame_bytes = 0
        self.accepted = self.paused = self.failed = self.closing = False
        self.honest = True

    # -- the model ---------------------------------------------------------------------------

    @property
    def sent(self) -> list[str]:
        return [message["type"] for message in self.wire]

    @property
    def running(self) -> bool:
        """Return whether `opened` was sent and the call is not ending."""
        ended = self.failed or self.closing or "disconnect" in self.sent
        return "opened" in self.sent and not ended

    @property
    def flowing(self) -> bool:
        """Return whether a valid client may send audio."""
        over = self.failed or self.closing
        return "opened" in self.sent and not over and not self.paused and self.frame_bytes > 0

    # -- sending and receiving ---------------------------------------------------------------

    def deliver(self, text: str) -> list[events.Event]:
        found = self.session.receive_text(text)
        for event in found:
            assert isinstance(event, events.Event)
            if event.reply is not None:
                assert isinstance(event.reply, Draft)
                self.owed.append(event.reply)
        return found

    def say(self, type: str, parameters: Any = None, /, **overrides: Any) -> list[events.Event]:
        position = duration(int(self.position * 8000) + self.client.samples)
        message = self.client.message(type, parameters, **{"position": position} | overrides)
        if isinstance(message.get("seq"), int):
            self.unreadable = 0
            self.said = max(self.said, message["seq"])
            if type == "ping":
                self.ping_seqs.add(message["seq"])
        found = self.deliver(json.dumps(message))
        if self.honest:
            rejected = self.failed and not self.accepted
            assert rejected or not self.session.faults, self.session.faults
        return found

    def emit(self, draft: Draft) -> None:
        """Let the session send a message, or check that it raises; the model checks the message."""
        before = (self.session.server_seq, self.session.state)
        may = self.session.allows(draft.type)
        try:
            text = self.session.to_wire(draft).text
        except LocalProtocolError:
            assert (self.session.server_seq, self.session.state) == before
            # `to_wire` refuses a valid message only if `allows` returns False for its type.
            assert not may
            return
        assert may
        assert len(text.encode()) <= 64_000
        message = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} on the wire"))
        assert message.keys() == ENVELOPE
        assert message["version"] == "2"
        assert message["id"] == (SESSION if self.accepted or self.failed else OWN_ID)
        assert message["seq"] == len(self.wire) + 1
        assert isinstance(message["parameters"], dict)
        assert isinstance(message["clientseq"], int)
        assert message["clientseq"] >= 0
        self.judge_order(message)
        self.wire.append(message)
        if draft.type is Type.DISCONNECT and draft.parameters["reason"] != "completed":
            self.failed = True

    def judge_order(self, message: dict[str, Any]) -> None:
        type, sent = message["type"], self.sent
        assert "closed" not in sent
        if not sent:
            assert type in {"opened"} | REJECTIONS
        elif "opened" not in sent:
            assert type in {"pong"} | REJECTIONS
        if type == "opened":
            assert sent == []
            assert self.accepted
        if type == "disconnect":
            assert "disconnect" not in sent
            assert not self.closing
        if type == "closed":
            assert self.closing
        if type in ("event", "pause", "resume", "updated"):
            assert "opened" in sent
        if type == "pong":
            assert message["clientseq"] in self.ping_seqs
        else:
            assert message["clientseq"] <= max(self.client.seq, self.said)
            earlier = [m["clientseq"] for m in self.wire if m["type"] != "pong"]
            assert message["clientseq"] >= max(earlier, default=0)

    # -- opening -----------------------------------------------------------------------------

    @initialize(
        channel=st.sampled_from(AudioHookChannel),
        format=st.sampled_from(AudioHookMediaFormat),
        media=st.lists(st.sampled_from(USABLE), min_size=1, max_size=3),
        how_far=st.sampled_from(["preparing", "rejected", "opening"] + ["opened"] * 5),
    )
    def start(
        self,
        channel: AudioHookChannel,
        format: AudioHookMediaFormat,
        media: list[Any],
        how_far: str,
    ) -> None:
        self.session = AudioHookSession(OWN_ID, MediaPreference(channel, format))
        if how_far != "preparing":
            self.open([] if how_far == "rejected" else media, False)
        if how_far == "opened":
            self.send_owed(0)

    @precondition(lambda self: not (self.accepted or self.failed or self.closing))
    @rule(media=st.lists(st.sampled_from(USABLE + USELESS), max_size=4), is_probe=st.booleans())
    def open(self, media: list[Any], is_probe: bool) -> None:
        if not all(isinstance(entry, dict) for entry in media):
            self.honest = False
        usable = [entry for entry in media if entry in USABLE]
        self.failed = not usable and not is_probe
        self.accepted = not self.failed
        event = self.say("open", (probe if is_probe else offer)(media=media))[-1]
        if self.failed:
            assert event.reply is not None
            assert event.reply.type is Type.DISCONNECT
            return
        assert isinstance(event, events.OpenReceived)
        assert event.is_probe is is_probe
        chosen = self.session.media
        self.owed.append(server_messages.opened([chosen.raw] if chosen else []))
        if usable:
            assert chosen is not None
            assert chosen.raw in usable
            width = 1 if chosen.raw["format"] == "PCMU" else 2
            self.frame_bytes = width * len(chosen.raw["channels"])

    # -- the valid client --------------------------------------------------------------------

    @precondition(lambda self: not self.closing)
    @rule(rtt=st.none() | samples.map(duration))
    def ping(self, rtt: str | None) -> None:
        event = self.say("ping", {} if rtt is None else {"rtt": rtt})[-1]
        assert isinstance(event, events.PingReceived)
        assert event.reply is not None

    @precondition(lambda self: self.running)
    @rule(
        message=st.sampled_from(
            [
                ("update", {"language": "de-DE"}),
                ("dtmf", {"digit": "#"}),
                ("playback_started", {}),
                ("playback_completed", {}),
                ("error", {"code": 429, "message": "slow down", "retryAfter": "PT1S"}),
            ]
        )
    )
    def chat(self, message: tuple[str, Any]) -> None:
        assert not isinstance(self.say(*message)[-1], events.Faulted)

    @precondition(lambda self: self.flowing)
    @rule(frames=samples)
    def audio(self, frames: int) -> None:
        n_bytes = frames * self.frame_bytes
        assert self.session.receive_audio(n_bytes) == n_bytes
        self.position += Fraction(frames, 8000)

    @precondition(lambda self: self.running)
    @rule()
    def pause(self) -> None:
        self.paused = True
        assert isinstance(self.say("paused")[-1], events.Paused)

    @precondition(lambda self: self.running and self.paused)
    @rule(ticks=samples)
    def time_passes_during_a_pause(self, ticks: int) -> None:
        self.client.samples += ticks

    @precondition(lambda self: self.running)
    @rule(extra=samples)
    def resume(self, extra: int) -> None:
        skipped = self.client.samples + (extra if self.paused else 0)
        start = duration(int(self.position * 8000))
        self.client.samples = 0
        self.paused = False
        self.position += Fraction(skipped, 8000)
        event = self.say("resumed", {"start": start, "discarded": duration(skipped)})[-1]
        assert isinstance(event, events.Resumed)
        assert event.discarded == skipped

    @precondition(lambda self: self.running and not self.paused)
    @rule(start=samples, lost=samples)
    def discard(self, start: int, lost: int) -> None:
        self.position = Fraction(start + lost, 8000)
        found = self.say("discarded", {"start": duration(start), "discarded": duration(lost)})
        assert isinstance(found[-1], events.Discarded)

    @precondition(lambda self: not self.closing)
    @rule(reason=st.sampled_from(["end", "error", "disconnect", "reconnect"]), often=st.booleans())
    def close(self, reason: str, often: bool) -> None:
        if often:  # `close` is rare, so that calls are long
            return
        self.closing = True
        event = self.say("close", {"reason": reason})[-1]
        assert isinstance(event, events.CloseReceived)
        assert event.reply is not None
        assert event.reply.type is Type.CLOSED

    # -- the hostile client ------------------------------------------------------------------

    @rule(text=st.sampled_from(GARBAGE) | st.text() | unnumbered.map(json.dumps))
    def garbage(self, text: str) -> None:
        self.honest = False
        self.unreadable += 1
        before = self.session.position
        found = self.deliver(text)
        assert {type(event) for event in found} == {events.Faulted}
        assert not [event for event in found if event.reply]
        assert self.session.position == before

    @rule(type=st.sampled_from(["from_the_future", "opened", "", "Ping"]), data=json_values)
    def unknown_type(self, type: str, data: Any) -> None:
        self.honest = False
        assert not [event for event in self.say(type, data) if event.reply]

    @precondition(lambda self: self.running)
    @rule(
        message=st.sampled_from(
            [
                ("ping", {"rtt": 5}),
                ("update", {"language": []}),
                ("discarded", {"start": "PT1M", "discarded": None}),
                ("dtmf", {"digit": 5}),
                ("error", "x"),
                ("ping", {"new": 1}),
                ("playback_started", ["x"]),
                ("open", offer(STEREO)),
            ]
        )
    )
    def bad_parameters(self, message: tuple[str, Any]) -> None:
        self.honest = False
        before = self.session.position
        found = self.say(*message)
        assert not [e for e in found if e.reply and e.reply.type is Type.DISCONNECT]
        assert self.session.faults
        assert self.session.position == before

    @precondition(lambda self: self.running)
    @rule(
        type=st.sampled_from(["ping", "paused", "dtmf", "update", "discarded"]),
        overrides=st.one_of(
            st.integers().map(lambda n: {"seq": n}),
            st.integers(1, 2**70).map(lambda n: {"serverseq": 10**6 + n}),
            st.text().map(lambda t: {"id": t}),
            st.sampled_from([{"version": "1"}, {"version": 2}, {"version": "two"}]),
        ),
    )
    def break_a_rule(self, type: str, overrides: dict[str, Any]) -> None:
        # Unreadable messages may have used the sequence numbers between these two messages.
        plausible = range(self.client.seq + 1, self.client.seq + 2 + self.unreadable)
        if overrides.get("seq") in plausible or overrides.get("id") == SESSION:
            return
        self.honest = False
        self.failed = True
        found = self.say(type, {"digit": "1", "start": "PT0S", "discarded": "PT9S"}, **overrides)
        fatal = [e.reply for e in found if e.reply]
        assert [(d.type, d.parameters["reason"]) for d in fatal] == [(Type.DISCONNECT, "error")]

    @precondition(lambda self: not self.closing)
    @rule(
        overrides=st.one_of(
            st.integers(-2, 3).map(lambda n: {"seq": n}),
            st.sampled_from([{"parameters": OMIT}, {"serverseq": 99}, {"position": 1}]),
        ),
        often=st.booleans(),
    )
    def broken_close(self, overrides: dict[str, Any], often: bool) -> None:
        if often:
            return
        self.honest = False
        self.closing = True
        found = self.say("close", {"reason": "end"}, **overrides)
        assert [e.reply.type for e in found if e.reply] == [Type.CLOSED]

    @precondition(lambda self: self.closing)
    @rule(type=st.sampled_from(["close", "open", "update", "paused", "discarded"]))
    def talk_after_close(self, type: str) -> None:
        self.honest = False
        gap = {"reason": "end", "start": "PT0S", "discarded": "PT5S", "language": "de-DE"}
        assert not [event for event in self.say(type, gap) if event.reply]

    @precondition(lambda self: self.closing and "closed" in self.sent)
    @rule()
    def ping_after_closed(self) -> None:
        self.honest = False
        assert not [event for event in self.say("ping") if event.reply]

    @precondition(lambda self: self.session.state is State.OPENING and self.session.media)
    @rule(frames=samples)
    def audio_before_opened(self, frames: int) -> None:
        self.honest = False
        n_bytes = frames * self.frame_bytes
        assert self.session.receive_audio(n_bytes) == n_bytes
        self.position += Fraction(frames, 8000)

    @precondition(
        lambda self: (
            not self.flowing
            and self.session.state is not State.OPENING
            and (self.running or "disconnect" not in self.sent)
        )
    )
    @rule(n_bytes=st.integers(0, 64_000))
    def audio_out_of_place(self, n_bytes: int) -> None:
        self.honest = False
        assert self.session.receive_audio(n_bytes) == 0

    @precondition(lambda self: self.flowing)
    @rule(n_bytes=st.integers(0, 64_000))
    def odd_audio(self, n_bytes: int) -> None:
        self.honest = False
        frames = n_bytes // self.frame_bytes
        assert self.session.receive_audio(n_bytes) == frames * self.frame_bytes
        self.position += Fraction(frames, 8000)

    # -- the application ---------------------------------------------------------------------

    @precondition(lambda self: self.owed)
    @rule(which=st.integers(0, 10))
    def send_owed(self, which: int) -> None:
        self.emit(self.owed.pop(which % len(self.owed)))
        self.client.serverseq = len(self.wire)

    @rule(
        draft=st.sampled_from(
            [
                server_messages.barge_in(),
                server_messages.event("transcript", {"ü": ["漢", 0.5, None]}),
                Draft(Type.PAUSE),
                server_messages.resume(),
                server_messages.updated(),
                server_messages.opened([EXTERNAL]),
                server_messages.closed(),
                server_messages.disconnect("completed", output_variables={"a": "b"}),
                server_messages.disconnect("error", info="x"),
                Draft(Type.PING),
                Draft(Type.ERROR, {"code": 500}),
                Draft(Type.RESUMED),
            ]
        )
    )
    def application(self, draft: Draft) -> None:
        self.emit(draft)

    @precondition(lambda self: self.running)
    @rule(data=st.sampled_from([float("nan"), {1}, "x" * 64_000, b""]))
    def application_in_error(self, data: Any) -> None:
        with pytest.raises(LocalProtocolError):
            self.session.to_wire(server_messages.event("x", data))

    # -- invariants --------------------------------------------------------------------------

    @invariant()
    def position_is_exact(self) -> None:
        assert Fraction(self.session.position, 8000) == self.position

    @invariant()
    def server_seq_is_the_number_of_messages_sent(self) -> None:
        assert self.session.server_seq == len(self.wire)

    @invariant()
    def state_follows_from_the_messages(self) -> None:
        if "closed" in self.sent:
            expected = {State.CLOSED}
        elif self.closing:
            expected = {State.CLOSING}
        elif self.failed:
            expected = {State.FAILED}
        elif "disconnect" in self.sent:
            expected = {State.DISCONNECTING}
        elif "opened" in self.sent:
            expected = {State.PAUSED if self.paused else State.ACTIVE}
        else:
            expected = {State.OPENING if self.accepted else State.PREPARING}
        assert {self.session.state} == expected


TestClientAndSession = ClientAndSession.TestCase
TestClientAndSession.settings = settings(
    unhurried, max_examples=120, stateful_step_count=40, report_multiple_bugs=False
)
