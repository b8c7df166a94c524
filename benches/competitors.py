"""The competitors of `test_bench_serializer.py`, all called through one interface.

Direction "in" is from mu-law at 8000 Hz to PCM at the pipeline's rate, "out" is the reverse.
"""

from __future__ import annotations

import audioop
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pipecat_genesys.audio import InboundAudio, OutboundAudio
from resamplers import OTHER_RESAMPLERS, Stream
from serializers import LOSSLESS, opened_serializer, run_coroutine
from signals import WIRE_RATE
from timing import clock_ns

Direction = Literal["in", "out"]
DIRECTIONS: tuple[Direction, ...] = ("in", "out")
RATES = (8000, 16000, 24000, 48000)
PACKETS_MS = (20, 100, 200)
# Competitors whose batch takes more time than the batches of all other competitors together. These
# competitors run only in one of `_SLOW_EVERY` rounds.
_SLOW = ("scipy upfirdn", "scipy resample_poly", "libsamplerate medium")
_SLOW_EVERY = 10


@dataclass
class Competitor:
    """A serializer or a library that converts packets.

    Attributes:
        name: Name in the tables.
        run: Converts a batch of packets into a list of results; the only code that is timed.
        payload: Returns the audio of one result as bytes.
        exact: Whether the length of every packet must be exact, and the error of every sample must
            be at most one step.
        every: The competitor takes part in every n-th round, where n is `every`.
        rounds: Number of rounds in which the competitor has taken part.
        nanoseconds: Time of each batch.
        results: Results of the last batch.
    """

    name: str
    run: Callable[[Sequence[Any]], list[Any]]
    payload: Callable[[Any], bytes] = bytes
    exact: bool = False
    every: int = 1
    rounds: int = 0
    nanoseconds: list[int] = field(default_factory=list)
    results: list[Any] = field(default_factory=list)

    def run_timed(self, packets: Sequence[Any]) -> None:
        """Convert a batch; keep the time and the results."""
        self.results = []
        begin = clock_ns()
        results = self.run(packets)
        end = clock_ns()
        self.results = results
        self.rounds += 1
        self.nanoseconds.append(end - begin)


def make_competitors(direction: Direction, rate: int) -> dict[str, Competitor]:
    """Return all competitors by name, each with a new stream.

    Args:
        direction: "in" or "out".
        rate: Sample rate of the pipeline in Hz.
    """
    core: Any = InboundAudio("PCMU", 1, rate) if direction == "in" else OutboundAudio("PCMU", rate)
    competitors = [
        _serializer("ours", direction, rate),
        _serializer("pipecat", direction, rate),
        Competitor(
            "core",
            _calling(core.process),
            (lambda channels: channels[0]) if direction == "in" else bytes,
            exact=True,
        ),
    ]
    if rate == WIRE_RATE:
        competitors.append(Competitor("audioop", _calling(_codec(direction)), exact=True))
    else:
        from_rate, to_rate = (WIRE_RATE, rate) if direction == "in" else (rate, WIRE_RATE)
        competitors += [
            Competitor(
                name,
                _calling(_codec_and_resampler(direction, make_stream(from_rate, to_rate))),
                every=_SLOW_EVERY if name in _SLOW else 1,
            )
            for name, make_stream in OTHER_RESAMPLERS.items()
        ]
    return {competitor.name: competitor for competitor in competitors}


def _serializer(name: str, direction: Direction, rate: int) -> Competitor:
    serializer = opened_serializer(name, rate, **LOSSLESS)
    exact = name == "ours"
    if direction == "out":
        return Competitor(name, _awaiting(serializer.serialize), lambda sent: sent or b"", exact)

    def payload(received: Any) -> bytes:
        if received is None:
            return b""
        assert (received.sample_rate, received.num_channels) == (rate, 1)
        return bytes(received.audio)

    return Competitor(name, _awaiting(serializer.deserialize), payload, exact)


def _awaiting(method: Callable[[Any], Coroutine[Any, Any, Any]]) -> Callable[..., list[Any]]:
    def run(packets: Sequence[Any]) -> list[Any]:
        return [run_coroutine(method(packet)) for packet in packets]

    return run


def _calling(function: Callable[[Any], Any]) -> Callable[..., list[Any]]:
    def run(packets: Sequence[Any]) -> list[Any]:
        return [function(packet) for packet in packets]

    return run


def _codec(direction: Direction) -> Callable[[bytes], bytes]:
    if direction == "in":
        return lambda packet: audioop.ulaw2lin(packet, 2)
    return lambda packet: audioop.lin2ulaw(packet, 2)


def _codec_and_resampler(direction: Direction, resample: Stream) -> Callable[[bytes], bytes]:
    """Combine audioop's codec and a library's resampler with as little Python code as possible."""

    def decode(packet: bytes) -> bytes:
        return resample(audioop.ulaw2lin(packet, 2))

    def encode(packet: bytes) -> bytes:
        wire: bytes = audioop.lin2ulaw(resample(packet), 2)
        return wire

    return decode if direction == "in" else encode
