"""Delays the end of the server after SIGTERM or SIGINT until the running calls have ended.

uvicorn closes every WebSocket immediately after SIGTERM or SIGINT. Therefore the endpoint handles
the signal first, and passes the signal to uvicorn when the running calls have ended.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from loguru import logger

Handler = Callable[[int, FrameType | None], Any] | int | None

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class SignalHandlers:
    """The signal handlers of a drain, which the code of a bot may replace.

    A pipeline runner of Pipecat with ``handle_sigint`` or ``handle_sigterm`` installs handlers that
    only cancel its own pipeline, so the server would not stop.
    """

    def __init__(self, handler: Handler, loop: asyncio.AbstractEventLoop) -> None:
        """Create the object; nothing is installed.

        Args:
            handler: The handler of the drain.
            loop: The event loop.
        """
        self._handler = handler
        self._loop = loop
        self._ours: set[int] = set()

    def install(self) -> None:
        """Install the handler for SIGTERM and SIGINT."""
        for number in _SIGNALS:
            signal.signal(number, self._handler)

    def note(self) -> None:
        """Note for which signals the handler is installed. Call this method while no bot runs."""
        self._ours = {number for number in _SIGNALS if signal.getsignal(number) is self._handler}

    def take_back(self) -> None:
        """Install the handler again where it was installed when `note` was called last."""
        for number in self._ours:
            if signal.getsignal(number) is not self._handler:
                name = signal.Signals(number).name
                logger.warning(
                    f"the code of a bot has installed a handler for {name}, which the server "
                    "needs; the server takes it back. Run pipelines with call.run(), or pass "
                    "handle_sigint=False and handle_sigterm=False to the runner"
                )
                self._loop.remove_signal_handler(number)
                signal.signal(number, self._handler)

    def forget(self) -> None:
        """Make `take_back` do nothing from now on, because the server stops."""
        self._ours = set()


@contextmanager
def drained_on_signals(
    drain: Callable[[], Awaitable[None]],
) -> Iterator[SignalHandlers | None]:
    """Drain on SIGTERM or SIGINT, and then pass the signal to its previous handler.

    A second signal of the same kind is passed on immediately. A signal of the other kind is
    ignored: with several processes, Ctrl-C sends SIGINT to all processes, and then the parent
    process sends SIGTERM to its children. Python handles signals only in the main thread; in
    another thread, this context manager only logs a warning.

    A handler that the server has added to asyncio's event loop is suspended during the drain. The
    handlers of other event loops, such as uvloop, cannot be suspended, so the server gets the
    signal immediately.

    Args:
        drain: Waits until the calls have ended.

    Yields:
        The handlers; None in a thread that cannot handle signals.
    """
    if threading.current_thread() is not threading.main_thread():
        logger.warning(
            "this is not the main thread, so SIGTERM and SIGINT disconnect running calls; call "
            "drain() before you send a signal"
        )
        yield None
        return
    loop = asyncio.get_running_loop()
    of_loop: dict[int, Any] = {number: _take_handler(loop, number) for number in _SIGNALS}
    before: dict[int, Handler] = {number: signal.getsignal(number) for number in _SIGNALS}
    seen: set[int] = set()
    draining: list[asyncio.Task[None]] = []
    passed_on = False

    def restore() -> None:
        handlers.forget()
        for number, handler in before.items():
            if signal.getsignal(number) is on_signal:
                signal.signal(number, handler)
                if (handle := of_loop[number]) is not None and not loop.is_closed():
                    loop.add_signal_handler(number, handle._callback, *handle._args)

    def pass_on(number: int) -> None:
        nonlocal passed_on
        if not passed_on:
            passed_on = True
            restore()
            signal.raise_signal(number)

    async def drain_first(number: int) -> None:
        try:
            await drain()
        finally:
            pass_on(number)

    def begin(number: int) -> None:
        if number in seen:
            pass_on(number)
            return
        seen.add(number)
        if not draining:
            draining.append(loop.create_task(drain_first(number)))

    def on_signal(number: int, _frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(begin, number)

    handlers = SignalHandlers(on_signal, loop)
    handlers.install()
    try:
        yield handlers
    finally:
        restore()


def _take_handler(loop: asyncio.AbstractEventLoop, number: int) -> Any:
    """Remove the handler of a signal from asyncio's event loop.

    The event loop would call this handler even after `signal.signal` has set another handler.

    Returns:
        The handle of the handler, or None.
    """
    handle = getattr(loop, "_signal_handlers", {}).get(number)
    if handle is not None:
        loop.remove_signal_handler(number)
    return handle
