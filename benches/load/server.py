"""A server that runs in a separate process, on its own core.

    python -m load.server SERVER [--bot working] [--core N] [--loop uvloop]

Prints its port. For each line on its standard input it prints its statistics since the previous
line, as JSON; the line `tune` also tunes the garbage collector. The server ends when its standard
input is closed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import sys
from typing import Any

import uvicorn
from fastapi import FastAPI, WebSocket
from loguru import logger
from pipecat_genesys.endpoint import gc_tuning
from pipecat_genesys.endpoint.http_protocol import HttpProtocol

from . import BOTS, LOOPS, SERVERS
from .bots import CallerAudioCounter
from .configurations import run_call
from .process_stats import ProcessStats


def is_ours(server: str) -> bool:
    """Return whether a server uses our transport, which runs in `pipecat-genesys serve`."""
    return server.startswith("ours-transport")


def make_app(server: str, bot: str, counter: CallerAudioCounter) -> Any:
    """Return the ASGI application."""
    app = FastAPI()

    @app.websocket("/audiohook")
    async def audiohook(websocket: WebSocket) -> None:
        await run_call(server, bot, websocket, counter)

    return gc_tuning.CollectedCalls(app) if is_ours(server) else app


async def serve(server: str, bot: str) -> None:
    """Serve until the standard input is closed."""
    counter, stats = CallerAudioCounter(), ProcessStats()
    config = uvicorn.Config(
        make_app(server, bot, counter),
        lifespan="off",
        log_level="warning",
        http=HttpProtocol if is_ours(server) else "auto",
    )
    web_server = uvicorn.Server(config)

    def report() -> None:
        for line in sys.stdin:
            # Our transport runs as in `pipecat-genesys serve`, which also tunes the collector.
            if line.strip() == "tune" and is_ours(server):
                gc_tuning.tune_collector()
            heard = {"heard_seconds": counter.seconds, "calls": counter.calls}
            print(json.dumps(stats.read() | heard), flush=True)

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1000)
        print(listener.getsockname()[1], flush=True)
        serving = asyncio.create_task(web_server.serve(sockets=[listener]))
        watching = asyncio.create_task(stats.watch_event_loop())
        await asyncio.to_thread(report)
        watching.cancel()
        web_server.should_exit = True
        await serving


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("server", choices=SERVERS)
    parser.add_argument("--bot", choices=BOTS, default="echo")
    parser.add_argument("--core", type=int, help="CPU core to run on")
    parser.add_argument("--loop", choices=LOOPS, default="asyncio")
    options = parser.parse_args()
    if options.core is not None:
        os.sched_setaffinity(0, {options.core})
    logger.remove()
    make_loop = asyncio.new_event_loop
    if options.loop == "uvloop":
        import uvloop

        make_loop = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=make_loop) as runner:
        runner.run(serve(options.server, options.bot))


if __name__ == "__main__":
    main()
