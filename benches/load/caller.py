"""A caller of the load test, without I/O: its methods receive the messages and the time.

A caller speaks during the whole call, presses a key at given times, and hangs up.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from pipecat_genesys.protocol.types import WIRE_SAMPLE_RATE, AudioHookChannel
from pipecat_genesys.simulator import (
    BargedIn,
    GenesysClientSession,
    Party,
    SessionState,
    Violation,
    new_call,
)
from pipecat_genesys.simulator.caller_audio import CallerAudio

from . import ECHO_START_SECONDS
from .echo_detection import EchoDetector

# Minimum duration of a gap in the audio that is counted. A caller hears a shorter gap only as a
# click.
AUDIBLE_SECONDS = 0.02
# Time in seconds after the start or an interruption of the echo in which gaps are counted
# separately. In this time, each gap makes the delay of the echo longer, until playback has no more
# gaps.
SETTLING_SECONDS = 5.0


class Caller:
    """One call. All times are seconds on a monotonic clock.

    Args:
        speech: Audio of the caller as mu-law, longer than the call.
        key_presses: Times of the key presses, in seconds since `open`.
        hang_up_at: Time of the hang-up.
    """

    def __init__(self, speech: bytes, key_presses: list[float], hang_up_at: float) -> None:
        self.parameters = new_call()
        self.session = GenesysClientSession(self.parameters)
        self.caller_audio = CallerAudio(self.parameters.mode, record=False)
        self.caller_audio.voice(AudioHookChannel.EXTERNAL).say(speech)
        self._key_presses_due = key_presses
        self._hang_up_at = hang_up_at
        self._keys_pressed: list[float] = []
        self._began = 0.0
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
            while self._key_presses_due and self._began + self._key_presses_due[0] <= now:
                self._keys_pressed.append(session.elapsed(now))
                self._key_presses_due = self._key_presses_due[1:]
                session.press_dtmf("1", now)
        if now >= self._hang_up_at and not self._hung_up:
            self._hung_up, self._ended = True, now
            session.hang_up(now)

    def next_due(self) -> float:
        """Return the time of the next call of `advance`; infinity if no action is planned."""
        times = [self._hang_up_at] if not self._hung_up else []
        deadline = self.session.next_deadline()
        if deadline is not None:
            times.append(deadline)
        if self.session.state is SessionState.OPEN:
            times.append(self.caller_audio.frame_due(self.session.position))
            times += [self._began + press for press in self._key_presses_due[:1]]
        return min(times, default=float("inf"))

    def connection_lost(self, now: float, by: Party) -> None:
        """End the call after the WebSocket is closed."""
        self._ended = self._ended or now
        self.session.socket_lost(now, by=by)

    def record(self, detector: EchoDetector) -> dict[str, Any]:
        """Return the measurements of the finished call; times in seconds."""
        session, playback = self.session, self.session.playback
        events = list(session.take_events())
        latencies: dict[str, list[float]] = {"opened": [], "pong": [], "closed": []}
        for entry in session.capture.entries:
            if entry.latency is not None and entry.type in latencies:
                latencies[entry.type].append(entry.latency)
        barge_ins = [event.at for event in events if isinstance(event, BargedIn)]
        heard = playback.render(self._ended)
        echo, missing = detector.detect(heard, session.position, self._keys_pressed)
        settling_begins = [0.0, *self._keys_pressed]
        settling = [
            ECHO_START_SECONDS + SETTLING_SECONDS,
            *[SETTLING_SECONDS] * len(self._keys_pressed),
        ]
        underruns, early_underruns = [], 0
        for gap in playback.underruns():
            if any(
                begin <= gap.at < begin + seconds
                for begin, seconds in zip(settling_begins, settling, strict=True)
            ):
                early_underruns += gap.seconds >= AUDIBLE_SECONDS
            else:
                underruns.append(gap)
        violations = Counter(event.rule.value for event in events if isinstance(event, Violation))
        seconds = self._ended - self._began
        return {
            **latencies,
            "barge_in": [
                min(at - press for at in barge_ins if at > press)
                for press in self._keys_pressed
                if any(at > press for at in barge_ins)
            ],
            "completed": session.close_reason == "end" and session.closed is not None,
            "seconds": seconds,
            "settled_seconds": max(0.0, seconds - sum(settling)),
            "early_underruns": early_underruns,
            "spoken_seconds": session.position / WIRE_SAMPLE_RATE,
            "echo": echo,
            "markers_missing": missing,
            "underruns": sum(gap.seconds >= AUDIBLE_SECONDS for gap in underruns),
            "clicks": sum(gap.seconds < AUDIBLE_SECONDS for gap in underruns),
            "broken_rules": dict(violations),
        }
