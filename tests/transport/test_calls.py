"""Tests of the simulator's calls on `AudioHookTransport`, with a real WebSocket and pipeline."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from echo_server import Echo
from loopback import serving
from pipecat.frames.frames import (
    BotStartedSpeakingFrame,
    BotStoppedSpeakingFrame,
    EndFrame,
    Frame,
    InputAudioRawFrame,
    InterruptionFrame,
    TTSAudioRawFrame,
    TTSStartedFrame,
    TTSStoppedFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor, FrameProcessorSetup
from pipecat_genesys import AudioHookChannel, GenesysAudioHookSerializer
from pipecat_genesys.call import Phase
from pipecat_genesys.conformance import CATALOGUE, Outcome, Target, Timeouts, run_checks
from pipecat_genesys.simulator import (
    BargedIn,
    CallMode,
    CallOptions,
    CallParameters,
    CallReport,
    ClientTimeouts,
    PongReceived,
    SimulatedCall,
    new_call,
    new_monitor_call,
)
from pipecat_genesys.transport import AudioHookParams, TransportObserver, call_worker

from .server import TransportServer

RATE = 16000
PINGS_EVERY_SECOND = CallOptions(timeouts=ClientTimeouts(ping_interval=1))
LOUD = b"\x00\x40\x00\xc0" * (RATE // 2)
"""A second of PCM that is not silence."""


class RecordingBot(FrameProcessor):
    """Passes frames on and records them.

    Args:
        setup: Duration of the processor's set-up in seconds.
        each: Processing time of each frame of caller audio in seconds.
    """

    def __init__(self, *, setup: float = 0.0, each: float = 0.0) -> None:
        super().__init__()
        self.setup_seconds = setup
        self.seconds_for_audio = each
        self.seen: list[tuple[float, Frame]] = []

    async def setup(self, setup: Any) -> None:
        await super().setup(setup)
        await asyncio.sleep(self.setup_seconds)

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        self.seen.append((time.monotonic(), frame))
        if isinstance(frame, InputAudioRawFrame):
            await asyncio.sleep(self.seconds_for_audio)
        await self.push_frame(frame, direction)

    def times_of(self, kind: type[Frame]) -> list[float]:
        return [at for at, frame in self.seen if isinstance(frame, kind)]


class SpokenTurn:
    """The frames of a turn, in the order in which a TTS service pushes them."""

    def __init__(self, seconds: float) -> None:
        count = round(seconds / 0.1)
        self.frames = [
            TTSStartedFrame(),
            *(TTSAudioRawFrame(LOUD[: RATE // 5], RATE, 1) for _ in range(count)),
            TTSStoppedFrame(),
        ]


async def call(
    server: TransportServer, script: Any, parameters: CallParameters | None = None, **options: Any
) -> CallReport:
    """Make a call, and wait until its pipeline has ended."""
    async with serving(server.app) as url:
        report = await SimulatedCall(url, parameters, **options).run(script)
        await asyncio.wait_for(server.done.wait(), 10)
    assert report.script_error is None
    return report


async def test_end_frame_plays_all_audio_then_disconnects_with_the_output_variables() -> None:
    server = TransportServer()

    async def script(caller: SimulatedCall) -> None:
        await caller.opened()
        assert server.transport is not None
        server.transport.call.set_output_variables({"intent": "billing", "score": 0.5})
        await server.queue(*SpokenTurn(1.5).frames, EndFrame())
        await caller.ended(10)
        heard.append(caller.session.playback.heard(time.monotonic()) / 8000)

    heard: list[float] = []
    report = await call(server, script)
    assert report.clean, report.violations
    # The caller heard all audio, and no silence after the audio.
    assert heard == [pytest.approx(1.5, abs=0.05)]
    assert report.ending.disconnect_reason == "completed"
    assert report.ending.output_variables == {
        "action": "transfer",
        "intent": "billing",
        "score": "0.5",
    }
    assert report.underruns == ()


async def test_pipeline_ends_when_the_caller_hangs_up() -> None:
    server = TransportServer(Echo)

    async def script(caller: SimulatedCall) -> None:
        await caller.opened()
        await caller.wait_for_bot_audio()
        await caller.hang_up()
        await caller.ended(5)

    report = await call(server, script)
    assert report.clean, report.violations
    assert report.ending.disconnect_reason is None


async def test_pipeline_ends_when_the_socket_drops_and_no_task_is_left() -> None:
    server = TransportServer(Echo)
    async with serving(server.app) as url:
        caller = SimulatedCall(url)
        async with caller:
            await caller.opened()
            assert caller._connection is not None
            caller._connection.drop()
        await asyncio.wait_for(server.done.wait(), 10)
    assert server.transport is not None
    assert server.transport.call.phase >= Phase.ENDED
    names = [task.get_name() for task in asyncio.all_tasks()]
    assert not [name for name in names if "AudioHook" in name]


@pytest.mark.skipif(
    "audio_in_sample_rate" not in FrameProcessorSetup.__dataclass_fields__,
    reason="pipecat before 1.8 reads nothing until the pipeline has started",
)
async def test_opened_does_not_wait_for_the_pipeline_and_no_audio_is_lost() -> None:
    bots: list[RecordingBot] = []

    def make() -> RecordingBot:
        bots.append(RecordingBot(setup=2.0))
        return bots[-1]

    async def script(caller: SimulatedCall) -> None:
        opened = await caller.opened()
        # The pipeline needs 2 s to start. The limit is long enough for a busy machine.
        assert opened.at < 1.0
        await asyncio.sleep(3)
        await caller.hang_up()
        await caller.ended(5)

    server = TransportServer(make)
    report = await call(server, script)
    assert report.clean, report.violations
    # The pipeline also receives the audio that arrived before the start of the pipeline.
    heard = sum(
        frame.num_frames for _, frame in bots[0].seen if isinstance(frame, InputAudioRawFrame)
    )
    assert heard / RATE >= 2.5


async def test_pings_do_not_wait_for_a_slow_pipeline() -> None:
    async def script(caller: SimulatedCall) -> None:
        await caller.opened()
        pongs = [await caller.wait_for(PongReceived) for _ in range(3)]
        # The pipeline needs 0.5 s for each packet of 0.2 s, so after 3 s it is more than 4 s late.
        assert max(float(pong.rtt) for pong in pongs) < 1
        await caller.hang_up()
        closed = await caller.ended(5)
        assert closed.ending.closed_received

    server = TransportServer(lambda: RecordingBot(each=0.5))
    report = await call(server, script, options=PINGS_EVERY_SECOND)
    assert report.clean, report.violations


async def test_interruption_sends_barge_in_and_reports_the_seconds_heard() -> None:
    heard: list[float] = []
    server = TransportServer(RecordingBot)

    def prepare(transport: Any) -> None:
        @transport.event_handler("on_interrupted")
        async def on_interrupted(_: Any, seconds: float) -> None:
            heard.append(seconds)

    server.prepare = prepare

    async def script(caller: SimulatedCall) -> None:
        await caller.opened()
        # No audio is playing, so this interruption sends no message.
        await server.queue(InterruptionFrame())
        await server.queue(*SpokenTurn(6).frames)
        started = await caller.wait_for_bot_audio()
        await asyncio.sleep(1.0)
        await server.queue(InterruptionFrame())
        interrupted = await caller.wait_for(BargedIn)
        assert interrupted.at - started.at < 2
        await caller.wait_for_silence(0.5)
        await server.queue(*SpokenTurn(1).frames)
        await caller.wait_for_bot_audio(since=interrupted.at)
        await server.queue(EndFrame())
        await caller.ended(10)

    report = await call(server, script)
    assert report.clean, report.violations
    assert len(heard) == 1
    assert heard[0] == pytest.approx(1.0, abs=0.5)


async def test_blocking_the_event_loop_for_half_a_second_causes_no_underrun() -> None:
    server = TransportServer()

    async def script(caller: SimulatedCall) -> None:
        await caller.opened()
        await server.queue(*SpokenTurn(4).frames)
        await caller.wait_for_bot_audio()
        await asyncio.sleep(0.7)
        time.sleep(0.5)  # noqa: ASYNC251 - blocks the simulator, too
        await server.queue(EndFrame())
        await caller.ended(12)

    report = await call(server, script)
    assert report.clean, report.violations
    assert report.underruns == ()


async def test_bot_speaking_frames_follow_the_playback() -> None:
    bots: list[RecordingBot] = []

    def make() -> RecordingBot:
        bots.append(RecordingBot())
        return bots[-1]

    server = TransportServer(make)
    times: dict[str, float] = {}

    async def script(caller: SimulatedCall) -> None:
        await caller.opened()
        await server.queue(*SpokenTurn(3).frames)
        await caller.wait_for_bot_audio()
        times["started"] = time.monotonic()
        await caller.playback_completed()
        times["completed"] = time.monotonic()
        await asyncio.sleep(0.5)
        await caller.hang_up()
        await caller.ended(5)

    report = await call(server, script)
    assert report.clean, report.violations
    (started,) = bots[0].times_of(BotStartedSpeakingFrame)
    (stopped,) = bots[0].times_of(BotStoppedSpeakingFrame)
    assert started - times["started"] == pytest.approx(0, abs=0.3)
    # Without the playout clock, the frame would arrive 1 s early, because audio is sent up to 1 s
    # before its playback.
    assert stopped - times["completed"] == pytest.approx(0, abs=0.3)


async def test_stereo_call_gives_a_mono_frame_for_each_channel() -> None:
    bots: list[RecordingBot] = []

    def make() -> RecordingBot:
        bots.append(RecordingBot())
        return bots[-1]

    inputs = GenesysAudioHookSerializer.InputParams(
        channel=AudioHookChannel.BOTH, process_internal=True
    )
    server = TransportServer(make, params=AudioHookParams(call=inputs))

    async def script(caller: SimulatedCall) -> None:
        await caller.opened()
        await asyncio.sleep(0.7)
        await caller.hang_up()
        await caller.ended(5)

    report = await call(server, script, new_monitor_call())
    assert report.clean, report.violations
    frames = [frame for _, frame in bots[0].seen if isinstance(frame, InputAudioRawFrame)]
    assert {frame.num_channels for frame in frames} == {1}
    by_party = dict.fromkeys(("external", "internal"), 0)
    for frame in frames:
        by_party[str(frame.transport_source)] += frame.num_frames
    assert by_party["external"] == by_party["internal"] > 0


async def test_observer_is_called_for_replies_and_audio() -> None:
    class RecordingObserver(TransportObserver):
        def __init__(self) -> None:
            self.replies: list[str] = []
            self.audio = 0.0

        def replied(self, message_type: str, seconds: float) -> None:
            self.replies.append(message_type)

        def audio_sent(self, seconds: float, tokens: float, waited: float) -> None:
            self.audio += seconds

    observer = RecordingObserver()
    server = TransportServer(observer=observer)

    async def script(caller: SimulatedCall) -> None:
        await caller.opened()
        await caller.wait_for(PongReceived)
        await server.queue(*SpokenTurn(0.5).frames, EndFrame())
        await caller.ended(10)

    await call(server, script, new_call())
    assert observer.replies[:2] == ["opened", "pong"]
    assert observer.replies[-1] == "closed"
    assert observer.audio == pytest.approx(0.5, abs=0.05)


@pytest.mark.timeout(200)
@pytest.mark.parametrize(
    ("mode", "channel"),
    [(CallMode.BOT, AudioHookChannel.EXTERNAL), (CallMode.MONITOR, AudioHookChannel.BOTH)],
)
async def test_transport_passes_every_conformance_check(mode: CallMode, channel: Any) -> None:
    inputs = GenesysAudioHookSerializer.InputParams(channel=channel)
    server = TransportServer(Echo, params=AudioHookParams(call=inputs))
    timeouts = Timeouts(pong=2, close=2, observation=0.5, conversation=7)
    async with serving(server.app, ws_max_size=65536) as url:
        target = Target(url=url, mode=mode, timeouts=timeouts)
        results = await run_checks(target, CATALOGUE.values())
    assert [r for r in results if r.outcome is Outcome.FAILED] == []


@pytest.mark.parametrize(
    ("options", "turns"),
    [({}, False), ({"enable_turn_tracking": True}, True), ({"enable_tracing": True}, True)],
)
async def test_turn_tracking_is_off_by_default(options: dict[str, bool], turns: bool) -> None:
    worker = call_worker(Pipeline([]), **options)
    assert (worker.turn_tracking_observer is not None) == turns
