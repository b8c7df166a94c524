"""The application as ``pipecat-genesys serve`` runs it, in each of its processes.

uvicorn imports `application` by name, in processes of its own; the environment says which
application it stands for.
"""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import os
import signal
import threading
import time
from typing import Any

from uvicorn.importer import import_from_string

from pipecat_genesys.transport import can_block

APP_VARIABLE = "PIPECAT_GENESYS_APP"
"""Names the application: ``module:attribute``."""

# What is left of a call is mostly one cycle, of 800 objects that the collector looks at; a call
# that runs has 2,000. It looks at what is new when that is two calls' worth, for some milliseconds.
# What it left of those it would look at again, unasked, after hundreds of calls; `CollectedCalls`
# does that before.
_THRESHOLDS = (5_000, 100, 10)
# So many ended calls are collected together, or this part of those that run: a collection looks at
# those too.
_LEAST_ENDED, _ENDED_PART = 10, 0.25
# At most this part of the time goes into it, whoever makes and drops connections how fast.
_MOST_TIME = 0.01
# What a collection takes until one was timed, and how fast a long one is forgotten.
_FIRST_SECONDS, _DECAY = 0.2, 0.9
# How much longer than it takes bots shall be ahead. It may take longer than the last, and what
# came in meanwhile is worked off before any bot gets to say more: that takes about as long again.
_MARGIN, _LEAST_MARGIN = 3.0, 1.5
# Whether now is a good moment is asked so often, and for so long; less and less is asked for.
_EVERY_SECONDS, _LONGEST_SECONDS = 0.01, 5.0


def application() -> Any:
    """Import the application, and tune the garbage collector to it."""
    app = import_from_string(os.environ[APP_VARIABLE])
    tune_collector()
    end_with_parent()
    return CollectedCalls(app)


def end_with_parent() -> None:
    """Send SIGTERM to this process when its parent process ends without having stopped it.

    Without its parent a worker would go on, keep the port, and take calls that nobody counts.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def wait() -> None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="parent process", daemon=True).start()


def tune_collector() -> None:
    """Have the garbage collector look at calls alone; for a process that only takes calls.

    What importing pipecat leaves is some 300,000 objects that live as long as the process. To look
    at them takes 70 ms, in which every call of the process waits.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)


class CollectedCalls:
    """An ASGI application whose WebSockets are collected when some of them are over.

    Left to itself, the collector looks at everything when there is a quarter more than the last
    time and enough was created since. Where calls come and go that is after thousands of them,
    when their remains are ten times what is in use, and takes a second. So this does it: often,
    when it is soon done; and when every bot that speaks is far enough ahead that nobody hears it.
    """

    def __init__(self, app: Any) -> None:
        """Wrap an application.

        Args:
            app: The ASGI application.
        """
        self._app = app
        self._running = 0
        self._ended = 0
        self._takes = _FIRST_SECONDS
        self._not_before = 0.0
        self._waiting = False

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Run it for one connection."""
        if scope["type"] != "websocket":
            await self._app(scope, receive, send)
            return
        self._running += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._running -= 1
            self._ended += 1
            self._consider()

    def _consider(self) -> None:
        now = time.monotonic()
        enough = self._ended >= max(_LEAST_ENDED, _ENDED_PART * self._running)
        if enough and not self._waiting and now >= self._not_before:
            self._waiting = True
            # When the server, too, has forgotten the one that ends now.
            asyncio.get_running_loop().call_soon(self._collect, now + _LONGEST_SECONDS)

    def _collect(self, latest: float) -> None:
        began = time.monotonic()
        hope = (latest - began) / _LONGEST_SECONDS
        margin = _LEAST_MARGIN + (_MARGIN - _LEAST_MARGIN) * hope
        if hope > 0 and not can_block(margin * self._takes):
            asyncio.get_running_loop().call_later(_EVERY_SECONDS, self._collect, latest)
            return
        gc.collect()
        now = time.monotonic()
        self._takes = max(now - began, _DECAY * self._takes)
        self._not_before = now + (now - began) / _MOST_TIME
        self._ended, self._waiting = 0, False
