"""One call's truth, without I/O.

Rules of this file:

* Nothing here waits, logs, reads a clock or makes up an identifier.
* A peer's fault becomes a `Faulted` event and a count; it never raises.
* A message gets its ``seq`` in `AudioHookSession.to_wire` and nowhere else, so that the numbers on
  the wire are 1, 2, 3 ... whatever detours drafts take on their way to the socket.
* What may happen when is looked up in `states`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from . import events, fields, replies
from .errors import LocalProtocolError, RemoteProtocolError, Rule
from .media import MediaPreference, preferred_entry, select_media
from .messages import (
    PARAMETERS,
    CloseParameters,
    DtmfParameters,
    Envelope,
    ErrorParameters,
    GapParameters,
    OpenParameters,
    PingParameters,
    UpdateParameters,
    decode,
    validate,
)
from .replies import Draft
from .states import AUDIO, CHECKED, ENDED, INCOMING, OUTGOING, UNOPENED, State
from .types import (
    MAX_MESSAGE_BYTES,
    PROTOCOL_VERSION,
    WIRE_SAMPLE_RATE,
    DisconnectReason,
    Media,
    duration_to_samples,
)
from .types import AudioHookMessageType as Type

_Raw = dict[str, Any]
# Looked up with every packet, and slow to look up in an enumeration.
_ACTIVE = State.ACTIVE


class AudioHookSession:
    """The server's side of one AudioHook session.

    Feed it what the socket delivers (`receive_text`, `receive_audio`), act on the events it
    returns, and pass every message through `to_wire` as it is handed to the socket.

    Attributes:
        preference: Which medium to pick from the offer.
        state: Where the session stands.
        session_id: The client's id, once it has said one.
        media: The medium chosen at ``open``.
        is_probe: Whether this session only tests the connection.
        language: The conversation's language, as ``open`` or the last ``update`` gave it.
        position: The stream position in samples per channel: what was received plus what the
            client reported as discarded.
        server_seq: ``seq`` of the last message handed to the wire.
        client_seq: ``seq`` of the last message received.
        faults: How often the peer broke each rule.
    """

    def __init__(self, session_id: str, preference: MediaPreference | None = None) -> None:
        """Start a session that waits for ``open``.

        Args:
            session_id: The id to use until, or unless, the client gives one.
            preference: Which medium to pick from the offer.
        """
        self.preference = preference or MediaPreference()
        self._disconnected = False
        self._opened = False
        self._id_known = False
        self._verdict: Draft | None = None
        # Messages since the last whose `seq` could be read: any of them may have had one.
        self._unnumbered = 0
        self.state = State.PREPARING
        self.session_id = session_id
        self.media: Media | None = None
        self.is_probe = False
        self.language: str | None = None
        self.position = 0
        self.server_seq = 0
        self.client_seq = 0
        self.faults: Counter[Rule] = Counter()

    # -- from the peer ---------------------------------------------------------------------

    def receive_text(self, text: str) -> list[events.Event]:
        """Take one text message.

        Args:
            text: What the socket delivered.

        Returns:
            What happened, faults first. Empty where a message means nothing now.
        """
        try:
            raw = decode(text)
        except RemoteProtocolError as error:
            self._unnumbered += 1
            return [self._fault(error)]
        message_type, found = self._read_type(raw)
        wrong = self._check_envelope(raw) if self.state in CHECKED else None
        if wrong is not None and message_type is not Type.CLOSE:
            return [*found, self._fail(wrong, raw)]
        if wrong is None:
            self._note_seq(raw)
        else:
            # The client is leaving, and waits 10 s for `closed` whatever it got wrong.
            found.append(self._fault(wrong, raw))
        if message_type is None:
            return found
        target = INCOMING[self.state].get(message_type)
        if target is None:
            detail = f"{message_type.value!r} means nothing while {self.state.value}"
            return [*found, self._fault(RemoteProtocolError(Rule.STATE, detail), raw)]
        handled = self._handle(message_type, raw, target)
        return [*found, *handled]

    def receive_audio(self, n_bytes: int) -> int:
        """Take note of one binary message.

        Args:
            n_bytes: Its length.

        Returns:
            How many of its bytes, from the first, are audio of the call: all of them, less a
            broken sample at the end; none where audio has no place in the state.
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

    # -- to the peer -----------------------------------------------------------------------

    def allows(self, message_type: Type) -> bool:
        """Whether a message of this type may be handed to the wire now."""
        if message_type is Type.DISCONNECT and self._disconnected:
            return False
        if not self._opened and message_type not in UNOPENED:
            return False
        return message_type in OUTGOING[self.state]

    def to_wire(self, draft: Draft) -> str:
        """Give a message its place on the wire.

        Call it when the socket is ready for the message and send what it returns before calling
        it again: the order of the calls is the order of the sequence numbers.

        Args:
            draft: The message.

        Returns:
            The text to send.

        Raises:
            LocalProtocolError: If the message may not be sent in this state, is larger than
                Genesys accepts, or is not JSON. Nothing has changed then.
        """
        if draft.type is Type.DISCONNECT and self._verdict is not None:
            # Whoever ends a broken session first, what it ended of is what is said.
            draft = self._verdict
        if not self.allows(draft.type):
            again = " again" if draft.type is Type.DISCONNECT and self._disconnected else ""
            raise LocalProtocolError(
                f"{draft.type.value!r} may not be sent{again} while {self.state.value}"
            )
        answers = self.client_seq if draft.answers is None else draft.answers
        message = {
            "version": PROTOCOL_VERSION,
            "type": draft.type.value,
            "seq": self.server_seq + 1,
            "clientseq": answers,
            "id": self.session_id,
            "parameters": draft.parameters,
        }
        try:
            text, size = fields.encode(message)
        except (TypeError, ValueError, RecursionError) as error:
            raise LocalProtocolError(
                f"{draft.type.value!r} cannot be written as JSON: {error}"
            ) from None
        if size > MAX_MESSAGE_BYTES:
            raise LocalProtocolError(
                f"{draft.type.value!r} takes {size} bytes; Genesys accepts "
                f"{MAX_MESSAGE_BYTES} in a message"
            )
        self.server_seq += 1
        self.state = OUTGOING[self.state][draft.type]
        self._opened |= draft.type is Type.OPENED
        if draft.type is Type.DISCONNECT:
            self._disconnected = True
            if draft.parameters.get("reason") != DisconnectReason.COMPLETED:
                self.state = State.FAILED
        return text

    # -- reading ---------------------------------------------------------------------------

    def _read_type(self, raw: _Raw) -> tuple[Type | None, list[events.Event]]:
        name = raw.get("type")
        if not isinstance(name, str) or name not in PARAMETERS:
            shown = f"unknown message type {repr(name)[:40]}"
            return None, [self._fault(RemoteProtocolError(Rule.UNKNOWN_TYPE, shown), raw)]
        _, faults = validate(Envelope, raw, Rule.ENVELOPE)
        return Type(name), [self._fault(fault, raw) for fault in faults]

    def _check_envelope(self, raw: _Raw) -> RemoteProtocolError | None:
        """Find what ends the session: wrong values. Absent ones have been counted already."""
        version, identity = raw.get("version"), raw.get("id")
        seq, serverseq = fields.integer(raw, "seq"), fields.integer(raw, "serverseq")
        if version is not None and version != PROTOCOL_VERSION:
            return RemoteProtocolError(
                Rule.VERSION, f"protocol version {repr(version)[:20]}; this side speaks '2'"
            )
        if not self._id_known and fields.is_usable_id(identity):
            # `open` had none, so the first one seen is the session's.
            self.session_id, self._id_known = str(identity), True
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
                f"Invalid serverseq value {fields.short(serverseq)}; sent {self.server_seq}",
            )
        return None

    def _note_seq(self, raw: _Raw) -> None:
        seq = fields.integer(raw, "seq")
        if seq is None or not 0 <= seq < 2**63:
            self._unnumbered += 1
        else:
            # Counting begins with `open`, whatever came before it said.
            before = 0 if self.state is State.PREPARING else self.client_seq
            self.client_seq = max(seq, before)
            self._unnumbered = 0

    def _handle(self, message_type: Type, raw: _Raw, target: State) -> list[events.Event]:
        parameters = raw.get("parameters")
        model = PARAMETERS[message_type]
        typed, faults = validate(model, {} if parameters is None else parameters, Rule.PARAMETERS)
        found: list[events.Event] = [self._fault(fault, raw) for fault in faults]
        event = _HANDLERS[message_type](self, raw, typed)
        if event is None:
            return found
        # While paused the client's clock runs on; what it skipped comes with `resumed`.
        if message_type is not Type.OPEN and (
            self.state is not State.PAUSED or message_type is Type.RESUMED
        ):
            self._check_position(raw)
        # A handler may have ended the session (an `open` that cannot be used).
        if self.state is not State.FAILED or target is State.CLOSING:
            self.state = target
        return [*found, event]

    def _check_position(self, raw: _Raw) -> None:
        if self.media is None or "position" not in raw:
            return
        try:
            said = duration_to_samples(raw["position"])
        except ValueError:
            return  # counted with the envelope
        if said != self.position:
            self.faults[Rule.POSITION] += 1

    def _fault(self, error: RemoteProtocolError, raw: _Raw | None = None) -> events.Faulted:
        self.faults[error.rule] += 1
        return events.Faulted(error=error, raw=raw)

    def _fail(self, error: RemoteProtocolError, raw: _Raw) -> events.Faulted:
        self.faults[error.rule] += 1
        self.state = State.FAILED
        self._verdict = replies.disconnect(DisconnectReason.ERROR, info=str(error))
        return events.Faulted(error=error, raw=raw, reply=self._verdict)

    # -- one method per message --------------------------------------------------------------

    def _on_open(self, raw: _Raw, typed: OpenParameters | None) -> events.Event:
        if fields.is_usable_id(raw.get("id")):
            self.session_id, self._id_known = raw["id"], True
        lenient = fields.parameters(raw)
        if "position" in raw:
            try:
                self.position = duration_to_samples(raw["position"])
            except ValueError:
                self.position = 0  # counted with the envelope
        self.language = fields.typed(lenient, "language", str)
        self.is_probe = fields.is_probe(lenient)
        unusable = self._choose_media(raw, lenient.get("media"))
        return unusable or events.OpenReceived(
            raw=raw, parameters=typed, media=self.media, is_probe=self.is_probe
        )

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
            # Pipecat's serializer opens such a session; what it then says it chose is the
            # preference. The missing field has been counted.
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

    def _on_close(self, raw: _Raw, typed: CloseParameters | None) -> events.Event:
        reason = typed.reason if typed else "unknown"
        return events.CloseReceived(raw=raw, reason=reason, reply=replies.closed())

    def _on_ping(self, raw: _Raw, typed: PingParameters | None) -> events.Event:
        seq = fields.integer(raw, "seq")
        reply = replies.pong(seq if seq == self.client_seq else None)
        return events.PingReceived(raw=raw, rtt=typed.rtt if typed else None, reply=reply)

    def _on_update(self, raw: _Raw, typed: UpdateParameters | None) -> events.Event:
        language = typed.language if typed else None
        if language is not None:
            self.language = language
        wanted = language is not None and self.state in CHECKED
        reply = replies.updated() if wanted else None
        return events.UpdateReceived(raw=raw, language=language, reply=reply)

    def _on_resumed(self, raw: _Raw, typed: GapParameters | None) -> events.Event:
        return self._skip(events.Resumed, raw, typed)

    def _on_discarded(self, raw: _Raw, typed: GapParameters | None) -> events.Event:
        return self._skip(events.Discarded, raw, typed)

    def _skip(self, kind: type[events.Gap], raw: _Raw, typed: GapParameters | None) -> events.Event:
        if typed is None:
            return kind(raw=raw, start=None, discarded=None)
        # The end is rounded once: the parts need not be whole samples.
        self.position = round((typed.start + typed.discarded) * WIRE_SAMPLE_RATE)
        start = round(typed.start * WIRE_SAMPLE_RATE)
        return kind(raw=raw, start=start, discarded=self.position - start)

    def _on_dtmf(self, raw: _Raw, typed: DtmfParameters | None) -> events.Event | None:
        return events.DtmfReceived(raw=raw, digit=typed.digit) if typed else None

    def _on_error(self, raw: _Raw, error: ErrorParameters | None) -> events.Event:
        return events.ErrorReceived(
            raw=raw,
            code=error.code if error else fields.integer(fields.parameters(raw), "code"),
            message=error.message if error else "",
            retry_after=error.retry_after if error else None,
        )


def _plain(kind: type[events.Event]) -> Callable[..., events.Event]:
    def handler(session: AudioHookSession, raw: _Raw, typed: object) -> events.Event:
        return kind(raw=raw)

    return handler


_HANDLERS: Mapping[Type, Callable[[AudioHookSession, _Raw, Any], events.Event | None]] = {
    Type.OPEN: AudioHookSession._on_open,
    Type.CLOSE: AudioHookSession._on_close,
    Type.PING: AudioHookSession._on_ping,
    Type.UPDATE: AudioHookSession._on_update,
    Type.PAUSE: _plain(events.PauseRequested),
    Type.PAUSED: _plain(events.Paused),
    Type.RESUMED: AudioHookSession._on_resumed,
    Type.DISCARDED: AudioHookSession._on_discarded,
    Type.DTMF: AudioHookSession._on_dtmf,
    Type.PLAYBACK_STARTED: _plain(events.PlaybackStarted),
    Type.PLAYBACK_COMPLETED: _plain(events.PlaybackCompleted),
    Type.ERROR: AudioHookSession._on_error,
}
