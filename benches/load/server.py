"""A server in a process and on a core of its own.

    python -m load.server KIND [--core N] [--loop uvloop]

Prints its port. Answers a line on its standard input with its vitals as JSON, of the time since the
line before, and ends when its standard input does.
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
from pipecat_genesys.endpoint import serving as tuned_serving

from . import KINDS
from .bots import Tally, answer
from .vitals import Vitals


def make_app(kind: str, tally: Tally) -> Any:
    app = FastAPI()

    @app.websocket("/audiohook")
    async def audiohook(websocket: WebSocket) -> None:
        await answer(kind, websocket, tally)

    return tuned_serving.CollectedCalls(app) if kind == "ours-transport" else app


def tune_collector(kind: str) -> None:
    """As `pipecat-genesys serve` does, with which our transport is meant to run."""
    if kind == "ours-transport":
        tuned_serving.tune_collector()


async def serve(kind: str) -> None:
    tally, vitals = Tally(), Vitals()
    config = uvicorn.Config(make_app(kind, tally), lifespan="off", log_level="warning")
    server = uvicorn.Server(config)

    def tell() -> None:
        for line in sys.stdin:
            if line.strip() == "tune":
                tune_collector(kind)
            heard = {"heard_seconds": tally.heard_seconds, "calls": tally.calls}
            print(json.dumps(vitals.read() | heard), flush=True)

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1000)
        print(listener.getsockname()[1], flush=True)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        watching = asyncio.create_task(vitals.watch_the_loop())
        await asyncio.to_thread(tell)
        watching.cancel()
        server.should_exit = True
        await serving


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--core", type=int)
    parser.add_argument("--loop", choices=("asyncio", "uvloop"), default="asyncio")
    options = parser.parse_args()
    if options.core is not None:
        os.sched_setaffinity(0, {options.core})
    logger.remove()
    make_loop = asyncio.new_event_loop
    if options.loop == "uvloop":
        import uvloop

        make_loop = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=make_loop) as runner:
        runner.run(serve(options.kind))


if __name__ == "__main__":
    main()
