"""A scripted AudioHook Monitor client for an agent's call, without imports from the package.

The script has the utterances of both parties on the timeline of the stream, and the sections of the
timeline that are sent, paused or lost. The audio is generated from the timeline, so a test knows
the offset at which a server must find each utterance.
"""

from __future__ import annotations

import audioop
import json
import math
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from genesys import Genesys, media
from websockets.asyncio.client import connect

RATE = 8000
PACKET = RATE // 5


@dataclass(frozen=True)
class Speech:
    """One utterance: its channel, and its offset and duration on the timeline, in seconds."""

    channel: str
    offset: float
    duration: float

    def covers(self, sample: int) -> bool:
        begin = round(self.offset * RATE)
        return begin <= sample < begin + round(self.duration * RATE)


@dataclass
class AgentCall:
    """A client that sends a script faster than real time, hangs up, and records the replies.

    Attributes:
        speeches: The utterances of both parties.
        channels: The channels of the offered medium, in order.
        format: The format of the offered medium.
        received: All messages from the server.
    """

    speeches: list[Speech]
    channels: tuple[str, ...] = ("external", "internal")
    format: str = "PCMU"
    received: list[dict[str, Any]] = field(default_factory=list)
    _position: int = 0
    _genesys: Genesys = field(default_factory=Genesys)

    async def run(self, url: str, script: list[tuple[str, float]]) -> None:
        """Play a script of pairs: an action, and its duration in seconds.

        The action `"send"` sends audio. `"pause"` pauses the stream. `"lose"` skips audio and sends
        `discarded`. After the script, the client closes the session.
        """
        async with connect(url) as socket:
            await socket.send(self._genesys.open(media(self.format, *self.channels)))
            self._hear(await socket.recv())
            for what, seconds in script:
                samples = round(seconds * RATE)
                if what == "send":
                    for packet in self._packets(samples):
                        await socket.send(packet)
                    continue
                start = self._at()
                if what == "pause":
                    await socket.send(self._text("paused"))
                self._position += samples
                gap = {"start": start, "discarded": _duration(samples)}
                kind = "resumed" if what == "pause" else "discarded"
                await socket.send(self._text(kind, gap))
            await socket.send(self._text("close", {"reason": "end"}))
            while self.received[-1]["type"] != "closed":
                self._hear(await socket.recv())

    @property
    def transcripts(self) -> list[dict[str, Any]]:
        """Return the data of the transcripts that were received."""
        entities = [m["parameters"]["entities"] for m in self.received if m["type"] == "event"]
        assert all(len(entity) == 1 for entity in entities)
        return [entity["data"] for (entity,) in entities if entity["type"] == "transcript"]

    def _hear(self, wire: str | bytes) -> None:
        self.received.append(self._genesys.receive(wire))

    def _text(self, type: str, parameters: Any = None) -> str:
        return json.dumps(self._genesys.message(type, parameters, position=self._at()))

    def _at(self) -> str:
        return _duration(self._position)

    def _packets(self, samples: int) -> list[bytes]:
        begin, self._position = self._position, self._position + samples
        packets = []
        for at in range(begin, self._position, PACKET):
            end = min(at + PACKET, self._position)
            pcm = b"".join(
                self._sample(channel, n).to_bytes(2, "little", signed=True)
                for n in range(at, end)
                for channel in self.channels
            )
            packets.append(audioop.lin2ulaw(pcm, 2) if self.format == "PCMU" else pcm)
        return packets

    def _sample(self, channel: str, sample: int) -> int:
        if any(s.channel == channel and s.covers(sample) for s in self.speeches):
            # Each channel has its own frequency, so that crosstalk cannot cancel the signal.
            hertz = 250 if channel == "external" else 400
            return round(8000 * math.sin(2 * math.pi * hertz * sample / RATE))
        return 0


def _duration(samples: int) -> str:
    seconds = Fraction(samples, RATE)
    return f"PT{float(seconds):.6f}S"
