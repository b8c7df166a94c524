"""Delay from the caller's speech to its echo, over WebSockets, with resampling and without.

Prints JSON. A server in another process (`call_server.py`) echoes on pipecat's stock transport.
Four calls run at the same time: our serializer and pipecat's serializer, each at 8000 and at 16000
Hz. The calls send their packets 50 ms apart, so that they do not compete for the CPU; the order
rotates from round to round. Each call sends noise of the speech band as mu-law, in packets of 200
ms.

A marker is 50 ms of audio from the middle of a packet. The marker is located in the received audio
by cross-correlation, with a precision of one sample. A marker was spoken at the time at which its
packet was sent, minus the duration of the audio after the marker in that packet. Two delays are
measured from that time:

    echo    until the packet with the marker arrives, plus the audio before the marker in the packet
    played  until the marker is played, if every packet is played after the previous packet

Both delays include the 200 ms that it takes to speak a packet. A slow echo is not a failure. A
missing marker in an echo of our serializer is a failure.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import signals
from open_message import OPEN_MESSAGE
from server_process import running_call_server
from signals import WIRE_RATE, Samples
from websockets.asyncio.client import connect

# Each entry is a call: its name in the tables, the server in the URL, and the pipeline rate.
CALLS = [
    (name, server, rate)
    for rate in (16000, 8000)
    for name, server in (("ours", "serializer"), ("pipecat", "pipecat"))
]
PACKET_SECONDS = 0.2
PACKET = round(WIRE_RATE * PACKET_SECONDS)
MARKER = PACKET // 4
_MARKER_OFFSET = (PACKET - MARKER) // 2
# Numbers of packets without markers at the start and at the end of a call. The packets at the end
# push the last markers out of the filters.
_LEADING, _TRAILING = 3, 5
# Maximum distance between a marker and its expected position, in samples.
_SEARCH_SAMPLES = 3 * PACKET
# The additional delay of our serializer because of resampling should not exceed this value.
LIMIT_MS = 15
_OPEN_TIMEOUT_SECONDS = 20
_PIPELINE_START_SECONDS = 2


@dataclass
class CallTimes:
    """Packets of one call, with the times at which they were sent and received."""

    sent: list[float] = field(default_factory=list)
    received: list[float] = field(default_factory=list)
    packets: list[bytes] = field(default_factory=list)


async def run_call(url: str, call: CallTimes, wire: list[bytes], begin: float) -> None:
    """Send each packet when it is due, the first packet at `begin`; record the received packets."""
    async with connect(url, compression=None, max_queue=None) as socket:
        await socket.send(OPEN_MESSAGE)
        while True:
            reply = await asyncio.wait_for(socket.recv(), _OPEN_TIMEOUT_SECONDS)
            if isinstance(reply, str) and json.loads(reply)["type"] == "opened":
                break

        async def receive() -> None:
            async for message in socket:
                if isinstance(message, bytes):
                    call.received.append(time.perf_counter())
                    call.packets.append(message)

        receiving = asyncio.create_task(receive())
        for number, packet in enumerate(wire):
            await asyncio.sleep(begin + number * PACKET_SECONDS - time.perf_counter())
            call.sent.append(time.perf_counter())
            await socket.send(packet)
        await asyncio.sleep(2 * PACKET_SECONDS)
    await receiving


def measure_delays(call: CallTimes, spoken: Samples) -> tuple[list[float], list[float], int]:
    """Return the delays `echo` and `played` in milliseconds, and the number of missing markers."""
    heard = signals.ulaw_samples(b"".join(call.packets))
    packet_starts = np.cumsum([0, *map(len, call.packets)])
    play_times = _play_times(call)
    echo, played, missing, lag = [], [], 0, 0
    for number in range(_LEADING, len(call.sent) - _TRAILING):
        at = number * PACKET + _MARKER_OFFSET
        nearest, marker = at + lag, spoken[at : at + MARKER]
        found = signals.find_segment(
            heard, marker, nearest - _SEARCH_SAMPLES, nearest + _SEARCH_SAMPLES
        )
        if found is None:
            missing += 1
            continue
        lag = found - at
        spoken_at = call.sent[number] - (PACKET - _MARKER_OFFSET) / WIRE_RATE
        packet = int(np.searchsorted(packet_starts, found, side="right")) - 1
        offset = (found - packet_starts[packet]) / WIRE_RATE
        echo.append(1000 * (call.received[packet] + offset - spoken_at))
        played.append(1000 * (play_times[packet] + offset - spoken_at))
    return echo, played, missing


def _play_times(call: CallTimes) -> list[float]:
    """Return the start times of playback, if each packet waits for the previous packet."""
    free_at, times = 0.0, []
    for received, packet in zip(call.received, call.packets, strict=True):
        times.append(max(received, free_at))
        free_at = times[-1] + len(packet) / WIRE_RATE
    return times


async def run_round(port: int, number: int, packets: int) -> dict[tuple[str, int], Any]:
    """Run all calls concurrently; return the result of `measure_delays` for each call."""
    count = _LEADING + packets + _TRAILING
    codes = signals.ulaw_codes(signals.speech_band_noise(count * PACKET, number))
    wire = signals.split(codes.tobytes(), PACKET)
    begin = time.perf_counter() + _PIPELINE_START_SECONDS
    gap = PACKET_SECONDS / len(CALLS)
    first = number % len(CALLS)
    calls: dict[tuple[str, int], CallTimes] = {}
    async with asyncio.TaskGroup() as group:
        for place, (name, server, rate) in enumerate(CALLS[first:] + CALLS[:first]):
            call = calls[name, rate] = CallTimes()
            url = f"ws://127.0.0.1:{port}/{server}/echo/{rate}"
            group.create_task(run_call(url, call, wire, begin + place * gap))
    spoken = signals.ulaw_samples(codes)
    return {case: measure_delays(call, spoken) for case, call in calls.items()}


def percentiles(times: list[float]) -> dict[str, float]:
    """Return median, 99th percentile and maximum; an empty mapping for an empty list."""
    if not times:
        return {}
    p50, p99 = np.percentile(times, (50, 99))
    return {"p50": float(p50), "p99": float(p99), "worst": max(times)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument(
        "--packets", type=int, default=100, help="number of packets with a marker in each round"
    )
    options = parser.parse_args()
    with running_call_server() as port:
        rounds = [asyncio.run(run_round(port, n, options.packets)) for n in range(options.rounds)]
    rows, problems = [], []
    for name, _, rate in CALLS:
        results = [one[name, rate] for one in rounds]
        echo = [delay for result in results for delay in result[0]]
        played = [delay for result in results for delay in result[1]]
        missing = sum(result[2] for result in results)
        row = {"serializer": name, "rate": rate, "markers": len(echo), "missing": missing}
        rows.append(row | {"echo": percentiles(echo), "played": percentiles(played)})
        if name == "ours" and missing:
            problems.append(f"echo: {missing} markers are missing in the echo at {rate} Hz")
    json.dump({"rows": rows, "limit_ms": LIMIT_MS, "problems": problems}, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
