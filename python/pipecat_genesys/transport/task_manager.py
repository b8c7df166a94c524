"""Runs the tasks of a pipeline so that they cannot end the process, which serves other calls."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import Context
from typing import Any

from pipecat.utils.asyncio.task_manager import TaskManager

from pipecat_genesys.call.containment import PROCESS_EXITS, BotExitError

IS_SUPPORTED = "loop" in inspect.signature(TaskManager).parameters
"""Whether Pipecat accepts a task manager as an argument (1.5 and newer)."""


class ContainedTaskManager(TaskManager):
    """Creates the tasks of one pipeline.

    asyncio stops the event loop when a task raises ``SystemExit`` or ``KeyboardInterrupt``. With
    this task manager, only the task and the pipeline end. A task that a frame processor creates
    with ``asyncio.create_task`` can end the process, unless an endpoint runs the call.

    Attributes:
        error: A `BotExitError` for the first ``SystemExit`` or ``KeyboardInterrupt`` of a task;
            None if there was no such exception.
    """

    def __init__(self, end_pipeline: Callable[[], Awaitable[None]]) -> None:
        """Create the task manager of a pipeline.

        Args:
            end_pipeline: Ends the pipeline; called once, in a new task.
        """
        super().__init__()  # type: ignore[no-untyped-call, unused-ignore]
        self.error: BotExitError | None = None
        self._end_pipeline = end_pipeline
        self._ending: asyncio.Future[None] | None = None

    def create_task(
        self, coroutine: Coroutine[Any, Any, Any], name: str, context: Context | None = None
    ) -> asyncio.Task[Any]:
        """Create a task.

        Args:
            coroutine: The coroutine that the task runs.
            name: The name of the task.
            context: The context variables of the task; by default a copy of the current context.

        Returns:
            The task.
        """
        task = super().create_task(self._contain(coroutine, name), name, context)
        # A task that is cancelled before its start does not await its coroutine. The coroutine is
        # closed, because Python warns about a coroutine that is never awaited.
        task.add_done_callback(lambda _: coroutine.close())
        return task

    def detach(self) -> None:
        """Remove the reference to the pipeline, which has ended."""
        self._end_pipeline = _do_nothing

    async def finish(self) -> None:
        """Wait until `end_pipeline` has returned, and raise `error` if there is one.

        Raises:
            BotExitError: If a task tried to end the process.
        """
        if self._ending is not None:
            await self._ending
        if self.error is not None:
            raise self.error

    async def _contain(self, coroutine: Coroutine[Any, Any, Any], name: str) -> Any:
        try:
            return await coroutine
        except PROCESS_EXITS as error:
            if self.error is None:
                self.error = BotExitError(f"the task {name!r} of the pipeline", error)
                self.error.__cause__ = error
                self._ending = asyncio.ensure_future(self._end_pipeline())
            return None


async def _do_nothing() -> None:
    return
