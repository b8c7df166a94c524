"""A pipecat transport for one call from Genesys."""

from __future__ import annotations

from functools import partial
from typing import Any

from pipecat.processors.frame_processor import FrameProcessor
from pipecat.transports.base_transport import BaseTransport, TransportParams
from pydantic import Field
from starlette.websockets import WebSocket

from pipecat_genesys.serializer.params import SerializerParams

from .call import GenesysCall
from .line import Line, write
from .observer import TransportObserver
from .player import AudioHookPlayer
from .receiver import AudioHookReceiver
from .sender import AudioSender

try:
    from pipecat.pipeline.worker import PipelineWorker
    from pipecat.workers.runner import WorkerRunner
except ImportError:  # pipecat before 1.3
    from pipecat.pipeline.runner import PipelineRunner
    from pipecat.pipeline.task import PipelineTask as PipelineWorker

    WorkerRunner = None  # type: ignore[assignment,misc]


class AudioHookParams(TransportParams):
    """Parameters of the transport.

    Attributes:
        call: What the serializer's parameters say: which party, languages, variables.
        audio_out_lead_secs: How far bot audio runs ahead of real time, at most. An event loop
            that stands still for less is not heard; an interruption wastes at most as much.
        dead_peer_secs: After how long without a sign of life the socket is given up. Genesys pings
            every 5 s, also while the caller is on hold.
    """

    audio_in_enabled: bool = True
    audio_out_enabled: bool = True
    audio_out_end_silence_secs: int = 0
    call: SerializerParams = Field(default_factory=SerializerParams)
    audio_out_lead_secs: float = Field(default=1.0, ge=0.2, le=8.0)
    dead_peer_secs: float = Field(default=30.0, ge=11.0)


class AudioHookTransport(BaseTransport):
    """One call from Genesys, as input and output of a pipeline.

    Example::

        @app.websocket("/audiohook")
        async def audiohook(websocket: WebSocket):
            await websocket.accept()
            transport = AudioHookTransport(websocket)
            pipeline = Pipeline([transport.input(), bot, transport.output()])
            await run_call(pipeline)

    The pipeline ends by itself when the caller hangs up, and an ``EndFrame`` ends the call.

    Events: ``on_client_connected`` and ``on_client_disconnected`` as pipecat's transports have
    them (with the WebSocket), and ``on_interrupted`` with how many seconds of what the bot was
    saying the caller had heard. What Genesys says is among the events of `call`.

    Attributes:
        call: The session: events, hooks, verbs and variables, as the serializer has them.
        line: The socket.
    """

    def __init__(
        self,
        websocket: WebSocket,
        params: AudioHookParams | None = None,
        *,
        observer: TransportObserver | None = None,
        input_name: str | None = None,
        output_name: str | None = None,
    ) -> None:
        """Create the transport of a call.

        Args:
            websocket: Accepted, and nothing read of it.
            params: How.
            observer: Is told what an operator may want to measure.
            input_name: For pipecat's logs.
            output_name: Likewise.
        """
        super().__init__(input_name=input_name, output_name=output_name)
        self._params = params or AudioHookParams()
        self._websocket = websocket
        self.call = GenesysCall(
            self._params.call,
            partial(write, websocket),
            AudioSender(lead_seconds=self._params.audio_out_lead_secs),
            observer or TransportObserver(),
        )
        self.line = Line(
            self.call,
            websocket,
            on_connected=self._connected,
            on_lost=self._hung_up,
            dead_peer_seconds=self._params.dead_peer_secs,
        )
        self._receiver = AudioHookReceiver(
            self.call, self.line, self._params, name=self._input_name
        )
        self._player = AudioHookPlayer(
            self, self.call, self.line, self._params, name=self._output_name
        )
        for name in ("on_client_connected", "on_client_disconnected", "on_interrupted"):
            self._register_event_handler(name)

    def input(self) -> FrameProcessor:
        """The processor that a pipeline begins with."""
        return self._receiver

    def output(self) -> FrameProcessor:
        """The processor that a pipeline ends with."""
        return self._player

    def answer(self) -> None:
        """Begin to talk to Genesys before there is a pipeline.

        Without it the pipeline begins, as it is set up. Who calls this says `end` when the call
        is over, however it went; no pipeline ends it then.
        """
        self.line.keep()
        self.line.begin()

    async def end(self) -> None:
        """Let go of the socket, and leave nothing behind."""
        await self.line.end()

    async def interrupted(self, heard_seconds: float) -> None:
        """Tell the application how much of what the bot was saying was heard."""
        await self._call_event_handler("on_interrupted", heard_seconds)

    async def _connected(self) -> None:
        await self._call_event_handler("on_client_connected", self._websocket)

    async def _hung_up(self) -> None:
        await self._call_event_handler("on_client_disconnected", self._websocket)
        await self._receiver.ends()


def call_worker(pipeline: Any, **options: Any) -> Any:
    """Make the worker of a call's pipeline.

    pipecat cancels a pipeline in which nothing was said for five minutes; on the telephone that is
    a caller on hold. Genesys's pings and the socket tell whether anybody is there. It reports every
    frame to RTVI, the protocol of pipecat's clients in browsers; a telephone is none of them, and
    nothing of it is ever sent. And it reports every frame to an observer that counts turns, whether
    anybody asks it or not. The one is a third of what a call costs, the other a tenth. All three
    are options, and turns are counted where ``enable_tracing`` needs them.

    Args:
        pipeline: The pipeline.
        **options: For pipecat's ``PipelineWorker`` (``PipelineTask`` before 1.3). With
            ``enable_turn_tracking=True`` its ``turn_tracking_observer`` is there.

    Returns:
        The worker.
    """
    defaults = {
        "idle_timeout_secs": None,
        "enable_rtvi": False,
        "enable_turn_tracking": options.get("enable_tracing", False),
    }
    return PipelineWorker(pipeline, **(defaults | options))


async def run_call(pipeline: Any, **options: Any) -> None:
    """Run a call's pipeline to its end, which the end of the call is.

    Args:
        pipeline: The pipeline.
        **options: As for `call_worker`.
    """
    worker = call_worker(pipeline, **options)
    # Signals are the server's business.
    if WorkerRunner is None:
        await PipelineRunner(handle_sigint=False).run(worker)
        return
    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    await runner.run()
