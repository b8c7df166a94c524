"""From which size on a call should let go of the GIL.

Prints JSON. What it costs to keep it: other threads wait as long as the call takes. What it costs
to let go: nothing much if nobody wants it, but if a busy thread takes it, the call waits for the
interpreter's switch interval to get it back. What letting go brings: calls at the same time.

`alone` is a call on an idle interpreter. `busy` is the same call while another thread runs Python
without a pause; the caller sleeps between its calls, as an event loop does, and has the GIL
when the clock starts. `speedup` is the time that one thread needs for eight streams' calls, over the
time that two threads need for the same. The sizes at which `busy` is longer by milliseconds are
those from which on the GIL is released.

Switching itself is measured with a C function that does nothing, called with the GIL and without.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import statistics
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import signals
from pipecat_genesys import audio

KIB = 1024
STREAMS = 8
Call = Callable[[bytes], Any]

# A kernel's name: what makes a fresh one, and bytes in and out for each byte in.
KERNELS: dict[str, tuple[Callable[[], Call], float]] = {
    "inbound 16000": (lambda: audio.InboundAudio("PCMU", 1, 16000).process, 5),
    "inbound 24000": (lambda: audio.InboundAudio("PCMU", 1, 24000).process, 7),
    "inbound 48000": (lambda: audio.InboundAudio("PCMU", 1, 48000).process, 13),
    "outbound 16000": (lambda: audio.OutboundAudio("PCMU", 16000).process, 1.25),
    "outbound 24000": (lambda: audio.OutboundAudio("PCMU", 24000).process, 1 + 1 / 6),
    "outbound 48000": (lambda: audio.OutboundAudio("PCMU", 48000).process, 1 + 1 / 12),
    "resample 44100-8000": (lambda: audio.Resampler(44100, 8000).process, 1 + 8000 / 44100),
    "ulaw_decode": (lambda: audio.ulaw_decode, 3),
    "ulaw_encode": (lambda: audio.ulaw_encode, 1.5),
    "mix_stereo": (lambda: audio.mix_stereo, 1.5),
}
# One of each kind that the threshold knows; what a 200 ms packet moves, and up.
BY_SIZE = {
    "inbound 16000": (8, 64, 128, 256, 512, 1024, 2048, 4096, 16384),
    "ulaw_decode": (5, 64, 128, 256, 512, 1024, 2048, 4096, 16384),
}
_KERNEL_KIB = 1024
# More than any call waits for the switch interval, and less than it.
_RELEASED_MS = 2.5


def made(kernel: str, kib: int) -> tuple[Callable[[], Call], bytes]:
    """A kernel's maker, and an input with which it moves so many KiB."""
    make, moved = KERNELS[kernel]
    size = round(kib * KIB / moved) // 12 * 12
    noise = np.random.default_rng(1).integers(0, 256, size, np.uint8)
    return make, noise.tobytes()


def microseconds(call: Callable[[], Any], budget: float) -> float:
    """Median time of a call."""
    times: list[int] = []
    end = time.perf_counter() + budget
    while time.perf_counter() < end or len(times) < 5:
        begin = time.perf_counter_ns()
        call()
        times.append(time.perf_counter_ns() - begin)
    return statistics.median(times) / 1000


def switching(rounds: int) -> float:
    """Nanoseconds to release the GIL and take it back when nobody else wants it."""
    name = None if sys.platform != "win32" else "msvcrt"
    functions = [kind(name).abs for kind in (ctypes.PyDLL, ctypes.CDLL)]
    times: tuple[list[int], list[int]] = ([], [])
    for _ in range(rounds):
        for function, taken in zip(functions, times, strict=True):
            begin = time.perf_counter_ns()
            for _ in range(1000):
                function(1)
            taken.append(time.perf_counter_ns() - begin)
    kept, released = map(statistics.median, times)
    return (released - kept) / 1000


