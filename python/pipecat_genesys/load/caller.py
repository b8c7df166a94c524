"""A simulated caller without I/O: its methods take the server's messages and the current time."""

from __future__ import annotations

from collections.abc import Sequence

from pipecat_genesys.protocol.types import AudioHookChannel
from pipecat_genesys.simulator import GenesysClientSession, Party, SessionState, new_call
from pipecat_genesys.simulator.caller_audio import CallerAudio

from .results import CallRecord, record_call


class Caller:
    """One call: the caller speaks, presses keys at given times, and hangs up.

    Times are seconds on a monotonic clock, except the times of key presses.

    Attributes:
        parameters: The contents of `open`.
        session: The session of the call.
        caller_audio: The audio of the caller.
    """

    def __init__(
        self, track: bytes, key_presses: Sequence[float], hang_up_at: float, *, key: str = "1"
    ) -> None:
        """Create a caller.

        Args:
            track: Audio of the caller as mu-law, longer than the call.
            key_presses: Times of the key presses, in seconds since `open`.
            hang_up_at: Time of the hang-up.
            key: The key that is pressed.
        """
        self.parameters = new_call()
        self.session = GenesysClientSession(self.parameters)
        self.caller_audio = CallerAudio(self.parameters.mode, record=False)
        self.caller_audio.voice(AudioHookChannel.EXTERNAL).say(track)
        self._key_presses_due = list(key_presses)
        self._key = key
        self._hang_up_at = hang_up_at
        self._keys_pressed: list[float] = []
        self._began: float | None = None
        self._ended = 0.0
        self._hung_up = False

    def start(self, now: float) -> None:
        """Begin the call after the WebSocket is connected."""
        self._began = now
        self.caller_audio.start(now)
        self.session.start(now)

    def receive(self, message: str | bytes, now: float) -> None:
        """Handle a message of the server."""
        if isinstance(message, str):
            self.session.receive_text(message, now)
        else:
            self.session.receive_binary(message, now)
        self.caller_audio.send_due(self.session, now)

    def advance(self, now: float) -> None:
        """Perform all actions that are due."""
        session = self.session
        session.tick(now)
        self.caller_audio.send_due(session, now)
        if session.state is SessionState.OPEN:
            assert self._began is not None
            while self._key_presses_due and self._began + self._key_presses_due[0] <= now:
                self._keys_pressed.append(session.elapsed(now))
                del self._key_presses_due[0]
                session.press_dtmf(self._key, now)
        if now >= self._hang_up_at and not self._hung_up:
            self._hung_up, self._ended = True, now
            session.hang_up(now)

    def next_due(self) -> float:
        """Return the time at which `advance` must be called next; inf if no action is planned."""
        times = [] if self._hung_up or self._began is None else [self._hang_up_at]
        deadline = self.session.next_deadline()
        if deadline is not None:
            times.append(deadline)
        if self.session.state is SessionState.OPEN:
            assert self._began is not None
            times.append(self.caller_audio.frame_due(self.session.position))
            times += [self._began + press for press in self._key_presses_due[:1]]
        return min(times, default=float("inf"))

    def connection_lost(self, now: float, by: Party) -> None:
        """End the call after the WebSocket is closed."""
        if self._began is not None:
            self._ended = self._ended or now
            self.session.socket_lost(now, by=by)

    def record(self) -> CallRecord:
        """Return the measurements of the finished call.

        `CallRecord.delays` is empty until `CallRecord.measure` is called, because measuring takes
        much CPU time.
        """
        assert self._began is not None
        return record_call(
            self.session,
            list(self.session.take_events()),
            began=self._began,
            ended=self._ended,
            key_presses=self._keys_pressed,
        )
