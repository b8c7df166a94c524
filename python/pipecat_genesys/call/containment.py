"""Protects other calls from a bot that ends the process or ignores its cancellation.

Several calls share a process and an event loop. In asyncio, a task that raises ``SystemExit`` or
``KeyboardInterrupt`` stops the event loop. When the event loop ends, asyncio waits for cancelled
tasks without a limit.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable, Coroutine, Iterable
from contextvars import ContextVar
from typing import Any

from pipecat_genesys.errors import PipecatGenesysError

PROCESS_EXITS = (SystemExit, KeyboardInterrupt)
"""The exceptions that stop the event loop when a task raises them."""

# Cancelled tasks that still run. This set keeps them in memory, because the event loop has only
# weak references to tasks.
_cancelled: set[asyncio.Future[Any]] = set()


_ExitHandler = Callable[["BotExitError"], None]
# Called if a task of the current bot tries to end the process; None outside of a bot.
_exit_handler: ContextVar[_ExitHandler | None] = ContextVar("_exit_handler", default=None)


class BotExitError(PipecatGenesysError):
    """The code of a bot tried to end the process, which serves other calls too."""

    def __init__(self, where: str, error: BaseException) -> None:
        """Create the error.

        Args:
            where: The part of the bot that raised the exception.
            error: The exception that would have ended the process.
        """
        super().__init__(
            f"{where} raised {type(error).__name__}, which must not end the process, because it "
            "serves other calls too; to end one call, return from the bot or push an EndFrame"
        )


def contain_new_tasks(on_exit: _ExitHandler) -> None:
    """Prevent new tasks of the current task from ending the process.

    This applies to the tasks that the current task creates, and to the tasks that those tasks
    create. If such a task raises ``SystemExit`` or ``KeyboardInterrupt``, the event loop continues,
    the task counts as cancelled, and `on_exit` is called. The event loop gets a task factory, which
    calls its previous task factory.

    Args:
        on_exit: Called with the error, in the task that raised the exception.
    """
    _exit_handler.set(on_exit)
    loop = asyncio.get_running_loop()
    factory = loop.get_task_factory()
    if not isinstance(factory, _ContainingTaskFactory):
        loop.set_task_factory(_ContainingTaskFactory(factory))


class _ContainingTaskFactory:
    """Creates the tasks of an event loop. Tasks of bots cannot end the process."""

    def __init__(self, factory: Any) -> None:
        self._factory = factory

    def __call__(
        self, loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any
    ) -> asyncio.Future[Any]:
        context = options.get("context")
        on_exit = _exit_handler.get() if context is None else context.get(_exit_handler)
        original = None
        if on_exit is not None and inspect.iscoroutine(coroutine):
            original, coroutine = coroutine, _contain(coroutine, on_exit)
        task: asyncio.Future[Any]
        if self._factory is None:
            task = asyncio.Task(coroutine, loop=loop, **options)
        else:
            task = self._factory(loop, coroutine, **options)
        if original is not None:
            # A task that is cancelled before its start does not await its coroutine. The coroutine
            # is closed, because Python warns about a coroutine that is never awaited.
            task.add_done_callback(lambda _: original.close())
        return task


async def _contain(coroutine: Coroutine[Any, Any, Any], on_exit: _ExitHandler) -> Any:
    try:
        return await coroutine
    except PROCESS_EXITS as error:
        exit_error = BotExitError("a task of the bot", error)
        exit_error.__cause__ = error
        on_exit(exit_error)
        raise asyncio.CancelledError from error


async def cancel_tasks(
    tasks: Iterable[asyncio.Future[Any]], seconds: float
) -> list[asyncio.Future[Any]]:
    """Cancel tasks and wait for a limited time until they have ended.

    A task that ignores its cancellation may continue to run; neither this function nor the end of
    the event loop waits for it. Exceptions of the tasks are discarded. If this function is
    cancelled, it raises ``CancelledError`` only after the wait, so that the tasks can clean up.

    Args:
        tasks: The tasks.
        seconds: Longest time to wait.

    Returns:
        The tasks that still run.
    """
    running = set(tasks)
    for task in running:
        task.cancel()
        _cancelled.add(task)
        task.add_done_callback(_discard)
        if isinstance(task, asyncio.Task):
            # At its end, `asyncio.run` waits for all registered tasks without a time limit. This
            # task is unregistered, because it may ignore its cancellation.
            asyncio._unregister_task(task)
    ends_at = time.monotonic() + seconds
    interrupted: asyncio.CancelledError | None = None
    while running and (left := ends_at - time.monotonic()) > 0:
        try:
            running = (await asyncio.wait(running, timeout=left))[1]
        except asyncio.CancelledError as error:
            interrupted = error
            running = {task for task in running if not task.done()}
    if interrupted is not None:
        raise interrupted
    return list(running)


def _discard(task: asyncio.Future[Any]) -> None:
    _cancelled.discard(task)
    if not task.cancelled():
        # Retrieve the exception, because asyncio logs exceptions that were not retrieved.
        task.exception()
