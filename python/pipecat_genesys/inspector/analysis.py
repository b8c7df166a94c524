"""`CallAnalysis`: the analysis of one call, while its messages arrive.

A `GenesysClientSession` that sends nothing checks the server's messages with the simulator's rules
and computes the playback. An `AudioHookSession` checks the client's messages and counts the stream
position. Turns are found by the loudness of the caller. No message of a server or a client raises
an exception.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal

from pipecat_genesys import audio
from pipecat_genesys.capture import content_size
from pipecat_genesys.protocol.errors import Rule
from pipecat_genesys.protocol.events import Faulted
from pipecat_genesys.protocol.session import AudioHookSession
from pipecat_genesys.protocol.states import DISCONNECTS, OUTGOING
from pipecat_genesys.protocol.types import (
    WIRE_SAMPLE_RATE,
    AudioHookChannel,
    AudioHookMessageType,
    DisconnectReason,
    duration_to_samples,
    parse_media,
)
from pipecat_genesys.simulator import (
    BargedIn,
    BotAudioCompleted,
    BotAudioStarted,
    CallMode,
    Closed,
    Direction,
    Disconnected,
    Event,
    GenesysClientSession,
    Party,
    ProtocolWarning,
    ServerRule,
    SessionState,
    Underrun,
    Violation,
    new_call,
)

from .audio_tracks import HeardTrack, ReceivedTrack, Track
from .rule_sources import CLIENT_RULE_SOURCES, CLIENT_WARNINGS, SERVER_RULE_SOURCES
from .turns import TurnDetector

NOTE = "note"
"""The type of an entry that is not a message: the end of the socket, or a timeout."""

SHOWN_BYTES = 64_000
"""Maximum size of a text message that is listed with its content, in bytes."""

_T = AudioHookMessageType
_MAX_RULES = 8
_UTTERANCE_GAP = 0.5
"""Silence of at least this length, in seconds, separates two utterances of the bot."""
_LOOKAHEAD = 0.25
"""Amount of caller audio, in seconds, that must follow a time before the turn at that time is
judged."""
_FASTEST = 0.1
"""Shortest time from speech to an answer in seconds, if the caller then continues to speak. Bot
audio that begins earlier began in a pause of the caller's turn by chance."""
_MAX_LEAD = 2 * WIRE_SAMPLE_RATE
_SILENCE = b"\xff"
_MASKED_RULES = frozenset({ServerRule.BAD_ENTITY, ServerRule.OUTPUT_VARIABLES})
"""Rules about values that a recording masks."""
_COUNTED_ONLY: Mapping[Rule, str] = {
    Rule.AUDIO_STATE: "audio in a state in which the client must not send audio",
    Rule.AUDIO_LENGTH: "audio that ends in the middle of a sample",
}
"""Rules whose breaches `AudioHookSession` counts and does not report as events."""


@dataclass(frozen=True, slots=True)
class BrokenRule:
    """A rule that a message breaks.

    Attributes:
        rule: Name of the rule.
        severity: `violation` or `warning`.
        message: Text that explains how the message breaks the rule.
        source: The document or measurement that the rule is taken from.
    """

    rule: str
    severity: Literal["violation", "warning"]
    message: str
    source: str


