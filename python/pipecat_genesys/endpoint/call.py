"""What a bot gets: one call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pipecat_genesys.auth import VerifiedRequest
from pipecat_genesys.protocol import events
from pipecat_genesys.transport import AudioHookTransport, run_call


@dataclass(frozen=True, slots=True, eq=False)
class AudioHookCall:
    """A call that Genesys has opened and that waits for its bot.

    Attributes:
        transport: Input and output of the pipeline; ``transport.call`` has the events, hooks,
            verbs and variables.
        opening: What ``open`` said: who calls, in what language, with which variables.
        request: Whose connection it is, as verified; None where nobody is authenticated.
    """

    transport: AudioHookTransport
    opening: events.OpenReceived
    request: VerifiedRequest | None

    @property
    def session_id(self) -> str:
        """The AudioHook session's id, which Genesys's own logs have too."""
        return self.transport.call.session_id

    @property
    def input_variables(self) -> dict[str, Any]:
        """The Architect flow's input variables."""
        return self.transport.call.input_variables or {}

    async def run(self, pipeline: Any, **options: Any) -> None:
        """Run a pipeline until the call is over.

        ``opened`` goes out as soon as it is set up, so do what ``opened`` depends on before:
        languages, `refuse`.

        Args:
            pipeline: Begins with ``transport.input()`` and ends with ``transport.output()``.
            **options: For pipecat's ``PipelineWorker`` (``PipelineTask`` before 1.3), such as
                ``params=PipelineParams(...)``.
        """
        await run_call(pipeline, **options)

    async def refuse(self, reason: str = "error", info: str | None = None) -> None:
        """Say no before the call is open; return from the bot after it.

        Args:
            reason: As for the verb ``disconnect``: ``error`` leads to the flow's failure path.
            info: A line for Genesys's log; no personal data.

        Raises:
            ValueError: If the reason is none that Genesys knows.
        """
        await self.transport.call.disconnect(reason, info=info)
