"""Event loops of `pipecat-genesys serve`, which the code of a bot cannot stop.

They also limit the time of TLS handshakes, and the number of connections that are accepted in one
iteration.

asyncio stops the event loop, and so ends every call of the process, when code calls
``loop.stop()``, or when a callback or a task raises ``SystemExit`` or ``KeyboardInterrupt``. The
event loops of this module continue until their main task has ended.
`pipecat_genesys.call.containment` ends the call of a bot whose task tries to end the process; this
module protects the process from all other code of a bot, such as callbacks.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

from loguru import logger
from uvicorn.config import Config

from pipecat_genesys.call.containment import PROCESS_EXITS

# Maximum time in seconds of a TLS handshake. The default of asyncio is 60 s. `HttpProtocol` cannot
# limit this time, because it gets a connection after the handshake, and uvicorn has no setting.
_TLS_HANDSHAKE_SECONDS = 5.0
# Maximum number of connections that are accepted in one iteration of an event loop of asyncio. Each
# takes some 100 us. asyncio would accept as many as the kernel may queue, which is 2048.
_ACCEPTED_PER_TURN = 16


def new_asyncio_loop() -> asyncio.AbstractEventLoop:
    """Return an event loop of asyncio that a bot cannot stop."""
    return _guarded("asyncio")


def new_uvloop_loop() -> asyncio.AbstractEventLoop:
    """Return an event loop of uvloop that a bot cannot stop."""
    return _guarded("uvloop")


def new_auto_loop() -> asyncio.AbstractEventLoop:
    """Return an event loop that a bot cannot stop: uvloop's if uvloop is installed."""
    return _guarded("uvloop" if find_spec("uvloop") is not None else "asyncio")


def _guarded(name: str) -> asyncio.AbstractEventLoop:
    make = Config(_no_application, loop=name, log_config=None).get_loop_factory()
    assert make is not None
    loop = make()
    guard = _LoopGuard(loop)
    loop.run_until_complete = guard.run_until_complete  # type: ignore[method-assign]
    loop.run_forever = guard.run_forever  # type: ignore[method-assign]
    _limit_servers(loop)
    return loop


def _limit_servers(loop: asyncio.AbstractEventLoop) -> None:
    """Limit what strangers can demand of the servers that an event loop creates."""
    create_server: Callable[..., Any] = loop.create_server

    async def create(
        *args: Any, ssl: Any = None, sock: Any = None, backlog: int = 100, **options: Any
    ) -> Any:
        if ssl is not None:
            options.setdefault("ssl_handshake_timeout", _TLS_HANDSHAKE_SECONDS)
        if sock is None:
            return await create_server(*args, ssl=ssl, backlog=backlog, **options)
        # asyncio uses `backlog` for two purposes: the queue of the kernel, and the number of
        # connections that are accepted in one iteration. Only the second is made smaller.
        server = await create_server(
            *args, ssl=ssl, sock=sock, backlog=min(backlog, _ACCEPTED_PER_TURN), **options
        )
        if server.is_serving():
            sock.listen(backlog)
        return server

    loop.create_server = create  # type: ignore[method-assign]


async def _no_application(scope: Any, receive: Any, send: Any) -> None:
    """Serve as the application of a configuration from which only the event loop is taken."""


class _LoopGuard:
    """Runs an event loop until its main task has ended."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._run_until_complete: Callable[[Any], Any] = loop.run_until_complete
        self._run_forever: Callable[[], None] = loop.run_forever
        self._main: asyncio.Future[Any] | None = None
        self._reported: set[str] = set()

    def run_until_complete(self, future: Any) -> Any:
        """Run a future or a coroutine, as the method of an event loop does."""
        self._main = asyncio.ensure_future(future, loop=self._loop)
        return self._run_until_complete(self._main)

    def run_forever(self) -> None:
        """Run until the main task has ended."""
        while True:
            try:
                self._run_forever()
            except PROCESS_EXITS as error:
                if self._is_over:
                    raise
                self._report(
                    f"{type(error).__name__} was raised", "".join(traceback.format_exception(error))
                )
            else:
                if self._is_over:
                    return
                self._report("loop.stop() was called", "")

    @property
    def _is_over(self) -> bool:
        return self._main is None or self._main.done()

    def _report(self, what: str, details: str) -> None:
        """Log the first attempt of each kind to stop the event loop."""
        if what not in self._reported:
            self._reported.add(what)
            logger.error(
                f"{what} in the event loop, probably by the code of a bot; the server continues, "
                f"because it serves other calls too (logged once)\n{details}"
            )
