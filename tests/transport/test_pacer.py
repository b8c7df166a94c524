"""Tests of the times at which bot audio is sent, with a virtual clock.

The receiver is the simulator's playback queue, and a token bucket with Genesys's limits of the
message rate: each message takes one token from the bucket. In this file, the lead is the duration
of the audio that the receiver has and has not played yet.
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
from pipecat_genesys.simulator import ClientLimits, Playback, Underrun
from pipecat_genesys.transport import TransportObserver, can_block
from pipecat_genesys.transport.pacer import AudioPacer, PacingQueue
from pipecat_genesys.transport.writer import Writer

SECOND = 8000
CHUNK = 0.04


@dataclass
class PacedCall:
    """A pacing queue, the receiver of its packets, and their clock.

    Attributes:
        queue: The queue under test.
        now: The time in seconds.
        stalled_until: Time until which the event loop is blocked.
        packets: The packets that were sent, each with its time.
    """

    queue: PacingQueue = field(default_factory=PacingQueue)
    now: float = 100.0
    stalled_until: float = 0.0
    packets: list[tuple[float, bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.bucket = ClientLimits().binary.budget()
        self.playback = Playback()

    def advance(self, until: float) -> None:
        """Advance the clock to a time; send packets that are due, unless the loop is blocked."""
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
            assert wake > now, (
                "the time of the next poll is not later than now, so the loop would never end"
            )
            self.now = wake
        self.now = max(self.now, until)

    def speak(self, seconds: float, *, speed: float, chunk: float = CHUNK) -> float:
        """Add the audio of a turn to the queue; return the time at which the source ended.

        Args:
            seconds: Length of the audio.
            speed: Speed of the source, as a multiple of real time.
            chunk: Length of each chunk of audio, in seconds.
        """
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

    def wait(self, seconds: float) -> None:
        """Advance the clock by a number of seconds."""
        self.advance(self.now + seconds)

    @property
    def sent(self) -> bytes:
        return b"".join(audio for _, audio in self.packets)

    def underruns(self) -> list[Underrun]:
        self.playback.advance(self.now)
        return list(self.playback.underruns())


def test_first_audio_of_a_turn_is_sent_at_once() -> None:
    call = PacedCall()
    for _ in range(5):
        begin, before = call.now, len(call.packets)
        call.speak(2.0, speed=10)
        assert call.packets[before][0] - begin <= 0.02
        call.wait(4)


@pytest.mark.parametrize("speed", [0.999, 1.5, 10, 1000])
def test_rest_of_a_turn_is_sent_when_the_turn_ends(speed: float) -> None:
    call = PacedCall()
    end = call.speak(1.234, speed=speed)
    call.wait(0.05)
    assert call.queue.unsent_samples == 0
    assert call.packets[-1][0] <= end + 0.05
    assert len(call.sent) == round(1.234 * SECOND)


def test_packets_grow_once_the_lead_is_reached() -> None:
    call = PacedCall()
    call.speak(20.0, speed=50)
    call.wait(20)
    sizes = [len(audio) / SECOND for _, audio in call.packets]
    assert sizes[0] == pytest.approx(CHUNK)
    # When the receiver has 1 s of unplayed audio, the maximum, two messages per second are sent.
    assert max(sizes[3:-1]) >= 0.4
    assert len(sizes) <= 2 * 20 + 8
    assert call.underruns() == []


@pytest.mark.parametrize("at", [0.3, 1.0, 2.2, 7.0])
def test_blocking_the_event_loop_for_half_a_second_causes_no_underrun(at: float) -> None:
    call = PacedCall()
    begin = call.now
    stalled = False
    for number in range(250):
        if not stalled and call.now - begin >= at:
            stalled = True
            call.stalled_until = call.now + 0.5
            call.advance(call.stalled_until)
        while not call.queue.has_room(call.now):
            call.advance(call.now + 0.02)
        call.queue.put(bytes([number]) * 320, call.now)
        call.advance(call.now + 0.004)
    call.queue.finish()
    call.wait(12)
    assert stalled
    assert call.underruns() == []
    assert len(call.sent) == 250 * 320


def test_audio_in_real_time_that_is_a_little_late_is_heard_with_one_short_gap() -> None:
    """Each chunk of 200 ms of audio is up to 8 ms late, as in a busy process."""
    call = PacedCall()
    begin = call.now
    for piece in range(300):
        call.advance(begin + 0.2 * piece + (piece * 7 % 9) / 1000)
        call.queue.put(bytes(SECOND // 5), call.now)
    gaps = call.underruns()
    assert len(gaps) == 1
    assert gaps[0].seconds < 0.02


def test_audio_in_real_time_that_is_often_late_is_heard_with_two_gaps() -> None:
    """Each chunk of 200 ms of audio is up to 40 ms late, as from a source on a network."""
    call = PacedCall()
    begin = call.now
    for piece in range(300):
        call.advance(begin + 0.2 * piece + (piece * 7 % 9) / 200)
        call.queue.put(bytes(SECOND // 5), call.now)
    assert len(call.underruns()) == 2


def test_ten_minutes_of_conversation_cause_no_429_and_no_underrun() -> None:
    call = PacedCall()
    begin, turn = call.now, 0
    while call.now < begin + 600:
        call.speak(1.0 + turn % 7, speed=(1.5, 4, 30)[turn % 3])
        call.wait(call.queue.ahead(call.now) + 0.5 + turn % 4)
        turn += 1
    assert call.underruns() == []
    assert turn > 60


def test_short_turns_wait_for_a_token_at_most_and_lose_no_audio() -> None:
    """A turn of 120 ms starts every 300 ms; each turn is interrupted before the next turn."""
    call = PacedCall()
    given, dropped = 0, 0
    waits = []
    for _ in range(200):
        begin, before = call.now, len(call.packets)
        given += 1
        call.speak(0.12, speed=20)
        call.advance(begin + 0.3)
        if len(call.packets) > before:
            waits.append(call.packets[before][0] - begin)
        dropped += call.queue.unsent_samples
        call.queue.clear(call.now)
        call.playback.clear(call.now)
    assert max(waits[:20]) <= 0.02
    # When the rate limit is used up, a turn waits until one more message is allowed.
    assert max(waits) <= 0.25
    assert len(call.sent) + dropped == given * round(0.12 * SECOND)


def test_hold_after_429_is_obeyed_and_loses_no_audio() -> None:
    call = PacedCall()
    call.speak(0.2, speed=100)
    call.wait(0.1)
    before = len(call.packets)
    call.queue.hold_until(call.now + 3)
    call.queue.put(b"\1" * 4000, call.now)
    call.queue.finish()
    call.wait(2.99)
    assert len(call.packets) == before
    call.wait(0.02)
    assert call.sent[-4000:] == b"\1" * 4000


def test_clear_returns_the_seconds_that_were_heard() -> None:
    call = PacedCall()
    call.speak(5.0, speed=100)
    begin = call.packets[0][0]
    call.advance(begin + 6)
    assert call.queue.clear(call.now) == pytest.approx(5.0)
    call.wait(1)
    begin = call.now
    call.speak(1.0, speed=100)
    call.advance(begin + 0.4)
    assert call.queue.clear(call.now) == pytest.approx(0.4, abs=0.05)
    assert call.queue.ahead(call.now) == 0


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
def test_arbitrary_use_keeps_the_limits_and_the_order_and_loses_no_audio(
    steps: Iterable[tuple[str, float]], lead: float
) -> None:
    call = PacedCall(PacingQueue(max_lead=lead))
    expected, number = bytearray(), 0
    for step, amount in steps:
        if step == "put":
            number += 1
            audio = bytes([number % 256]) * round(amount * SECOND)
            call.queue.put(audio, call.now)
            expected += audio
        elif step == "wait":
            call.wait(amount)
        elif step == "finish":
            call.queue.finish()
        else:
            call.advance(call.now)
            del expected[len(call.sent) :]
            call.queue.clear(call.now)
    call.queue.finish()
    call.wait(500)
    assert call.sent == bytes(expected)
    assert call.queue.ahead(call.now) == 0


@given(st.integers(1, 40), st.floats(0.2, 4.0))
def test_lead_is_bounded(chunks: int, lead: float) -> None:
    call = PacedCall(PacingQueue(max_lead=lead))
    for _ in range(chunks):
        call.queue.put(b"\0" * 4000, call.now)
        call.advance(call.now + 0.1)
        # During a turn, the lead may exceed the limit `lead_seconds` by at most 0.25 s.
        assert call.queue.clock.lead(call.now) <= lead + 0.25 + 1e-6


def test_time_until_underrun_ends_with_the_audio_unless_the_turn_has_ended() -> None:
    async def nowhere(_: str | bytes) -> None:
        raise AssertionError("this test writes no message")

    queue, writer = PacingQueue(), Writer(nowhere, nowhere)
    pacer = AudioPacer(queue, writer, TransportObserver())
    pacer.release()
    assert pacer.until_underrun(100.0) == math.inf
    queue.put(bytes(SECOND // 4), 100.0)
    packet = queue.poll(100.0)
    assert packet is not None
    assert pacer.until_underrun(100.0) == pytest.approx(0.25)
    # The source pauses without ending the turn.
    queue.put(bytes(SECOND // 100), 100.01)
    assert queue.poll(100.1) is not None
    assert pacer.until_underrun(100.1) == pytest.approx(0.16)
    # More audio follows, and then the turn ends.
    queue.put(bytes(SECOND // 10), 100.12)
    queue.finish()
    assert queue.poll(100.12) is not None
    assert pacer.until_underrun(100.12) == math.inf
    queue.put(bytes(SECOND), 101.0)
    assert queue.poll(101.0) is not None
    writer.is_closed = True
    assert pacer.until_underrun(101.0) == math.inf


async def test_can_block_sends_waiting_audio_if_that_suffices() -> None:
    """`can_block` sends waiting audio only if all audio together is as long as the block."""
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
    # More audio is added. It is not sent yet, because enough unplayed audio was sent.
    queue.put(bytes(3 * SECOND // 10), time.monotonic())
    pacer.poke()
    assert writer.queued_audio_bytes == 6 * SECOND // 10
    assert pacer.until_underrun(time.monotonic()) <= 0
    go_on.set()
    await writer.flushed()
    assert not can_block(0.95)
    assert not writer.queued_audio_bytes, (
        "no audio must wait, because all audio together is too short"
    )
    assert not can_block(0.7)
    assert writer.queued_audio_bytes == 3 * SECOND // 10
    await writer.flushed()
    assert can_block(0.7)
    assert sent == [6 * SECOND // 10, 3 * SECOND // 10]
    pacer.stop()
    writing.cancel()


def test_audio_of_a_fast_source_is_sent_ahead_early() -> None:
    """The source adds chunks of 0.1 s, three times as fast as real time."""
    call = PacedCall()
    begin, least = call.now, 0.0
    for piece in range(30):
        call.queue.put(bytes(SECOND // 10), call.now)
        call.advance(begin + (piece + 1) * 0.033)
        lead = call.queue.clock.lead(call.now)
        if piece >= 3:
            least = min(least or lead, lead)
        if piece >= 12:
            assert lead >= 0.5
    # The receiver has the least unplayed audio 0.1 s after the first chunk, when the source has
    # given 0.4 s of audio.
    assert least >= 0.15
    assert len(call.packets) <= 9


def test_audio_sent_early_leaves_tokens_for_audio_that_is_due() -> None:
    queue = PacingQueue()
    queue.put(bytes(6 * SECOND // 10), 100.0)
    assert queue.poll(100.0) is not None
    early = 0
    for _ in range(40):
        queue.put(bytes(SECOND // 200), 100.0)
        assert queue.poll(100.0) is None, "the lead is long enough"
        early += queue.poll(100.0, early=True) is not None
    assert 0 < early < 12
    assert queue.bucket.level(100.0) > 10
    # The rest is sent at the normal time, when the caller has heard half of the first audio.
    assert queue.poll(100.4) is not None
