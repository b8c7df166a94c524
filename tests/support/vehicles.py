"""Three ways to connect a pipeline, each with a real server; the simulator acts as Genesys."""

from __future__ import annotations

import array
import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import version
from typing import Any

from echo_server import WorkerRunner
from fastapi import FastAPI, WebSocket
from loopback import serving
from pipecat.frames.frames import (
    Frame,
    TTSAudioRawFrame,
    TTSStartedFrame,
    TTSStoppedFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.serializers.genesys import GenesysAudioHookSerializer as PipecatSerializer
from pipecat.transports.base_transport import TransportParams
from pipecat.transports.websocket.fastapi import FastAPIWebsocketParams, FastAPIWebsocketTransport
from pipecat_genesys import GenesysAudioHookSerializer, audio, genesys_params
from pipecat_genesys.protocol.types import AudioHookChannel
from pipecat_genesys.simulator import CallOptions, CallReport, SimulatedCall
from pipecat_genesys.transport import AudioHookParams, AudioHookTransport, call_worker

try:
    from pipecat.pipeline.worker import PipelineParams
except ImportError:  # pipecat before 1.3 has other module names
    from pipecat.pipeline.task import PipelineParams

RATE = 16000
WIRE_RATE = 8000


class Vehicle(StrEnum):
    """A combination of transport and serializer that connects a pipeline to Genesys."""

    TRANSPORT = "AudioHookTransport"
    SERIALIZER = "our serializer, Pipecat's transport"
    PIPECAT = "Pipecat's serializer and transport"


# Two scenarios need a pipecat version that queues frames, and can be cancelled, while its pipeline
# starts.
IS_NEWEST = "audio_out_volume" in TransportParams.model_fields
# Pipecat 1.8 and 1.9 wait for the duration of an audio chunk only if the serializer returns a
# message for the chunk. During a pause the serializer returns none. Audio is then processed without
# any wait, and a mixer generates audio without a limit.
UNSENT_AUDIO_IS_NOT_PACED = version("pipecat-ai").startswith(("1.8.", "1.9."))
EVERY = tuple(Vehicle)
OURS = (Vehicle.TRANSPORT, Vehicle.SERIALIZER)


def tone(seconds: float, rate: int = RATE) -> bytes:
    """Return a loud 500 Hz square wave as 16-bit PCM."""
    half = rate // 1000
    period = array.array("h", [16000] * half + [-16000] * half).tobytes()
    size = round(seconds * rate) * 2
    return (period * (size // len(period) + 1))[:size]


def utterance(
    seconds: float, rate: int = RATE, piece: float = 0.1, *, interruptible: bool = True
) -> list[Frame]:
    """Return the short frames of a turn, as a TTS service pushes them."""
    pcm, size = tone(seconds, rate), round(piece * rate) * 2
    pieces = [pcm[at : at + size] for at in range(0, len(pcm), size)]
    frames = [TTSAudioRawFrame(one, rate, 1) for one in pieces]
    if not interruptible:
        for frame in frames:
            frame.interruptible = False
    return [TTSStartedFrame(), *frames, TTSStoppedFrame()]


class Tap(FrameProcessor):
    """Records the frames that it passes on, with their times and directions."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[float, Frame, FrameDirection]] = []
        self._passed = asyncio.Condition()

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        self.seen.append((time.monotonic(), frame, direction))
        async with self._passed:
            self._passed.notify_all()
        await self.push_frame(frame, direction)

    async def wait_for(self, kind: type[Frame]) -> None:
        """Wait until a frame of a type has passed, for at most 8 s."""
        async with asyncio.timeout(8), self._passed:
            await self._passed.wait_for(lambda: bool(self.times(kind)))

    def times(self, kind: type[Frame]) -> list[float]:
        """Return the times at which frames of a type passed."""
        return [at for at, frame, _ in self.seen if isinstance(frame, kind)]

    def seconds(self, kind: type[Frame]) -> float:
        """Return the duration of the audio in frames of a type, in seconds."""
        frames: list[Any] = [frame for _, frame, _ in self.seen if isinstance(frame, kind)]
        return sum(len(frame.audio) / 2 / frame.sample_rate for frame in frames)


class ServedPipeline:
    """A server for one call, whose pipeline has processors before and after the output.

    Attributes:
        vehicle: The transport and serializer of the pipeline.
        transport: The transport; set when a call has arrived.
        worker: The pipeline's worker.
        started: Event that is set when `worker` is available.
        running: Event that is set when the pipeline has started.
        done: Event that is set when the worker has ended.
    """

    def __init__(
        self,
        vehicle: Vehicle,
        *,
        before: Sequence[FrameProcessor] = (),
        after: Sequence[FrameProcessor] = (),
        prepare: Callable[[ServedPipeline], None] = lambda _: None,
        rate: int | None = RATE,
        worker_options: dict[str, Any] | None = None,
        **params: Any,
    ) -> None:
        self.vehicle = vehicle
        self.transport: Any = None
        self.worker: Any = None
        self.done = asyncio.Event()
        self.started = asyncio.Event()
        self.running = asyncio.Event()
        self._before, self._after = before, after
        self._prepare = prepare
        self._rate = rate
        self._params = params
        self._worker_options = worker_options or {}
        self.app = FastAPI()
        self.app.websocket("/audiohook")(self._answer)

    async def _answer(self, websocket: WebSocket) -> None:
        await websocket.accept()
        self.transport = self._make_transport(websocket)
        steps = [self.transport.input(), *self._before, self.transport.output(), *self._after]
        rates = {}
        if self._rate is not None:
            rates = {"audio_in_sample_rate": self._rate, "audio_out_sample_rate": self._rate}
        self.worker = call_worker(
            Pipeline(steps), params=PipelineParams(**rates), **self._worker_options
        )

        @self.worker.event_handler("on_pipeline_started")
        async def on_pipeline_started(*_: Any) -> None:
            self.running.set()

        self._prepare(self)
        runner = WorkerRunner(handle_sigint=False)
        await runner.add_workers(self.worker)
        self.started.set()
        try:
            await runner.run()
        finally:
            self.done.set()

    def _make_transport(self, websocket: WebSocket) -> Any:
        if self.vehicle is Vehicle.TRANSPORT:
            return AudioHookTransport(websocket, AudioHookParams(**self._params))
        if self.vehicle is Vehicle.SERIALIZER:
            serializer = GenesysAudioHookSerializer()
            params = genesys_params(serializer, **self._params)
        else:
            # These are the best settings for Pipecat's serializer: chunks stay within the rate
            # limit.
            chosen = {"audio_in_enabled": True, "audio_out_enabled": True}
            chosen |= {"audio_out_10ms_chunks": 20, "audio_out_end_silence_secs": 0}
            params = {"serializer": PipecatSerializer(), **chosen, **self._params}
        transport = FastAPIWebsocketTransport(websocket, FastAPIWebsocketParams(**params))
        if self.vehicle is Vehicle.SERIALIZER:
            serializer.attach(transport)

        @transport.event_handler("on_client_disconnected")
        async def on_client_disconnected(*_: Any) -> None:
            await self.worker.cancel()

        return transport

    async def queue(self, *frames: Frame) -> None:
        """Queue frames at the beginning of the pipeline."""
        await self.worker.queue_frames(list(frames))


@dataclass
class CallOutcome:
    """The result of a call.

    Attributes:
        report: The simulator's report.
        track: The bot audio that the caller heard since `open`, as 16-bit samples at 8000 Hz.
        spoken: The caller's audio since `open`, in the same format.
        began: Time of `open` on the clock of the event loop.
    """

    report: CallReport
    track: array.array[int]
    spoken: array.array[int]
    began: float

    def loud(self) -> list[tuple[float, float]]:
        """Return start and end of each section of audible bot audio, in seconds since `open`."""
        stretches: list[tuple[float, float]] = []
        size = WIRE_RATE // 50
        for at in range(0, len(self.track) - size, size):
            if max(map(abs, self.track[at : at + size])) > 1000:
                begin, end = at / WIRE_RATE, (at + size) / WIRE_RATE
                if stretches and begin - stretches[-1][1] < 0.03:
                    stretches[-1] = (stretches[-1][0], end)
                else:
                    stretches.append((begin, end))
        return stretches

    def heard(self) -> float:
        """Return the duration of the bot audio that the caller heard, in seconds."""
        return sum(end - begin for begin, end in self.loud())


class DelayedOpen(SimulatedCall):
    """A client that delays `open` after the upgrade, as a slow network does."""

    delay = 0.0

    async def _connect(self, attempt: int) -> Any:
        websocket = await super()._connect(attempt)
        await asyncio.sleep(self.delay)
        return websocket


async def call(
    served: ServedPipeline,
    script: Callable[[SimulatedCall], Awaitable[object]],
    *,
    open_after: float = 0.0,
    hang_up: bool = True,
    rtt: float = CallOptions().rtt,
) -> CallOutcome:
    """Call a server, run a script, and hang up.

    Args:
        served: The server.
        script: Coroutine function that is run when the session is open.
        open_after: Seconds between the upgrade and `open`.
        hang_up: Whether to hang up after the script; otherwise the server ends the call.
        rtt: Round-trip time of the simulated network, in seconds.
    """
    async with serving(served.app) as url:
        client = DelayedOpen(url, options=CallOptions(rtt=rtt))
        client.delay = open_after

        async def whole(caller: SimulatedCall) -> None:
            await caller.opened(10)
            await script(caller)
            if hang_up:
                await caller.hang_up()
            await caller.ended(15)

        report = await client.run(whole)
        now = asyncio.get_running_loop().time()
        track = array.array("h", audio.ulaw_decode(client.session.playback.render(now)))
        await asyncio.wait_for(served.done.wait(), 20)
    assert report.script_error is None, report.script_error
    voice = client.caller_audio.voice(AudioHookChannel.EXTERNAL)
    spoken = array.array("h", audio.ulaw_decode(voice.track[round(voice.lead * WIRE_RATE) :]))
    return CallOutcome(report, track, spoken, now - client.elapsed)
