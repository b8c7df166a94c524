"""The argument of a bot: one call that the endpoint has accepted."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pipecat_genesys.auth import VerifiedRequest
from pipecat_genesys.protocol import events
from pipecat_genesys.transport import AudioHookTransport, CallPipeline, run_call

from .recording import CallRecording


@dataclass(frozen=True, slots=True, eq=False)
class AudioHookCall:
    """A call that Genesys has opened and that waits for its bot.

    Attributes:
        transport: The transport with the input and output of the pipeline; ``transport.call`` is
            the `Call`.
        opening: The ``open`` message, with the caller, the language and the input variables.
        request: The verified upgrade request; None if connections are not authenticated.
        recording: The recording of the call, which the bot can pause.
    """

    transport: AudioHookTransport
    opening: events.OpenReceived
    request: VerifiedRequest | None
    recording: CallRecording = field(default_factory=CallRecording)

    @property
    def session_id(self) -> str:
        """The id of the AudioHook session, as in Genesys's logs."""
        return self.transport.call.session_id

    @property
    def input_variables(self) -> dict[str, Any]:
        """The Architect flow's input variables."""
        return self.transport.call.input_variables or {}

    async def run(self, pipeline: CallPipeline, **options: Any) -> None:
        """Run a pipeline until the call has ended.

        ``opened`` is sent as soon as the pipeline is set up. Set languages, or refuse the session
        with `refuse`, before this method is called. If this coroutine is cancelled, the pipeline is
        cancelled and the call ends.

        Args:
            pipeline: A pipeline that begins with ``transport.input()`` and ends with
                ``transport.output()``.
            **options: Options of pipecat's ``PipelineWorker`` (``PipelineTask`` before 1.3), such
                as ``params=PipelineParams(...)``.
        """
        await run_call(pipeline, **options)

    async def refuse(self, reason: str = "error", info: str | None = None) -> None:
        """Refuse the session before ``opened`` is sent. The bot must return afterwards.

        Args:
            reason: The reason in ``disconnect``; with ``error`` the flow takes its failure path.
            info: A line for Genesys's log, without personal data.

        Raises:
            ValueError: If Genesys does not know the reason.
        """
        await self.transport.call.disconnect(reason, info=info)
