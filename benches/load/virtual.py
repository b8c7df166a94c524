"""A step on a virtual clock: callers and server in one process, connections in memory.

    python -m load.virtual KIND --calls N ...

Prints the figures. Time advances by the CPU time that the server's side uses and, when nothing is
left to do, jumps to the next timer. What the callers use does not count, nor does what the machine
does beside: capacity comes out nearly the same every time. It is that of a core with nothing else
to do, and without the kernel's part of the network.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import sys
from collections.abc import Callable
from typing import Any, cast

import signals
import uvicorn
from loguru import logger
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState

from . import KINDS
from .bots import Tally
from .caller import Caller
from .calls import CallProtocol, plan, presses
from .clock import VirtualClock, VirtualLoop
from .echoes import Echoes, speech
from .figures import row
from .server import make_app, tune_collector
from .vitals import Vitals

_URL = "ws://virtual/audiohook"
_START_SECONDS = 1.0
_MARGIN = 1.0


class _Wire(asyncio.Transport):
    """One end of a connection in memory; what is written arrives in the loop's next turn."""

    def __init__(self, loop: VirtualLoop, name: tuple[str, int]) -> None:
        super().__init__({"peername": name, "sockname": name})
        self._loop = loop
        self.closed = False
        self.deliver: Callable[[bytes], None] = lambda data: None
        self.lose: Callable[[], None] = lambda: None

    def write(self, data: Any) -> None:
        if not self.closed:
            self._loop.call_soon(self.deliver, bytes(data))

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self._loop.call_soon(self.lose)

    abort = close

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        """What is written has been delivered."""

    def resume_reading(self) -> None:
        """As before."""


class _VirtualCall(CallProtocol):
    """A caller whose work takes no time."""

    _loop: VirtualLoop

    def _at(self, due: float) -> asyncio.TimerHandle:
        return self._loop.call_at(due, self._untimed(self._on_time))

    def _untimed(self, callback: Callable[..., None]) -> Callable[..., None]:
        def call(*arguments: Any) -> None:
            with self._loop.clock.stopped():
                callback(*arguments)

        return call

    def join(self, server: asyncio.Protocol) -> None:
        """Connect with a server's protocol."""
        here, there = (_Wire(self._loop, ("127.0.0.1", port)) for port in (1, 2))
        here.deliver, there.deliver = server.data_received, self._untimed(self.data_received)

        def lose() -> None:
            if not self.over.is_set():
                here.closed = there.closed = True
                server.connection_lost(None)
                self._untimed(self.connection_lost)(None)

        here.lose = there.lose = lose
        server.connection_made(there)
        self._untimed(self.connection_made)(here)


class _Load:
    """Calls, and a server in the same loop."""

    def __init__(self, kind: str, loop: VirtualLoop) -> None:
        self.tally = Tally()
        self._loop = loop
        self._config = uvicorn.Config(
            make_app(kind, self.tally), lifespan="off", log_level="warning"
        )
        self._config.load()
        self._state = ServerState()

    async def calls(self, count: int, gap: float, plateau: float, wire: bytes) -> list[Caller]:
        times = plan(count, gap, plateau, self._loop.time() + _START_SECONDS)
        each = (self._call(wire, number, one) for number, one in enumerate(times))
        callers = await asyncio.gather(*each)
        # Their pipelines finish.
        await asyncio.gather(*self._state.tasks)
        return callers

    async def _call(self, wire: bytes, number: int, times: dict[str, Any]) -> Caller:
        loop = self._loop
        await asyncio.sleep(times["begin"] - loop.time())
        with loop.clock.stopped():
            length = times["hang_up_at"] - times["begin"]
            caller = Caller(wire, presses(number, length), times["hang_up_at"])
            protocol = _VirtualCall(_URL, caller, [])
        protocol.join(WebSocketsSansIOProtocol(self._config, self._state, {}, loop))
        await protocol.over.wait()
        return caller


async def step(kind: str, count: int, *, gap: float, plateau: float) -> dict[str, Any]:
    """Measure so many calls at once; in a process of its own, on a `VirtualLoop`.

    Args:
        kind: The server.
        count: How many calls.
        gap: Seconds between their beginnings.
        plateau: Seconds with all of them.
    """
    loop = cast("VirtualLoop", asyncio.get_running_loop())
    vitals, load = Vitals(), _Load(kind, loop)
    calibrating = asyncio.create_task(loop.clock.keep_calibrated())
    wire = signals.ulaw_codes(speech(gap * count + plateau + 15)).tobytes()
    await load.calls(2, 0.1, 3, wire)
    tune_collector(kind)
    load.tally.heard_seconds = 0.0
    vitals.read()

    async def busy() -> float:
        """CPU time used while all calls are there, a second of it, in seconds."""
        await asyncio.sleep(_START_SECONDS + gap * count + _MARGIN)
        before = loop.clock.busy()
        await asyncio.sleep(plateau - 2 * _MARGIN)
        return (loop.clock.busy() - before) / (plateau - 2 * _MARGIN)

    watching = asyncio.create_task(vitals.watch_the_loop())
    used = asyncio.create_task(busy())
    callers = await load.calls(count, gap, plateau, wire)
    watching.cancel()
    calibrating.cancel()
    seen = vitals.read()
    echoes = Echoes(wire)
    records = [caller.record(echoes) for caller in callers]
    figures = row(kind, count, records, load.tally.heard_seconds)
    return figures | {
        "cpu_ms_per_call_second": 1000 * await used / count,
        "cpu_percent": 100 * await used,
        "gc_longest_ms": seen["gc_longest_ms"],
        "gc_full": seen["gc_full"],
        "loop_late_ms": seen["loop_late_ms"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--calls", type=int, required=True)
    parser.add_argument("--gap", type=float, default=0.1)
    parser.add_argument("--plateau", type=float, default=20.0)
    options = parser.parse_args()
    logger.remove()
    gc.collect()
    clock = VirtualClock()
    with clock.everywhere(), asyncio.Runner(loop_factory=lambda: VirtualLoop(clock)) as runner:
        figures = runner.run(
            step(options.kind, options.calls, gap=options.gap, plateau=options.plateau)
        )
    json.dump(figures, sys.stdout)


if __name__ == "__main__":
    main()
