"""Time per audio packet of our serializer, pipecat's serializer, our core and other libraries.

There is one benchmark for each direction, pipeline rate and packet length. In each round every
competitor converts the same batch once, so a slowdown of the machine affects all of them. The
slowest libraries take part in every tenth round. pytest-benchmark records the round of our
serializer; the other competitors run in the setup of this round, in rotating order. All competitors
are timed by the same clock around the same loop. The medians are in `extra_info`.

A batch is ten seconds of a tone that repeats without a step. The streams are never reset, as in the
middle of a call. Every timed batch is checked before the next round.
"""

from __future__ import annotations

from collections import Counter
from statistics import median
from typing import Any

import numpy as np
import pytest
import signals
from competitors import DIRECTIONS, PACKETS_MS, RATES, Competitor, Direction, make_competitors
from serializers import output_frame
from signals import WIRE_RATE
from timing import QUICK, clock_seconds

BATCH_SECONDS = 1 if QUICK else 10
# Duration of the timed work per benchmark in seconds. The checks of the results take about the same
# time.
BUDGET_SECONDS = 0 if QUICK else 4
ROUNDS = range(2, 2) if QUICK else range(20, 300)
WARM_UP_ROUNDS = 2
# Minimum SINAD of a serializer's output. Mu-law alone has 37 dB, and linear interpolation of mu-law
# has 29 dB.
LOWEST_SINAD_DB = 25
# Maximum duration of the audio that soxr holds back, rounded up.
MOST_HELD_SECONDS = 0.25
# Duration of the output that is ignored at the beginning of a library's first batch. Before this
# time, the library's filter does not have enough input.
SETTLING_SECONDS = 0.3


class Comparison:
    """All competitors at one direction, pipeline rate and packet length."""

    def __init__(self, direction: Direction, rate: int, packet_ms: int) -> None:
        self.inbound = direction == "in"
        self.out_rate = rate if self.inbound else WIRE_RATE
        self.audio, self.expected = self._make_batch(rate, packet_ms)
        # For output, serializers accept frames, and the other competitors accept bytes.
        self.packets = (
            self.audio if self.inbound else [output_frame(pcm, rate) for pcm in self.audio]
        )
        self.packet_samples = self.out_rate * packet_ms // 1000
        self.competitors = make_competitors(direction, rate)
        self.ours = self.competitors["ours"]
        self.others = [other for other in self.competitors.values() if other is not self.ours]
        self.samples_received: Counter[str] = Counter()
        self.rounds = 0

    def _make_batch(self, rate: int, packet_ms: int) -> tuple[list[bytes], list[Any]]:
        """Return the packets, and the expected output of the first batch and of later batches."""
        samples = signals.tone(WIRE_RATE if self.inbound else rate, BATCH_SECONDS)
        if self.inbound:
            wire = signals.ulaw_codes(samples).tobytes()
            samples = signals.ulaw_samples(wire)
            packets = signals.split(wire, WIRE_RATE * packet_ms // 1000)
            out = signals.resampled(np.tile(samples, 2), WIRE_RATE, rate)
        else:
            packets = signals.split(signals.pcm_bytes(samples), rate * packet_ms // 500)
            out = signals.resampled(np.tile(samples, 2), rate, WIRE_RATE)
            out = signals.ulaw_levels(signals.ulaw_codes(out)).astype(np.float64)
        return packets, np.split(out, 2)

    def run_others(self) -> None:
        """Check the results of the last round, then run all competitors except our serializer."""
        self.check()
        first = self.rounds % len(self.others)
        for other in self.others[first:] + self.others[:first]:
            if self.rounds < WARM_UP_ROUNDS or (self.rounds - WARM_UP_ROUNDS) % other.every == 0:
                other.run_timed(self.packets if other.name == "pipecat" else self.audio)

    def run_ours(self) -> None:
        """Run our serializer, which ends the round."""
        self.ours.run_timed(self.packets)
        self.rounds += 1

    def check(self) -> None:
        """Check the results of the last round.

        Raises:
            AssertionError: A result is wrong.
        """
        for competitor in self.competitors.values():
            if competitor.results:
                results = [competitor.payload(result) for result in competitor.results]
                competitor.results = []
                if competitor.exact:
                    self._check_exact(competitor, results)
                else:
                    self._check_library(competitor, results)

    def _check_exact(self, competitor: Competitor, results: list[bytes]) -> None:
        size = self.packet_samples * (2 if self.inbound else 1)
        assert {len(result) for result in results} == {size}, f"{competitor.name}: wrong length"
        joined = b"".join(results)
        actual = signals.pcm_samples(joined) if self.inbound else signals.ulaw_levels(joined)
        worst = np.max(np.abs(actual - self.expected[min(competitor.rounds - 1, 1)]))
        assert worst <= 1, f"{competitor.name}: off by {worst:.3f} LSB or mu-law levels"

    def _check_library(self, competitor: Competitor, results: list[bytes]) -> None:
        name, rate = competitor.name, self.out_rate
        joined = b"".join(results)
        samples = signals.pcm_samples(joined) if self.inbound else signals.ulaw_samples(joined)
        self.samples_received[name] += len(samples)
        held = competitor.rounds * BATCH_SECONDS * rate - self.samples_received[name]
        assert 0 <= held <= MOST_HELD_SECONDS * rate, f"{name}: {held} samples are missing"
        if competitor.rounds == 1:
            samples = samples[round(SETTLING_SECONDS * rate) :]
        # The result is the median over seconds, because libsamplerate's Python binding sometimes
        # skips a sample.
        sinad = median(
            signals.tone_sinad(samples[begin : begin + rate], rate)
            for begin in range(0, len(samples) - rate // 2, rate)
        )
        assert sinad > LOWEST_SINAD_DB, f"{name}: SINAD {sinad:.1f} dB"


@pytest.mark.benchmark(timer=clock_seconds)
@pytest.mark.usefixtures("no_gc")
@pytest.mark.parametrize("packet_ms", PACKETS_MS)
@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_audio_packet(benchmark: Any, direction: Direction, rate: int, packet_ms: int) -> None:
    comparison = Comparison(direction, rate, packet_ms)
    for _ in range(WARM_UP_ROUNDS):
        comparison.run_others()
        comparison.run_ours()
    competitors = comparison.competitors.values()
    # The time of the last warm-up round determines the number of rounds within the budget.
    round_seconds = sum(each.nanoseconds[-1] / each.every for each in competitors) / 1e9
    rounds = min(max(round(BUDGET_SECONDS / round_seconds), ROUNDS.start), ROUNDS.stop)
    for competitor in competitors:
        competitor.nanoseconds.clear()

    benchmark.group = f"{direction} {packet_ms} ms"
    record = benchmark.extra_info
    record.update(direction=direction, rate=rate, packet_ms=packet_ms, correct=False)
    benchmark.pedantic(
        comparison.run_ours, setup=comparison.run_others, rounds=rounds, iterations=1
    )
    comparison.check()

    assert {len(each.nanoseconds) for each in competitors if each.every == 1} == {rounds}
    batch = len(comparison.packets)
    times = {each.name: median(each.nanoseconds) / batch / 1000 for each in competitors}
    record.update(correct=True, batch=batch, rounds=rounds, microseconds=times)
    columns = "  ".join(f"{name} {us:.2f}" for name, us in times.items())
    print(f"  {direction:>3} {rate:>5} Hz {packet_ms:>3} ms, us per packet:  {columns}", flush=True)
