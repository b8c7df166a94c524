"""The competitors: whatever turns a batch of packets into the next thing, driven alike.

"in" is from the wire (mu-law at 8000 Hz) to the pipeline (PCM at its rate), "out" the way back.
"""

from __future__ import annotations

import audioop
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, Literal

import pipecat.audio.resamplers.soxr_stream_resampler as pipecat_resampler
import pipecat.serializers.genesys as pipecat_genesys_serializer
from loguru import logger
from opening import OPEN
from peers import PEERS, Stream
from pipecat.frames.frames import OutputAudioRawFrame
from pipecat_genesys import GenesysAudioHookSerializer
from pipecat_genesys.audio import InboundAudio, OutboundAudio
from signals import WIRE_RATE

# Neither serializer pays for log lines.
logger.remove()

Direction = Literal["in", "out"]
DIRECTIONS: tuple[Direction, ...] = ("in", "out")
RATES = (8000, 16000, 24000, 48000)
PACKETS_MS = (20, 100, 200)
# Of which one batch takes longer than all the others' together.
SLOW = ("scipy upfirdn", "scipy resample_poly", "libsamplerate medium")
_SLOW_EVERY = 10

# Processor time of this thread: the work never waits, and a competitor with longer batches must
# not be charged for being interrupted more often. Too coarse on some systems.
_EXACT = time.get_clock_info("thread_time").resolution <= 1e-6
clock = time.thread_time_ns if _EXACT else time.perf_counter_ns

SERIALIZERS: dict[str, Any] = {
    "ours": GenesysAudioHookSerializer,
    "pipecat": pipecat_genesys_serializer.GenesysAudioHookSerializer,
}


def drive(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine that never waits, without paying for an event loop."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    raise RuntimeError("the coroutine waits for something; this is not a benchmark of that")


def open_serializer(who: str, rate: int, **params: Any) -> Any:
    """A serializer in the middle of a call: `open` has arrived and `opened` has been sent."""
    kind = SERIALIZERS[who]
    serializer = kind(kind.InputParams(**params))
    drive(serializer.setup(SimpleNamespace(audio_in_sample_rate=rate)))
    opened = drive(serializer.serialize(drive(serializer.deserialize(OPEN))))
    assert '"opened"' in opened, opened
    return serializer


def never_clearing(who: str) -> dict[str, Any]:
    """Parameters with which pipecat's resampler loses nothing; ours takes and ignores them."""
    if "resampler_clear_after_secs" in SERIALIZERS[who].InputParams.model_fields:
        return {"resampler_clear_after_secs": None}
    # Older pipecats have no such parameter; there only a clock that stands still helps.
    stopped = time.time()
    vars(pipecat_resampler)["time"] = SimpleNamespace(time=lambda: stopped)
    return {}


@dataclass
class Lane:
    """One competitor.

    Attributes:
        name: What the tables call it.
        run: Turns a batch of packets into a list of results; the only thing that is timed.
        payload: Takes the bytes out of one result.
        exact: Whether it promises every sample of every packet, as ours do.
        every: It takes part in every so many-th turn.
        turns: In how many it has.
    """

    name: str
    run: Callable[[Sequence[Any]], list[Any]]
    payload: Callable[[Any], bytes] = bytes
    exact: bool = False
    every: int = 1
    turns: int = 0
    nanoseconds: list[int] = field(default_factory=list)
    results: list[Any] = field(default_factory=list)

    def timed(self, packets: Sequence[Any]) -> None:
        """Run once and keep the time and the results."""
        self.results = []
        begin = clock()
        results = self.run(packets)
        end = clock()
        self.results = results
        self.turns += 1
        self.nanoseconds.append(end - begin)


def lanes(direction: Direction, rate: int) -> dict[str, Lane]:
    """Every competitor for a direction and a pipeline rate, each at the start of a stream."""
    audio: Any = InboundAudio("PCMU", 1, rate) if direction == "in" else OutboundAudio("PCMU", rate)
    every = [
        _serializer("ours", direction, rate),
        _serializer("pipecat", direction, rate),
        Lane(
            "core",
            _calls(audio.process),
            (lambda channels: channels[0]) if direction == "in" else bytes,
            exact=True,
        ),
    ]
    if rate == WIRE_RATE:
        every.append(Lane("audioop", _calls(_audioop(direction)), exact=True))
    else:
        from_rate, to_rate = (WIRE_RATE, rate) if direction == "in" else (rate, WIRE_RATE)
        every += [
            Lane(
                name,
                _calls(_audioop_and(direction, stream(from_rate, to_rate))),
                every=_SLOW_EVERY if name in SLOW else 1,
            )
            for name, stream in PEERS.items()
        ]
    return {lane.name: lane for lane in every}


def frame(pcm: bytes, rate: int) -> OutputAudioRawFrame:
    """What a transport hands to `serialize`."""
    return OutputAudioRawFrame(audio=pcm, sample_rate=rate, num_channels=1)


def _serializer(who: str, direction: Direction, rate: int) -> Lane:
    serializer = open_serializer(who, rate, **never_clearing(who))
    exact = who == "ours"
    if direction == "out":
        return Lane(who, _drives(serializer.serialize), lambda sent: sent or b"", exact)

    def payload(received: Any) -> bytes:
        if received is None:
            return b""
        assert (received.sample_rate, received.num_channels) == (rate, 1)
        return bytes(received.audio)

    return Lane(who, _drives(serializer.deserialize), payload, exact)


def _drives(method: Callable[[Any], Coroutine[Any, Any, Any]]) -> Callable[..., list[Any]]:
    def run(packets: Sequence[Any]) -> list[Any]:
        return [drive(method(packet)) for packet in packets]

    return run


def _calls(function: Callable[[Any], Any]) -> Callable[..., list[Any]]:
    def run(packets: Sequence[Any]) -> list[Any]:
        return [function(packet) for packet in packets]

    return run


def _audioop(direction: Direction) -> Callable[[bytes], bytes]:
    if direction == "in":
        return lambda packet: audioop.ulaw2lin(packet, 2)
    return lambda packet: audioop.lin2ulaw(packet, 2)


def _audioop_and(direction: Direction, resample: Stream) -> Callable[[bytes], bytes]:
    """The same work by hand, without pipecat: the least Python between the two libraries."""

    def decode(packet: bytes) -> bytes:
        return resample(audioop.ulaw2lin(packet, 2))

    def encode(packet: bytes) -> bytes:
        wire: bytes = audioop.lin2ulaw(resample(packet), 2)
        return wire

    return decode if direction == "in" else encode
