"""`ClientMachine`: the state of one simulated client, and the actions of the client.

The machine does not parse server messages. `GenesysClientSession` holds the machine, and calls a
method of the machine for each valid server message. `PingSchedule` and `StreamPauses` are parts of
the machine's state.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum, auto
from fractions import Fraction

from pipecat_genesys.capture.entries import Party
from pipecat_genesys.errors import PipecatGenesysError
from pipecat_genesys.protocol.types import AudioHookMessageType, CloseReason, Media, format_duration

from . import events as ev
from .messages import Capture, Outbox, gap_parameters
from .parameters import CallParameters, ClientLimits, ClientTimeouts, MessageBudget
from .playback import Playback
from .rules import REACTIONS, Breach, BrokenRuleError, ServerRule

_T = AudioHookMessageType


class SessionState(StrEnum):
    """State of a session."""

    IDLE = "idle"
    """The session is not started."""
    OPENING = "opening"
    """The client sent `open`."""
    OPEN = "open"
    """The server sent `opened`."""
    CLOSING = "closing"
    """The client sent `close`."""
    CLOSED = "closed"
    """The server sent `closed`, or the wait for it timed out. The socket must be closed."""
    DISCONNECTED = "disconnected"
    """The socket is closed."""


_SILENT = frozenset({SessionState.IDLE, SessionState.CLOSED, SessionState.DISCONNECTED})
"""States in which the client sends nothing."""


class CallStateError(PipecatGenesysError, RuntimeError):
    """The script requested an action that is not possible in the current state of the call."""


class PongResult(Enum):
    """Whether a `pong` answers the unanswered `ping`."""

    UNEXPECTED = auto()
    """No ping was unanswered."""
    WRONG_CLIENTSEQ = auto()
    """The pong names another message. The ping stays unanswered."""
    FIRST = auto()
    """The pong answers the first ping. The client sends a second ping at once, with the rtt."""
    ANSWERED = auto()
    """The pong answers a later ping."""


@dataclass(frozen=True, slots=True)
class Ping:
    """A `ping` that is not answered yet.

    Attributes:
        seq: `seq` of the ping.
        sent_at: Time of sending, in seconds on a monotonic clock.
    """

    seq: int
    sent_at: float


class PingSchedule:
    """When the client sends pings, and whether the last ping was answered.

    The first ping is due shortly after `opened`, and later pings follow at a fixed interval. The
    extra ping after the first pong does not change this schedule: the reference client was measured
    to ping 1.01 s, 1.02 s and 6.0 s after `opened`.

    Times are in seconds on a monotonic clock.

    Args:
        timeouts: Timings of the client.

    Attributes:
        last_rtt: Seconds between the last answered ping and its pong, or None before any pong.
    """

    def __init__(self, timeouts: ClientTimeouts) -> None:
        self.last_rtt: float | None = None
        self._timeouts = timeouts
        self._outstanding: Ping | None = None
        self._due: float | None = None
        self._answered = False

    @property
    def due(self) -> float | None:
        """Time at which the next ping is due, or None if no pings are scheduled."""
        return self._due

    @property
    def interval(self) -> float:
        """Seconds between scheduled pings, within which a pong must arrive."""
        return self._timeouts.ping_interval

    @property
    def outstanding(self) -> Ping | None:
        """The ping that is not answered yet, or None."""
        return self._outstanding

    def start(self, now: float) -> None:
        """Start the schedule at the time of `opened`."""
        self._due = now + self._timeouts.first_ping

    def stop(self) -> None:
        """Schedule no more pings. A pong that arrives later is still accepted."""
        self._due = None

    def skip_due(self, now: float) -> None:
        """Move the schedule to the first ping that is due after `now`.

        Pings that were missed are not sent later. A client that stalled must not report a timeout
        that it caused itself.
        """
        if self._due is not None:
            interval = self._timeouts.ping_interval
            self._due += interval * (max(0, math.floor((now - self._due) / interval)) + 1)

    def ping_sent(self, seq: int, now: float) -> None:
        """Record that the client sent a ping with this `seq`."""
        self._outstanding = Ping(seq, now)

    def pong_received(self, clientseq: int, now: float) -> PongResult:
        """Compare a pong with the unanswered ping.

        Args:
            clientseq: `clientseq` of the pong.
            now: Time of arrival.

        Returns:
            Whether the pong answers the ping. After a pong with a wrong `clientseq`, the ping is
            still unanswered.
        """
        if self._outstanding is None:
            return PongResult.UNEXPECTED
        if clientseq != self._outstanding.seq:
            return PongResult.WRONG_CLIENTSEQ
        self.last_rtt = max(0.0, now - self._outstanding.sent_at)
        self._outstanding = None
        result = PongResult.ANSWERED if self._answered else PongResult.FIRST
        self._answered = True
        return result


class StreamPauses:
    """The pauses of the stream. Each party can pause the stream.

    Audio is sent only while neither party has paused the stream. If a party pauses the stream
    twice, the second pause has no effect. Positions are stream positions in samples.
    """

    def __init__(self) -> None:
        self._held_by: set[Party] = set()
        self._start = 0

    @property
    def is_paused(self) -> bool:
        """Whether at least one party has paused the stream."""
        return bool(self._held_by)

    def is_held_by(self, party: Party) -> bool:
        """Return whether the party has paused the stream."""
        return party in self._held_by

    def pause(self, party: Party, position: int) -> None:
        """Begin a pause of the party at this position."""
        if not self._held_by:
            self._start = position
        self._held_by.add(party)

    def resume(self, party: Party, position: int) -> tuple[int, int] | None:
        """End the pause of the party.

        Returns:
            A pair: the position at which the pause began, and the number of samples that were lost
            during the pause. If the stream was not paused, the pair is `(position, 0)`. None if the
            other party still pauses the stream.
        """
        was_paused = self.is_paused
        self._held_by.discard(party)
        if self._held_by:
            return None
        start = self._start if was_paused else position
        return start, position - start


class ClientMachine:
    """The state and the actions of one client. All times are in seconds on a monotonic clock.

    Args:
        parameters: Contents of `open`, and the mode of the call.
        timeouts: Timings of the client.
        limits: Limits on the messages of the server.
        record_audio: Whether to keep the audio of the call.
        completed_after_barge_in: Whether the client sends `playback_completed` after a `barge_in`
            that cleared the playback queue.
        acts: Whether the client sends messages and ends the session itself. If False, the machine
            sends nothing, and processes the messages that another client has sent.

    Attributes:
        parameters: Contents of `open`, and the mode of the call.
        acts: Whether the client sends messages and ends the session itself.
        limits: Limits on the messages of the server.
        budgets: The `MessageBudget` of each rate limit.
        capture: All messages of the call.
        outbox: The queue of outgoing messages.
        playback: The playback queue of bot audio.
        pings: The schedule of pings.
        pauses: The pauses of the stream.
        state: State of the session.
        was_opened: Whether the server has sent `opened`.
        media: The selected medium, or None before `opened` and in a session without audio.
        started_at: Time of `open`.
        close_sent_at: Time of `close`.
        update_sent_at: Time of the `update` that is not answered yet, or None.
        close_reason: Reason of the client's `close`, or None before it.
        disconnected: The server's `disconnect`, or None.
        closed: The server's `closed`, or None.
        socket_closed: The end of the socket, or None while the socket is open.
        unheard_at_end: Samples of bot audio in the playback queue when the session began to close.
        received_entry: Index, in the capture, of the server message that is being processed; None
            if no message is being processed.
        events: Events that the owner of the session has not taken yet.
    """

    def __init__(
        self,
        parameters: CallParameters,
        timeouts: ClientTimeouts,
        limits: ClientLimits,
        *,
        record_audio: bool,
        completed_after_barge_in: bool,
        acts: bool = True,
    ) -> None:
        self.parameters = parameters
        self.acts = acts
        self.limits = limits
        self.budgets: Mapping[ServerRule, MessageBudget] = {
            ServerRule.BINARY_RATE: limits.binary.budget(),
            ServerRule.TEXT_RATE: limits.text.budget(),
            ServerRule.PAUSE_RATE: limits.pause.budget(),
            ServerRule.RESUME_RATE: limits.resume.budget(),
        }
        self.capture = Capture(record_audio=record_audio)
        self.outbox = Outbox(parameters.session_id, parameters.position, self.capture)
        self.playback = Playback(record=record_audio)
        self.pings = PingSchedule(timeouts)
        self.pauses = StreamPauses()
        self.state = SessionState.IDLE
        self.was_opened = False
        self.media: Media | None = None
        self.started_at = 0.0
        self.close_sent_at = 0.0
        self.update_sent_at: float | None = None
        self.close_reason: CloseReason | None = None
        self.disconnected: ev.Disconnected | None = None
        self.closed: ev.Closed | None = None
        self.socket_closed: ev.SocketClosed | None = None
        self.unheard_at_end = 0
        self.received_entry: int | None = None
        self.events: list[ev.Event] = []
        self._timeouts = timeouts
        self._record_audio = record_audio
        self._completed_after_barge_in = completed_after_barge_in
        self._deadline: float | None = None

    # Time.

    def elapsed(self, now: float) -> float:
        """Return the number of seconds since `open`."""
        return now - self.started_at

    def next_deadline(self) -> float | None:
        """Return the time at which `tick` must be called next; None if nothing is planned."""
        due = (self._deadline, self.pings.due, self.playback.next_deadline())
        return min((moment for moment in due if moment is not None), default=None)

    def tick(self, now: float) -> None:
        """Perform all actions that are due: play bot audio, send a ping, report a timeout."""
        empty_at = self.playback.advance(now)
        if empty_at is not None and self.state is SessionState.OPEN:
            self.events.append(ev.BotAudioCompleted(self.elapsed(empty_at)))
            self.send(_T.PLAYBACK_COMPLETED, {}, now)
        if self._deadline is not None and now >= self._deadline:
            self._time_out(now)
        if self.pings.due is not None and now >= self.pings.due:
            self.pings.skip_due(now)
            if self.pings.outstanding is None:
                self.send_ping(now)
            else:
                detail = f"no 'pong' for the 'ping' with seq {self.pings.outstanding.seq}"
                self.react(ServerRule.PONG_TIMEOUT, detail, now)

    def _time_out(self, now: float) -> None:
        self._deadline = None
        if self.state is SessionState.OPENING:
            detail = f"no 'opened' within {self._timeouts.open:g} s"
            self.react(ServerRule.OPEN_TIMEOUT, detail, now)
        elif self.state is SessionState.CLOSING:
            detail = f"no 'closed' within {self._timeouts.close:g} s"
            self.react(ServerRule.CLOSE_TIMEOUT, detail, now)
            self.state = SessionState.CLOSED

    # Methods for the steps of a session, from `open` to the end of the socket.

    def open(self, now: float) -> None:
        """Send `open`."""
        self.started_at = now
        self.outbox.start(now)
        self.playback = Playback(now, record=self._record_audio)
        self.state = SessionState.OPENING
        self._deadline = now + self._timeouts.open
        self.send(_T.OPEN, self.parameters.open_parameters(), now)

    def accept(self, media: Media | None, now: float) -> None:
        """Begin the stream, after the server sent `opened` with this medium."""
        self.was_opened = True
        self.media = media
        self.state = SessionState.OPEN
        self._deadline = None
        if media is not None and media.format is not self.playback.media_format:
            self.playback = Playback(self.started_at, media.format, record=self._record_audio)
        if self.acts:
            self.pings.start(now)

    def close(self, reason: CloseReason, now: float) -> bool:
        """Send `close`, unless the session is already closing or closed, or was not started.

        Returns:
            Whether `close` was sent.
        """
        if not self.acts or self.state not in (SessionState.OPENING, SessionState.OPEN):
            return False
        self.begin_closing(reason, now)
        self.send(_T.CLOSE, {"reason": reason}, now, note=reason)
        return True

    def begin_closing(self, reason: CloseReason, now: float) -> None:
        """Stop pings and playback, and start the timeout for `closed`."""
        self._stop(now)
        self.state = SessionState.CLOSING
        self.close_reason = reason
        self.close_sent_at = now
        self._deadline = now + self._timeouts.close
        self.events.append(ev.CloseSent(self.elapsed(now), reason))

    def finish(self, closed: ev.Closed) -> None:
        """End the session, after the server sent `closed`."""
        self._deadline = None
        self.state = SessionState.CLOSED
        self.closed = closed
        self.events.append(closed)

    def disconnect(self, by: Party, code: int | None, now: float) -> None:
        """End the session, after a party closed the socket with this code."""
        self._stop(now)
        self._deadline = None
        self.state = SessionState.DISCONNECTED
        self.socket_closed = ev.SocketClosed(self.elapsed(now), by, code)
        self.events.append(self.socket_closed)

    def _stop(self, now: float) -> None:
        """Stop pings and playback."""
        self.pings.stop()
        self.unheard_at_end += self.playback.clear(now)

    # Methods for actions during the call.

    def send(
        self,
        kind: AudioHookMessageType,
        parameters: Mapping[str, object],
        now: float,
        note: str = "",
    ) -> None:
        """Send a message, if this client acts. See `Outbox.send`."""
        if self.acts:
            self.outbox.send(kind, parameters, now, note)

    def send_ping(self, now: float) -> None:
        """Send `ping`, with the latest round-trip time if there is one."""
        if not self.acts:
            return
        rtt = self.pings.last_rtt
        self.send(_T.PING, {} if rtt is None else {"rtt": format_duration(Fraction(rtt))}, now)
        self.pings.ping_sent(self.outbox.seq, now)

    def pause(self, by: Party, now: float) -> None:
        """Pause the stream for a party, and send `paused`."""
        self.pauses.pause(by, self.outbox.position)
        self.send(_T.PAUSED, {}, now)
        self.events.append(ev.StreamPaused(self.elapsed(now), by))

    def resume(self, by: Party, now: float) -> None:
        """End the pause of a party, and report the state of the stream.

        The client sends `resumed` if no party pauses the stream any more. If the client still
        pauses the stream, it answers the server's `resume` with `paused`. If the server still
        pauses the stream, the client sends nothing.
        """
        gap = self.pauses.resume(by, self.outbox.position)
        if gap is not None:
            self.send(_T.RESUMED, gap_parameters(*gap), now)
            self.events.append(ev.StreamResumed(self.elapsed(now), by, *gap))
        elif by is Party.SERVER:
            self.send(_T.PAUSED, {}, now)
            self.events.append(ev.StreamPaused(self.elapsed(now), Party.CLIENT))

    def discard(self, samples: int, now: float) -> None:
        """Skip samples of the caller's audio, and send `discarded`."""
        start = self.outbox.position
        self.outbox.position += samples
        self.send(_T.DISCARDED, gap_parameters(start, samples), now)

    def play(self, payload: bytes, samples: int, now: float) -> None:
        """Add bot audio to the playback queue. Send `playback_started` if the queue was empty."""
        starts = self.playback.receive(payload, now)
        self.events.append(ev.AudioReceived(self.elapsed(now), samples))
        if starts:
            self.events.append(ev.BotAudioStarted(self.elapsed(now)))
            self.send(_T.PLAYBACK_STARTED, {}, now)

    def barge_in(self, now: float) -> None:
        """Clear the playback queue."""
        was_playing = self.playback.is_playing
        dropped = self.playback.clear(now)
        self.events.append(ev.BargedIn(self.elapsed(now), dropped))
        if was_playing and self._completed_after_barge_in:
            self.events.append(ev.BotAudioCompleted(self.elapsed(now)))
            self.send(_T.PLAYBACK_COMPLETED, {}, now)

    def ignore(self, kind: str, why: str, now: float) -> None:
        """Record that a server message has no effect."""
        self.events.append(ev.MessageIgnored(self.elapsed(now), kind, why))

    # Methods for limits and broken rules.

    def check_size(self, size: int) -> None:
        """Check the size of a server message, in bytes.

        Raises:
            BrokenRuleError: If the message is too large.
        """
        if size > self.limits.message_bytes:
            detail = f"{size} bytes; the maximum is {self.limits.message_bytes}"
            raise BrokenRuleError(ServerRule.MESSAGE_TOO_LARGE, detail)

    def take_token(self, rate: ServerRule, now: float) -> bool:
        """Count a message against a rate limit, and return whether the limit allows it.

        While the session is closing, the rates are not limited, because the server may have to send
        its queued messages.
        """
        return self.state is SessionState.CLOSING or self.budgets[rate].take(now)

    def above_rate(self, rate: ServerRule) -> BrokenRuleError:
        """Return the error for a server message above a rate limit."""
        budget = self.budgets[rate]
        detail = f"above {budget.rate:g} messages/s with a burst of {budget.burst:g}"
        return BrokenRuleError(rate, detail)

    def react_to(self, breaches: Iterable[Breach], now: float) -> None:
        """React to each of the broken rules."""
        for breach in breaches:
            self.react(breach.rule, breach.detail, now)

    def react(self, rule: ServerRule, detail: str, now: float) -> None:
        """React to a broken rule as `REACTIONS` defines.

        Args:
            rule: The broken rule.
            detail: Text that explains how the server broke the rule.
            now: Time of the breach.
        """
        reaction = REACTIONS[rule]
        at = self.elapsed(now)
        if self.received_entry is not None:
            self.capture.annotate(self.received_entry, rule)
        if reaction.is_tolerated:
            self.events.append(ev.ProtocolWarning(at, rule, detail))
            return
        self.events.append(ev.Violation(at, rule, reaction.code, detail, reaction.ends_call))
        if not self.acts:
            return
        # After a close with reason `error`, the reference client reports only a missing `closed`.
        gave_up = self.close_reason is CloseReason.ERROR and rule is not ServerRule.CLOSE_TIMEOUT
        if reaction.code is None or self.state in _SILENT or gave_up:
            return
        text = f"{reaction.text}: {detail}"[:200] if reaction.is_detailed else reaction.text
        error = {"code": reaction.code, "message": text, **self._retry_after(rule, now)}
        self.send(_T.ERROR, error, now, note=f"{reaction.code} {text}")
        if reaction.ends_call:
            self.close(CloseReason.ERROR, now)

    def _retry_after(self, rule: ServerRule, now: float) -> dict[str, str]:
        budget = self.budgets.get(rule)
        if budget is None:
            return {}
        # Round up to a millisecond, so that a token is available after exactly that time.
        milliseconds = int(budget.wait_time(now) * 1000) + 1
        return {"retryAfter": format_duration(Fraction(milliseconds, 1000))}
