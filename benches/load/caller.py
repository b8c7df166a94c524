"""A caller: the simulator's session and stream, and what this one does when. No sockets, no clock.

Speaks all the time, presses a key at given moments, upon which the bot falls silent, and hangs up.
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

from . import ECHO_FROM
from .echoes import Echoes

# Shorter holes are no more than a click.
AUDIBLE_SECONDS = 0.02
# How long an echo takes to find the delay at which it can go on without holes: at its beginning,
# and anew when it was silenced.
SETTLING_SECONDS = 5.0


class Caller:
    """One call. Times are seconds on a monotonic clock.

    Args:
        speech: What the caller says, mu-law, longer than the call.
        presses: When to press a key, in seconds from ``open``.
        hang_up_at: When to hang up.
    """

    def __init__(self, speech: bytes, presses: list[float], hang_up_at: float) -> None:
        self.parameters = new_call()
        self.session = GenesysClientSession(self.parameters)
        self.caller_audio = CallerAudio(self.parameters.mode, record=False)
        self.caller_audio.voice(AudioHookChannel.EXTERNAL).say(speech)
        self.presses = presses
        self.hang_up_at = hang_up_at
        self._pressed: list[float] = []
        self._began = 0.0
        self._ended = 0.0
        self._hung_up = False

    def start(self, now: float) -> None:
        """The WebSocket is there."""
        self._began = now
        self.caller_audio.start(now)
        self.session.start(now)

    def receive(self, message: str | bytes, now: float) -> None:
        """Take a message of the server's."""
        if isinstance(message, str):
            self.session.receive_text(message, now)
        else:
            self.session.receive_binary(message, now)
        self.caller_audio.send_due(self.session, now)

    def advance(self, now: float) -> None:
        """Do what is due."""
        session = self.session
        session.tick(now)
        self.caller_audio.send_due(session, now)
        if session.state is SessionState.OPEN:
            while self.presses and self._began + self.presses[0] <= now:
                self._pressed.append(session.elapsed(now))
                self.presses = self.presses[1:]
                session.press_dtmf("1", now)
        if now >= self.hang_up_at and not self._hung_up:
            self._hung_up, self._ended = True, now
            session.hang_up(now)

    def due(self) -> float:
        """When to advance next."""
        moments = [self.hang_up_at] if not self._hung_up else []
        deadline = self.session.next_deadline()
        if deadline is not None:
            moments.append(deadline)
        if self.session.state is SessionState.OPEN:
            moments.append(self.caller_audio.frame_due(self.session.position))
            moments += [self._began + press for press in self.presses[:1]]
        return min(moments, default=float("inf"))

    def lost(self, now: float, by: Party) -> None:
        """The socket is gone."""
        self._ended = self._ended or now
        self.session.socket_lost(now, by=by)

    def record(self, echoes: Echoes) -> dict[str, Any]:
        """How the call went; times in seconds."""
        session, playback = self.session, self.session.playback
        events = list(session.take_events())
        latencies: dict[str, list[float]] = {"opened": [], "pong": [], "closed": []}
        for entry in session.capture.entries:
            if entry.latency is not None and entry.type in latencies:
                latencies[entry.type].append(entry.latency)
        barged = [event.at for event in events if isinstance(event, BargedIn)]
        echoed, missing = echoes.of(playback.render(self._ended), session.position, self._pressed)
        begins = [0.0, *self._pressed]
        settling = [ECHO_FROM + SETTLING_SECONDS, *[SETTLING_SECONDS] * len(self._pressed)]
        holes, early = [], 0
        for hole in playback.underruns():
            if any(a <= hole.at < a + b for a, b in zip(begins, settling, strict=True)):
                early += hole.seconds >= AUDIBLE_SECONDS
            else:
                holes.append(hole)
        broken = Counter(event.rule.value for event in events if isinstance(event, Violation))
        return {
            **latencies,
            "barge_in": [
                min(at - press for at in barged if at > press)
                for press in self._pressed
                if any(at > press for at in barged)
            ],
            "held": session.close_reason == "end" and session.closed is not None,
            "seconds": self._ended - self._began,
            "settled_seconds": max(0.0, self._ended - self._began - sum(settling)),
            "early_underruns": early,
            "spoken_seconds": session.position / WIRE_SAMPLE_RATE,
            "echo": echoed,
            "marks_missing": missing,
            "underruns": sum(hole.seconds >= AUDIBLE_SECONDS for hole in holes),
            "clicks": sum(hole.seconds < AUDIBLE_SECONDS for hole in holes),
            "broken_rules": dict(broken),
        }
