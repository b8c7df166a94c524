"""Tunes the garbage collector in the processes of ``pipecat-genesys serve``."""

from __future__ import annotations

import asyncio
import gc
import time
from typing import Any

from pipecat_genesys.transport import can_block

# An ended call leaves one cycle of about 800 objects for the collector; a running call has 2,000.
# With the first threshold, the collector examines new objects after about two new calls, which
# takes some milliseconds. With the other two thresholds, a full collection would start after
# hundreds of calls, but `CollectedCalls` starts a full collection earlier.
_THRESHOLDS = (5_000, 100, 10)
# A full collection starts only after this number of ended calls, or after this fraction of the
# number of running calls, because it examines the running calls too.
_LEAST_ENDED, _ENDED_PART = 10, 0.25
# Collections take at most this fraction of the time, even if connections begin and end quickly.
_MOST_TIME = 0.01
# The expected duration of the first collection in seconds. Later, the expected duration is the last
# measured one, or this fraction of the previous expectation if that is longer.
_FIRST_SECONDS, _DECAY = 0.2, 0.9
# Lead that every speaking bot must have, as a multiple of the expected duration of a collection: at
# first, and after `_LONGEST_SECONDS`. A collection may take longer than expected, and processing
# the data that arrived during the collection takes about the same time.
_MARGIN, _LEAST_MARGIN = 3.0, 1.5
# Interval between two checks of the lead, and maximum time until a collection starts in any case.
# The required lead decreases during this time.
_EVERY_SECONDS, _LONGEST_SECONDS = 0.01, 5.0


def tune_collector() -> None:
    """Exclude imported modules from garbage collection, in a process that only runs calls.

    Importing Pipecat creates some 300,000 objects that live as long as the process. Examining them
    takes 70 ms, during which every call of the process waits.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)


class CollectedCalls:
    """An ASGI application that collects garbage after some of its WebSockets have ended.

    By default, a full collection starts when the number of objects has grown by a quarter. With
    short calls this happens after thousands of calls, when the garbage is ten times as large as the
    objects in use, and the collection takes a second. This class collects more often, so that each
    collection is short. It collects when every speaking bot has enough audio sent ahead, so that no
    caller hears a gap.
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
        """Run the application for one connection."""
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
            # The collection runs later, when the server has released the ended connection.
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
