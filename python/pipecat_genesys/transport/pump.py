"""Hands bot audio to the writer when it is due.

Without a task of its own: whatever may make audio due says so (`AudioPump.poke`), and a timer does
when nothing else happens. A call in which nobody speaks costs nothing here.
"""

from __future__ import annotations

import asyncio
import math
import time
from weakref import WeakSet

from pipecat_genesys.protocol import WIRE_SAMPLE_RATE

from .observer import TransportObserver
from .sender import AudioSender
from .writer import Writer

# A timer may be early by the clock's resolution.
_SHORTEST_SECONDS = 0.001


class AudioPump:
    """Between a sender, which knows when audio is due, and the writer."""

    def __init__(self, sender: AudioSender, writer: Writer, observer: TransportObserver) -> None:
        """Create the pump of a call.

        Args:
            sender: Bot audio that is not due yet.
            writer: Takes what is.
            observer: Is told.
        """
        self._sender = sender
        self._writer = writer
        self._observer = observer
        self._timer: asyncio.TimerHandle | None = None
        writer.on_idle = self.poke
        _pumps.add(self)

    def poke(self, *, early: bool = False) -> None:
        """Send what is due now, or early what is at hand; and come back when more is due."""
        self.stop()
        # One at a time: what the socket does not take is not sent, and can still be dropped. The
        # writer says when it has taken all.
        if self._writer.gone or self._writer.audio_waits:
            return
        now = time.monotonic()
        packet = self._sender.poll(now, early=early)
        if packet is not None:
            self._writer.put(packet.audio)
            seconds = len(packet.audio) / self._sender.frame_bytes / WIRE_SAMPLE_RATE
            self._observer.audio_sent(seconds, self._sender.bucket.level(now), packet.waited)
            if packet.gap:
                self._observer.underrun(packet.gap)
            return
        wake = self._sender.wake_at(now)
        if wake is not None:
            delay = max(_SHORTEST_SECONDS, wake - now)
            self._timer = asyncio.get_running_loop().call_later(delay, self.poke)

    def stop(self) -> None:
        """Do not come back, until the next `poke`."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def patience(self, now: float, *, topped_up: bool = False) -> float:
        """Seconds that pass without more audio before the caller hears it; inf between turns.

        Args:
            now: When.
            topped_up: As it would be if what is at hand were sent.
        """
        if self._writer.gone:
            return math.inf
        clock = self._sender.clock
        # A source that paused a moment ago, and did not say that it is done, may go on.
        ahead = clock.lead(now)
        if not clock.in_turn and (not ahead or self._sender.is_over):
            return math.inf
        # The clock runs from when a message is handed to the writer, which waits for its turn.
        unsent = self._writer.audio_waits / self._sender.frame_bytes / WIRE_SAMPLE_RATE
        return ahead - unsent + (self._sender.at_hand(now) if topped_up else 0.0)


_pumps: WeakSet[AudioPump] = WeakSet()


def seconds_until_heard() -> float:
    """Say for how long this process may stand still before a caller hears it.

    Returns:
        The least of what is ahead of bots that speak, in seconds; inf where none does. Of calls
        with `AudioHookTransport`.
    """
    now = time.monotonic()
    return min((pump.patience(now) for pump in _pumps), default=math.inf)


def may_stand_still(seconds: float) -> bool:
    """Say whether this process may stand still now for so long without a caller hearing it.

    Where what bots have said already would make it so, that is sent ahead, as far as the lead and
    Genesys's rate allow: ask again a moment later, when the event loop has sent it.

    Args:
        seconds: For how long.
    """
    if seconds_until_heard() >= seconds:
        return True
    now = time.monotonic()
    near = [pump for pump in _pumps if pump.patience(now) < seconds]
    if all(pump.patience(now, topped_up=True) >= seconds for pump in near):
        for pump in near:
            pump.poke(early=True)
    return False
