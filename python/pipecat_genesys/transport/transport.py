"""A Pipecat transport for one call from Genesys."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

from pipecat.pipeline.base_pipeline import BasePipeline
from pipecat.processors.frame_processor import FrameProcessor
from pipecat.transports.base_transport import BaseTransport, TransportParams
from pydantic import Field
from starlette.websockets import WebSocket

from pipecat_genesys.call import CallParams, OpenGate
from pipecat_genesys.call.containment import PROCESS_EXITS, BotExitError

from . import task_manager
from .connection import Connection
from .input import AudioHookInputTransport
from .observer import MessageTap, TransportObserver
from .output import AudioHookOutputTransport
from .release import drop_event_handlers, release_pipeline
from .safe_mixer import safe_mixers
from .tracing import find_call, trace_open, tracing_options

try:
    from pipecat.pipeline.worker import PipelineWorker
    from pipecat.workers.runner import WorkerRunner
except ImportError:  # pipecat versions before 1.3 have other names
    from pipecat.pipeline.runner import PipelineRunner
    from pipecat.pipeline.task import PipelineTask as PipelineWorker

    WorkerRunner = None  # type: ignore[assignment,misc]


CallPipeline = BasePipeline
"""A pipeline that begins with a transport's input and ends with its output."""


class AudioHookParams(TransportParams):
    """Parameters of the transport.

    Attributes:
        call: The parameters of the call: party, languages, variables.
        audio_out_lead_secs: Maximum duration of the bot audio that is sent and not played yet, in
            seconds. If the event loop is blocked for a shorter time, the caller hears no gap.
        audio_out_write_timeout_secs: Pipecat's limit for one write of audio, in seconds; None for
            no limit, because audio waits while the caller is on hold.
        dead_peer_secs: Time without a message after which the socket is closed, in seconds. Genesys
            pings every 5 s, even while the caller is on hold.
    """

    audio_in_enabled: bool = True
    audio_out_enabled: bool = True
    audio_out_end_silence_secs: int = 0
    audio_out_write_timeout_secs: float | None = None  # type: ignore[assignment]
    call: CallParams = Field(default_factory=CallParams)
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

    The pipeline ends when the caller hangs up, and an ``EndFrame`` ends the call.

    The transport has Pipecat's events ``on_client_connected`` (the pipeline starts) and
    ``on_client_disconnected`` (the client ended the call), both with the WebSocket. The event
    ``on_interrupted`` has the seconds of the bot's turn that the caller heard. The messages of
    Genesys are events of `call`.

    Attributes:
        call: The call: events, hooks, variables, and the methods that send messages.
        connection: The socket.
    """

    def __init__(
        self,
        websocket: WebSocket,
        params: AudioHookParams | None = None,
        *,
        observer: TransportObserver | None = None,
        open_gate: OpenGate | None = None,
        tap: MessageTap | None = None,
        input_name: str | None = None,
        output_name: str | None = None,
    ) -> None:
        """Create the transport of a call.

        Args:
            websocket: The accepted WebSocket. Nothing must have been read from it.
            params: The parameters.
            observer: Receives the measurements for operators.
            open_gate: Called and awaited when ``open`` arrived, before ``opened`` is sent; see
                `Call`.
            tap: Called with each message that was received or sent, for example by a recorder.
            input_name: Name of the input in Pipecat's logs.
            output_name: Name of the output in Pipecat's logs.
        """
        super().__init__(input_name=input_name, output_name=output_name)
        params = params or AudioHookParams()
        self._websocket = websocket
        self.connection = Connection(
            websocket,
            params.call,
            observer or TransportObserver(),
            on_gone=self._gone,
            max_lead=params.audio_out_lead_secs,
            dead_peer_seconds=params.dead_peer_secs,
            open_gate=open_gate,
            tap=tap,
        )
        self.call = self.connection.call
        if params.audio_out_mixer is not None:
            mixers = safe_mixers(params.audio_out_mixer, self.call)
            params = params.model_copy(update={"audio_out_mixer": mixers})
        self._input = AudioHookInputTransport(
            self.connection,
            params,
            self._connected,
            self._finish_handlers,
            self.release,
            self._later_processors,
            name=self._input_name,
        )
        self._output = AudioHookOutputTransport(
            self.connection, params, self._interrupted, name=self._output_name
        )
        for name in ("on_client_connected", "on_client_disconnected", "on_interrupted"):
            self._register_event_handler(name)

    def input(self) -> FrameProcessor:
        """Return the first processor of a pipeline."""
        return self._input

    def output(self) -> FrameProcessor:
        """Return the last processor of a pipeline; only recording processors may follow it."""
        return self._output

    async def _run_handler(self, event_name: str, handler: Any, *args: Any, **kwargs: Any) -> None:
        """Run one event handler. Pipecat's base class calls this method."""
        try:
            await super()._run_handler(event_name, handler, *args, **kwargs)
        except PROCESS_EXITS as error:
            exits = BotExitError(f"the handler of {event_name!r}", error)
            self.call.log.once("ERROR", str(exits))
            await self.call.end_failed_bot()

    async def _interrupted(self, heard_seconds: float) -> None:
        await self._call_event_handler("on_interrupted", heard_seconds)

    async def _connected(self) -> None:
        await self._call_event_handler("on_client_connected", self._websocket)

    async def _gone(self) -> None:
        if not self.call.session.disconnect_sent:
            await self._call_event_handler("on_client_disconnected", self._websocket)
        await self._input.end_pipeline()

    def _later_processors(self) -> list[FrameProcessor]:
        """Return the output and the last processor after it; [] if the output is in no pipeline."""
        last = self._output.next
        if last is None:
            return []
        while last.next is not None:
            last = last.next
        return [self._output, last]

    async def _finish_handlers(self) -> None:
        await self.cleanup()  # type: ignore[no-untyped-call]
        await self.call.cleanup()  # type: ignore[no-untyped-call]

    def release(self) -> None:
        """Break the reference cycles of the transport, so that its memory is freed immediately.

        `run_call` and the endpoint call this when a call is over. The transport calls no event
        handler and sends no message afterwards. The attributes of `call` can still be read.
        """
        self.connection.detach()
        self._input.detach()
        self._output.detach()
        drop_event_handlers(self)


