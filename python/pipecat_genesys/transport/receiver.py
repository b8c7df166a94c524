"""The half of the transport that hears, in a pipeline."""

from __future__ import annotations

from typing import Any

from pipecat.frames.frames import Frame, InputAudioRawFrame, StartFrame
from pipecat.processors.frame_processor import FrameDirection
from pipecat.transports.base_input import BaseInputTransport
from pipecat.transports.base_transport import TransportParams

from .call import GenesysCall
from .line import Line

try:
    from pipecat.frames.frames import EndWorkerFrame
except ImportError:  # pipecat before 1.4
    from pipecat.frames.frames import EndTaskFrame as EndWorkerFrame


class AudioHookReceiver(BaseInputTransport):
    """Brings a call to a pipeline, from its first sample.

    The line is read from the moment this is set up, not from when the pipeline has started, and
    goes on when the pipeline ends: the player says goodbye, and Genesys answers.
    """

    def __init__(
        self, call: GenesysCall, line: Line, params: TransportParams, **options: Any
    ) -> None:
        """Create it; `AudioHookTransport.input` does."""
        super().__init__(params, **options)
        self._call = call
        self._line = line

    async def setup(self, setup: Any) -> None:
        """Begin to read: Genesys waits 5 s for its answer, however long a bot takes to start."""
        await super().setup(setup)
        if hasattr(setup, "audio_in_sample_rate"):
            await self._begin(setup)

    async def start(self, frame: StartFrame) -> None:
        """Let the pipeline hear the call."""
        await super().start(frame)
        if not self._line.ready.is_set():  # pipecat before 1.8 tells the rate here
            await self._begin(frame)
        await self.set_transport_ready(frame)
        await self._line.deliver_to(self._forward)

    async def _begin(self, setup: Any) -> None:
        await self._call.setup(setup)
        self._line.ready.set()
        self._line.begin()

    async def _forward(self, frame: Frame) -> None:
        if isinstance(frame, InputAudioRawFrame):
            await self.push_audio_frame(frame)
        else:
            await self.push_frame(frame)

    async def push_audio_frame(self, frame: InputAudioRawFrame) -> None:
        """Push the caller's audio at once, past the queue in which pipecat filters it."""
        if self._params.audio_in_filter or not self._params.audio_in_passthrough:
            await super().push_audio_frame(frame)
        elif self._params.audio_in_enabled and not self._paused:
            await self.push_frame(frame)

    async def ends(self) -> None:
        """Nobody is there any more: the pipeline may end, in order."""
        await self._line.started.wait()
        await self.push_frame(EndWorkerFrame(), FrameDirection.UPSTREAM)

    async def cleanup(self) -> None:
        """Leave nothing behind."""
        await super().cleanup()  # type: ignore[no-untyped-call]
        await self._line.release()
