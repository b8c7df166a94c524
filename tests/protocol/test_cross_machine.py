"""Tests of the simulator's session with the server's session, without I/O, in random orders.

Two queues connect the two sessions, and the test advances the clock of both sessions. Hypothesis
decides what each side does, when a message arrives, which messages are invalid, and when the socket
is lost. `wiretap` checks all messages, and does not use the sessions. A forgery is a message that
the test has made invalid.

The environment variable `CROSS_EXAMPLES` is the number of calls; `make test-slow` sets 10,000.
"""

from __future__ import annotations

import json
import os
from collections import deque
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from pipecat_genesys.protocol import AudioHookMessageType as Type
from pipecat_genesys.protocol import (
    AudioHookSession,
    Draft,
    LocalProtocolError,
    State,
    events,
    server_messages,
)
from pipecat_genesys.protocol import Rule as Fault
from pipecat_genesys.simulator import (
    PCMU_EXTERNAL,
    CallStateError,
    GenesysClientSession,
    Party,
    ServerRule,
    SessionState,
    Violation,
    as_probe,
    new_call,
    new_monitor_call,
)

from .forgeries import BROKEN_ENVELOPES, BROKEN_PARAMETERS, GARBAGE, SPOILED
from .wiretap import SERVER_TYPES, Sent, Wiretap

EXAMPLES = int(os.environ.get("CROSS_EXAMPLES", "300"))
L16 = {**PCMU_EXTERNAL, "format": "L16"}
# These are the violations of a server that follows the protocol, but is slow or sends many
# messages.
_OWN_ACCOUNT = {
    ServerRule.OPEN_TIMEOUT,
    ServerRule.PONG_TIMEOUT,
    ServerRule.CLOSE_TIMEOUT,
    ServerRule.TEXT_RATE,
    ServerRule.BINARY_RATE,
    ServerRule.PAUSE_RATE,
    ServerRule.RESUME_RATE,
}
# These violations can occur after the client has waited too long for `closed`.
_TOO_LATE = {ServerRule.AFTER_CLOSED}
_LONGEST_END = 60.0


