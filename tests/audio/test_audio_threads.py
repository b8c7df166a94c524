"""Tests with threads: shared streams, many concurrent streams, and the release of the GIL."""

import _thread
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
    """Run `work` in eight threads at the same time, and return the results."""
    barrier = threading.Barrier(THREADS)

    def start(index: int) -> list[bytes]:
        barrier.wait()
        return work(index)

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(start, range(THREADS)))


@pytest.mark.parametrize("packet", [320, 200_000])
def test_calls_on_a_shared_stream_take_turns(packet):
    """The outputs for all threads together are the outputs of a stream that one thread uses."""
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
def test_streams_of_different_threads_are_independent(packet, rate):
    def call(seed: int) -> list[bytes]:
        rng = np.random.default_rng(seed)
        inbound, outbound = InboundAudio("PCMU", 2, rate), OutboundAudio("PCMU", rate)
        results = []
        for _ in range(5 if packet > 1000 else 50):
            left, right = inbound.process(rng.bytes(packet))
            results += [left, right, outbound.process(left)]
        return [*results, *inbound.flush(), outbound.flush()]

    assert together(call) == [call(seed) for seed in range(THREADS)]


def test_filter_banks_can_be_created_and_freed_by_many_threads_at_once():
    def create_and_free(seed: int) -> list[bytes]:
        ratios = [(8000, 11025), (1009, 1013), (8000 + seed % 2, 8000 * 2 + 2 * (seed % 2))]
        pcm = bytes(range(200))
        return [Resampler(*ratio).process(pcm) for ratio in ratios * 20]

    results = together(create_and_free)
    assert results == [create_and_free(seed) for seed in range(THREADS)]


def test_a_call_works_on_a_copy_of_a_bytearray_that_another_thread_changes():
    rng = np.random.default_rng(5)
    contents = [rng.bytes(400_000) for _ in range(2)]
    expected = [OutboundAudio("PCMU", 48000).process(content) for content in contents]
    data = bytearray(contents[0])
    stop = threading.Event()

    def overwrite() -> None:
        while not stop.is_set():
            for content in contents:
                data[:] = content

    writer = threading.Thread(target=overwrite)
    writer.start()
    try:
        for _ in range(20):
            assert OutboundAudio("PCMU", 48000).process(data) in expected
    finally:
        stop.set()
        writer.join()


def releases_the_gil(call: Callable[[], object], calls: int, seconds: float) -> bool:
    """Return whether a thread that waits for the GIL runs while `call` is called again and again.

    The interpreter must not switch threads by itself, see `no_switching`. Then the thread can run
    only if `call` releases the GIL. A busy machine delays the thread, but does not change the
    result, if `seconds` is long.

    Args:
        call: The function.
        calls: The smallest number of calls.
        seconds: The time after which the result is False.
    """
    ran = False
    ended = threading.Lock()
    ended.acquire()

    def run() -> None:
        nonlocal ran
        ran = True
        ended.release()

    # `start` waits until the new thread runs, and `run` would be over before the first call.
    # `start_new_thread` does not wait and does not release the GIL.
    _thread.start_new_thread(run, ())
    deadline = time.monotonic() + seconds
    count = 0
    while not ran and (count < calls or time.monotonic() < deadline):
        call()
        count += 1
    seen = ran
    ended.acquire()
    return seen


@pytest.fixture
def no_switching() -> Iterator[None]:
    """Set the switch interval to 1000 s, so that the interpreter does not switch threads."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1000)
    yield
    sys.setswitchinterval(before)


# Each row has a function; the number of input bytes for which the total size of input and output is
# 1 KiB; and the total size of input and output, in KiB, above which the function releases the GIL.
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
    # The thread has time to start and to wait for the GIL before the last of these calls.
    assert not releases_the_gil(lambda: call(below), calls=100, seconds=0.2)
    above = bytes(round(each * limit) * 12)
    assert releases_the_gil(lambda: call(above), calls=1, seconds=30)
