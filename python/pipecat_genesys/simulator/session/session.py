"""`GenesysClientSession`: the Genesys side of one call, without a socket and without a clock.

`_HANDLERS` has one function for each type of server message. A handler is called with a message
whose form is valid; it raises `BrokenRuleError` if the state does not allow the message.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NoReturn

from pipecat_genesys.capture.entries import AUDIO, CallMode, Direction, Party, content_size
from pipecat_genesys.protocol.types import (
    WIRE_SAMPLE_RATE,
    AudioHookMessageType,
    CloseReason,
    DisconnectReason,
    Media,
    duration_to_samples,
    parse_media,
)

from . import events as ev
from . import validation
from .machine import CallStateError, ClientMachine, PongResult, SessionState
from .parameters import FRAME_SAMPLES, CallParameters, ClientLimits, ClientTimeouts
from .playback import SILENCE, Playback
from .rules import BrokenRuleError, ServerRule
from .validation import ServerMessage

DTMF_KEYS = "0123456789*#"
"""The keys that a caller can press."""

_T = AudioHookMessageType
_CLOSING = "the session is closing"
_ENDED = (SessionState.CLOSED, SessionState.DISCONNECTED)


class GenesysClientSession:
    """The Genesys side of one call.

    Pass every server message and the passing of time to the session. After each call of a method,
    send what `messages_to_send` returns, in order, and read `take_events`. A mistake of the server
    never raises an exception: it becomes an event and, if the protocol says so, an `error`
    message. Reactions and timings were measured with Genesys's reference client; the limits of
    production are added.

    All times are in seconds on a monotonic clock.

    Args:
        parameters: Contents of `open`, and the mode of the call.
        timeouts: Timings of the client.
        limits: Limits on the messages of the server.
        record_audio: Whether to keep the audio of the call.
        completed_after_barge_in: Whether the client sends `playback_completed` after a `barge_in`
            that cleared the playback queue. The behaviour of production is unknown, so a server
            should accept both.
        acts: Whether the session sends messages and ends itself. If False, the session sends
            nothing and only checks a call of another client: pass that client's messages to
            `observe`, and the server's messages to `receive_text` and `receive_binary`. After a
            wrong `seq`, such a session continues from the received `seq`, so that each gap in the
            sequence numbers is reported only once.

    Attributes:
        parameters: Contents of `open`, and the mode of the call.
        capture: All messages of the call.
        outbox: The queue of outgoing messages. Faults write to it directly.
        budgets: The `MessageBudget` of each rate limit.
    """

    def __init__(
        self,
        parameters: CallParameters,
        *,
        timeouts: ClientTimeouts | None = None,
        limits: ClientLimits | None = None,
        record_audio: bool = True,
        completed_after_barge_in: bool = True,
        acts: bool = True,
    ) -> None:
        self._client = ClientMachine(
            parameters,
            timeouts or ClientTimeouts(),
            limits or ClientLimits(),
            record_audio=record_audio,
            completed_after_barge_in=completed_after_barge_in,
            acts=acts,
        )
        self.parameters = parameters
        self.capture = self._client.capture
        self.outbox = self._client.outbox
        self.budgets = self._client.budgets

    # State.

    @property
    def state(self) -> SessionState:
        """State of the session."""
        return self._client.state

    @property
    def media(self) -> Media | None:
        """The selected medium, or None before `opened` and in a session without audio."""
        return self._client.media

    @property
    def playback(self) -> Playback:
        """The playback queue of bot audio. `start` and `opened` may replace the object."""
        return self._client.playback

    @property
    def position(self) -> int:
        """Stream position, in samples: the number of the next caller sample, from 0."""
        return self.outbox.position

    @property
    def is_paused(self) -> bool:
        """Whether the stream is paused by the client or by the server."""
        return self._client.pauses.is_paused

    def is_paused_by(self, party: Party) -> bool:
        """Return whether the stream is paused by this party."""
        return self._client.pauses.is_held_by(party)

    @property
    def last_seq(self) -> int:
        """`seq` of the last message sent; 0 if none was sent."""
        return self.outbox.seq

    @property
    def last_server_seq(self) -> int:
        """`seq` of the last server message received in sequence; 0 if none was received."""
        return self.outbox.serverseq

    @property
    def close_reason(self) -> CloseReason | None:
        """Reason of the client's `close`, or None before it."""
        return self._client.close_reason

    @property
    def disconnected(self) -> ev.Disconnected | None:
        """The server's `disconnect`, or None."""
        return self._client.disconnected

    @property
    def closed(self) -> ev.Closed | None:
        """The server's `closed`, or None."""
        return self._client.closed

    @property
    def socket_closed(self) -> ev.SocketClosed | None:
        """The end of the socket, or None while the socket is open."""
        return self._client.socket_closed

    @property
    def unheard_at_end(self) -> int:
        """Samples of bot audio in the playback queue when the session began to close."""
        return self._client.unheard_at_end

    def elapsed(self, now: float) -> float:
        """Return the number of seconds since `open`."""
        return self._client.elapsed(now)

    # Output.

    @property
    def socket_should_close(self) -> bool:
        """Whether the socket must be closed, without a code, after all messages are sent."""
        return self.state is SessionState.CLOSED

    def messages_to_send(self) -> list[str | bytes]:
        """Remove and return the messages to send, in the order in which they must be sent."""
        return self.outbox.take()

    def take_events(self) -> list[ev.Event]:
        """Return the events, oldest first, that this method has not returned before."""
        events, self._client.events = self._client.events, []
        return events

    # Time.

    def next_deadline(self) -> float | None:
        """Return the time at which `tick` must be called next; None if nothing is planned."""
        return self._client.next_deadline()

    def tick(self, now: float) -> None:
        """Perform all actions that are due: play bot audio, send a ping, report a timeout."""
        self._client.tick(now)

    # Methods for actions of the caller and of Genesys Cloud.

    def start(self, now: float) -> None:
        """Send `open`. Call this method when the WebSocket is established.

        Raises:
            CallStateError: If the session was started before.
        """
        if self.state is not SessionState.IDLE:
            raise CallStateError("the session is already started")
        self._client.open(now)

    def send_audio(self, audio: bytes | int, now: float) -> bool:
        """Advance the stream, and send caller audio unless the stream is paused.

        Args:
            audio: Whole samples of all channels in the encoding of the medium, or a number of
                samples of silence.
            now: Time of sending.

        Returns:
            Whether the audio was sent. If it was not sent, the stream position still advances while
            the session is open: the client's sample clock runs during a pause and in a session
            without audio.

        Raises:
            CallStateError: Before `opened`. Keep the audio and send it after `opened`.
            ValueError: If `audio` does not consist of whole samples.
        """
        if self.state in (SessionState.IDLE, SessionState.OPENING):
            raise CallStateError("no audio may be sent before 'opened'")
        if self.state is not SessionState.OPEN:
            return False
        media = self.media
        width = media.frame_bytes if media else 1
        if not isinstance(audio, int) and len(audio) % width:
            raise ValueError(f"{len(audio)} bytes are not whole samples of {width} bytes")
        samples = audio if isinstance(audio, int) else len(audio) // width
        self.outbox.position += samples
        if media is None or self.is_paused or not samples:
            return False
        if isinstance(audio, int):
            audio = SILENCE[media.format] * (samples * len(media.channels))
        self.outbox.send_audio(audio, now)
        return True

    def press_dtmf(self, digit: str, now: float) -> None:
        """Send `dtmf` for a key that the caller presses.

        Raises:
            ValueError: If `digit` is not one of 0-9, `*` and `#`.
            CallStateError: If the session is not open.
        """
        if len(digit) != 1 or digit not in DTMF_KEYS:
            raise ValueError(f"{digit!r} is not a key; the keys are {', '.join(DTMF_KEYS)}")
        self._require_open("press a key", now)
        self._client.send(_T.DTMF, {"digit": digit}, now)

    def send_update(self, language: str, now: float) -> None:
        """Send `update` with a new language of the conversation.

        Raises:
            CallStateError: If the session is not open.
        """
        self._require_open("send 'update'", now)
        self._client.update_sent_at = now
        self._client.send(_T.UPDATE, {"language": language}, now)

    def send_ping(self, now: float) -> None:
        """Send a `ping` in addition to the scheduled ones."""
        self._client.send_ping(now)

    def pause(self, now: float) -> None:
        """Pause the stream on the client's side and send `paused`, as a secure flow does.

        Raises:
            CallStateError: If the session is not open.
        """
        self._require_open("pause", now)
        self._client.pause(Party.CLIENT, now)

    def resume(self, now: float) -> None:
        """End the client's pause. Nothing is sent if the server has paused the stream too.

        Raises:
            CallStateError: If the session is not open, or the client has not paused the stream.
        """
        self._require_open("resume", now)
        if not self.is_paused_by(Party.CLIENT):
            raise CallStateError("cannot resume: the client has not paused the stream")
        self._client.resume(Party.CLIENT, now)

    def report_discarded(self, samples: int, now: float) -> None:
        """Skip samples of the caller's audio, and send `discarded`.

        Args:
            samples: Number of samples to skip.
            now: Time of sending.

        Raises:
            CallStateError: If the session is not open.
            ValueError: If `samples` is not positive.
        """
        self._require_open("discard audio", now)
        if samples <= 0:
            raise ValueError(f"the number of samples to discard must be positive, got {samples}")
        self._client.discard(samples, now)

    def hand_over(self, now: float) -> bool:
        """Send `close` with reason `reconnect`: another session continues the conversation.

        Returns:
            False if the session is already closing or closed, or was not started.
        """
        self.tick(now)
        return self._client.close(CloseReason.RECONNECT, now)

    def hang_up(self, now: float) -> bool:
        """Send `close` with reason `end`.

        Returns:
            False if the session is already closing or closed, or was not started.
        """
        self.tick(now)
        return self._client.close(CloseReason.END, now)

    def _require_open(self, action: str, now: float) -> None:
        self.tick(now)
        if self.state is not SessionState.OPEN:
            raise CallStateError(f"cannot {action}: the session is {self.state}")

    # Methods for input from the server.

    def receive_text(self, text: str, now: float) -> None:
        """Process a text message from the server."""
        self._begin_message("?", text, now)
        try:
            self._process_text(text, now)
        except BrokenRuleError as error:
            self._client.react(error.breach.rule, error.breach.detail, now)
        finally:
            self._client.received_entry = None

    def receive_binary(self, payload: bytes, now: float) -> None:
        """Process an audio message from the server."""
        self._begin_message(AUDIO, payload, now)
        try:
            self._process_binary(payload, now)
        except BrokenRuleError as error:
            self._client.react(error.breach.rule, error.breach.detail, now)
        finally:
            self._client.received_entry = None

    def socket_lost(
        self, now: float, *, by: Party, code: int | None = None, detail: str = ""
    ) -> None:
        """End the session because the socket is closed.

        Args:
            now: Time of the end.
            by: The party that closed the socket. A server that closes the socket breaks a rule.
            code: Close code received from the server, or None if no close frame was received.
            detail: Further information from the transport.
        """
        if self.state is SessionState.DISCONNECTED:
            return
        self.tick(now)
        if by is Party.SERVER:
            closed_with = f"code {code}" if code is not None else "no close frame"
            text = f"socket closed by the server while {self.state} ({closed_with}) {detail}"
            self.report_breach(ServerRule.SERVER_CLOSED_SOCKET, text.strip(), now)
        self._client.disconnect(by, code, now)

    def report_breach(self, rule: ServerRule, detail: str, now: float) -> None:
        """React to a broken rule that only the owner of the socket can observe.

        Args:
            rule: The broken rule.
            detail: Text that explains how the server broke the rule.
            now: Time of the observation.
        """
        self._client.react(rule, detail, now)

    # Method for the messages of another client.

    def observe(self, kind: str, seq: int, now: float, reason: str = "") -> None:
        """Process a text message that another client sent. Only for a session without `acts`.

        Args:
            kind: Type of the message.
            seq: `seq` of the message.
            now: Time of the message.
            reason: Parameter `reason` of `close`.

        Raises:
            CallStateError: If `acts` is true.
        """
        client = self._client
        if client.acts:
            raise CallStateError("a session that acts itself cannot follow another client")
        self.tick(now)
        if kind == _T.OPEN and self.state is SessionState.IDLE:
            client.open(now)
        self.outbox.seq = seq
        self.outbox.highest_seq = max(self.outbox.highest_seq, seq)
        if kind == _T.UPDATE:
            client.update_sent_at = now
        elif kind == _T.PING:
            before = client.pings.outstanding
            if before is not None and now - before.sent_at >= client.pings.interval:
                detail = f"no 'pong' for the 'ping' with seq {before.seq}"
                self.report_breach(ServerRule.PONG_TIMEOUT, detail, now)
            client.pings.ping_sent(seq, now)
        elif kind == _T.CLOSE and self.state in (SessionState.OPENING, SessionState.OPEN):
            known = reason in tuple(CloseReason)
            client.begin_closing(CloseReason(reason) if known else CloseReason.END, now)

    def _begin_message(self, kind: str, content: str | bytes, now: float) -> None:
        self.tick(now)
        self._client.received_entry = self.capture.add(
            self.elapsed(now), Direction.FROM_SERVER, kind, None, content
        )

    def _process_text(self, text: str, now: float) -> None:
        client = self._client
        # A message above a limit is parsed before it is rejected, so that the capture contains its
        # type.
        not_json: BrokenRuleError | None = None
        parsed: object = None
        try:
            parsed = validation.parse_json(text)
        except BrokenRuleError as error:
            not_json = error
        self._identify(parsed, now)
        size = content_size(text)
        if self.state in _ENDED:
            raise BrokenRuleError(ServerRule.AFTER_CLOSED, f"text of {size} bytes")
        client.check_size(size)
        is_within_rate = client.take_token(ServerRule.TEXT_RATE, now)
        if not_json:
            raise not_json
        message = validation.parse_envelope(parsed)
        if message.id != self.parameters.session_id:
            detail = f"message for session '{message.id[:40]}'"
            raise BrokenRuleError(ServerRule.WRONG_ID, detail)
        expected = self.outbox.serverseq + 1
        if message.seq != expected:
            detail = f"'seq' of '{message.type[:40]}' is {message.seq}, expected {expected}"
            if not client.acts:
                self.outbox.serverseq = message.seq
            raise BrokenRuleError(ServerRule.SEQUENCE, detail)
        self.outbox.serverseq = message.seq
        if not is_within_rate:
            # The message is counted before it is rejected. Otherwise the `seq` of the server's
            # `closed` would seem wrong.
            raise client.above_rate(ServerRule.TEXT_RATE)
        highest = self.outbox.highest_seq
        if message.clientseq > highest:
            detail = f"{message.clientseq}, but the newest message of the client had {highest}"
            raise BrokenRuleError(ServerRule.CLIENTSEQ_AHEAD, detail)
        client.react_to(validation.check_parameters(message), now)
        _HANDLERS[message.type](client, message, now)

    def _process_binary(self, payload: bytes, now: float) -> None:
        client = self._client
        if self.state in _ENDED:
            raise BrokenRuleError(ServerRule.AFTER_CLOSED, f"audio of {len(payload)} bytes")
        if self.state is SessionState.CLOSING:
            # The server sent the message before it received `close`.
            return client.ignore(AUDIO, _CLOSING, now)
        client.check_size(len(payload))
        if not client.take_token(ServerRule.BINARY_RATE, now):
            raise client.above_rate(ServerRule.BINARY_RATE)
        if self.state is not SessionState.OPEN:
            raise BrokenRuleError(ServerRule.UNEXPECTED_BINARY, "audio before 'opened'")
        is_monitored = self.parameters.mode is CallMode.MONITOR
        if self.media is None or self.media.is_listen_only or is_monitored:
            detail = "the session accepts no audio from the server"
            raise BrokenRuleError(ServerRule.UNEXPECTED_BINARY, detail)
        if len(payload) % self.media.frame_bytes:
            raise BrokenRuleError(ServerRule.PARTIAL_SAMPLE, f"{len(payload)} bytes of L16")
        if not payload:
            return client.react(ServerRule.EMPTY_AUDIO, "a binary message without audio", now)
        return client.play(payload, len(payload) // self.media.frame_bytes, now)

    def _identify(self, message: object, now: float) -> None:
        """Set the type, sequence number and latency of the received message in the capture."""
        entry = self._client.received_entry
        if not isinstance(message, dict) or entry is None:
            return
        kind, seq = message.get("type"), message.get("seq")
        if isinstance(kind, str) and kind != AUDIO:
            requested_at = self._requested_at(kind, message.get("clientseq"))
            latency = None if requested_at is None else now - requested_at
            self.capture.identify(entry, kind[:40], seq if isinstance(seq, int) else None, latency)

    def _requested_at(self, kind: str, clientseq: object) -> float | None:
        """Return when the client sent the request that a reply of this type answers."""
        client, ping = self._client, self._client.pings.outstanding
        times: dict[str, float | None] = {
            _T.OPENED: client.started_at if self.state is SessionState.OPENING else None,
            _T.CLOSED: client.close_sent_at if self.state is SessionState.CLOSING else None,
            _T.UPDATED: client.update_sent_at,
            _T.PONG: ping.sent_at if ping is not None and ping.seq == clientseq else None,
        }
        return times.get(kind)


# Handlers of the server messages.


def _on_opened(client: ClientMachine, message: ServerMessage, now: float) -> None:
    if client.state is SessionState.CLOSING and not client.was_opened:
        # The server sent `opened` before it received `close`.
        client.ignore(message.type, _CLOSING, now)
        return
    if client.state is not SessionState.OPENING:
        _reject(client, message)
    parameters = message.parameters
    entry = validation.select_medium(parameters["media"], client.parameters.media)
    client.accept(None if entry is None else parse_media(dict(entry)), now)
    languages = parameters.get("supportedLanguages")
    requested = bool(client.parameters.supported_languages)
    client.react_to(validation.check_languages(languages, requested=requested), now)
    client.events.append(
        ev.Opened(
            client.elapsed(now),
            client.media,
            bool(parameters.get("startPaused")),
            None if languages is None else tuple(languages),
        )
    )
    if "discardTo" in parameters:
        # Round down to whole frames: a measured `discardTo` of 0.5 s discarded 0.4 s.
        target = duration_to_samples(parameters["discardTo"])
        whole_frames = target // FRAME_SAMPLES * FRAME_SAMPLES
        if whole_frames > client.outbox.position:
            client.discard(whole_frames - client.outbox.position, now)
    if parameters.get("startPaused"):
        client.pause(Party.SERVER, now)


def _on_pong(client: ClientMachine, message: ServerMessage, now: float) -> None:
    ping = client.pings.outstanding
    result = client.pings.pong_received(message.clientseq, now)
    if result is PongResult.UNEXPECTED:
        raise BrokenRuleError(ServerRule.PONG_UNEXPECTED, "no 'ping' is unanswered")
    if result is PongResult.WRONG_CLIENTSEQ:
        seq = ping.seq if ping else 0
        detail = f"'clientseq' is {message.clientseq}, the 'ping' has seq {seq}"
        raise BrokenRuleError(ServerRule.PONG_CLIENTSEQ, detail)
    if client.state is not SessionState.OPEN:
        return
    client.events.append(ev.PongReceived(client.elapsed(now), client.pings.last_rtt or 0.0))
    if result is PongResult.FIRST:
        client.send_ping(now)


def _on_pause(client: ClientMachine, message: ServerMessage, now: float) -> None:
    if _takes_effect(client, message, ServerRule.PAUSE_RATE, now):
        client.pause(Party.SERVER, now)


def _on_resume(client: ClientMachine, message: ServerMessage, now: float) -> None:
    if _takes_effect(client, message, ServerRule.RESUME_RATE, now):
        client.resume(Party.SERVER, now)


def _takes_effect(
    client: ClientMachine, message: ServerMessage, rate: ServerRule, now: float
) -> bool:
    """Check the rate of `pause` or `resume`, and return whether to process the message."""
    if not client.take_token(rate, now):
        raise client.above_rate(rate)
    if client.state is SessionState.OPENING:
        _reject(client, message)
    if client.state is SessionState.CLOSING:
        client.ignore(message.type, _CLOSING, now)
    return client.state is SessionState.OPEN


def _on_event(client: ClientMachine, message: ServerMessage, now: float) -> None:
    if client.state is SessionState.OPENING:
        # The reference client accepts the message, although Genesys's documentation forbids it.
        client.react(ServerRule.EVENT_BEFORE_OPENED, "'event' before 'opened'", now)
    entities = message.parameters["entities"]
    if len(entities) > 1:
        detail = f"{len(entities)} entities in one 'event'; clients read only the first one"
        client.react(ServerRule.SEVERAL_ENTITIES, detail, now)
    for entity in entities:
        channels = len(client.media.channels) if client.media else 2
        client.react_to(validation.check_entity(entity, channels), now)
        client.events.append(ev.ServerEvent(client.elapsed(now), MappingProxyType(entity)))
        if entity["type"] == "barge_in" and client.state is SessionState.OPEN:
            client.barge_in(now)


def _on_updated(client: ClientMachine, message: ServerMessage, now: float) -> None:
    sent_at, client.update_sent_at = client.update_sent_at, None
    if sent_at is None:
        client.react(ServerRule.UPDATED_UNEXPECTED, "no 'update' was sent", now)
    latency = None if sent_at is None else now - sent_at
    client.events.append(ev.Updated(client.elapsed(now), latency))


def _on_reconnect(client: ClientMachine, message: ServerMessage, now: float) -> None:
    info = message.parameters.get("info")
    client.events.append(ev.ReconnectRequested(client.elapsed(now), info))


def _on_disconnect(client: ClientMachine, message: ServerMessage, now: float) -> None:
    if client.disconnected is not None:
        client.react(ServerRule.REPEATED_DISCONNECT, "'disconnect' was sent before", now)
        client.ignore(message.type, "'disconnect' was sent before", now)
        return
    variables = message.parameters.get("outputVariables", {})
    client.react_to(validation.check_output_variables(variables), now)
    client.disconnected = ev.Disconnected(
        client.elapsed(now),
        DisconnectReason(message.parameters["reason"]),
        message.parameters.get("info"),
        MappingProxyType(variables if isinstance(variables, dict) else {}),
    )
    client.events.append(client.disconnected)
    pending = client.playback.pending(now)
    if client.state is SessionState.OPEN and pending:
        # It is unknown whether production plays the remaining audio, so a server should wait until
        # the audio was played.
        seconds = pending / WIRE_SAMPLE_RATE
        detail = f"'disconnect' while {seconds:.3f} s of bot audio were not heard yet"
        client.react(ServerRule.AUDIO_CUT, detail, now)
    if not client.close(CloseReason.DISCONNECT, now):
        client.ignore(message.type, _CLOSING, now)


def _on_closed(client: ClientMachine, message: ServerMessage, now: float) -> None:
    if client.state is not SessionState.CLOSING:
        _reject(client, message)
    value = message.parameters.get("outputVariables")
    variables = value if isinstance(value, dict) else {}
    if client.disconnected is not None:
        late = sorted(variables.keys() - client.disconnected.output_variables.keys())
        if late:
            names = ", ".join(name[:40] for name in late)
            detail = f"'closed' has output variables that 'disconnect' lacks: {names}"
            client.react(ServerRule.CLOSED_PARAMETERS, detail, now)
    client.finish(
        ev.Closed(
            client.elapsed(now),
            now - client.close_sent_at,
            MappingProxyType(variables),
        )
    )


def _reject(client: ClientMachine, message: ServerMessage) -> NoReturn:
    detail = f"'{message.type}' in state {client.state}"
    raise BrokenRuleError(ServerRule.UNEXPECTED_MESSAGE, detail)


_HANDLERS: Mapping[str, Callable[[ClientMachine, ServerMessage, float], None]] = MappingProxyType(
    {
        _T.OPENED: _on_opened,
        _T.CLOSED: _on_closed,
        _T.PONG: _on_pong,
        _T.UPDATED: _on_updated,
        _T.PAUSE: _on_pause,
        _T.RESUME: _on_resume,
        _T.EVENT: _on_event,
        _T.RECONNECT: _on_reconnect,
        _T.DISCONNECT: _on_disconnect,
    }
)
"""The handler of each server message type. A handler takes the client, the message and the time."""
