"""The call that a bot gets from the endpoint."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pipecat_genesys.auth import VerifiedRequest
from pipecat_genesys.protocol import events
from pipecat_genesys.transport import AudioHookTransport, CallPipeline, run_call


@dataclass(frozen=True, slots=True, eq=False)
class AudioHookCall:
    """A call that Genesys has opened and that waits for its bot.

    Attributes:
        transport: Input and output of the pipeline; ``transport.call`` is the `Call`.
        opening: The ``open`` message: caller, language, variables.
        request: The verified upgrade request; None where connections are not authenticated.
    """

    transport: AudioHookTransport
    opening: events.OpenReceived
    request: VerifiedRequest | None

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

        ``opened`` is sent as soon as the pipeline is set up, so set languages, or `refuse`,
        before. Cancelling this cancels the pipeline and ends the call.

        Args:
            pipeline: Begins with ``transport.input()`` and ends with ``transport.output()``.
            **options: For pipecat's ``PipelineWorker`` (``PipelineTask`` before 1.3), such as
                ``params=PipelineParams(...)``.
        """
        await run_call(pipeline, **options)

    async def refuse(self, reason: str = "error", info: str | None = None) -> None:
        """Refuse the session before ``opened``; return from the bot afterwards.

        Args:
            reason: The reason of ``disconnect``; ``error`` leads to the flow's failure path.
            info: A line for Genesys's log, without personal data.

        Raises:
            ValueError: If Genesys does not know the reason.
        """
        await self.transport.call.disconnect(reason, info=info)
