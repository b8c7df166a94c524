"""Calls on our transport: a real WebSocket, a real pipeline, the simulator as Genesys."""

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
    CallParameters,
    PongReceived,
    SimulatedCall,
    new_call,
    new_monitor_call,
)
from pipecat_genesys.transport import AudioHookParams, TransportObserver, call_worker

from .server import Server

RATE = 16000
LOUD = b"\x00\x40\x00\xc0" * (RATE // 2)
"""A second of PCM that is not silence."""


class Bot(FrameProcessor):
    """Takes its time where told to, and remembers what it saw."""

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

    def times(self, kind: type[Frame]) -> list[float]:
        return [at for at, frame in self.seen if isinstance(frame, kind)]


class Speech:
    """A turn of the bot's, as a TTS service makes it: faster than speech."""

    def __init__(self, seconds: float) -> None:
        count = round(seconds / 0.1)
        self.frames = [
            TTSStartedFrame(),
            *(TTSAudioRawFrame(LOUD[: RATE // 5], RATE, 1) for _ in range(count)),
            TTSStoppedFrame(),
        ]


async def call(server: Server, script: Any, parameters: CallParameters | None = None) -> Any:
    """Place a call and wait until the server is done with it, too."""
    async with serving(server.app) as url:
        report = await SimulatedCall(url, parameters).run(script)
        await asyncio.wait_for(server.done.wait(), 10)
    assert report.script_error is None
    return report


async def test_the_bot_ends_the_call_and_the_client_closes_the_socket() -> None:
    server = Server()

    async def script(caller: SimulatedCall) -> None:
        await caller.opened()
        assert server.transport is not None
        server.transport.call.set_output_variables({"intent": "billing", "score": 0.5})
        await server.queue(*Speech(1.5).frames, EndFrame())
        await caller.ended(10)
        heard.append(caller.session.playback.heard(time.monotonic()) / 8000)

    heard: list[float] = []
    report = await call(server, script)
    assert report.clean, report.violations
    # All of it, to the last chunk, and no silence after it.
    assert heard == [pytest.approx(1.5, abs=0.05)]
    assert report.ending.disconnect_reason == "completed"
    assert report.ending.output_variables == {
        "action": "transfer",
        "intent": "billing",
        "score": "0.5",
    }
    assert report.underruns == ()


async def test_the_caller_hangs_up_and_the_pipeline_ends() -> None:
    server = Server(Echo)

    async def script(caller: SimulatedCall) -> None:
        await caller.opened()
        await caller.wait_for_bot_audio()
        await caller.hang_up()
        await caller.ended(5)

    report = await call(server, script)
    assert report.clean, report.violations
    assert report.ending.disconnect_reason is None


async def test_a_socket_that_drops_ends_the_pipeline_and_leaves_no_task() -> None:
    server = Server(Echo)
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
    reason="before pipecat 1.8 nothing is read until the pipeline has started",
)
async def test_opened_does_not_wait_for_a_bot_that_starts_slowly() -> None:
    bots: list[Bot] = []

    def make() -> Bot:
        bots.append(Bot(setup=2.0))
        return bots[-1]

    async def script(caller: SimulatedCall) -> None:
        opened = await caller.opened()
        # Of the 2 s that the pipeline takes, next to nothing; a busy machine has a second.
        assert opened.at < 1.0
        await asyncio.sleep(3)
        await caller.hang_up()
        await caller.ended(5)

    server = Server(make)
    report = await call(server, script)
    assert report.clean, report.violations
    # What was said meanwhile is heard, from its first sample.
    heard = sum(
        frame.num_frames for _, frame in bots[0].seen if isinstance(frame, InputAudioRawFrame)
    )
    assert heard / RATE >= 2.5


async def test_pings_do_not_wait_for_a_pipeline_that_cannot_keep_up() -> None:
    async def script(caller: SimulatedCall) -> None:
        await caller.opened()
        first = await caller.wait_for(PongReceived)
        later = await caller.wait_for(PongReceived, since=first.at + 0.1)
        last = await caller.wait_for(PongReceived, since=later.at + 0.1)
        # Through the pipeline they would wait for seconds of audio by then.
        assert max(float(p.rtt) for p in (first, later, last)) < 0.25
        await caller.hang_up()
        closed = await caller.ended(5)
        assert closed.ending.closed_received

    server = Server(lambda: Bot(each=0.26))
    report = await call(server, script)
    assert report.clean, report.violations


async def test_barge_in() -> None:
    heard: list[float] = []
    server = Server(Bot)

    def prepare(transport: Any) -> None:
        @transport.event_handler("on_interrupted")
        async def on_interrupted(_: Any, seconds: float) -> None:
            heard.append(seconds)

    server.prepare = prepare

    async def script(caller: SimulatedCall) -> None:
        await caller.opened()
        # Nothing plays: nothing to say to Genesys.
        await server.queue(InterruptionFrame())
        await server.queue(*Speech(6).frames)
        started = await caller.wait_for_bot_audio()
        await asyncio.sleep(1.0)
        await server.queue(InterruptionFrame())
        interrupted = await caller.wait_for(BargedIn)
        assert interrupted.at - started.at < 2
        await caller.wait_for_silence(0.5)
        await server.queue(*Speech(1).frames)
        await caller.wait_for_bot_audio(since=interrupted.at)
        await server.queue(EndFrame())
        await caller.ended(10)

    report = await call(server, script)
    assert report.clean, report.violations
    assert len(heard) == 1
    assert heard[0] == pytest.approx(1.0, abs=0.5)


async def test_a_stall_of_the_event_loop_is_not_heard() -> None:
    server = Server()

    async def script(caller: SimulatedCall) -> None:
        await caller.opened()
        await server.queue(*Speech(4).frames)
        await caller.wait_for_bot_audio()
        await asyncio.sleep(0.7)
        time.sleep(0.5)  # noqa: ASYNC251 - everything stands still, the caller's clock too
        await server.queue(EndFrame())
        await caller.ended(12)

    report = await call(server, script)
    assert report.clean, report.violations
    assert report.underruns == ()


async def test_speaking_frames_follow_what_the_caller_hears() -> None:
    bots: list[Bot] = []

    def make() -> Bot:
        bots.append(Bot())
        return bots[-1]

    server = Server(make)
    times: dict[str, float] = {}

    async def script(caller: SimulatedCall) -> None:
        await caller.opened()
        await server.queue(*Speech(3).frames)
        await caller.wait_for_bot_audio()
        times["started"] = time.monotonic()
        await caller.playback_completed()
        times["completed"] = time.monotonic()
        await asyncio.sleep(0.5)
        await caller.hang_up()
        await caller.ended(5)

    report = await call(server, script)
    assert report.clean, report.violations
    (started,) = bots[0].times(BotStartedSpeakingFrame)
    (stopped,) = bots[0].times(BotStoppedSpeakingFrame)
    assert started - times["started"] == pytest.approx(0, abs=0.3)
    # Without the clock it would come a lead's length, a second, early.
    assert stopped - times["completed"] == pytest.approx(0, abs=0.3)


async def test_each_party_of_a_stereo_call_is_a_mono_frame_of_its_own() -> None:
    bots: list[Bot] = []

    def make() -> Bot:
        bots.append(Bot())
        return bots[-1]

    inputs = GenesysAudioHookSerializer.InputParams(
        channel=AudioHookChannel.BOTH, process_internal=True
    )
    server = Server(make, params=AudioHookParams(call=inputs))

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


async def test_the_observer_is_told() -> None:
    class Told(TransportObserver):
        def __init__(self) -> None:
            self.replies: list[str] = []
            self.audio = 0.0

        def replied(self, message_type: str, seconds: float) -> None:
            self.replies.append(message_type)

        def audio_sent(self, seconds: float, tokens: float, waited: float) -> None:
            self.audio += seconds

    told = Told()
    server = Server(observer=told)

    async def script(caller: SimulatedCall) -> None:
        await caller.opened()
        await caller.wait_for(PongReceived)
        await server.queue(*Speech(0.5).frames, EndFrame())
        await caller.ended(10)

    await call(server, script, new_call())
    assert told.replies[:2] == ["opened", "pong"]
    assert told.replies[-1] == "closed"
    assert told.audio == pytest.approx(0.5, abs=0.05)


@pytest.mark.timeout(200)
@pytest.mark.parametrize(
    ("mode", "channel"),
    [(CallMode.BOT, AudioHookChannel.EXTERNAL), (CallMode.MONITOR, AudioHookChannel.BOTH)],
)
async def test_every_conformance_check_passes(mode: CallMode, channel: Any) -> None:
    inputs = GenesysAudioHookSerializer.InputParams(channel=channel)
    server = Server(Echo, params=AudioHookParams(call=inputs))
    timeouts = Timeouts(pong=2, close=2, observation=0.5, conversation=7)
    async with serving(server.app, ws_max_size=65536) as url:
        target = Target(url=url, mode=mode, timeouts=timeouts)
        results = await run_checks(target, CATALOGUE.values())
    assert [r for r in results if r.outcome is Outcome.FAILED] == []


@pytest.mark.parametrize(
    ("options", "turns"),
    [({}, False), ({"enable_turn_tracking": True}, True), ({"enable_tracing": True}, True)],
)
async def test_turns_are_counted_where_asked_for(options: dict[str, bool], turns: bool) -> None:
    worker = call_worker(Pipeline([]), **options)
    assert (worker.turn_tracking_observer is not None) == turns
