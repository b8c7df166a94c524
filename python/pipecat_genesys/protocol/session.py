"""The state of one AudioHook session, without I/O.

Rules of this file:

* No function waits, logs, reads a clock or generates an id.
* If the peer breaks a rule, a `Faulted` event is returned and counted. No exception is raised.
* Only `AudioHookSession.to_wire` adds the ``seq`` of a message. Therefore the numbers on the wire
  increase by 1 from message to message, even if the drafts were made in another order.
* `states` has the tables of the messages that each state allows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from . import events, fields, server_messages
from .client_messages import (
    PARAMETERS,
    TYPES,
    ContinuedSession,
    Envelope,
    OpenParameters,
    decode,
    parse_strict,
    validate,
)
from .errors import LocalProtocolError, RemoteProtocolError, Rule
from .media import MediaPreference, preferred_entry, select_media
from .pauses import Pauses
from .positions import PositionMap
from .server_messages import Draft, WireMessage
from .states import (
    AUDIO,
    DISCONNECTS,
    ENDED,
    ENVELOPE_CHECKED,
    FAULTY,
    INCOMING,
    LOST,
    OUTGOING,
    UNOPENED,
    State,
)
from .types import (
    MAX_MESSAGE_BYTES,
    PROTOCOL_VERSION,
    WIRE_SAMPLE_RATE,
    DisconnectReason,
    Media,
    digits_to_samples,
    duration_to_samples,
    parse_duration,
)
from .types import AudioHookMessageType as Type

_Raw = dict[str, Any]
# `tuple.__new__` takes half the time of the constructor of a named tuple.
_new_tuple = tuple.__new__
# The requests that `paused` and `resumed` answer. `paused` can also answer `opened` with
# `startPaused`.
_ANSWERED = frozenset({Type.PAUSE, Type.RESUME})
# States in which the `position` of a message is compared with `AudioHookSession.position`.
_TIMED = frozenset({State.OPENING, State.ACTIVE})
# Every packet or message needs these enumeration members, and a lookup in an enumeration is slow.
_ACTIVE, _FAILED = State.ACTIVE, State.FAILED
_OPEN, _OPENED, _DISCONNECT, _RESUMED = Type.OPEN, Type.OPENED, Type.DISCONNECT, Type.RESUMED


class AudioHookSession:
    """The server's side of one AudioHook session.

    Pass received messages to `receive_text` and `receive_audio`, act on the returned events, and
    pass every message to send through `to_wire` when the socket is ready for the message.

    Attributes:
        preference: The preferred medium, if the client offers it.
        state: The state of the session.
        session_id: The session id, as the client sent it; before ``open``, the argument
            `session_id` of the constructor.
        media: The medium chosen at ``open``.
        is_probe: Whether this session only tests the connection.
        language: The conversation's language, as ``open`` or the last ``update`` gave it.
        continued_sessions: The sessions that this session continues, after a reconnection.
        pauses: The pauses that this side requested; `State.PAUSED` tells whether audio flows.
        position: The stream position in samples per channel. It is the number of samples received
            plus the number of samples that the client reported as discarded. Without a medium, it
            is the last position in a message.
        positions: Maps received samples to stream positions.
        disconnect_sent: Whether `to_wire` has numbered a ``disconnect``.
        server_seq: ``seq`` of the last message that `to_wire` has numbered.
        client_seq: ``seq`` of the last message received.
        faults: Number of times that the peer broke each rule.
    """

    __slots__ = (
        "_id_known",
        "_id_text",
        "_opened",
        "_strict",
        "_unnumbered",
        "_verdict",
        "client_seq",
        "continued_sessions",
        "disconnect_sent",
        "faults",
        "is_probe",
        "language",
        "media",
        "pauses",
        "position",
        "positions",
        "preference",
        "server_seq",
        "session_id",
        "state",
    )

    def __init__(
        self,
        session_id: str,
        preference: MediaPreference | None = None,
        *,
        strict: bool = False,
    ) -> None:
        """Create a session that waits for ``open``.

        Args:
            session_id: The id that is used until the client sends another id.
            preference: The preferred medium, if the client offers it.
            strict: Whether to refuse an ``open`` without a required field, as Genesys's reference
                server does. Otherwise the missing field is counted as a fault.
        """
        self._strict = strict
        self.preference = preference or MediaPreference()
        self.disconnect_sent = False
        self._opened = False
        self._id_known = False
        self._verdict: Draft | None = None
        # Number of messages since the last message with a readable `seq`. Each of these messages
        # can have used a sequence number.
        self._unnumbered = 0
        self.state = State.PREPARING
        self._identify(session_id)
        self.media: Media | None = None
        self.is_probe = False
        self.language: str | None = None
        self.continued_sessions: tuple[ContinuedSession, ...] = ()
        self.pauses = Pauses()
        self.positions = PositionMap()
        self.position = 0
        self.server_seq = 0
        self.client_seq = 0
        self.faults: Counter[Rule] = Counter()

    # -- messages from the peer ------------------------------------------------------------

    def receive_text(self, text: str) -> list[events.Event]:
        """Handle one text message.

        Args:
            text: The message.

        Returns:
            The events that the message caused, faults first; no events if the message has no effect
            in the current state.
        """
        raw = parse_strict(text)
        exact = raw is not None
        if raw is not None and self._take_number(raw):
            return self._handle(TYPES[raw["type"]], raw, exact=True)
        if raw is None:
            try:
                raw = decode(text)
            except RemoteProtocolError as error:
                self._unnumbered += 1
                return [self._fault(error)]
        name = raw.get("type")
        message_type = TYPES.get(name) if isinstance(name, str) else None
        found: list[events.Event] = []
        if message_type is None:
            detail = f"unknown message type {repr(name)[:40]}"
            found.append(self._fault(RemoteProtocolError(Rule.UNKNOWN_TYPE, detail), raw))
        elif not exact:
            found += [self._fault(f, raw) for f in validate(Envelope, raw, Rule.ENVELOPE)[1]]
        wrong = self._check_envelope(raw) if self.state in ENVELOPE_CHECKED else None
        if wrong is not None and message_type is not Type.CLOSE:
            return [*found, self._fail(wrong, raw)]
        if wrong is None:
            self._note_seq(raw)
        else:
            # An invalid `close` is answered too, because the client waits 10 s for `closed`.
            found.append(self._fault(wrong, raw))
        if message_type is not None:
            found += self._handle(message_type, raw, exact=exact)
        return found

    def receive_audio(self, n_bytes: int) -> int:
        """Record one binary message.

        Args:
            n_bytes: The length of the message.

        Returns:
            The number of bytes at the start of the message that are audio of the call: all bytes
            except an incomplete sample at the end, or 0 if the state has no audio.
        """
        media = self.media
        if media is None or self.state is not _ACTIVE:
            if self.state not in ENDED:
                self.faults[Rule.AUDIO_STATE] += 1
            if media is None or self.state not in AUDIO:
                return 0
        rest = n_bytes % media.frame_bytes
        if rest:
            self.faults[Rule.AUDIO_LENGTH] += 1
        self.position += n_bytes // media.frame_bytes
        return n_bytes - rest

    def leave_out(self, n_bytes: int) -> None:
        """Record that the newest audio is not given to the pipeline.

        `positions` then counts this audio as a gap.

        Args:
            n_bytes: The number that `receive_audio` returned for this audio.
        """
        if self.media is not None:
            before = self.position - n_bytes // self.media.frame_bytes
            self.positions.skip(before, self.position)

    def connection_lost(self) -> events.ConnectionLost | None:
        """Record the end of the connection, whichever side closed the socket.

        Returns:
            The event, or None if the session had ended before.
        """
        state = self.state
        self.state = LOST[state]
        return events.ConnectionLost(state=state) if state is not self.state else None

    # -- messages to the peer --------------------------------------------------------------

    def allows(self, message_type: Type) -> bool:
        """Return whether a message of this type may be sent now."""
        if self.disconnect_sent and message_type is _DISCONNECT:
            return False
        if not self._opened and message_type not in UNOPENED:
            return False
        return message_type in OUTGOING[self.state]

    def to_wire(self, draft: Draft) -> WireMessage:
        """Add a sequence number to a message, and encode the message as JSON.

        Call this method when the socket is ready for the message, and send the returned text before
        this method is called again, so that messages are sent in the order of their numbers.

        Args:
            draft: The message. After a fault that ends the session, any ``disconnect`` is replaced
                by a ``disconnect`` that names the fault.

        Returns:
            The text to send, with its type, its ``seq`` and its parameters.

        Raises:
            LocalProtocolError: If the message may not be sent in this state, is larger than
                Genesys accepts, or is not JSON. The session is then unchanged.
        """
        message_type, parameters, answers = draft
        if message_type is _DISCONNECT and self._verdict is not None:
            # A failed session reports its original fault, whichever side disconnects.
            parameters = self._verdict.parameters
        target = OUTGOING[self.state].get(message_type)
        if (
            target is None
            or not (self._opened or message_type in UNOPENED)
            or (self.disconnect_sent and message_type is _DISCONNECT)
        ):
            again = " again" if message_type is _DISCONNECT and self.disconnect_sent else ""
            raise LocalProtocolError(
                f"{message_type.value!r} may not be sent{again} while {self.state.value}"
            )
        # `opened` repeats values from the client; most other messages have no parameters.
        encode = fields.encode_read if message_type is _OPENED else fields.encode
        try:
            encoded = encode(parameters) if parameters else "{}"
        except (TypeError, ValueError, RecursionError) as error:
            raise LocalProtocolError(
                f"{message_type.value!r} cannot be written as JSON: {error}"
            ) from None
        # The envelope is formatted as text, because usually only its numbers change. `!s` is three
        # times as fast as the format method of an enumeration.
        seq = self.server_seq + 1
        text = (
            f'{{"version": "{PROTOCOL_VERSION}", "type": "{message_type!s}", '
            f'"seq": {seq}, "clientseq": {self.client_seq if answers is None else answers}, '
            f'"id": {self._id_text}, "parameters": {encoded}}}'
        )
        size = fields.wire_size(text)
        if size > MAX_MESSAGE_BYTES:
            raise LocalProtocolError(
                f"{message_type.value!r} has {size} bytes; Genesys accepts at most "
                f"{MAX_MESSAGE_BYTES} bytes in a message"
            )
        self.server_seq = seq
        self.state = target
        if message_type is _OPENED:
            self._opened = True
        if message_type is _DISCONNECT:
            self.disconnect_sent = True
            self.state = DISCONNECTS[parameters.get("reason") == DisconnectReason.COMPLETED]
        elif message_type in _ANSWERED or (parameters and parameters.get("startPaused")):
            self.pauses.ask(message_type, seq)
        return _new_tuple(WireMessage, (text, message_type, seq, parameters))

    # -- checks of received messages -------------------------------------------------------

    def _identify(self, session_id: str) -> None:
        self.session_id = session_id
        self._id_text = fields.encode(session_id)

    def _take_number(self, raw: _Raw) -> bool:
        """Accept a valid message, if its sequence numbers and its id have the expected values."""
        if (
            raw["seq"] != self.client_seq + 1
            or raw["id"] != self.session_id
            or raw["serverseq"] > self.server_seq
        ):
            return False
        self.client_seq += 1
        self._unnumbered = 0
        return True

    def _check_envelope(self, raw: _Raw) -> RemoteProtocolError | None:
        """Check the values of the envelope; return the fault that ends the session, or None."""
        version, identity = raw.get("version"), raw.get("id")
        seq, serverseq = fields.integer(raw, "seq"), fields.integer(raw, "serverseq")
        if version is not None and version != PROTOCOL_VERSION:
            return RemoteProtocolError(
                Rule.VERSION, f"protocol version {repr(version)[:20]}; this side speaks '2'"
            )
        if not self._id_known and fields.is_usable_id(identity):
            # `open` had no id, so the first received id becomes the id of the session.
            self._identify(str(identity))
            self._id_known = True
        if identity is not None and identity != self.session_id:
            return RemoteProtocolError(Rule.ID, "message of another session id")
        expected = self.client_seq + 1
        if seq is not None and not expected <= seq <= expected + self._unnumbered:
            return RemoteProtocolError(
                Rule.SEQ, f"Invalid seq value {fields.short(seq)}; expected {expected}"
            )
        if serverseq is not None and serverseq > self.server_seq:
            return RemoteProtocolError(
                Rule.SERVERSEQ,
                f"Invalid serverseq value {fields.short(serverseq)}; the last seq of the server "
                f"is {self.server_seq}",
            )
        return None

    def _note_seq(self, raw: _Raw) -> None:
        seq = fields.integer(raw, "seq")
        if seq is None or not 0 <= seq < 2**63:
            self._unnumbered += 1
        else:
            # The counting of messages begins with `open`, so earlier sequence numbers are not kept.
            before = 0 if self.state is State.PREPARING else self.client_seq
            self.client_seq = max(seq, before)
            self._unnumbered = 0

    def _handle(self, message_type: Type, raw: _Raw, *, exact: bool) -> list[events.Event]:
        target = INCOMING[self.state].get(message_type)
        if target is None:
            detail = f"{message_type.value!r} is not allowed while {self.state.value}"
            return [self._fault(RemoteProtocolError(Rule.STATE, detail), raw)]
        found: list[events.Event] = []
        parameters = raw.get("parameters")
        if not exact:
            parameters = {} if parameters is None else parameters
            typed, faults = validate(PARAMETERS[message_type], parameters, Rule.PARAMETERS)
            found += [self._fault(fault, raw) for fault in faults]
            parameters = parameters if typed is not None else None
        event = _HANDLERS[message_type](self, raw, parameters)
        if event is None:
            return found
        # The client's clock keeps running during a pause. `resumed` reports the skipped audio,
        # unless the session ends during the pause.
        if message_type is _RESUMED or (self.state in _TIMED and message_type is not _OPEN):
            self._check_position(raw, exact)
        # If the handler refused an unusable `open`, the state is already `FAILED` and must not
        # change.
        if self.state is not _FAILED or target is State.CLOSING:
            self.state = target
        found.append(event)
        return found

    def _check_position(self, raw: _Raw, exact: bool) -> None:
        if exact:
            said = digits_to_samples(raw["position"][2:-1])
        else:
            try:
                said = duration_to_samples(raw.get("position"))
            except ValueError:
                return  # the fault was already counted as a fault of the envelope
        if self.media is None:
            # Without audio there are no samples to count, but the client's clock runs, so the
            # position is taken from the message.
            self.position = said
        elif said != self.position:
            self.faults[Rule.POSITION] += 1

    def _fault(self, error: RemoteProtocolError, raw: _Raw | None = None) -> events.Faulted:
        self.faults[error.rule] += 1
        return events.Faulted(error=error, raw=raw)

    def _fail(
        self, error: RemoteProtocolError, raw: _Raw, *, counted: bool = False
    ) -> events.Faulted:
        if not counted:
            self.faults[error.rule] += 1
        self.state = FAULTY[self.state]
        self._verdict = server_messages.disconnect(DisconnectReason.ERROR, info=str(error))
        return events.Faulted(error=error, raw=raw, reply=self._verdict)

    # -- one method for each type of client message ------------------------------------------

    def _on_open(self, raw: _Raw, parameters: _Raw | None) -> events.Event:
        if fields.is_usable_id(raw.get("id")):
            self._identify(raw["id"])
            self._id_known = True
        lenient = parameters or fields.parameters(raw)
        position = raw.get("position", "PT0S")
        if position != "PT0S":  # PT0S means that the session does not continue another session
            try:
                self.position = duration_to_samples(position)
            except ValueError:
                self.position = 0  # the fault was already counted as a fault of the envelope
            self.positions = PositionMap(self.position)
        self.language = fields.typed(lenient, "language", str)
        self.is_probe = fields.is_probe(lenient)
        continued = parameters and parameters.get("continuedSessions")
        if continued:
            self.continued_sessions = tuple(map(ContinuedSession.model_validate, continued))
        unusable = self._refuse_open(raw, lenient) if self._strict else None
        unusable = unusable or self._choose_media(raw, lenient.get("media"))
        return unusable or events.OpenReceived(raw=raw, media=self.media, is_probe=self.is_probe)

    def _refuse_open(self, raw: _Raw, parameters: _Raw) -> events.Event | None:
        _, faults = validate(Envelope, raw, Rule.ENVELOPE)
        faults += validate(OpenParameters, parameters, Rule.PARAMETERS)[1]
        for fault in faults:
            # Unknown fields are accepted, because new clients add fields. The other faults were
            # already counted.
            if fault.rule is not Rule.UNKNOWN_FIELD:
                return self._fail(fault, raw, counted=True)
        if raw["seq"] != 1:
            shown = fields.short(raw["seq"])
            return self._fail(
                RemoteProtocolError(Rule.SEQ, f"Invalid seq value {shown}; expected 1"), raw
            )
        return None

    def _choose_media(self, raw: _Raw, offer: object) -> events.Event | None:
        version = raw.get("version")
        if version is not None and version != PROTOCOL_VERSION:
            shown = repr(version)[:20]
            return self._fail(
                RemoteProtocolError(
                    Rule.VERSION, f"protocol version {shown}; this side speaks '2'"
                ),
                raw,
            )
        if offer is None:
            # If `open` has no field `media`, Pipecat's serializer accepts the call and uses the
            # medium that the application prefers. This session does the same. The missing field was
            # already counted as a fault.
            self.media = select_media([preferred_entry(self.preference)], self.preference)
            return None
        entries = offer if isinstance(offer, list) else []
        self.media = select_media(entries, self.preference)
        if self.media is not None or self.is_probe:
            return None
        return self._fail(
            RemoteProtocolError(
                Rule.MEDIA, "no supported media offered; PCMU or L16 at 8000 Hz is needed"
            ),
            raw,
        )

    def _on_close(self, raw: _Raw, parameters: _Raw | None) -> events.Event:
        reason = parameters["reason"] if parameters else "unknown"
        return events.CloseReceived(raw=raw, reason=reason, reply=server_messages.closed())

    def _on_ping(self, raw: _Raw, parameters: _Raw | None) -> events.Event:
        seq = raw.get("seq")
        # The pong repeats `seq` only if `seq` was accepted. The types are compared too, because
        # True equals 1.
        taken = type(seq) is int and seq == self.client_seq
        return events.PingReceived(raw=raw, reply=server_messages.pong(seq if taken else None))

    def _on_update(self, raw: _Raw, parameters: _Raw | None) -> events.Event:
        language = parameters.get("language") if parameters else None
        if language is not None:
            self.language = language
        wanted = language is not None and self.state in ENVELOPE_CHECKED
        reply = server_messages.updated() if wanted else None
        return events.UpdateReceived(raw=raw, language=language, reply=reply)

    def _on_paused(self, raw: _Raw, parameters: object) -> events.Event:
        answers = self.pauses.paused(fields.integer(raw, "serverseq"))
        return events.Paused(raw=raw, answers=answers)

    def _on_resumed(self, raw: _Raw, parameters: _Raw | None) -> events.Event:
        start, discarded = self._skip(parameters)
        answers = self.pauses.resumed(fields.integer(raw, "serverseq"))
        return events.Resumed(raw=raw, start=start, discarded=discarded, answers=answers)

    def _on_discarded(self, raw: _Raw, parameters: _Raw | None) -> events.Event:
        start, discarded = self._skip(parameters)
        return events.Discarded(raw=raw, start=start, discarded=discarded)

    def _skip(self, gap: _Raw | None) -> tuple[int, int] | tuple[None, None]:
        if gap is None:
            return None, None
        before, begin = self.position, parse_duration(gap["start"])
        # Only the end of the gap is rounded, because its start and its length may not be whole
        # samples.
        self.position = round((begin + parse_duration(gap["discarded"])) * WIRE_SAMPLE_RATE)
        self.positions.skip(before, self.position)
        start = round(begin * WIRE_SAMPLE_RATE)
        return start, self.position - start

    def _on_dtmf(self, raw: _Raw, parameters: _Raw | None) -> events.Event | None:
        return events.DtmfReceived(raw=raw, digit=parameters["digit"]) if parameters else None

    def _on_error(self, raw: _Raw, parameters: _Raw | None) -> events.Event:
        if parameters is None:
            code = fields.integer(fields.parameters(raw), "code")
            return events.ErrorReceived(raw=raw, code=code, message="")
        code, message = parameters["code"], parameters.get("message", "")
        return events.ErrorReceived(raw=raw, code=code, message=message)


def _plain(kind: type[events.Event]) -> Callable[..., events.Event]:
    def handler(session: AudioHookSession, raw: _Raw, parameters: object) -> events.Event:
        return kind(raw=raw)

    return handler


_HANDLERS: Mapping[Type, Callable[[AudioHookSession, _Raw, Any], events.Event | None]] = {
    Type.OPEN: AudioHookSession._on_open,
    Type.CLOSE: AudioHookSession._on_close,
    Type.PING: AudioHookSession._on_ping,
    Type.UPDATE: AudioHookSession._on_update,
    Type.PAUSE: _plain(events.PauseRequested),
    Type.PAUSED: AudioHookSession._on_paused,
    Type.RESUMED: AudioHookSession._on_resumed,
    Type.DISCARDED: AudioHookSession._on_discarded,
    Type.DTMF: AudioHookSession._on_dtmf,
    Type.PLAYBACK_STARTED: _plain(events.PlaybackStarted),
    Type.PLAYBACK_COMPLETED: _plain(events.PlaybackCompleted),
    Type.ERROR: AudioHookSession._on_error,
}
