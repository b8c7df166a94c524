"""The client's half of the session: its state, its stamps, its timers and its own moves.

Nothing here reads a server message; that is ``handlers.py``. What a user calls is in
``session.py``.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Mapping
from enum import StrEnum
from fractions import Fraction
from typing import Any

from pipecat_genesys.errors import PipecatGenesysError
from pipecat_genesys.protocol.types import (
    PROTOCOL_VERSION,
    AudioHookMessageType,
    CloseReason,
    Media,
    format_duration,
    samples_to_duration,
)
from pipecat_genesys.simulator import events as ev
from pipecat_genesys.simulator.capture import (
    AUDIO,
    Capture,
    CaptureEntry,
    Direction,
    wire_size,
)
from pipecat_genesys.simulator.clocks import PauseBook, PingClock
from pipecat_genesys.simulator.limits import ClientLimits, ClientTimeouts, TokenBucket
from pipecat_genesys.simulator.parameters import CallParameters
from pipecat_genesys.simulator.playback import Playback
from pipecat_genesys.simulator.rules import REACTIONS, BrokenRuleError, Rule, Severity

_T = AudioHookMessageType


class SessionState(StrEnum):
    """Where the session is."""

    IDLE = "idle"
    OPENING = "opening"
    """``open`` was sent."""
    OPEN = "open"
    CLOSING = "closing"
    """``close`` was sent."""
    CLOSED = "closed"
    """``closed`` came, or was waited for in vain: the socket is to be closed."""
    DISCONNECTED = "disconnected"
    """The socket is gone."""


_MUTE = frozenset({SessionState.IDLE, SessionState.CLOSED, SessionState.DISCONNECTED})
"""States in which nothing can be said to the server."""


class CallStateError(PipecatGenesysError, RuntimeError):
    """The user of the simulator asked for something the call cannot do in its state."""


class ClientMachine:
    """State and moves of one simulated call; the base of ``GenesysClientSession``."""

    def __init__(
        self,
        parameters: CallParameters,
        timeouts: ClientTimeouts,
        limits: ClientLimits,
        record_audio: bool,
        completed_after_barge_in: bool,
    ) -> None:
        self.parameters = parameters
        self.timeouts = timeouts
        self.limits = limits
        self.capture = Capture()
        self.playback = Playback(record=record_audio)
        self.buckets: Mapping[Rule, TokenBucket] = {
            Rule.BINARY_RATE: self.limits.binary.bucket(),
            Rule.TEXT_RATE: self.limits.text.bucket(),
            Rule.PAUSE_RATE: self.limits.pause.bucket(),
            Rule.RESUME_RATE: self.limits.resume.bucket(),
        }
        self.media: Media | None = None
        self.close_reason: CloseReason | None = None
        self.disconnected: ev.Disconnected | None = None
        self.closed: ev.Closed | None = None
        self.socket_closed: ev.SocketClosed | None = None
        self.unheard_at_end = 0
        """Samples of bot audio still queued when the session began to close."""
        self._record_audio = record_audio
        self._completed_after_barge_in = completed_after_barge_in
        self._state = SessionState.IDLE
        self._accepted = False
        self._began = 0.0
        self._seq = 0
        self._serverseq = 0
        self._position = parameters.position
        self._pings = PingClock(self.timeouts)
        self._pauses = PauseBook()
        self._deadline: float | None = None
        self._close_sent_at = 0.0
        self._update_sent_at: float | None = None
        self._inbound: int | None = None
        self._out: list[str | bytes] = []
        self._events: deque[ev.Event] = deque()

    # What it looks like from outside.

    @property
    def state(self) -> SessionState:
        """Where the session is."""
        return self._state

    @property
    def position(self) -> int:
        """Stream position: the number of the next caller sample, from 0."""
        return self._position

    @property
    def is_paused(self) -> bool:
        """Whether either side holds the stream paused."""
        return self._pauses.is_paused

    @property
    def socket_should_close(self) -> bool:
        """Whether the socket is now to be closed, without a code, once everything is sent."""
        return self._state is SessionState.CLOSED

    @property
    def last_seq(self) -> int:
        """``seq`` of the last message sent."""
        return self._seq

    @property
    def last_server_seq(self) -> int:
        """``seq`` of the last server message that was in order; 0 before any."""
        return self._serverseq

    def elapsed(self, now: float) -> float:
        """Seconds since ``open``."""
        return now - self._began

    def messages_to_send(self) -> list[str | bytes]:
        """Take the messages to send, in the order in which they must go out."""
        messages, self._out = self._out, []
        return messages

    def take_events(self) -> list[ev.Event]:
        """Take the events since the last call, in order."""
        taken = list(self._events)
        self._events.clear()
        return taken

    # Time.

    def next_deadline(self) -> float | None:
        """When :meth:`tick` must next be called, None if nothing is due at any time."""
        due = (self._deadline, self._pings.due, self.playback.next_deadline())
        return min((moment for moment in due if moment is not None), default=None)

    def tick(self, now: float) -> None:
        """Do what has become due by ``now``: play, ping, time out."""
        drained_at = self.playback.advance(now)
        if drained_at is not None and self._state is SessionState.OPEN:
            self._emit(ev.PlaybackCompleted(self.elapsed(drained_at)))
            self._send(_T.PLAYBACK_COMPLETED, {}, now)
        if self._deadline is not None and now >= self._deadline:
            self._on_deadline(now)
        if self._pings.due is not None and now >= self._pings.due:
            self._pings.pass_due(now)
            if self._pings.outstanding is None:
                self._ping(now)
            else:
                seq = self._pings.outstanding.seq
                self._violate(Rule.PONG_TIMEOUT, f"ping {seq} had no pong", now)

    def _on_deadline(self, now: float) -> None:
        self._deadline = None
        if self._state is SessionState.OPENING:
            self._violate(Rule.OPEN_TIMEOUT, f"no 'opened' in {self.timeouts.open:g} s", now)
        elif self._state is SessionState.CLOSING:
            detail = f"no 'closed' in {self.timeouts.close:g} s"
            self._violate(Rule.CLOSE_TIMEOUT, detail, now)
            self._state = SessionState.CLOSED

    # The client's own moves.

    def _ping(self, now: float) -> None:
        rtt = self._pings.last_rtt
        parameters = {} if rtt is None else {"rtt": format_duration(Fraction(rtt))}
        self._send(_T.PING, parameters, now)
        self._pings.sent(self._seq, now)

    def _pause(self, by: ev.Party, now: float) -> None:
        self._pauses.pause(by, self._position)
        self._send(_T.PAUSED, {}, now)
        self._emit(ev.Paused(self.elapsed(now), by))

    def _resume(self, by: ev.Party, now: float) -> None:
        gap = self._pauses.resume(by, self._position)
        if gap is not None:
            self._send(_T.RESUMED, gap_parameters(*gap), now)
            self._emit(ev.Resumed(self.elapsed(now), by, *gap))
        elif by is ev.Party.SERVER:
            # Still paused on this side, and the server's ``resume`` wants an answer.
            self._send(_T.PAUSED, {}, now)
            self._emit(ev.Paused(self.elapsed(now), ev.Party.CLIENT))

    def _barge_in(self, now: float) -> None:
        was_playing = self.playback.is_playing
        dropped = self.playback.clear(now)
        self._emit(ev.BargedIn(self.elapsed(now), dropped))
        if was_playing and self._completed_after_barge_in:
            self._emit(ev.PlaybackCompleted(self.elapsed(now)))
            self._send(_T.PLAYBACK_COMPLETED, {}, now)

    def _discard(self, samples: int, now: float) -> None:
        start = self._position
        self._position += samples
        self._send(_T.DISCARDED, gap_parameters(start, samples), now)

    def _close(self, reason: CloseReason, now: float) -> bool:
        if self._state not in (SessionState.OPENING, SessionState.OPEN):
            return False
        self._stop(now)
        self._state = SessionState.CLOSING
        self.close_reason = reason
        self._close_sent_at = now
        self._deadline = now + self.timeouts.close
        self._send(_T.CLOSE, {"reason": reason}, now, note=reason)
        self._emit(ev.CloseSent(self.elapsed(now), reason))
        return True

    def _stop(self, now: float) -> None:
        self._pings.stop()
        self.unheard_at_end += self.playback.clear(now)

    def _check_size(self, size: int) -> None:
        if size > self.limits.message_bytes:
            raise BrokenRuleError(
                Rule.MESSAGE_TOO_LARGE, f"{size} bytes, at most {self.limits.message_bytes}"
            )

    def _has_token(self, rule: Rule, now: float) -> bool:
        # A session that is closing has stopped judging: its peer may be emptying a queue.
        return self._state is SessionState.CLOSING or self.buckets[rule].take(now)

    def _above_rate(self, rule: Rule) -> BrokenRuleError:
        bucket = self.buckets[rule]
        return BrokenRuleError(
            rule, f"above {bucket.rate:g} messages/s with a burst of {bucket.burst:g}"
        )

    def _retry_after(self, rule: Rule, now: float) -> dict[str, str]:
        bucket = self.buckets.get(rule)
        if bucket is None:
            return {}
        # Rounded up to a millisecond: a server that waits exactly that long finds its token.
        milliseconds = int(bucket.wait_time(now) * 1000) + 1
        return {"retryAfter": format_duration(Fraction(milliseconds, 1000))}

    def _violate(self, rule: Rule, detail: str, now: float, **parameters: str) -> None:
        """Act on a broken rule as the table says."""
        reaction = REACTIONS[rule]
        at = self.elapsed(now)
        if self._inbound is not None:
            self.capture.annotate(self._inbound, rule)
        if reaction.severity is Severity.WARNING:
            return self._emit(ev.ProtocolWarning(at, rule, detail))
        self._emit(ev.Violation(at, rule, reaction.code, detail, reaction.ends_call))
        # A client that closes over one error does not report another, the missing ``closed``
        # excepted (reference client).
        gave_up = self.close_reason is CloseReason.ERROR and rule is not Rule.CLOSE_TIMEOUT
        if reaction.code is None or self._state in _MUTE or gave_up:
            return None
        text = f"{reaction.text}: {detail}"[:200] if reaction.detailed else reaction.text
        error = {"code": reaction.code, "message": text, **parameters}
        self._send(_T.ERROR, error, now, note=f"{reaction.code} {text}")
        if reaction.ends_call:
            self._close(CloseReason.ERROR, now)
        return None

    def _ignore(self, kind: str, why: str, now: float) -> None:
        self._emit(ev.MessageIgnored(self.elapsed(now), kind, why))

    def _require_open(self, what: str, now: float) -> None:
        self.tick(now)
        if self._state is not SessionState.OPEN:
            raise CallStateError(f"cannot {what}: the session is {self._state}")

    def _send(
        self, kind: AudioHookMessageType, parameters: Mapping[str, Any], now: float, note: str = ""
    ) -> None:
        """Stamp a message and queue it. The queue is in wire order, and so are the stamps."""
        self._seq += 1
        self._put(self._stamped(kind, parameters), now, note)

    def _stamped(self, kind: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "version": PROTOCOL_VERSION,
            "type": kind,
            "id": self.parameters.session_id,
            "seq": self._seq,
            "serverseq": self._serverseq,
            "position": samples_to_duration(self._position),
            "parameters": parameters,
        }

    def _put(self, message: Mapping[str, Any], now: float, note: str = "") -> None:
        text = json.dumps(message, separators=(",", ":"))
        self._out.append(text)
        self._record(now, Direction.TO_SERVER, message["type"], message["seq"], text, note)

    def _put_audio(self, payload: bytes, now: float, note: str = "") -> None:
        self._out.append(payload)
        self._record(now, Direction.TO_SERVER, AUDIO, None, payload, note)

    def _record(
        self,
        now: float,
        direction: Direction,
        kind: str,
        seq: int | None,
        content: str | bytes,
        note: str = "",
    ) -> int:
        return self.capture.add(
            CaptureEntry(
                self.elapsed(now),
                direction,
                str(kind),
                seq,
                wire_size(content),
                note=note,
                content=content if self._record_audio or isinstance(content, str) else None,
            )
        )

    def _emit(self, event: ev.Event) -> None:
        self._events.append(event)


def gap_parameters(start: int, samples: int) -> dict[str, str]:
    """Parameters of ``discarded`` and ``resumed``: where audio is missing, and how much."""
    return {"start": samples_to_duration(start), "discarded": samples_to_duration(samples)}
