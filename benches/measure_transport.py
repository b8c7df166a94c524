"""How soon Genesys gets its answers while a bot is busy: our transport beside pipecat's.

Prints JSON. A server in a process of its own; calls one after the other, each transport in turn, so
that what the machine does meets both. `start`: a processor takes 2 s to set up, and `opened` is
waited for. `busy`: a processor takes 260 ms for each 200 ms of the caller's audio, as a speech
service that falls behind does, and a `ping` is sent every half second, for ten seconds.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from opening import OPEN
from websockets.asyncio.client import ClientConnection, connect

WHO = ("transport", "ours on pipecat's", "pipecat")
_PATIENCE_SECONDS = 20
_PINGS = 20
_SILENCE = b"\xff" * 1600


async def until(socket: ClientConnection, kind: str) -> dict[str, Any]:
    while True:
        reply = await asyncio.wait_for(socket.recv(), _PATIENCE_SECONDS)
        if isinstance(reply, str) and json.loads(reply)["type"] == kind:
            message: dict[str, Any] = json.loads(reply)
            return message


async def opened(url: str) -> float:
    """Milliseconds until `opened`."""
    async with connect(url, compression=None) as socket:
        begin = time.perf_counter()
        await socket.send(OPEN)
        await until(socket, "opened")
        return 1000 * (time.perf_counter() - begin)


async def pongs(url: str) -> list[float]:
    """Milliseconds until each `pong`, in a call whose audio is too much for the bot."""
    times: dict[int, float] = {}
    answered: list[float] = []
    async with connect(url, compression=None) as socket:
        await socket.send(OPEN)
        await until(socket, "opened")
        session = json.loads(OPEN)["id"]

        async def speak() -> None:
            begin = time.perf_counter()
            for number in range(50 * _PINGS // 20):
                await asyncio.sleep(begin + 0.2 * number - time.perf_counter())
                await socket.send(_SILENCE)

        async def listen() -> None:
            while len(answered) < _PINGS:
                message = await until(socket, "pong")
                answered.append(1000 * (time.perf_counter() - times[message["clientseq"]]))

        async with asyncio.TaskGroup() as group:
            group.create_task(speak())
            group.create_task(listen())
            for number in range(_PINGS):
                await asyncio.sleep(0.5)
                seq = 2 + number
                times[seq] = time.perf_counter()
                ping = {
                    "version": "2",
                    "type": "ping",
                    "id": session,
                    "seq": seq,
                    "serverseq": 1 + len(answered),
                    "position": "PT0S",
                    "parameters": {},
                }
                await socket.send(json.dumps(ping))
    return answered


def percentiles(times: list[float]) -> dict[str, float]:
    p50, p99 = np.percentile(times, (50, 99))
    return {"p50": float(p50), "p99": float(p99)}


async def measure(port: int, rounds: int) -> dict[str, dict[str, list[float]]]:
    found: dict[str, dict[str, list[float]]] = {who: {"opened": [], "pong": []} for who in WHO}
    for _ in range(rounds):
        for number, who in enumerate(WHO):
            base = f"ws://127.0.0.1:{port}/{number}"
            found[who]["opened"].append(await opened(f"{base}/start"))
            found[who]["pong"] += await pongs(f"{base}/busy")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds: int = parser.parse_args().rounds
    server = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("busy_server.py"))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdin is not None
    assert server.stdout is not None
    try:
        found = asyncio.run(measure(int(server.stdout.readline()), rounds))
    finally:
        server.stdin.close()
        server.wait(_PATIENCE_SECONDS)
    rows = [
        {"who": who, "reply": reply, "count": len(times), **percentiles(times)}
        for who, replies in found.items()
        for reply, times in replies.items()
    ]
    json.dump({"rows": rows, "problems": []}, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
