"""From which size on a call should let go of the GIL.

Prints JSON. A call that keeps it makes all other threads wait for as long as it takes. A call that
lets go of it can wait itself: if a thread that runs Python takes the GIL, it keeps it for the
interpreter's switch interval, 5 ms. And only calls that let go can happen at the same time.

All of that is measured on a build of the extension that lets go in every call, made here:

* `alone_us` is a call on an idle interpreter, which is how long others would wait.
* `beside_ms` is what the same call takes while another thread runs Python without a pause. The
  caller sleeps before each call, as an event loop does, and has the GIL when the clock starts.
* `speedup` is the time that one thread needs for eight streams' calls, over the time that two
  threads need for the same: the shortest of several turns each.

The installed build is then asked from which size on it does let go: with a switch interval that
never ends, another thread gets to run during a call if and only if the call lets it.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from typing import Any

import numpy as np
import pipecat_genesys._native as installed
import signals
from signals import WIRE_RATE

ROOT = Path(__file__).parents[1]
KIB = 1024
STREAMS = 8
RATES = (16000, 24000, 48000)
# Of audio in a message; Genesys's own are 0.2 or shorter, and 8 are its limit of 64 000 bytes.
SECONDS = (0.02, 0.2, 1, 2, 4, 8, 16, 32, 64)
CONVERT_KIB = (64, 128, 256, 512, 1024, 2048, 4096, 8192)
# From here on a second thread is worth having.
WORTH_IT = 1.5
_LONG_SECONDS = 1000.0
Call = Callable[[bytes], Any]


class Kernel:
    """What is called, and what a call handles.

    Attributes:
        name: What the tables call it.
        make: Makes a fresh one, of the build given.
        moved: Bytes in and out for each byte in.
        sizes: Bytes in, rising.
    """

    def __init__(
        self, name: str, make: Callable[[Any], Call], moved: float, sizes: Sequence[float]
    ) -> None:
        self.name, self.make, self.moved = name, make, moved
        self.sizes = [round(size) // 12 * 12 for size in sizes]


def kernels() -> list[Kernel]:
    """Each direction and rate, and the codec."""

    def inbound(rate: int) -> Kernel:
        sizes = [seconds * WIRE_RATE for seconds in SECONDS]
        moved = 1 + 2 * rate / WIRE_RATE
        name = f"inbound {rate}"
        return Kernel(name, lambda n: n.InboundAudio("PCMU", 1, rate).process, moved, sizes)

    def outbound(rate: int) -> Kernel:
        sizes = [seconds * rate * 2 for seconds in SECONDS]
        moved = 1 + WIRE_RATE / rate / 2
        name = f"outbound {rate}"
        return Kernel(name, lambda n: n.OutboundAudio("PCMU", rate).process, moved, sizes)

    def convert(name: str, moved: float) -> Kernel:
        sizes = [kib * KIB / moved for kib in CONVERT_KIB]
        return Kernel(name, lambda n: getattr(n, name), moved, sizes)

    return [
        *map(inbound, RATES),
        *map(outbound, RATES),
        convert("ulaw_decode", 3),
        convert("ulaw_encode", 1.5),
    ]


@contextmanager
def detaching_build() -> Iterator[Any]:
    """The extension as it is when every call lets go of the GIL."""
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-m", "maturin", "build", "--release", "--locked", "--quiet"]
        command += ["--features", "always-detach", "--out", scratch]
        environment = {**os.environ, "VIRTUAL_ENV": sys.prefix}
        subprocess.run(command, cwd=ROOT, env=environment, stdout=sys.stderr, check=True)
        (wheel,) = Path(scratch).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            suffixes = tuple(EXTENSION_SUFFIXES)
            (member,) = (name for name in archive.namelist() if name.endswith(suffixes))
            path = archive.extract(member, scratch)
        loader = ExtensionFileLoader("pipecat_genesys._native", path)
        spec = spec_from_loader(loader.name, loader)
        assert spec is not None
        module = module_from_spec(spec)
        loader.exec_module(module)
        yield module


def noise(size: int) -> bytes:
    return np.random.default_rng(1).integers(0, 256, size, np.uint8).tobytes()


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
    """Nanoseconds to release the GIL and take it back when nobody else wants it.

    With a C function that does nothing, called with the GIL and without.
    """
    library = "msvcrt" if sys.platform == "win32" else None
    functions = [kind(library).abs for kind in (ctypes.PyDLL, ctypes.CDLL)]
    times: tuple[list[int], list[int]] = ([], [])
    for _ in range(rounds):
        for function, taken in zip(functions, times, strict=True):
            begin = time.perf_counter_ns()
            for _ in range(1000):
                function(1)
            taken.append(time.perf_counter_ns() - begin)
    kept, released = map(statistics.median, times)
    return (released - kept) / 1000


@contextmanager
def busy() -> Iterator[None]:
    """Another thread runs Python without a pause."""
    over = False

    def run() -> None:
        while not over:
            pass

    thread = threading.Thread(target=run)
    thread.start()
    yield
    over = True
    thread.join()


def beside_a_busy_thread(call: Callable[[], Any], count: int) -> list[float]:
    """Milliseconds that each call takes."""
    times = []
    with busy():
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
    turns_taken = [(taken(streams), taken(streams[:half], streams[half:])) for _ in range(repeats)]
    # What else the machine does can only make either longer.
    one, two = map(min, zip(*turns_taken, strict=True))
    return one / two


def by_size(kernel: Kernel, size: int, build: Any, quick: bool) -> dict[str, Any]:
    """A row of the table."""
    data = noise(size)
    stream = kernel.make(build)
    beside = beside_a_busy_thread(lambda: stream(data), 3 if quick else 30)
    seconds, repeats = (0.005, 1) if quick else (0.1, 9)
    return {
        "kernel": kernel.name,
        "bytes_in": size,
        "bytes_moved": round(size * kernel.moved),
        "alone_us": microseconds(lambda: stream(data), seconds),
        "beside_ms": statistics.median(beside),
        "beside_worst_ms": max(beside),
        "speedup": speedup(lambda: kernel.make(build), data, seconds, repeats),
        "installed_releases": releases(kernel.make(installed), data),
    }


def releases(call: Call, data: bytes, attempts: int = 20) -> bool:
    """Whether another thread gets to run while a call does.

    One that is let through a gate just before the call and then wants the GIL: it gets it if the
    call lets go of it for as long as a thread takes to wake, and by nothing else.
    """
    interval = sys.getswitchinterval()
    sys.setswitchinterval(_LONG_SECONDS)
    try:
        return any(_ran_meanwhile(lambda: call(data)) for _ in range(attempts))
    finally:
        sys.setswitchinterval(interval)


def _ran_meanwhile(call: Callable[[], Any]) -> bool:
    ran = False
    gate = threading.Lock()

    def wait() -> None:
        nonlocal ran
        with gate:
            ran = True

    gate.acquire()
    thread = threading.Thread(target=wait)
    thread.start()
    # Until it stands at the gate; if it does not, it will want the GIL as well.
    time.sleep(0.001)
    gate.release()
    call()
    seen = ran
    thread.join()
    return seen


def pays_from(rows: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """The smallest size from which on two threads are always worth it."""
    found = None
    for row in reversed(rows):
        if row["speedup"] < WORTH_IT:
            break
        found = row
    return found


def wrong(build: Any) -> list[str]:
    """Whether streams that share two threads give what they give alone."""
    data = noise(64 * KIB)
    (expected,) = build.InboundAudio("PCMU", 1, 16000).process(data)
    got: list[Any] = []
    threads = [
        threading.Thread(
            target=lambda: got.extend(build.InboundAudio("PCMU", 1, 16000).process(data))
        )
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(expected) == 4 * len(data)
    exact = signals.resampled(signals.ulaw_samples(data), 8000, 16000)
    off = np.max(np.abs(signals.pcm_samples(expected) - np.clip(exact, -32768, 32767)))
    good = got == [expected, expected] and off <= 1
    return [] if good else ["gil: threads get other audio"]


def measure(build: Any, quick: bool) -> dict[str, Any]:
    rows, verdicts = [], []
    for kernel in kernels():
        sizes = kernel.sizes[1::6] if quick else kernel.sizes
        mine = [by_size(kernel, size, build, quick) for size in sizes]
        rows += mine
        found = pays_from(mine)
        verdicts.append({"kernel": kernel.name, "pays_from": found})
    return {
        "gil": getattr(sys, "_is_gil_enabled", lambda: True)(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "instruction_set": build.instruction_set(),
        "switch_interval_ms": 1000 * sys.getswitchinterval(),
        "switching_ns": switching(10 if quick else 500),
        "rows": rows,
        "verdicts": verdicts,
        "problems": wrong(build),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--quick", action="store_true", help="the installed build, and figures that mean nothing"
    )
    if parser.parse_args().quick:
        measured = measure(installed, quick=True)
    else:
        with detaching_build() as build:
            measured = measure(build, quick=False)
    json.dump(measured, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
