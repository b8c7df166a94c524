"""Time per packet: ours, pipecat's, and the parts alone.

One benchmark per direction, pipeline rate and packet length, and within it all competitors in
turn: a turn gives every one of them the same batch once, so whatever else the machine does
meets them all. (The slowest take part in every tenth turn.) The peers run in the setup of the
round, in an order that rotates; the round that pytest-benchmark records is our serializer. All of
them are timed by the same clock around the same loop; medians over the turns are in ``extra_info``.

The batch is ten seconds of a tone that repeats without a seam, and the streams are never
restarted: this is the middle of a call. Every batch that was timed is checked before the next.
"""

from __future__ import annotations

import gc
import os
from collections import Counter
from collections.abc import Iterator
from statistics import median
from typing import Any

import numpy as np
import pytest
import signals
from lanes import DIRECTIONS, PACKETS_MS, RATES, Direction, Lane, clock, frame, lanes
from signals import WIRE_RATE

QUICK = os.environ.get("BENCH_QUICK") == "1"
BATCH_SECONDS = 1 if QUICK else 10
# Of timed work per configuration; checking it takes about as long again.
BUDGET_SECONDS = 0 if QUICK else 4
ROUNDS = range(2, 2) if QUICK else range(20, 300)
# Turns whose times are not kept.
WARM_UP = 2
# Mu-law leaves 37, and straight lines between its samples 29.
PEER_SINAD_DB = 25
# The longest that soxr holds audio back, rounded up.
PEER_HELD_SECONDS = 0.25
# What of a peer's first batch is its filter filling.
PEER_START_SECONDS = 0.3


@pytest.fixture
def no_gc() -> Iterator[None]:
    """Collections would strike whoever happens to run."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


class Race:
    """One configuration: its batch, its competitors, and the judge."""

    def __init__(self, direction: Direction, rate: int, packet_ms: int) -> None:
        self.inbound = direction == "in"
        self.out_rate = rate if self.inbound else WIRE_RATE
        self.audio, self.expected = self._batch(rate, packet_ms)
        # What serializers are given; the others are given the audio itself.
        self.packets = self.audio if self.inbound else [frame(pcm, rate) for pcm in self.audio]
        self.packet_samples = self.out_rate * packet_ms // 1000
        self.lanes = lanes(direction, rate)
        self.ours = self.lanes["ours"]
        self.peers = [lane for lane in self.lanes.values() if lane is not self.ours]
        self.samples: Counter[str] = Counter()
        self.turns = 0

    def _batch(self, rate: int, packet_ms: int) -> tuple[list[bytes], list[Any]]:
        """The audio, and what it becomes: the first time, and every time after."""
        pcm = signals.tone(WIRE_RATE if self.inbound else rate, BATCH_SECONDS)
        if self.inbound:
            wire = signals.ulaw_codes(pcm).tobytes()
            pcm = signals.ulaw_samples(wire)
            audio = signals.cut(wire, WIRE_RATE * packet_ms // 1000)
            out = signals.resampled(np.tile(pcm, 2), WIRE_RATE, rate)
        else:
            audio = signals.cut(signals.pcm_bytes(pcm), rate * packet_ms // 500)
            out = signals.resampled(np.tile(pcm, 2), rate, WIRE_RATE)
            out = signals.ulaw_steps(signals.ulaw_codes(out)).astype(np.float64)
        return audio, np.split(out, 2)

    def run_peers(self) -> None:
        """Everyone but ours, the order rotating; the turn before is judged first."""
        self.judge()
        first = self.turns % len(self.peers)
        for lane in self.peers[first:] + self.peers[:first]:
            if self.turns < WARM_UP or (self.turns - WARM_UP) % lane.every == 0:
                lane.timed(self.packets if lane.name == "pipecat" else self.audio)

    def run_ours(self) -> None:
        """The end of a turn."""
        self.ours.timed(self.packets)
        self.turns += 1

    def judge(self) -> None:
        """Check everything the last turn produced; raises AssertionError."""
        for lane in self.lanes.values():
            if lane.results:
                results = [lane.payload(result) for result in lane.results]
                lane.results = []
                (self._judge_exact if lane.exact else self._judge_peer)(lane, results)

    def _judge_exact(self, lane: Lane, results: list[bytes]) -> None:
        size = self.packet_samples * (2 if self.inbound else 1)
        assert {len(result) for result in results} == {size}, f"{lane.name}: wrong length"
        joined = b"".join(results)
        got = signals.pcm_samples(joined) if self.inbound else signals.ulaw_steps(joined)
        worst = np.max(np.abs(got - self.expected[min(lane.turns - 1, 1)]))
        assert worst <= 1, f"{lane.name}: {worst:.3f} LSB or codes from the reference"

    def _judge_peer(self, lane: Lane, results: list[bytes]) -> None:
        joined = b"".join(results)
        signal = signals.pcm_samples(joined) if self.inbound else signals.ulaw_samples(joined)
        self.samples[lane.name] += len(signal)
        due = lane.turns * BATCH_SECONDS * self.out_rate
        held = due - self.samples[lane.name]
        assert 0 <= held <= PEER_HELD_SECONDS * self.out_rate, f"{lane.name}: {held} samples short"
        if lane.turns == 1:
            signal = signal[round(PEER_START_SECONDS * self.out_rate) :]
        # Of the seconds, as libsamplerate's binding for Python skips a sample now and then.
        seconds = range(0, len(signal) - self.out_rate // 2, self.out_rate)
        sinad = median(
            signals.tone_sinad(signal[begin : begin + self.out_rate], self.out_rate)
            for begin in seconds
        )
        assert sinad > PEER_SINAD_DB, f"{lane.name}: SINAD {sinad:.1f} dB"


def clock_seconds() -> float:
    return clock() / 1e9


@pytest.mark.benchmark(timer=clock_seconds)
@pytest.mark.usefixtures("no_gc")
@pytest.mark.parametrize("packet_ms", PACKETS_MS)
@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_packet(benchmark: Any, direction: Direction, rate: int, packet_ms: int) -> None:
    race = Race(direction, rate, packet_ms)
    # The last of the turns that warm up tells how many fit the time.
    for _ in range(WARM_UP):
        race.run_peers()
        race.run_ours()
    turn = sum(lane.nanoseconds[-1] / lane.every for lane in race.lanes.values()) / 1e9
    rounds = min(max(round(BUDGET_SECONDS / turn), ROUNDS.start), ROUNDS.stop)
    for lane in race.lanes.values():
        lane.nanoseconds.clear()

    benchmark.group = f"{direction} {packet_ms} ms"
    record = benchmark.extra_info
    record.update(direction=direction, rate=rate, packet_ms=packet_ms, correct=False)
    benchmark.pedantic(race.run_ours, setup=race.run_peers, rounds=rounds, iterations=1)
    race.judge()

    assert {len(lane.nanoseconds) for lane in race.lanes.values() if lane.every == 1} == {rounds}
    batch = len(race.packets)
    times = {n: median(lane.nanoseconds) / batch / 1000 for n, lane in race.lanes.items()}
    record.update(correct=True, batch=batch, rounds=rounds, microseconds=times)
    figures = "  ".join(f"{name} {us:.2f}" for name, us in times.items())
    print(f"  {direction:>3} {rate:>5} Hz {packet_ms:>3} ms, us per packet:  {figures}", flush=True)
