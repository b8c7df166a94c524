"""The Genesys end of one call, without a socket, a clock or a die.

Every method takes the time, messages go in and come out as values, and what happened is told in
events; see :class:`GenesysClientSession`. Times and reactions are those measured with Genesys's
reference client, with production's limits on top.
"""

from __future__ import annotations

from pipecat_genesys.protocol.types import AudioHookMessageType, CloseReason
from pipecat_genesys.simulator import events as ev
from pipecat_genesys.simulator.capture import AUDIO, Direction, wire_size
from pipecat_genesys.simulator.checks import Envelope, check_parameters, decode, read_envelope
from pipecat_genesys.simulator.handlers import FRAME_SAMPLES, MessageHandlers
from pipecat_genesys.simulator.limits import ClientLimits, ClientTimeouts
from pipecat_genesys.simulator.machine import CallStateError, SessionState
from pipecat_genesys.simulator.parameters import CallMode, CallParameters
from pipecat_genesys.simulator.playback import SILENCE, Playback
from pipecat_genesys.simulator.rules import BrokenRuleError, Rule

__all__ = ["DTMF_KEYS", "FRAME_SAMPLES", "CallStateError", "GenesysClientSession", "SessionState"]

DTMF_KEYS = "0123456789*#"

_T = AudioHookMessageType
_OVER = (SessionState.CLOSED, SessionState.DISCONNECTED)


