"""When bot audio goes out, under a virtual clock, against Genesys's own buckets and queue.

The other side is the simulator's: its token buckets with the published limits, its playback queue.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pipecat_genesys.protocol.types import MAX_MESSAGE_BYTES
from pipecat_genesys.simulator import ClientLimits, Playback
from pipecat_genesys.transport import TransportObserver, can_block
from pipecat_genesys.transport.pacer import AudioPacer, PacingQueue
from pipecat_genesys.transport.writer import Writer

SECOND = 8000
CHUNK = 0.04


@dataclass
class Line:
    """A queue on one side, Genesys on the other, and a clock between them."""

    queue: PacingQueue = field(default_factory=PacingQueue)
    now: float = 100.0
    stalled_until: float = 0.0
    packets: list[tuple[float, bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.bucket = ClientLimits().binary.budget()
        self.playback = Playback()

    def advance(self, until: float) -> None:
        """Let time pass; what is due goes out, unless everything stands still."""
        while True:
            now = max(self.now, self.stalled_until)
            if now > until:
                break
            self.now = now
            packet = self.queue.poll(now)
            if packet is not None:
                assert 0 < len(packet.audio) <= MAX_MESSAGE_BYTES
                assert self.bucket.take(now), f"429 at {now}: message {len(self.packets)}"
                self.playback.advance(now)
                self.playback.receive(packet.audio, now)
                self.packets.append((now, packet.audio))
                continue
            wake = self.queue.due_at(now)
            if wake is None or wake > until:
                break
            assert wake > now, "a wake-up that comes at once, for ever"
            self.now = wake
        self.now = max(self.now, until)

    def speak(self, seconds: float, *, speed: float, chunk: float = CHUNK) -> float:
        """A turn from a source that is so many times as fast as speech; the time it ended."""
        for begin in itertools.count():
            at = begin * chunk
            if at >= seconds:
                break
            while not self.queue.has_room(self.now):
                self.advance(self.now + 0.02)
            size = round(min(chunk, seconds - at) * SECOND)
            self.queue.put(bytes([begin % 251]) * size, self.now)
            self.advance(self.now + chunk / speed)
        self.queue.finish()
        return self.now

    def silent(self, seconds: float) -> None:
        self.advance(self.now + seconds)

    @property
    def sent(self) -> bytes:
        return b"".join(audio for _, audio in self.packets)

    def underruns(self) -> list[object]:
        self.playback.advance(self.now)
        return list(self.playback.underruns())


def test_the_first_audio_of_a_turn_goes_out_as_it_comes() -> None:
    line = Line()
    for _ in range(5):
        begin, before = line.now, len(line.packets)
        line.speak(2.0, speed=10)
        assert line.packets[before][0] - begin <= 0.02
        line.silent(4)


@pytest.mark.parametrize("speed", [0.999, 1.5, 10, 1000])
def test_the_tail_goes_out_at_the_end(speed: float) -> None:
    line = Line()
    end = line.speak(1.234, speed=speed)
    line.silent(0.05)
    assert line.queue.unsent_samples == 0
    assert line.packets[-1][0] <= end + 0.05
    assert len(line.sent) == round(1.234 * SECOND)


def test_packets_grow_and_run_ahead_by_the_lead() -> None:
    line = Line()
    line.speak(20.0, speed=50)
    line.silent(20)
    sizes = [len(audio) / SECOND for _, audio in line.packets]
    assert sizes[0] == pytest.approx(CHUNK)
    # Two messages a second, once the lead is there.
    assert max(sizes[3:-1]) >= 0.4
    assert len(sizes) <= 2 * 20 + 8
    assert line.underruns() == []


@pytest.mark.parametrize("at", [0.3, 1.0, 2.2, 7.0])
def test_an_event_loop_that_stands_still_for_half_a_second_is_not_heard(at: float) -> None:
    line = Line()
    begin = line.now
    stalled = False
    for number in range(250):
        if not stalled and line.now - begin >= at:
            stalled = True
            line.stalled_until = line.now + 0.5
            line.advance(line.stalled_until)
        while not line.queue.has_room(line.now):
            line.advance(line.now + 0.02)
        line.queue.put(bytes([number]) * 320, line.now)
        line.advance(line.now + 0.004)
    line.queue.finish()
    line.silent(12)
    assert stalled
    assert line.underruns() == []
    assert len(line.sent) == 250 * 320


def test_ten_minutes_of_conversation_without_429_or_underrun() -> None:
    line = Line()
    begin, turn = line.now, 0
    while line.now < begin + 600:
        line.speak(1.0 + turn % 7, speed=(1.5, 4, 30)[turn % 3])
        line.silent(line.queue.ahead(line.now) + 0.5 + turn % 4)
        turn += 1
    assert line.underruns() == []
    assert turn > 60


def test_many_tiny_utterances_are_joined_as_tokens_run_out_and_none_is_lost() -> None:
    """Interruptions every 300 ms, and a new turn after each."""
    line = Line()
    given, dropped = 0, 0
    waits = []
    for _ in range(200):
        begin, before = line.now, len(line.packets)
        given += 1
        line.speak(0.12, speed=20)
        line.advance(begin + 0.3)
        if len(line.packets) > before:
            waits.append(line.packets[before][0] - begin)
        dropped += line.queue.unsent_samples
        line.queue.clear(line.now)
        line.playback.clear(line.now)
    assert max(waits[:20]) <= 0.02
    # Later a turn waits for its token, never longer than it takes to come.
    assert max(waits) <= 0.25
    assert len(line.sent) + dropped == given * round(0.12 * SECOND)


def test_what_429_says_is_kept_and_no_audio_is_lost() -> None:
    line = Line()
    line.speak(0.2, speed=100)
    line.silent(0.1)
    before = len(line.packets)
    line.queue.hold_until(line.now + 3)
    line.queue.put(b"\1" * 4000, line.now)
    line.queue.finish()
    line.silent(2.99)
    assert len(line.packets) == before
    line.silent(0.02)
    assert line.sent[-4000:] == b"\1" * 4000


def test_an_interruption_says_what_was_heard() -> None:
    line = Line()
    line.speak(5.0, speed=100)
    begin = line.packets[0][0]
    line.advance(begin + 6)
    assert line.queue.clear(line.now) == pytest.approx(5.0)
    line.silent(1)
    begin = line.now
    line.speak(1.0, speed=100)
    line.advance(begin + 0.4)
    assert line.queue.clear(line.now) == pytest.approx(0.4, abs=0.05)
    assert line.queue.ahead(line.now) == 0


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["put", "put", "put", "wait", "finish", "clear"]),
            st.floats(0.001, 2.0),
        ),
        max_size=120,
    ),
    st.floats(0.2, 4.0),
)
def test_whatever_happens_the_limits_hold_and_nothing_is_lost_or_reordered(
    steps: Iterable[tuple[str, float]], lead: float
) -> None:
    line = Line(PacingQueue(lead_seconds=lead))
    expected, number = bytearray(), 0
    for step, amount in steps:
        if step == "put":
            number += 1
            audio = bytes([number % 256]) * round(amount * SECOND)
            line.queue.put(audio, line.now)
            expected += audio
        elif step == "wait":
            line.silent(amount)
        elif step == "finish":
            line.queue.finish()
        else:
            line.advance(line.now)
            del expected[len(line.sent) :]
            line.queue.clear(line.now)
    line.queue.finish()
    line.silent(500)
    assert line.sent == bytes(expected)
    assert line.queue.ahead(line.now) == 0


@given(st.integers(1, 40), st.floats(0.2, 4.0))
def test_the_lead_is_bounded(chunks: int, lead: float) -> None:
    line = Line(PacingQueue(lead_seconds=lead))
    for _ in range(chunks):
        line.queue.put(b"\0" * 4000, line.now)
        line.advance(line.now + 0.1)
        # Before the end of the turn is known: what is ahead plus the shortest useful message.
        assert line.queue.clock.lead(line.now) <= lead + 0.25 + 1e-6


def test_for_how_long_everything_can_block() -> None:
    """As long as the caller has something to hear, unless that is all there is to hear."""

    async def nowhere(_: str | bytes) -> None:
        raise AssertionError("nothing is written here")

    queue, writer = PacingQueue(), Writer(nowhere, nowhere)
    pacer = AudioPacer(queue, writer, TransportObserver())
    pacer.release()
    assert pacer.until_underrun(100.0) == math.inf
    queue.put(bytes(SECOND // 4), 100.0)
    packet = queue.poll(100.0)
    assert packet is not None
    assert pacer.until_underrun(100.0) == pytest.approx(0.25)
    # The source pauses, which may be the end or not.
    queue.put(bytes(SECOND // 100), 100.01)
    assert queue.poll(100.1) is not None
    assert pacer.until_underrun(100.1) == pytest.approx(0.16)
    # It was not: more comes, and then it says that it was all.
    queue.put(bytes(SECOND // 10), 100.12)
    queue.finish()
    assert queue.poll(100.12) is not None
    assert pacer.until_underrun(100.12) == math.inf
    queue.put(bytes(SECOND), 101.0)
    assert queue.poll(101.0) is not None
    writer.is_closed = True
    assert pacer.until_underrun(101.0) == math.inf


async def test_before_everything_stands_still_what_was_said_is_sent() -> None:
    """What has gathered is sent ahead, where that is enough; what is not sent does not count."""
    sent: list[int] = []
    go_on = asyncio.Event()

    async def write(message: str | bytes) -> None:
        await go_on.wait()
        sent.append(len(message))

    queue, writer = PacingQueue(), Writer(write, write)
    pacer = AudioPacer(queue, writer, TransportObserver())
    pacer.release()
    writing = asyncio.create_task(writer.run())
    await asyncio.sleep(0)
    queue.put(bytes(6 * SECOND // 10), time.monotonic())
    pacer.poke()
    # More has come since, and is not due as long as the caller has enough to hear.
    queue.put(bytes(3 * SECOND // 10), time.monotonic())
    pacer.poke()
    assert writer.queued_audio_bytes == 6 * SECOND // 10
    assert pacer.until_underrun(time.monotonic()) <= 0
    go_on.set()
    await writer.flushed()
    assert not can_block(0.95)
    assert not writer.queued_audio_bytes, "what there is is not enough"
    assert not can_block(0.7)
    assert writer.queued_audio_bytes == 3 * SECOND // 10
    await writer.flushed()
    assert can_block(0.7)
    assert sent == [6 * SECOND // 10, 3 * SECOND // 10]
    pacer.stop()
    writing.cancel()


def test_a_fast_source_is_soon_ahead() -> None:
    """Pieces of 0.1 s, three times as fast as speech: what has been said does not lie about."""
    line = Line()
    begin, least = line.now, 0.0
    for piece in range(30):
        line.queue.put(bytes(SECOND // 10), line.now)
        line.advance(begin + (piece + 1) * 0.033)
        lead = line.queue.clock.lead(line.now)
        if piece >= 3:
            least = min(least or lead, lead)
        if piece >= 12:
            assert lead >= 0.5
    # A stall of so long is not heard once 0.4 s were said, a tenth of a second after the first.
    assert least >= 0.15
    assert len(line.packets) <= 9


def test_tokens_are_kept_for_what_is_due() -> None:
    queue = PacingQueue()
    queue.put(bytes(6 * SECOND // 10), 100.0)
    assert queue.poll(100.0) is not None
    early = 0
    for _ in range(40):
        queue.put(bytes(SECOND // 200), 100.0)
        assert queue.poll(100.0) is None, "there is enough ahead"
        early += queue.poll(100.0, early=True) is not None
    assert 0 < early < 12
    assert queue.bucket.level(100.0) > 10
    # What was kept back goes out as ever, when half is heard.
    assert queue.poll(100.4) is not None
