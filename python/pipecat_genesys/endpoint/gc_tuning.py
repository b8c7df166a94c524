"""Tunes the garbage collector in the processes of ``pipecat-genesys serve``."""

from __future__ import annotations

import asyncio
import gc
import sys
import sysconfig
import time
from typing import Any

from pipecat_genesys.transport import can_block

# A running call has 1,400 to 2,200 objects, and replaces about 70 of them with each packet. A
# collection costs up to 1 us for each new object, so that with 300 calls even a collection of the
# newest objects takes 20 ms. Therefore the objects of a call are excluded from collections when its
# pipeline is set up, and the first threshold is above the number by which the objects in use vary.
# Collections of new objects then happen only if the code of a bot leaves garbage. With the third
# threshold, Python never starts a full collection, which would examine the objects of all running
# calls; `CollectedCalls` starts a full collection when there is something to free.
_THRESHOLDS = (10_000, 10, 1_000_000)
# Time in seconds from the start of a connection after which its pipeline should be set up.
_SET_UP_SECONDS = 2.0
# In a build without the GIL, excluding objects takes a long time, because it examines all objects.
_CAN_FREEZE = not sysconfig.get_config_var("Py_GIL_DISABLED")
# The amount of garbage is checked after this number of ended calls, or after this fraction of the
# number of running calls if it is larger.
_LEAST_ENDED, _ENDED_PART = 10, 0.25
# `_CALL_BLOCKS`: assumed number of memory blocks of a running call, until the number is measured
# after a collection. A collection is needed when the process has more than twice the blocks of the
# running calls and `_SPARE_BLOCKS`, which are about 5 MB.
_CALL_BLOCKS, _SPARE_BLOCKS = 3_000, 50_000
# The number of blocks of a call is measured after a collection if at least this number of calls is
# running.
_MEASURED_CALLS = 8
# Collections take at most this fraction of the time, even if connections begin and end quickly.
_MOST_TIME = 0.01
# `_FIRST_SECONDS`: expected duration of the first collection, in seconds. For each later
# collection, the duration of the last collection is expected, or `_DECAY` times the previous
# expected duration if that is longer.
_FIRST_SECONDS, _DECAY = 0.2, 0.9
# The lead is the duration of bot audio that Genesys has received and not played yet. These are the
# leads that every speaking bot must have for a collection, as multiples of the expected duration of
# the collection: `_MARGIN` at first, and `_LEAST_MARGIN` after `_LONGEST_SECONDS`. The margins
# exceed 1, because a collection may take longer than expected, and because processing the data that
# arrived during the collection takes about the same time.
_MARGIN, _LEAST_MARGIN = 3.0, 1.5
# `_EVERY_SECONDS`: time between two checks of the leads. After `_LONGEST_SECONDS`, a collection
# starts even if a lead is too short. Until then, the required lead decreases.
_EVERY_SECONDS, _LONGEST_SECONDS = 0.01, 5.0


def tune_collector() -> None:
    """Exclude imported modules from garbage collection, in a process that only runs calls.

    Importing Pipecat creates about 300,000 objects that live as long as the process. Examining them
    takes 70 ms, during which every call of the process waits.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)


class CollectedCalls:
    """An ASGI application that collects the garbage of ended WebSockets, without audible gaps.

    A call with `AudioHookTransport` leaves no garbage: its objects are freed when the call ends.
    The code of a bot may leave objects that only a collection frees. By default, Python starts a
    full collection when the number of objects has grown by a quarter. It examines the objects of
    all running calls, which takes more than 100 ms with 300 calls. This class starts a full
    collection when garbage takes as much memory as the running calls. It waits until Genesys holds
    enough unplayed audio of every speaking bot, so that no caller hears a gap.
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
        # Allocated memory blocks before the first call, and blocks of one running call.
        self._idle_blocks: int | None = None
        self._call_blocks: float = _CALL_BLOCKS

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Run the application for one connection."""
        if scope["type"] != "websocket":
            await self._app(scope, receive, send)
            return
        if self._idle_blocks is None:
            self._idle_blocks = sys.getallocatedblocks()
        self._running += 1
        loop = asyncio.get_running_loop()
        # A refused connection ends before this time. What it leaves must stay in collections of new
        # objects, because thousands of connections per second may be refused.
        set_up = loop.call_later(_SET_UP_SECONDS, gc.freeze) if _CAN_FREEZE else None
        try:
            await self._app(scope, receive, send)
        finally:
            if set_up is not None:
                set_up.cancel()
            self._running -= 1
            self._ended += 1
            self._consider()

    def _consider(self) -> None:
        enough = self._ended >= max(_LEAST_ENDED, _ENDED_PART * self._running)
        if enough and not self._waiting:
            self._waiting = True
            # Check in the next iteration of the event loop or later, after the server has released
            # the ended connection.
            delay = max(0.0, self._not_before - time.monotonic())
            asyncio.get_running_loop().call_later(delay, self._collect_if_needed)

    def _collect_if_needed(self) -> None:
        if self._is_needed():
            self._collect(time.monotonic() + _LONGEST_SECONDS)
        else:
            self._ended, self._waiting = 0, False

    def _is_needed(self) -> bool:
        most = 2 * self._call_blocks * self._running + _SPARE_BLOCKS
        return self._used_blocks() > most

    def _used_blocks(self) -> int:
        """Return the number of memory blocks that were allocated since the first call began."""
        return sys.getallocatedblocks() - (self._idle_blocks or 0)

    def _collect(self, latest: float) -> None:
        began = time.monotonic()
        hope = (latest - began) / _LONGEST_SECONDS
        margin = _LEAST_MARGIN + (_MARGIN - _LEAST_MARGIN) * hope
        if hope > 0 and not can_block(margin * self._takes):
            asyncio.get_running_loop().call_later(_EVERY_SECONDS, self._collect, latest)
            return
        gc.unfreeze()
        gc.collect()
        gc.freeze()
        if self._running >= _MEASURED_CALLS:
            self._call_blocks = self._used_blocks() / self._running
        else:
            # With few calls, the growth may be memory of the application that does not belong to a
            # call, so it is counted as memory that is in use without calls.
            calls_blocks = round(self._call_blocks * self._running)
            self._idle_blocks = sys.getallocatedblocks() - calls_blocks
        now = time.monotonic()
        self._takes = max(now - began, _DECAY * self._takes)
        self._not_before = now + (now - began) / _MOST_TIME
        self._ended, self._waiting = 0, False
