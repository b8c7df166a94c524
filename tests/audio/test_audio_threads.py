"""Threads: a stream shared by many, many streams at once, and calls without the GIL."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from pipecat_genesys.audio import (
    InboundAudio,
    OutboundAudio,
    Resampler,
    ulaw_decode,
    ulaw_encode,
)

THREADS = 8


def together(work: Callable[[int], list[bytes]]) -> list[list[bytes]]:
    """Runs `work` in every thread at the same moment."""
    barrier = threading.Barrier(THREADS)

    def start(index: int) -> list[bytes]:
        barrier.wait()
        return work(index)

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(start, range(THREADS)))


@pytest.mark.parametrize("packet", [320, 200_000])
def test_calls_on_a_shared_stream_take_turns(packet):
    """All threads feed the same packet, so whoever comes n-th gets the n-th output."""
    calls = 40 if packet > 1000 else 400
    data = np.random.default_rng(3).bytes(packet)
    serial = Resampler(8000, 24000)
    expected = sorted(serial.process(data) for _ in range(THREADS * calls))
    shared = Resampler(8000, 24000)
    results = together(lambda _: [shared.process(data) for _ in range(calls)])
    assert sorted(out for outs in results for out in outs) == expected
    assert shared.flush() == serial.flush()


@pytest.mark.parametrize("packet", [160, 100_000])
@pytest.mark.parametrize("rate", [16000, 44100, 48000])
def test_streams_of_their_own_are_independent(packet, rate):
    def call(seed: int) -> list[bytes]:
        rng = np.random.default_rng(seed)
        inbound, outbound = InboundAudio("PCMU", 2, rate), OutboundAudio("PCMU", rate)
        results = []
        for _ in range(5 if packet > 1000 else 50):
            left, right = inbound.process(rng.bytes(packet))
            results += [left, right, outbound.process(left)]
        return [*results, *inbound.flush(), outbound.flush()]

    assert together(call) == [call(seed) for seed in range(THREADS)]


def test_banks_come_and_go_under_contention():
    def churn(seed: int) -> list[bytes]:
        ratios = [(8000, 11025), (1009, 1013), (8000 + seed % 2, 8000 * 2 + 2 * (seed % 2))]
        pcm = bytes(range(200))
        return [Resampler(*ratio).process(pcm) for ratio in ratios * 20]

    results = together(churn)
    assert results == [churn(seed) for seed in range(THREADS)]


def test_a_bytearray_may_change_while_it_is_worked_on():
    """A call sees it as it was at one moment, though the GIL is released."""
    rng = np.random.default_rng(5)
    contents = [rng.bytes(400_000) for _ in range(2)]
    expected = [OutboundAudio("PCMU", 48000).process(content) for content in contents]
    data = bytearray(contents[0])
    stop = threading.Event()

    def scribble() -> None:
        while not stop.is_set():
            for content in contents:
                data[:] = content

    writer = threading.Thread(target=scribble)
    writer.start()
    try:
        for _ in range(20):
            assert OutboundAudio("PCMU", 48000).process(data) in expected
    finally:
        stop.set()
        writer.join()


def ran_meanwhile(call: Callable[[], object]) -> bool:
    """Whether a thread that wants the GIL gets it during a call; the call alone can give it."""
    ran = False
    gate = threading.Lock()

    def wait() -> None:
        nonlocal ran
        with gate:
            ran = True

    gate.acquire()
    thread = threading.Thread(target=wait)
    thread.start()
    # Nothing hangs on this: a thread that is not yet at the gate wants the GIL as well.
    time.sleep(0.0005)
    gate.release()
    call()
    seen = ran
    thread.join()
    return seen


@pytest.fixture
def no_switching() -> Iterator[None]:
    """Nobody has to give the GIL away."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1000)
    yield
    sys.setswitchinterval(before)


# Bytes in for each KiB that goes in and out, and the limit in KiB.
GIL_LIMITS = [
    (lambda data: InboundAudio("PCMU", 1, 16000).process(data), 1024 / 5, 256),
    (lambda data: OutboundAudio("PCMU", 16000).process(data), 1024 / 1.25, 256),
    (lambda data: Resampler(8000, 24000).process(data), 1024 / 4, 256),
    (ulaw_decode, 1024 / 3, 2048),
    (ulaw_encode, 1024 / 1.5, 2048),
]


@pytest.mark.usefixtures("no_switching")
@pytest.mark.skipif(not getattr(sys, "_is_gil_enabled", lambda: True)(), reason="there is no GIL")
@pytest.mark.parametrize(("call", "each", "limit"), GIL_LIMITS)
def test_the_gil_is_kept_below_the_limit_and_released_far_above(call, each, limit):
    below = bytes(round(each * limit) // 12 * 12 - 12)
    assert not any(ran_meanwhile(lambda: call(below)) for _ in range(30))
    # Long enough for a thread to wake, even on a busy machine.
    above = bytes(round(each * limit) * 12)
    assert any(ran_meanwhile(lambda: call(above)) for _ in range(100))