@dataclass(slots=True)
class Message:
    """One message of a call, or a note between messages.

    Attributes:
        index: Number of the message, from 0.
        at: Seconds since `open`.
        direction: Direction of the message.
        type: Type of the message; `audio` for binary messages, `note` for notes, `?` for text
            without a type.
        seq: Sequence number, or None.
        size: Size in bytes.
        latency: Seconds between a request and this reply, or None.
        note: Text that the page shows next to the message.
        content: The JSON text or the audio bytes; None if the content is not recorded.
        audio_seconds: Duration of the audio, or None for text.
        rules: The rules that the message breaks.
    """

    index: int
    at: float
    direction: Direction
    type: str
    seq: int | None
    size: int
    latency: float | None = None
    note: str = ""
    content: str | bytes | None = field(default=None, repr=False)
    audio_seconds: float | None = None
    rules: list[BrokenRule] = field(default_factory=list)

    def as_json(self, *, full: bool = False) -> dict[str, Any]:
        """Return the attributes of this message as a JSON object for the page.

        Args:
            full: Whether to include the content of a text message above `SHOWN_BYTES`.
        """
        parsed: dict[str, Any] | None = None
        text: str | None = None
        if isinstance(self.content, str):
            if full or self.size <= SHOWN_BYTES:
                parsed = parse_object(self.content)
                text = self.content if parsed is None else None
            else:
                text = self.content[:2000]
        return {
            "i": self.index,
            "at": round(self.at, 6),
            "dir": "to_server" if self.direction is Direction.TO_SERVER else "to_client",
            "type": self.type,
            "seq": self.seq,
            "size": self.size,
            "latency": self.latency,
            "note": self.note,
            "json": parsed,
            "text": text,
            "audio_seconds": self.audio_seconds,
            "rules": [
                {
                    "rule": broken.rule,
                    "severity": broken.severity,
                    "message": broken.message,
                    "source": broken.source,
                }
                for broken in self.rules
            ],
        }


@dataclass(frozen=True, slots=True)
class Mark:
    """An event of the call, at a time or during a period.

    Attributes:
        kind: `playback_started`, `playback_completed`, `barge_in`, `pause`, `resume`, `gap`,
            `dtmf`, `turn`, `underrun`, or `bucket` for the level of the client's rate limit after a
            server message.
        at: Seconds since `open`.
        until: End of the period, or None.
        value: Information about the event: the digit of `dtmf`; the missing seconds of `gap`; the
            seconds of bot audio that `barge_in` cleared; the party of `turn`; for `bucket`, a dict
            with the `name`, `level` and `limit` of the rate limit. None for other kinds.
    """

    kind: str
    at: float
    until: float | None = None
    value: Any = None

    def as_json(self) -> dict[str, Any]:
        """Return the attributes of this mark as a JSON object for the page."""
        until = None if self.until is None else round(self.until, 4)
        return {"kind": self.kind, "at": round(self.at, 4), "until": until, "value": self.value}


@dataclass(frozen=True, slots=True)
class CallEnd:
    """How the connection of a call ended.

    Attributes:
        at: Seconds since `open`.
        by: The party that closed the connection first, or None if it is not known.
        code: Close code, or None.
        reason: Close reason, or None.
    """

    at: float
    by: Party | None
    code: int | None = None
    reason: str | None = None