class GenesysClientSession(MessageHandlers):
    """One call from Genesys's side of the table.

    Feed it what the server sends and the passing of time; send what :meth:`messages_to_send`
    returns, in order; read :meth:`take_events`. No server's fault ever raises: faults are events,
    and error messages on the wire.

    Args:
        parameters: Who calls and what is offered.
        timeouts: How long the client waits.
        limits: What the client puts up with.
        record_audio: Whether to keep the bot's audio as heard.
        completed_after_barge_in: Whether ``playback_completed`` follows a barge-in that cleared
            the queue. What production does is not known; servers should manage either way.
    """

    def __init__(
        self,
        parameters: CallParameters,
        *,
        timeouts: ClientTimeouts | None = None,
        limits: ClientLimits | None = None,
        record_audio: bool = True,
        completed_after_barge_in: bool = True,
    ) -> None:
        super().__init__(
            parameters,
            timeouts or ClientTimeouts(),
            limits or ClientLimits(),
            record_audio,
            completed_after_barge_in,
        )

    # What the caller and the contact center do.

    def start(self, now: float) -> None:
        """Send ``open``; call this when the WebSocket is established.

        Raises:
            CallStateError: If the session has been started before.
        """
        if self._state is not SessionState.IDLE:
            raise CallStateError("the session was started before")
        self._began = now
        self.playback = Playback(now, record=self._record_audio)
        self._state = SessionState.OPENING
        self._deadline = now + self.timeouts.open
        self._send(_T.OPEN, self.parameters.open_parameters(), now)

    def send_audio(self, audio: bytes | int, now: float) -> bool:
        """Let the stream run on: send caller audio, or hold it back during a pause.

        Args:
            audio: Whole samples of every channel as they go on the wire, or a number of samples
                of silence.
            now: Seconds on the monotonic clock.

        Returns:
            Whether it went out. If not, the position still advances while the session is open:
            the sample clock does not stop for a pause or a session without audio.

        Raises:
            CallStateError: Before ``opened``. Keep the audio and send it then.
            ValueError: If the payload is not a whole number of samples.
        """
        if self._state in (SessionState.IDLE, SessionState.OPENING):
            raise CallStateError("no audio may be sent before 'opened'")
        if self._state is not SessionState.OPEN:
            return False
        media = self.media
        width = media.frame_bytes if media else 1
        if not isinstance(audio, int) and len(audio) % width:
            raise ValueError(f"{len(audio)} bytes are not whole samples of {width} bytes")
        samples = audio if isinstance(audio, int) else len(audio) // width
        self._position += samples
        if media is None or self.is_paused or not samples:
            return False
        if isinstance(audio, int):
            audio = SILENCE[media.format] * (samples * len(media.channels))
        self._put_audio(audio, now)
        return True

    def press_dtmf(self, digit: str, now: float) -> None:
        """The caller presses a key.

        Raises:
            ValueError: If it is not one of 0-9, ``*`` and ``#``.
            CallStateError: If the session is not open.
        """
        if len(digit) != 1 or digit not in DTMF_KEYS:
            raise ValueError(f"not a key: {digit!r}; keys are {', '.join(DTMF_KEYS)}")
        self._require_open("press a key", now)
        self._send(_T.DTMF, {"digit": digit}, now)

    def send_update(self, language: str, now: float) -> None:
        """The conversation changes its language.

        Raises:
            CallStateError: If the session is not open.
        """
        self._require_open("send 'update'", now)
        self._update_sent_at = now
        self._send(_T.UPDATE, {"language": language}, now)

    def pause(self, now: float) -> None:
        """The client pauses the stream on its own account, as a secure flow does.

        Raises:
            CallStateError: If the session is not open.
        """
        self._require_open("pause", now)
        self._pause(ev.Party.CLIENT, now)

    def resume(self, now: float) -> None:
        """The client ends its own pause. Nothing is sent while the server holds one too.

        Raises:
            CallStateError: If the session is not open, or the client holds no pause.
        """
        self._require_open("resume", now)
        if not self._pauses.holds(ev.Party.CLIENT):
            raise CallStateError("the client holds no pause")
        self._resume(ev.Party.CLIENT, now)

    def report_discarded(self, samples: int, now: float) -> None:
        """The client drops the next ``samples`` samples of the caller and says so.

        Raises:
            CallStateError: If the session is not open.
            ValueError: If the number is not positive.
        """
        self._require_open("discard audio", now)
        if samples <= 0:
            raise ValueError(f"nothing to discard: {samples} samples")
        self._discard(samples, now)

    def hand_over(self, now: float) -> bool:
        """Another session carries the conversation on: ``close`` with reason ``reconnect``.

        Returns:
            As :meth:`hang_up`.
        """
        self.tick(now)
        return self._close(CloseReason.RECONNECT, now)

    def hang_up(self, now: float) -> bool:
        """End the call: ``close`` with reason ``end``.

        Returns:
            False if the session is closing already, has ended or was not started.
        """
        self.tick(now)
        return self._close(CloseReason.END, now)

    # What the server does.

    def receive_text(self, text: str, now: float) -> None:
        """Take in a text message from the server."""
        self.tick(now)
        self._inbound = self._record(now, Direction.FROM_SERVER, "?", None, text)
        try:
            self._receive_text(text, wire_size(text), now)
        except BrokenRuleError as broken:
            self._violate(broken.rule, broken.detail, now, **self._retry_after(broken.rule, now))
        finally:
            self._inbound = None

    def receive_binary(self, payload: bytes, now: float) -> None:
        """Take in an audio message from the server."""
        self.tick(now)
        self._inbound = self._record(now, Direction.FROM_SERVER, AUDIO, None, payload)
        try:
            self._receive_binary(payload, now)
        except BrokenRuleError as broken:
            self._violate(broken.rule, broken.detail, now, **self._retry_after(broken.rule, now))
        finally:
            self._inbound = None

    def socket_lost(
        self, now: float, *, by: ev.Party, code: int | None = None, detail: str = ""
    ) -> None:
        """The socket is gone.

        Args:
            now: Seconds on the monotonic clock.
            by: Who closed it. The server never should.
            code: The WebSocket close code received, None without a close frame.
            detail: Anything the transport knows.
        """
        if self._state is SessionState.DISCONNECTED:
            return
        self.tick(now)
        if by is ev.Party.SERVER:
            closed_with = f"code {code}" if code is not None else "no close frame"
            words = f"socket closed by the server while {self._state} ({closed_with}) {detail}"
            self._violate(Rule.SERVER_CLOSED_SOCKET, words.strip(), now)
        self._stop(now)
        self._deadline = None
        self._state = SessionState.DISCONNECTED
        self.socket_closed = ev.SocketClosed(self.elapsed(now), by, code)
        self._emit(self.socket_closed)

    def report_fault(self, rule: Rule, detail: str, now: float) -> None:
        """Put on record a fault that only the owner of the socket can see."""
        self._violate(rule, detail, now)

    def _receive_text(self, text: str, size: int, now: float) -> None:
        # Amounts come first; but a message that can be read is recorded under its name even if
        # it is one too many.
        unreadable: BrokenRuleError | None = None
        message: object = None
        try:
            message = decode(text)
        except BrokenRuleError as broken:
            unreadable = broken
        self._identify(message, now)
        if self._state in _OVER:
            raise BrokenRuleError(Rule.AFTER_CLOSED, f"text of {size} bytes")
        self._check_size(size)
        in_rate = self._has_token(Rule.TEXT_RATE, now)
        if unreadable:
            raise unreadable
        envelope = read_envelope(message)
        if envelope.id != self.parameters.session_id:
            raise BrokenRuleError(Rule.WRONG_ID, f"message for session '{envelope.id[:40]}'")
        if envelope.seq != self._serverseq + 1:
            raise BrokenRuleError(
                Rule.SEQUENCE,
                f"'seq' of '{envelope.type[:40]}' is {envelope.seq}, "
                f"expected {self._serverseq + 1}",
            )
        self._serverseq = envelope.seq
        if not in_rate:
            # Only now: the message counts, or the server's ``closed`` would be out of sequence.
            raise self._above_rate(Rule.TEXT_RATE)
        if envelope.clientseq > self._seq:
            raise BrokenRuleError(
                Rule.CLIENTSEQ_AHEAD, f"{envelope.clientseq}, while {self._seq} were sent"
            )
        unknown = check_parameters(envelope)
        self._warn_of_extras(envelope, unknown, now)
        self._dispatch(envelope, now)

    def _receive_binary(self, payload: bytes, now: float) -> None:
        if self._state in (SessionState.CLOSED, SessionState.DISCONNECTED):
            raise BrokenRuleError(Rule.AFTER_CLOSED, f"audio of {len(payload)} bytes")
        if self._state is SessionState.CLOSING:
            # On its way when ``close`` was: no fault, and nobody listens any more.
            return self._ignore(AUDIO, "the session is closing", now)
        self._check_size(len(payload))
        if not self._has_token(Rule.BINARY_RATE, now):
            raise self._above_rate(Rule.BINARY_RATE)
        if self._state is not SessionState.OPEN:
            raise BrokenRuleError(Rule.UNEXPECTED_BINARY, "audio before 'opened'")
        listens = self.parameters.mode is CallMode.MONITOR
        if self.media is None or self.media.is_listen_only or listens:
            raise BrokenRuleError(Rule.UNEXPECTED_BINARY, "the medium only listens")
        if len(payload) % self.media.frame_bytes:
            raise BrokenRuleError(Rule.PARTIAL_SAMPLE, f"{len(payload)} bytes of L16")
        if not payload:
            return self._violate(Rule.EMPTY_AUDIO, "a binary message without audio", now)
        starts = self.playback.receive(payload, now)
        at = self.elapsed(now)
        self._emit(ev.AudioReceived(at, len(payload) // self.media.frame_bytes))
        if starts:
            self._emit(ev.PlaybackStarted(at))
            self._send(_T.PLAYBACK_STARTED, {}, now)
        return None

    def _identify(self, message: object, now: float) -> None:
        """Name the message in the capture, now that it can be read."""
        if not isinstance(message, dict) or self._inbound is None:
            return
        kind, seq = message.get("type"), message.get("seq")
        if isinstance(kind, str) and kind != AUDIO:
            latency = self._latency(kind, message.get("clientseq"), now)
            self.capture.identify(
                self._inbound, kind[:40], seq if isinstance(seq, int) else None, latency
            )

    def _latency(self, kind: str, clientseq: object, now: float) -> float | None:
        ping = self._pings.outstanding
        request: dict[str, float | None] = {
            _T.OPENED: self._began if self._state is SessionState.OPENING else None,
            _T.CLOSED: self._close_sent_at if self._state is SessionState.CLOSING else None,
            _T.UPDATED: self._update_sent_at,
            _T.PONG: ping.sent_at if ping is not None and ping.seq == clientseq else None,
        }
        sent_at = request.get(kind)
        return None if sent_at is None else now - sent_at

    def _warn_of_extras(self, message: Envelope, unknown: tuple[str, ...], now: float) -> None:
        for name in message.extra:
            rule = Rule.POSITION_PRESENT if name == "position" else Rule.UNKNOWN_FIELD
            self._violate(rule, f"'{message.type}' has a field '{name[:40]}'", now)
        for name in unknown:
            is_closed = message.type == _T.CLOSED
            rule = Rule.CLOSED_PARAMETERS if is_closed else Rule.UNKNOWN_PARAMETER
            self._violate(rule, f"'{message.type}' has a parameter '{name[:40]}'", now)