def call_worker(pipeline: CallPipeline, **options: Any) -> PipelineWorker:
    """Make the worker of a call's pipeline, with defaults that suit a phone call.

    Three of Pipecat's options are off by default:

    * ``idle_timeout_secs``: Pipecat cancels a pipeline after five minutes without speech, but a
      caller may be on hold for longer. Genesys's pings show that the call still exists.
    * ``enable_rtvi``: Pipecat reports every frame in RTVI, the protocol of its browser clients.
      This takes a third of a call's CPU time, and the reports are not sent to Genesys.
    * ``enable_turn_tracking``: counting turns takes a tenth of a call's CPU time. The option is on
      if ``enable_tracing`` is on, because tracing needs the turns.

    With ``enable_tracing``, Genesys's conversation id is the ``conversation.id`` of the spans, and
    the conversation's span has the attributes ``genesys.conversation_id``,
    ``genesys.organization_id`` and ``genesys.session_id``. The options ``conversation_id`` and
    ``additional_span_attributes`` replace these values.

    Args:
        pipeline: The pipeline.
        **options: Options of Pipecat's ``PipelineWorker`` (``PipelineTask`` before 1.3); they
            replace the defaults.

    Returns:
        The worker.
    """
    defaults = {
        "idle_timeout_secs": None,
        "enable_rtvi": False,
        "enable_turn_tracking": options.get("enable_tracing", False),
    }
    call = find_call(pipeline) if options.get("enable_tracing") else None
    ids = {} if call is None else tracing_options(call, options)
    worker = PipelineWorker(pipeline, **(defaults | options | ids))
    if call is not None and not ids and worker.turn_trace_observer is not None:
        trace_open(call, worker.turn_trace_observer, options)
    return worker


async def run_call(pipeline: CallPipeline, **options: Any) -> None:
    """Run a call's pipeline until the call has ended.

    During the call, the ids of the call are on every log line; see `Call.log_context`. If this
    coroutine is cancelled, the pipeline is cancelled, and the session ends with ``disconnect``.
    After the call, the pipeline and the transport call no event handlers, and cannot be used again.

    Args:
        pipeline: The pipeline.
        **options: See `call_worker`.

    Raises:
        BotExitError: If a task of the pipeline raises ``SystemExit`` or ``KeyboardInterrupt``.
            The session has then ended with ``disconnect`` for the reason ``error``.
    """
    inputs = [one for one in pipeline.processors if isinstance(one, AudioHookInputTransport)]
    with inputs[0].call.log_context() if inputs else nullcontext():
        worker = call_worker(pipeline, **options)
        # Pipecat's runner must not handle signals, because the ASGI server handles them.
        if WorkerRunner is None:
            await PipelineRunner(handle_sigint=False).run(worker)
            return
        if not task_manager.IS_SUPPORTED:
            runner = WorkerRunner(handle_sigint=False)
            await runner.add_workers(worker)
            await runner.run()
            return

        async def end_pipeline() -> None:
            if inputs:
                await inputs[0].call.end_failed_bot()
            await worker.cancel(reason="a task of the pipeline tried to end the process")

        tasks = task_manager.ContainedTaskManager(end_pipeline)
        runner = WorkerRunner(handle_sigint=False, task_manager=tasks)
        try:
            await runner.add_workers(worker)
            await runner.run()
            await tasks.finish()
        finally:
            # A task that ignored its cancellation may still use the pipeline.
            if not tasks.current_tasks():
                tasks.detach()
                release_pipeline(worker, runner, tasks)
                for one in inputs:
                    one.release()