class CallAnalysis:
    """The messages of a call, the rules that they break, and the results of the analysis.

    Pass every message to `receive` in the order of the wire, the current time to `tick`, and the
    end of the connection to `end`. Times are in seconds since `open`. If a time is before the
    previous time, the previous time is used.

    Args:
        mode: Mode of the call, or None to derive it from the media offer.
        session_id: Session id of the upgrade request; empty if it is not known.
        is_masked: Whether personal data is masked in the messages. If it is masked, rules about
            masked values are not checked.

    Attributes:
        messages: All messages and notes.
        marks: Events of the call, oldest first. Marks are only appended.
        version: A number that increases with every change.
        size: Size of all messages in bytes.
        ending: The end of the call, or None while it runs.
        violations: Number of broken rules with the severity `violation`.
        warnings: Number of broken rules with the severity `warning`.
    """

    def __init__(
        self,
        mode: CallMode | None = None,
        session_id: str = "",
        *,
        is_masked: bool = False,
    ) -> None:
        self.messages: list[Message] = []
        self.marks: list[Mark] = []
        self.version = 0
        self.size = 0
        self.ending: CallEnd | None = None
        self.violations = 0
        self.warnings = 0
        self._mode = mode
        self._now = 0.0
        self._is_masked = is_masked
        self._skipped: set[Direction] = set()
        self._client = GenesysClientSession(
            new_call(session_id=session_id, mode=mode or CallMode.BOT), acts=False
        )
        self._server = AudioHookSession(session_id)
        self._origin = 0
        self._caller = ReceivedTrack()
        self._agent: ReceivedTrack | None = None
        self._turns = TurnDetector()
        self._opened_latency: float | None = None
        self._latencies: list[tuple[float, float]] = []
        self._silences: list[float] = []
        # For each period of bot audio: its start; and the start of the gap before it, or None if
        # the period does not continue an utterance.
        self._bot_starts: list[tuple[float, float | None]] = []
        self._last_bot_start = -1.0
        self._barge_ins: list[tuple[float, float]] = []
        self._keys: list[float] = []
        self._underruns: list[Underrun] = []
        self._refused = 0
        self._variables: dict[str, Any] = {}
        self._last_start: float | None = None

    # Input.

    def receive(
        self,
        at: float,
        direction: Direction,
        content: str | bytes | None,
        *,
        size: int | None = None,
        note: str = "",
    ) -> Message:
        """Add a message.

        Args:
            at: Seconds since `open`.
            direction: Direction of the message.
            content: The JSON text or the audio bytes. None for audio that is not recorded; such
                audio counts as silence.
            size: Size of the message in bytes, if it differs from the size of `content`.
            note: Text that the page shows next to the message.

        Returns:
            The message. Its attribute `rules` has the rules that the message breaks.
        """
        self._advance(at)
        is_recorded = content is not None
        payload = _SILENCE * min(size or 0, 1 << 20) if content is None else content
        length = content_size(payload)
        if isinstance(payload, str) and size:
            length = size
        message = Message(
            index=len(self.messages),
            at=self._now,
            direction=direction,
            type="audio" if isinstance(payload, bytes) else "?",
            seq=None,
            size=length,
            note=note,
            content=payload if is_recorded else None,
        )
        self.messages.append(message)
        self.size += length
        if direction is Direction.TO_SERVER:
            if isinstance(payload, bytes):
                self._client_audio(message, payload)
            else:
                self._client_text(message, payload)
        elif isinstance(payload, bytes):
            self._client.receive_binary(payload, self._now)
            media = self._client.media
            message.audio_seconds = length / (media.frame_bytes if media else 1) / WIRE_SAMPLE_RATE
            self._server_message(message, "audio")
        else:
            self._find_sequence(payload)
            self._client.receive_text(payload, self._now)
            self._server_text(message, payload)
            self._server_message(message, "text")
        self.version += 1
        return message

    def tick(self, at: float) -> None:
        """Advance the time. If a rule is broken because a deadline expired, add a note with it."""
        if self.ending is None:
            self._advance(at)

    def note(self, at: float, text: str, rules: Sequence[BrokenRule] = ()) -> None:
        """Add a note, which the page shows between two messages."""
        message = Message(len(self.messages), at, Direction.FROM_SERVER, NOTE, None, 0, note=text)
        self.messages.append(message)
        for rule in rules:
            self._add_rule(message, rule)
        self.version += 1

    def skip(self) -> None:
        """Record that messages are missing, so that the `seq` of the next message may be higher."""
        self._skipped = set(Direction)

    def report_fault(self, at: float, detail: str) -> None:
        """Report that WebSocket frames of the client or the server break RFC 6455."""
        self._advance(at)
        self._client.report_breach(ServerRule.WEBSOCKET_FAULT, detail, self._now)
        self._collect(None)

    def end(
        self, at: float, by: Party | None, code: int | None = None, reason: str | None = None
    ) -> None:
        """Record the end of the socket.

        Args:
            at: Seconds since `open`.
            by: The party that closed the connection first, or None if it is not known.
            code: Close code, or None.
            reason: Close reason, or None.
        """
        if self.ending is not None:
            return
        self._advance(at)
        self.ending = CallEnd(self._now, by, code, reason)
        if by is not None and self._client.state is not SessionState.IDLE:
            self._client.socket_lost(self._now, by=by, code=code, detail=reason or "")
            self._collect(None)
        who = "" if by is None else f" by the {by}"
        with_code = "" if code is None else f", code {code}"
        self.note(self._now, f"connection closed{who}{with_code}")
        self._turns.finish()
        self._judge_turns(math.inf)
        self.version += 1

    # Results.

    @property
    def mode(self) -> CallMode:
        """Mode of the call."""
        return self._mode or CallMode.BOT

    @property
    def now(self) -> float:
        """Time of the last message, tick or end, in seconds since `open`."""
        return self._now

    @property
    def session_id(self) -> str:
        """Session id, or an empty string before it is known."""
        return self._client.parameters.session_id

    @property
    def worst_latency(self) -> float | None:
        """Longest time from the end of a caller's turn to bot audio, in seconds."""
        return max((latency for _, latency in self._latencies), default=None)

    def tracks(self) -> Mapping[str, Track]:
        """Return the audio of each party by name: `caller`, `agent` if there is one, and `bot`."""
        playback = self._client.playback
        bot = HeardTrack(
            playback.excerpt,
            lambda: playback.media_format,
            lambda: max(0, playback.sample_at(self._now)),
        )
        caller: dict[str, Track] = {"caller": self._caller}
        if self._agent is not None:
            return caller | {"agent": self._agent, "bot": bot}
        return caller | {"bot": bot}

    def numbers(self) -> dict[str, Any]:
        """Return the latencies, underruns and other results as a JSON object for the page.

        Unknown results are None.
        """
        latencies = sorted(latency for _, latency in self._latencies)
        p95 = latencies[math.ceil(0.95 * len(latencies)) - 1] if latencies else None
        return {
            "opened_latency": self._opened_latency,
            "first_audio": [
                {"turn_end": round(end, 4), "latency": round(latency, 4)}
                for end, latency in self._latencies
            ],
            "first_audio_p95": None if p95 is None else round(p95, 4),
            "barge_in_to_silence": [round(value, 4) for value in self._silences],
            "holes": len(self._underruns),
            "underruns": [
                {"at": round(one.at, 4), "duration": round(one.seconds, 4)}
                for one in self._underruns
            ],
            "refused_429": self._refused,
            "output_variables": self._variables,
        }

    # Methods for client messages.

    def _client_text(self, message: Message, text: str) -> None:
        raw = parse_object(text) or {}
        kind, seq = raw.get("type"), raw.get("seq")
        parameters = raw.get("parameters")
        parameters = parameters if isinstance(parameters, dict) else {}
        if isinstance(kind, str):
            message.type = kind[:40]
        if isinstance(seq, int) and not isinstance(seq, bool):
            message.seq = seq
        if kind == _T.OPEN and self._client.state is SessionState.IDLE:
            self._begin(raw, parameters)
        if Direction.TO_SERVER in self._skipped and message.seq is not None:
            self._skipped.discard(Direction.TO_SERVER)
            self._server.client_seq = message.seq - 1
            with suppress(ValueError):
                self._server.position = duration_to_samples(raw.get("position"))
        before = self._server.faults.copy()
        position = self._server.position
        for event in self._server.receive_text(text):
            if isinstance(event, Faulted):
                self._client_fault(message, event.error.rule, str(event.error))
        if self._server.faults[Rule.POSITION] > before[Rule.POSITION]:
            expected = self._server.position if kind == _T.RESUMED else position
            detail = (
                f"'position' is {str(raw.get('position'))[:40]}, the stream position is "
                f"PT{expected / WIRE_SAMPLE_RATE:g}S"
            )
            self._client_fault(message, Rule.POSITION, detail)
        if isinstance(kind, str):
            reason = parameters.get("reason")
            self._client.observe(
                kind,
                message.seq if message.seq is not None else self._client.last_seq,
                self._now,
                reason if isinstance(reason, str) else "",
            )
            self._collect(message)
            self._note_client_message(message, kind, parameters)

    def _begin(self, raw: Mapping[str, Any], parameters: Mapping[str, Any]) -> None:
        """Start the session with the contents of `open`."""
        media = parameters.get("media")
        offered = media if isinstance(media, list) else []
        entries = [entry for entry in offered if parse_media(entry)]
        if self._mode is None:
            has_agent = any(AudioHookChannel.INTERNAL in entry["channels"] for entry in entries)
            is_bot = "inputVariables" in parameters or not has_agent
            self._mode = CallMode.BOT if is_bot else CallMode.MONITOR
        session_id = raw.get("id")
        before = self._client
        if not isinstance(session_id, str):
            session_id = before.parameters.session_id
        asks = parameters.get("supportedLanguages") is True
        self._client = GenesysClientSession(
            new_call(
                session_id=session_id,
                media=tuple(entries),
                supported_languages=True if asks else None,
                mode=self._mode,
            ),
            acts=False,
        )
        self._client.outbox.serverseq = before.outbox.serverseq
        try:
            self._origin = duration_to_samples(raw.get("position"))
        except ValueError:
            self._origin = 0

    def _note_client_message(
        self, message: Message, kind: str, parameters: Mapping[str, Any]
    ) -> None:
        if kind == _T.DTMF:
            digit = parameters.get("digit")
            self._keys.append(self._now)
            self._mark("dtmf", self._now, value=str(digit)[:8])
        elif kind == _T.PAUSED:
            self._mark("pause", self._now)
        elif kind in (_T.RESUMED, _T.DISCARDED):
            if kind == _T.RESUMED:
                self._mark("resume", self._now)
            try:
                start = duration_to_samples(parameters.get("start")) - self._origin
                length = duration_to_samples(parameters.get("discarded"))
            except (ValueError, OverflowError):
                return
            if 0 < length <= 86_400 * WIRE_SAMPLE_RATE and start >= 0:
                begin = start / WIRE_SAMPLE_RATE
                seconds = length / WIRE_SAMPLE_RATE
                self._mark("gap", begin, begin + seconds, seconds)
        elif kind == _T.ERROR:
            code, text = parameters.get("code"), parameters.get("message")
            message.note = f"{str(code)[:10]} {str(text)[:200]}"
            self._refused += code == 429
        elif kind == _T.CLOSE:
            message.note = str(parameters.get("reason"))[:40]

    def _client_audio(self, message: Message, payload: bytes) -> None:
        before = self._server.faults.copy()
        samples_before = self._server.position
        taken = self._server.receive_audio(len(payload))
        for rule, detail in _COUNTED_ONLY.items():
            if self._server.faults[rule] > before[rule]:
                self._client_fault(message, rule, f"{len(payload)} bytes of {detail}")
        media = self._server.media
        width = media.frame_bytes if media else 1
        message.audio_seconds = len(payload) / width / WIRE_SAMPLE_RATE
        if media is None or not taken:
            return
        samples = taken // width
        start = samples_before - self._origin
        arrived = round(self._now * WIRE_SAMPLE_RATE)
        if not 0 <= start <= arrived + _MAX_LEAD:
            # The position cannot be used: it is wrong, or the stream began before the capture. Use
            # the time of arrival.
            start = max(0, arrived - samples)
        audible = payload[:taken]
        parts: tuple[bytes, ...] = (audible,)
        if len(media.channels) == 2:
            parts = audio.split_stereo(audible, media.format.sample_width)
        for channel, part in zip(media.channels, parts, strict=True):
            if channel is AudioHookChannel.EXTERNAL:
                place = max(start, self._caller.end)
                self._caller.add(start, part)
                self._hear_caller(place, place + samples)
            else:
                if self._agent is None:
                    self._agent = ReceivedTrack(media.format)
                self._agent.add(start, part)

    def _client_fault(self, message: Message, rule: Rule, detail: str) -> None:
        severity: Literal["violation", "warning"] = (
            "warning" if rule in CLIENT_WARNINGS else "violation"
        )
        source = CLIENT_RULE_SOURCES[rule]
        self._add_rule(message, BrokenRule(f"client-{rule}", severity, detail, source))

    # Methods for server messages.

    def _find_sequence(self, text: str) -> None:
        """Accept the `seq` of the first server message after missing messages."""
        if Direction.FROM_SERVER not in self._skipped:
            return
        seq = (parse_object(text) or {}).get("seq")
        if isinstance(seq, int):
            self._skipped.discard(Direction.FROM_SERVER)
            self._client.outbox.serverseq = seq - 1

    def _server_text(self, message: Message, text: str) -> None:
        raw = parse_object(text) or {}
        entry = self._client.capture.entries[-1]
        message.type, message.seq, message.latency = entry.type, entry.seq, entry.latency
        kind, parameters = raw.get("type"), raw.get("parameters")
        parameters = parameters if isinstance(parameters, dict) else {}
        if message.seq is not None and message.seq > self._server.server_seq:
            self._server.server_seq = message.seq
        if kind == _T.OPENED:
            if message.latency is not None:
                self._opened_latency = message.latency
            media = parameters.get("media")
            chosen = media[0] if isinstance(media, list) and media else None
            self._server.media = parse_media(chosen)
            if self._server.media is not None and not self._caller.end:
                self._caller = ReceivedTrack(self._server.media.format)
        if kind == _T.DISCONNECT:
            completed = parameters.get("reason") == DisconnectReason.COMPLETED
            self._server.state = DISCONNECTS[completed]
        elif kind in tuple(_T):
            state = self._server.state
            self._server.state = OUTGOING[state].get(_T(kind), state)
        if kind in (_T.DISCONNECT, _T.CLOSED):
            variables = parameters.get("outputVariables")
            if isinstance(variables, dict):
                self._variables = {**self._variables, **variables}
        if kind == _T.DISCONNECT:
            message.note = " ".join(
                str(parameters[name])[:200] for name in ("reason", "info") if name in parameters
            )
        elif kind == _T.EVENT and isinstance(parameters.get("entities"), list):
            kinds = [str(e.get("type")) for e in parameters["entities"] if isinstance(e, dict)]
            message.note = ", ".join(kinds)[:100]

    def _server_message(self, message: Message, bucket: str) -> None:
        self._collect(message)
        rule = ServerRule.BINARY_RATE if bucket == "audio" else ServerRule.TEXT_RATE
        budget = self._client.budgets[rule]
        level = {
            "name": bucket,
            "level": round(budget.level(self._now), 3),
            "limit": budget.burst,
        }
        self._mark("bucket", self._now, value=level)

    # Methods that advance the time and process the events of the session.

    def _advance(self, at: float) -> None:
        """Advance the time, and handle the deadlines up to the new time in order."""
        at = max(self._now, at)
        if self._client.state is not SessionState.IDLE:
            while (due := self._client.next_deadline()) is not None and due <= at:
                self._now = max(self._now, due)
                self._client.tick(self._now)
                self._collect(None)
                if self._client.next_deadline() == due:
                    break
        self._now = at
        self._judge_turns(at - 1.0)

    def _collect(self, message: Message | None) -> None:
        """Process the events of the session, and add broken rules to the message or to a note."""
        for event in self._client.take_events():
            if isinstance(event, (Violation, ProtocolWarning)):
                if self._is_masked and event.rule in _MASKED_RULES:
                    continue
                severity: Literal["violation", "warning"] = (
                    "violation" if isinstance(event, Violation) else "warning"
                )
                source = SERVER_RULE_SOURCES[event.rule]
                broken = BrokenRule(event.rule, severity, event.message, source)
                if message is None:
                    self.note(self._now, event.message, [broken])
                else:
                    self._add_rule(message, broken)
            else:
                self._note_event(event)

    def _note_event(self, event: Event) -> None:
        if isinstance(event, BotAudioStarted):
            at = self._now
            self._bot_starts.append((at, self._note_gap()))
            self._mark("playback_started", at)
            self._last_start = at
        elif isinstance(event, BotAudioCompleted):
            self._mark("playback_completed", event.at)
        elif isinstance(event, BargedIn):
            self._mark("barge_in", self._now, value=event.dropped / WIRE_SAMPLE_RATE)
            if self._last_start is not None and event.dropped:
                self._barge_ins.append((self._last_start, self._now))
        elif isinstance(event, (Disconnected, Closed)):
            self._variables = {**self._variables, **event.output_variables}

    def _note_gap(self) -> float | None:
        """Record an underrun if the silence before bot audio is within an utterance.

        Returns:
            Time of the beginning of the underrun, or None.
        """
        playback = self._client.playback
        if not playback.spans:
            return None
        before = playback.spans[-1]
        gap = playback.sample_at(self._now) - before.end
        # The rule is the same as in `Playback.underruns`. That method is not called, because it
        # would compare all periods of bot audio again.
        if not before.cut and gap < _UTTERANCE_GAP * WIRE_SAMPLE_RATE:
            underrun = Underrun(before.end / WIRE_SAMPLE_RATE, gap / WIRE_SAMPLE_RATE)
            self._underruns.append(underrun)
            self._mark("underrun", underrun.at, underrun.at + underrun.seconds)
            return underrun.at
        return None

    def _add_rule(self, message: Message, broken: BrokenRule) -> None:
        if broken.severity == "violation":
            self.violations += 1
        else:
            self.warnings += 1
        if len(message.rules) < _MAX_RULES:
            message.rules.append(broken)

    def _mark(self, kind: str, at: float, until: float | None = None, value: Any = None) -> None:
        self.marks.append(Mark(kind, at, until, value))
        self.version += 1

    # Turns.

    def _hear_caller(self, first: int, last: int) -> None:
        for turn in self._turns.hear(first, self._caller.pcm(first, last)):
            self._mark("turn", turn.start, turn.end, "caller")

    def _judge_turns(self, until: float) -> None:
        """Assign the bot audio and the barge-ins before a given time to the caller's turns.

        Caller audio arrives in frames, after it was spoken. Bot audio and barge-ins are therefore
        assigned only after the caller audio of the same time has arrived.
        """
        known = max(until, self._turns.heard_until - _LOOKAHEAD)
        while self._bot_starts and self._bot_starts[0][0] <= known:
            start, gap = self._bot_starts[0]
            end = self._turns.end_before(start)
            is_answer = None if end is None else self._is_answer(start, gap, end)
            if end is not None and is_answer is None and start > until:
                break  # This is decided when more caller audio has arrived.
            self._bot_starts.pop(0)
            if end is not None and is_answer and end > self._last_bot_start:
                self._latencies.append((end, start - end))
                self.version += 1
            self._last_bot_start = start
        while self._barge_ins and self._barge_ins[0][1] <= known:
            begin, silent = self._barge_ins.pop(0)
            onset = self._turns.onset_between(begin, silent)
            if onset is None:
                onset = max((key for key in self._keys if begin <= key <= silent), default=None)
            if onset is not None:
                self._silences.append(silent - onset)
                self.version += 1

    def _is_answer(self, start: float, gap: float | None, end: float) -> bool | None:
        """Return whether bot audio answers the caller's turn; None if it is not known yet.

        Args:
            start: Start of the bot audio.
            gap: Start of the gap before the bot audio; None if the bot audio does not continue an
                utterance.
            end: End of the caller's last speech before the bot audio.
        """
        if gap is not None and end < gap:
            return False
        if self._turns.heard_until < start:
            return None
        if start - end >= _FASTEST:
            return True
        goes_on = self._turns.goes_on_after(end)
        return None if goes_on is None else not goes_on


def parse_object(text: str) -> dict[str, Any] | None:
    """Parse a JSON object; return None for any other text. NaN and Infinity are not JSON."""
    try:
        value = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is not valid JSON")
