"""The input of the transport. It passes the messages of Genesys to the pipeline as frames."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

from loguru import logger
from pipecat.frames.frames import (
    CancelFrame,
    ClientConnectedFrame,
    EndFrame,
    Frame,
    InputAudioRawFrame,
    StartFrame,
)
from pipecat.processors.frame_processor import (
    FrameDirection,
    FrameProcessor,
    FrameProcessorSetup,
)
from pipecat.transports.base_input import BaseInputTransport
from pipecat.transports.base_transport import TransportParams

from pipecat_genesys.call import Phase

from .connection import Connection

try:
    from pipecat.frames.frames import EndWorkerFrame
except ImportError:  # pipecat versions before 1.4 have another name
    from pipecat.frames.frames import EndTaskFrame as EndWorkerFrame

# Maximum time in seconds to wait for event handlers that still run when the pipeline ends.
_HANDLER_SECONDS = 10.0
# A pipeline is cancelled if it has not ended by this time after its `EndFrame`, in seconds.
# `_SILENT_SECONDS`: while the call continues and no bot audio waits or plays.
# `_OVER_SECONDS`: after the call.
_SILENT_SECONDS, _OVER_SECONDS = 60.0, 30.0
# Time in seconds for which a cancelled pipeline may run before its later processors are cancelled.
_CANCEL_SECONDS = 10.0


class AudioHookInputTransport(BaseInputTransport):
    """Passes the audio and the messages of a call to a pipeline, beginning with the first sample.

    The socket is read as soon as the input is set up, before the pipeline has started, because
    Genesys waits only 5 s for ``opened``. The connection stays open when the pipeline ends, because
    the output then sends ``disconnect``, and Genesys answers ``close``.

    Attributes:
        call: The call.
    """

    def __init__(
        self,
        connection: Connection,
        params: TransportParams,
        on_connected: Callable[[], Awaitable[None]],
        finish_handlers: Callable[[], Awaitable[None]],
        release: Callable[[], None],
        later_processors: Callable[[], Sequence[FrameProcessor]],
        **options: Any,
    ) -> None:
        """Create the input. Use `AudioHookTransport.input` instead.

        Args:
            connection: The socket and its call.
            params: The transport's parameters.
            on_connected: Called when the pipeline starts, before the pipeline gets a frame.
            finish_handlers: Waits for the event handlers that still run.
            release: Breaks the reference cycles of the transport.
            later_processors: Returns the output of the transport, and the last processor after it.
            **options: Options of Pipecat's base class.
        """
        super().__init__(params, **options)
        self.call = connection.call
        self._connection = connection
        self._on_connected = on_connected
        self._finish_handlers = finish_handlers
        self._release = release
        self._later_processors = later_processors
        self._end_watch: asyncio.Task[None] | None = None

    # Pipecat's FrameProcessor also changes the type of the argument of its base class.
    async def setup(self, setup: FrameProcessorSetup) -> None:  # type: ignore[override]
        """Begin to read and write the socket.

        Before Pipecat 1.8, the sample rate is not known here, so `start` begins instead.
        """
        await super().setup(setup)
        if hasattr(setup, "audio_in_sample_rate"):
            self._begin(setup)

    async def start(self, frame: StartFrame) -> None:
        """Pass the frames received so far, and all further frames, to the pipeline."""
        await super().start(frame)
        if not self._connection.ready.is_set():  # pipecat before 1.8 passes the sample rate here
            self._begin(frame)
        await self._on_connected()
        await self.push_frame(ClientConnectedFrame())
        await self.set_transport_ready(frame)
        await self._connection.deliver_to(self._deliver)

    def _begin(self, setup: FrameProcessorSetup | StartFrame) -> None:
        self._connection.call.set_pipeline(setup)
        self._connection.ready.set()
        self._connection.begin()

    async def _deliver(self, frame: Frame) -> None:
        """Push a frame to the pipeline.

        Caller audio goes through Pipecat's `push_audio_frame` if an audio filter is set or
        `audio_in_passthrough` is off. Otherwise caller audio is pushed directly, and dropped while
        the input is disabled or paused.
        """
        if not isinstance(frame, InputAudioRawFrame):
            await self.push_frame(frame)
        elif self._params.audio_in_filter or not self._params.audio_in_passthrough:
            await self.push_audio_frame(frame)
        elif self._params.audio_in_enabled and not self._paused:
            await self.push_frame(frame)

    def _create_audio_task(self) -> None:
        """Create Pipecat's task for caller audio, if caller audio passes through this task.

        The task wakes up twice a second even if it has nothing to do.
        """
        if self._params.audio_in_filter or not self._params.audio_in_passthrough:
            super()._create_audio_task()  # type: ignore[no-untyped-call]

    async def push_audio_frame(self, frame: InputAudioRawFrame) -> None:
        """Push audio that does not come from the socket, such as audio from Pipecat's RTVI."""
        if self._params.audio_in_enabled and self._audio_task is None and not self._paused:
            super()._create_audio_task()  # type: ignore[no-untyped-call]
        await super().push_audio_frame(frame)

    async def end_pipeline(self) -> None:
        """End the pipeline after its queued frames, because the socket is closed or lost.

        If the pipeline has not started, this method waits for the start.
        """
        await self._connection.started.wait()
        await self.push_frame(EndWorkerFrame(), FrameDirection.UPSTREAM)
        self._watch_end()

    async def stop(self, frame: EndFrame) -> None:
        """Stop the input, and cancel the pipeline if a processor does not pass on the frame."""
        await super().stop(frame)
        self._watch_end()

    def _watch_end(self) -> None:
        if self._end_watch is None:
            self._end_watch = asyncio.create_task(self._cancel_if_stuck(), name=f"{self}: end")

    async def _cancel_if_stuck(self) -> None:
        """Cancel the pipeline if it does not end. `cleanup` cancels this task."""
        call, connection = self.call, self._connection
        while True:
            if call.phase < Phase.GONE:
                with suppress(TimeoutError):
                    async with asyncio.timeout(_SILENT_SECONDS):
                        await call.wait_for_phase(Phase.GONE)
                if call.phase is Phase.GONE or connection.is_speaking:
                    continue
                limit = _SILENT_SECONDS
            elif connection.outlives_pipeline:
                return  # the endpoint limits the time of a bot after its call
            else:
                await asyncio.sleep(_OVER_SECONDS)
                limit = _OVER_SECONDS
            break
        call.log.once(
            "ERROR",
            f"the pipeline did not end within {limit:g} s of its EndFrame and is cancelled; "
            "every frame processor must pass on EndFrame: call push_frame() for each frame that "
            "process_frame() does not use up, and do not block in process_frame()",
            "pipeline stuck",
        )
        # Pipecat's worker waits until an EndFrame or a CancelFrame reaches the end of the pipeline,
        # and sends no frame itself. Therefore a CancelFrame is queued to this input, from where it
        # passes through all processors. If the pipeline has not ended after `_CANCEL_SECONDS`, a
        # processor also blocks the CancelFrame, and another one is queued to the output, and then
        # to the last processor.
        for processor in (self, *self._later_processors()):
            await processor.queue_frame(CancelFrame())
            await asyncio.sleep(_CANCEL_SECONDS)

    async def cleanup(self) -> None:
        """End the connection, and wait for event handlers that still run, for at most 10 s."""
        watch, self._end_watch = self._end_watch, None
        if watch is not None:
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)
        await super().cleanup()  # type: ignore[no-untyped-call]
        await self._connection.release()
        try:
            async with asyncio.timeout(_HANDLER_SECONDS):
                await self._finish_handlers()
        except TimeoutError:
            logger.warning(
                f"{self}: event handlers still run {_HANDLER_SECONDS:g} s after the call; "
                "make them shorter, or start a task for long work"
            )

    def release(self) -> None:
        """Break the reference cycles of the transport, unless its connection continues."""
        if not self._connection.outlives_pipeline:
            self._release()

    def detach(self) -> None:
        """Remove the references to the transport."""
        self._on_connected = self._finish_handlers = _do_nothing
        self._release = lambda: None
        self._later_processors = tuple


async def _do_nothing() -> None:
    return