class CrossMachine(RuleBasedStateMachine):
    """One call between the simulator's client session and the server session."""

    @initialize(
        kind=st.sampled_from(["bot", "monitor", "probe", "l16"]), position=st.integers(0, 3 * 8000)
    )
    def call(self, kind: str, position: int) -> None:
        make: Any = new_monitor_call if kind == "monitor" else new_call
        parameters = make(media=(L16,)) if kind == "l16" else make()
        if kind == "probe":
            parameters = as_probe(parameters)
        self.now = 1000.0
        self.client = GenesysClientSession(parameters, record_audio=False)
        self.server = AudioHookSession("not known yet")
        offer = [dict(entry) for entry in parameters.media]
        self.tap = Wiretap(parameters.session_id, offer, 0)
        self.up: deque[Sent] = deque()
        self.down: deque[Sent] = deque()
        # These are messages that the server's application has not sent yet.
        self.owed: deque[Draft] = deque()
        self.violations: list[Violation] = []
        self.start_paused = False
        self.first_forgery: Sent | None = None
        self.client.start(self.now)
        self._collect()

    # -- the two queues ------------------------------------------------------------------------

    def _collect(self) -> None:
        """Put the messages of the client into the queue to the server."""
        for content in self.client.messages_to_send():
            sent = Sent(content)
            self.tap.client_sent(sent, self.now)
            self.up.append(sent)
        found = self.client.take_events()
        self.violations += [event for event in found if isinstance(event, Violation)]

    @precondition(lambda self: self.up)
    @rule()
    def deliver_to_server(self) -> None:
        sent = self.up.popleft()
        tap = self.tap
        if isinstance(sent.content, bytes):
            usable = self.server.receive_audio(len(sent.content))
            if not tap.server.has_ended and not tap.client_forges:
                assert usable == len(sent.content)
            return
        fatal = sent.forgery is not None and sent.forgery.is_fatal and tap.server.is_checking
        before = self.server.faults.total()
        found = self.server.receive_text(sent.content)
        tap.reached_server(sent)
        # The server counts the first invalid message as a fault, unless the call is ending. Later
        # invalid messages are not asserted, because two faults can offset each other.
        if sent is self.first_forgery:
            assert self.server.faults.total() > before or tap.server.has_ended
        for event in found:
            self._react(event)
        if sent is self.first_forgery:
            assert tap.server.must_end or not fatal

    def _react(self, event: events.Event) -> None:
        if isinstance(event, events.OpenReceived):
            self.tap.server.accepts = True
            media = [event.media.raw] if event.media else []
            self.owed.append(server_messages.opened(media, start_paused=self.start_paused))
        elif isinstance(event, events.Faulted):
            if event.reply is not None:
                assert self.tap.client_forges
                self.tap.server.must_end = True
                self.owed.append(event.reply)
        elif event.reply is not None:
            self.owed.append(event.reply)

    @precondition(lambda self: self.down)
    @rule()
    def deliver_to_client(self) -> None:
        sent = self.down.popleft()
        before = len(self.violations)
        if isinstance(sent.content, bytes):
            self.client.receive_binary(sent.content, self.now)
        else:
            running = self.client.state in (SessionState.OPENING, SessionState.OPEN)
            self.client.receive_text(sent.content, self.now)
            if sent.forgery is not None and running and not self.tap.client.is_leaving:
                self._collect_violations()
                assert len(self.violations) > before, sent
        self.tap.reached_client(sent)
        self._collect()

    def _collect_violations(self) -> None:
        found = self.client.take_events()
        self.violations += [event for event in found if isinstance(event, Violation)]

    @precondition(lambda self: self.owed)
    @rule()
    def server_replies(self) -> None:
        self._send(self.owed.popleft())

    def _send(self, draft: Draft) -> None:
        """Send a message, or check that sending raises if the protocol forbids it."""
        may = self.tap.may_send(draft.type.value)
        assert self.server.allows(draft.type) == may, draft
        if not may:
            state, seq = self.server.state, self.server.server_seq
            with pytest.raises(LocalProtocolError):
                self.server.to_wire(draft)
            assert (self.server.state, self.server.server_seq) == (state, seq)
            return
        sent = Sent(self.server.to_wire(draft).text)
        self.tap.server_sent(sent)
        self.down.append(sent)

    # -- time ------------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([0.01, 0.2, 0.9, 1.1, 4.0, 6.0]))
    def time_passes(self, seconds: float) -> None:
        end = self.now + seconds
        while (due := self.client.next_deadline()) is not None and due <= end:
            self.now = max(self.now, due)
            self.client.tick(self.now)
            self._collect()
            if self.client.next_deadline() == due:
                break
        self.now = max(self.now, end)
        self.client.tick(self.now)
        self._collect()

    # -- the client ------------------------------------------------------------------------------

    @rule(samples=st.sampled_from([1, 80, 1600, 8000]))
    def client_sends_audio(self, samples: int) -> None:
        self._client_does(lambda: self.client.send_audio(samples, self.now))

    @rule(key=st.sampled_from("0159*#"))
    def client_sends_dtmf(self, key: str) -> None:
        self._client_does(lambda: self.client.press_dtmf(key, self.now))

    @rule()
    def client_sends_update(self) -> None:
        self._client_does(lambda: self.client.send_update("de-DE", self.now))

    @rule()
    def client_pauses(self) -> None:
        self._client_does(lambda: self.client.pause(self.now))

    @rule()
    def client_resumes(self) -> None:
        self._client_does(lambda: self.client.resume(self.now))

    @rule(samples=st.sampled_from([1, 1600, 8001]))
    def client_discards(self, samples: int) -> None:
        self._client_does(lambda: self.client.report_discarded(samples, self.now))

    @rule()
    def client_hangs_up(self) -> None:
        self._client_does(lambda: self.client.hang_up(self.now))

    def _client_does(self, act: Any) -> None:
        with suppress(CallStateError):
            act()
        self._collect()

    # -- the server ------------------------------------------------------------------------------

    @rule(
        draft=st.sampled_from(
            [
                server_messages.pause(),
                server_messages.resume(),
                server_messages.barge_in(),
                server_messages.event("note", {"a": 1}),
                server_messages.reconnect(),
                server_messages.closed(),
                server_messages.disconnect("completed"),
                server_messages.disconnect("error", info="no more"),
            ]
        )
    )
    def application_sends(self, draft: Draft) -> None:
        self._send(draft)

    @rule(seconds=st.sampled_from([0.02, 0.2, 1.0]))
    def bot_sends_audio(self, seconds: float) -> None:
        media = self.server.media
        if not self.tap.server.is_open or media is None or media.is_listen_only:
            return
        if self.client.parameters.mode == "monitor":
            return
        sent = Sent(b"\xff" * round(seconds * 8000) * media.frame_bytes)
        self.tap.server_sent(sent)
        self.down.append(sent)

    @rule(paused=st.booleans())
    def next_opened_starts_paused(self, paused: bool) -> None:
        self.start_paused = paused

    # -- faults ----------------------------------------------------------------------------------

    @precondition(lambda self: self.tap.client.types["open"] and not self.tap.client.is_leaving)
    @rule(name=st.sampled_from([*BROKEN_ENVELOPES, *BROKEN_PARAMETERS, *GARBAGE]))
    def client_breaks_a_rule(self, name: str) -> None:
        self.tap.client_forges = True
        if name in GARBAGE:
            text, forgery = GARBAGE[name]
            self._forge(Sent(text, forgery=forgery))
            return
        message: dict[str, Any] = {
            "version": "2",
            "id": self.tap.session_id,
            "seq": self.client.last_seq + 1,
            "serverseq": self.client.last_server_seq,
            "position": "PT0S",
        }
        if name in BROKEN_ENVELOPES:
            make, forgery = BROKEN_ENVELOPES[name]
            message |= {"type": "ping", "parameters": {}}
            message |= make(self.client.last_seq, self.client.last_server_seq)
        else:
            # The next message of the client repeats the `seq` of this message.
            message["type"], message["parameters"], forgery = BROKEN_PARAMETERS[name]
        self._forge(Sent(json.dumps(message), forgery=forgery))

    def _forge(self, sent: Sent) -> None:
        self.first_forgery = self.first_forgery or sent
        self.up.append(sent)

    @precondition(lambda self: any(isinstance(sent.content, str) for sent in self.down))
    @rule(name=st.sampled_from(sorted(SPOILED)))
    def server_breaks_a_rule(self, name: str) -> None:
        sent = next(sent for sent in self.down if isinstance(sent.content, str))
        if sent.forgery is None:
            self.tap.server_forges = True
            spoil, sent.forgery = SPOILED[name]
            sent.content = spoil(sent.message)

    @rule(by=st.sampled_from(Party))
    @precondition(lambda self: self.now > 1000)
    def socket_is_lost(self, by: Party) -> None:
        self._lose(by)

    def _lose(self, by: Party) -> None:
        was_open = self.server.state is not State.CLOSED
        assert (self.server.connection_lost() is not None) == was_open
        self.tap.server.is_gone = True
        self.client.socket_lost(self.now, by=by)
        self.up.clear()
        self.down.clear()
        self.owed.clear()
        self._collect_violations()

    # -- invariants ------------------------------------------------------------------------------

    @invariant()
    def only_forgeries_are_counted_as_faults(self) -> None:
        if not hasattr(self, "tap"):
            return
        if not self.tap.client_forges:
            # The server counts messages that the client sent before it received `disconnect` as
            # faults of the type `Fault.STATE`.
            crossed = {Fault.STATE} if self.tap.server.has_ended else set()
            assert set(self.server.faults) <= crossed, self.server.faults
        if not (self.tap.server_forges or self.tap.client_forges):
            rules = {violation.rule for violation in self.violations}
            late = _TOO_LATE if ServerRule.CLOSE_TIMEOUT in rules else set()
            known = _OWN_ACCOUNT | late | {ServerRule.SERVER_CLOSED_SOCKET}
            assert rules <= known, self.violations

    @invariant()
    def positions_agree_once_all_messages_have_arrived(self) -> None:
        if not hasattr(self, "tap") or self.up or self.tap.client_forges:
            return
        if self.server.media is not None and self.server.state is State.ACTIVE:
            assert self.server.position == self.client.position

    @invariant()
    def allows_agrees_with_the_protocol(self) -> None:
        if not hasattr(self, "tap"):
            return
        for name in SERVER_TYPES:
            assert self.server.allows(Type(name)) == self.tap.may_send(name), name

    def teardown(self) -> None:
        """Hang up and check that the call ends on both sides."""
        if not hasattr(self, "tap"):
            return
        self.client.hang_up(self.now)
        self._collect()
        end = self.now + _LONGEST_END
        while self.client.state is not SessionState.DISCONNECTED and self.now < end:
            while self.up:
                self.deliver_to_server()
            while self.owed:
                self.server_replies()
            while self.down:
                self.deliver_to_client()
            if self.client.socket_should_close:
                self._lose(Party.CLIENT)
                break
            if not (self.up or self.down):
                self.time_passes(1.0)
        assert self.client.state is SessionState.DISCONNECTED
        assert self.server.state is State.CLOSED
        assert self.tap.server.types["closed"] <= 1
        assert self.tap.server.types["disconnect"] <= 1


TestCross = pytest.mark.timeout(3600)(CrossMachine.TestCase)
TestCross.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
