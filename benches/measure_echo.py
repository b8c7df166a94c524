"""How long a caller waits for an echo, over real sockets, with resampling and without.

Prints JSON. A server in a process of its own answers calls with pipecat's stock transport (200 ms
of output in a message) and a pipeline that says what it hears. Four calls at once, ours and
pipecat's serializer at 8000 and at 16000 Hz, 50 ms apart so that they do not meet; the order
rotates from round to round. Each is sent noise of the speech band, as mu-law, 200 ms at a time.

A mark is 50 ms from the middle of a packet. It is looked for in all that has come back by
cross-correlation, so that its place is known to the sample whatever has been put between. It
was spoken when its packet was sent, less what follows it in the packet; it is heard when
the packet that brings it arrives, plus what is before it in that one. (`played` also waits for
the packets before to be played.) What the transport does to keep time is therefore in it, and so
are the 200 ms that it takes to say a packet.

Not a failure if it is slow; a failure if a mark of ours does not come back.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import signals
from opening import OPEN
from signals import WIRE_RATE, Samples
from websockets.asyncio.client import connect

CALLS = [(who, rate) for rate in (16000, 8000) for who in ("ours", "pipecat")]
PACKET_SECONDS = 0.2
PACKET = round(WIRE_RATE * PACKET_SECONDS)
MARK = PACKET // 4
_MARK_AT = (PACKET - MARK) // 2
# Packets without marks: those that start a call up, and those that push the last marks out.
_BEFORE, _AFTER = 3, 5
# How far from the last one a mark may be, in samples.
_REACH = 3 * PACKET
_LIKENESS = 0.9
# What 16000 Hz may cost.
LIMIT_MS = 15
_PATIENCE_SECONDS = 20


@dataclass
class Call:
    """One call's packets and when they passed."""

    sent: list[float] = field(default_factory=list)
    arrived: list[float] = field(default_factory=list)
    pieces: list[bytes] = field(default_factory=list)


async def hold(url: str, call: Call, wire: list[bytes], begin: float) -> None:
    """Send every packet when its time has come, counted from ``begin``."""
    async with connect(url, compression=None, max_queue=None) as socket:
        await socket.send(OPEN)
        while True:
            reply = await asyncio.wait_for(socket.recv(), _PATIENCE_SECONDS)
            if isinstance(reply, str) and json.loads(reply)["type"] == "opened":
                break

        async def hear() -> None:
            async for message in socket:
                if isinstance(message, bytes):
                    call.arrived.append(time.perf_counter())
                    call.pieces.append(message)

        hearing = asyncio.create_task(hear())
        for number, packet in enumerate(wire):
            await asyncio.sleep(begin + number * PACKET_SECONDS - time.perf_counter())
            call.sent.append(time.perf_counter())
            await socket.send(packet)
        await asyncio.sleep(2 * PACKET_SECONDS)
    await hearing


def echoes(call: Call, said: Samples) -> tuple[list[float], list[float], int]:
    """Echo times in ms, the same when played in turn, and how many marks are missing."""
    heard = signals.ulaw_samples(b"".join(call.pieces))
    begins = np.cumsum([0, *map(len, call.pieces)])
    plays = _played(call)
    times, played, missing, lag = [], [], 0, 0
    for number in range(_BEFORE, len(call.sent) - _AFTER):
        at = number * PACKET + _MARK_AT
        found = _find(heard, said[at : at + MARK], at + lag)
        if found is None:
            missing += 1
            continue
        lag = found - at
        spoken = call.sent[number] - (PACKET - _MARK_AT) / WIRE_RATE
        piece = int(np.searchsorted(begins, found, side="right")) - 1
        within = (found - begins[piece]) / WIRE_RATE
        times.append(1000 * (call.arrived[piece] + within - spoken))
        played.append(1000 * (plays[piece] + within - spoken))
    return times, played, missing


def _played(call: Call) -> list[float]:
    """When each packet begins to be heard, if the ones before it are heard out first."""
    free, plays = 0.0, []
    for arrived, piece in zip(call.arrived, call.pieces, strict=True):
        plays.append(max(arrived, free))
        free = plays[-1] + len(piece) / WIRE_RATE
    return plays


def _find(heard: Samples, mark: Samples, near: int) -> int | None:
    """Where the mark is, if anywhere."""
    begin = max(0, near - _REACH)
    region = heard[begin : near + _REACH + len(mark)]
    if len(region) < len(mark):
        return None
    power = np.convolve(region**2, np.ones(len(mark)), "valid")
    likeness = np.correlate(region, mark, "valid")
    likeness /= np.sqrt(np.maximum(power, 1) * np.sum(mark**2))
    best = int(np.argmax(likeness))
    return begin + best if likeness[best] > _LIKENESS else None


def noise(packets: int, seed: int) -> Samples:
    """Of the speech band, and nowhere like itself."""
    rng = np.random.default_rng(seed)
    size = packets * PACKET
    spectrum = np.fft.rfft(rng.normal(0, 1, size))
    frequency = np.fft.rfftfreq(size, 1 / WIRE_RATE)
    spectrum[(frequency < 300) | (frequency > 3400)] = 0
    signal = np.fft.irfft(spectrum, size)
    return signal * (5000 / np.std(signal))


async def a_round(port: int, turn: int, packets: int) -> dict[tuple[str, int], Any]:
    """All calls at once; the echoes of each."""
    codes = signals.ulaw_codes(noise(_BEFORE + packets + _AFTER, turn))
    wire = signals.cut(codes.tobytes(), PACKET)
    calls = {case: Call() for case in CALLS}
    # Time for every pipeline to start.
    begin = time.perf_counter() + 2
    gap = PACKET_SECONDS / len(CALLS)
    order = CALLS[turn % len(CALLS) :] + CALLS[: turn % len(CALLS)]
    async with asyncio.TaskGroup() as group:
        for place, (who, rate) in enumerate(order):
            url = f"ws://127.0.0.1:{port}/{who}/{rate}"
            group.create_task(hold(url, calls[who, rate], wire, begin + place * gap))
    said = signals.ulaw_samples(codes)
    return {case: echoes(call, said) for case, call in calls.items()}


def percentiles(times: list[float]) -> dict[str, float]:
    if not times:
        return {}
    p50, p99 = np.percentile(times, (50, 99))
    return {"p50": float(p50), "p99": float(p99), "worst": max(times)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--packets", type=int, default=100, help="with marks, in each round")
    options = parser.parse_args()
    server = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("echo_server.py"))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdin is not None
    assert server.stdout is not None
    try:
        port = int(server.stdout.readline())
        rounds = [asyncio.run(a_round(port, n, options.packets)) for n in range(options.rounds)]
    finally:
        server.stdin.close()
        server.wait(_PATIENCE_SECONDS)
    rows, problems = [], []
    for who, rate in CALLS:
        results = [one[who, rate] for one in rounds]
        times = [time for result in results for time in result[0]]
        played = [time for result in results for time in result[1]]
        missing = sum(result[2] for result in results)
        row = {"who": who, "rate": rate, "marks": len(times), "missing": missing}
        rows.append(row | {"echo": percentiles(times), "played": percentiles(played)})
        if who == "ours" and missing:
            problems.append(f"echo: {missing} marks did not come back at {rate} Hz")
    json.dump({"rows": rows, "limit_ms": LIMIT_MS, "problems": problems}, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