class Busy:
    """Another thread that runs Python without a pause."""

    def __enter__(self) -> None:
        self._over = False
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over = True
        self._thread.join()

    def _run(self) -> None:
        while not self._over:
            pass


def beside_a_busy_thread(call: Callable[[], Any], count: int) -> list[float]:
    """Milliseconds that each call takes."""
    times = []
    with Busy():
        for _ in range(count):
            time.sleep(0.0005)
            begin = time.perf_counter_ns()
            call()
            times.append((time.perf_counter_ns() - begin) / 1e6)
    return times


def speedup(make: Callable[[], Call], data: bytes, seconds: float, repeats: int) -> float:
    """One thread's time for all streams over that of two threads."""
    streams = [make() for _ in range(STREAMS)]
    for stream in streams:
        stream(data)
    each = microseconds(lambda: streams[0](data), seconds / 10) / 1e6
    turns = max(1, round(seconds / each / STREAMS))

    def work(mine: Sequence[Call]) -> None:
        for _ in range(turns):
            for stream in mine:
                stream(data)

    def taken(*shares: Sequence[Call]) -> float:
        threads = [threading.Thread(target=work, args=(share,)) for share in shares]
        begin = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return time.perf_counter() - begin

    half = STREAMS // 2
    ratios = [taken(streams) / taken(streams[:half], streams[half:]) for _ in range(repeats)]
    return statistics.median(ratios)


def by_size(kernel: str, kib: int, quick: bool) -> dict[str, Any]:
    """A row of the table."""
    make, data = made(kernel, kib)
    stream = make()
    alone = microseconds(lambda: stream(data), 0.02 if quick else 0.3)
    busy = beside_a_busy_thread(lambda: stream(data), 3 if quick else 40)
    median = statistics.median(busy)
    return {
        "kernel": kernel,
        "kib": kib,
        "alone_us": alone,
        "busy_ms": median,
        "busy_worst_ms": max(busy),
        "released": median - alone / 1000 > _RELEASED_MS,
        "speedup": speedup(make, data, 0.01 if quick else 0.2, 1 if quick else 7),
    }


def per_byte(kernel: str, quick: bool) -> dict[str, Any]:
    """Nanoseconds per byte, in and out together."""
    make, data = made(kernel, _KERNEL_KIB)
    stream = make()
    us = microseconds(lambda: stream(data), 0.02 if quick else 0.5)
    return {"kernel": kernel, "ns_per_byte": 1000 * us / (_KERNEL_KIB * KIB)}


def wrong() -> list[str]:
    """Whether streams that share two threads give what they give alone."""
    make, data = made("inbound 16000", 256)
    expected = make()(data)
    got: list[Any] = []
    threads = [threading.Thread(target=lambda: got.append(make()(data))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(expected[0]) == 4 * len(data)
    exact = signals.resampled(signals.ulaw_samples(data), 8000, 16000)
    off = np.max(np.abs(signals.pcm_samples(expected[0]) - np.clip(exact, -32768, 32767)))
    good = got == [expected, expected] and off <= 1
    return [] if good else ["gil: threads get other audio"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="figures that mean nothing")
    quick: bool = parser.parse_args().quick
    sizes = [(kernel, kib) for kernel, many in BY_SIZE.items() for kib in many]
    nothing = ctypes.CDLL(None if sys.platform != "win32" else "msvcrt").abs
    measured = {
        "gil": getattr(sys, "_is_gil_enabled", lambda: True)(),
        "instruction_set": audio.instruction_set(),
        "switch_interval_ms": 1000 * sys.getswitchinterval(),
        "switching_ns": switching(10 if quick else 500),
        "nothing_busy_ms": statistics.median(
            beside_a_busy_thread(lambda: nothing(1), 3 if quick else 40)
        ),
        "rows": [by_size(*size, quick) for size in (sizes[::4] if quick else sizes)],
        "per_byte": [per_byte(kernel, quick) for kernel in KERNELS],
        "problems": wrong(),
    }
    json.dump(measured, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
