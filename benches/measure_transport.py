"""Delay of `opened` and `pong` while a bot is slow, in three configurations.

The configurations are our transport, and our and Pipecat's serializer on Pipecat's transport.
Prints JSON. A server in another process (`call_server.py`) has slow bots in all configurations. The
calls are made one after the other, and the configurations alternate, so that a slowdown of the
machine affects all of them.

    opened  a processor needs 2 s to set up; the time from `open` to `opened`
    pong    a processor needs 260 ms for each 200 ms of the caller's audio, like a speech service
            that is slower than real time; for ten seconds, a `ping` is sent every half second
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from typing import Any

import numpy as np
from open_message import OPEN_MESSAGE
from server_process import running_call_server
from websockets.asyncio.client import ClientConnection, connect

SERVERS = ("transport", "serializer", "pipecat")
_RATE = 16000
_REPLY_TIMEOUT_SECONDS = 20
_PINGS = 20
_PING_SECONDS = 0.5
_PACKET_SECONDS = 0.2
_SILENT_PACKET = b"\xff" * 1600


async def receive(socket: ClientConnection, message_type: str) -> dict[str, Any]:
    """Receive messages until a message of the given type arrives; return that message."""
    while True:
        reply = await asyncio.wait_for(socket.recv(), _REPLY_TIMEOUT_SECONDS)
        if isinstance(reply, str) and json.loads(reply)["type"] == message_type:
            message: dict[str, Any] = json.loads(reply)
            return message


async def opened_delay(url: str) -> float:
    """Return the milliseconds from `open` to `opened`."""
    async with connect(url, compression=None) as socket:
        begin = time.perf_counter()
        await socket.send(OPEN_MESSAGE)
        await receive(socket, "opened")
        return 1000 * (time.perf_counter() - begin)


async def pong_delays(url: str) -> list[float]:
    """Return the milliseconds from each `ping` to its `pong`."""
    sent: dict[int, float] = {}
    delays: list[float] = []
    async with connect(url, compression=None) as socket:
        await socket.send(OPEN_MESSAGE)
        await receive(socket, "opened")

        async def send_audio() -> None:
            begin = time.perf_counter()
            for number in range(round(_PINGS * _PING_SECONDS / _PACKET_SECONDS)):
                await asyncio.sleep(begin + _PACKET_SECONDS * number - time.perf_counter())
                await socket.send(_SILENT_PACKET)

        async def receive_pongs() -> None:
            while len(delays) < _PINGS:
                message = await receive(socket, "pong")
                delays.append(1000 * (time.perf_counter() - sent[message["clientseq"]]))

        async with asyncio.TaskGroup() as group:
            group.create_task(send_audio())
            group.create_task(receive_pongs())
            for number in range(_PINGS):
                await asyncio.sleep(_PING_SECONDS)
                seq = 2 + number
                sent[seq] = time.perf_counter()
                ping = {
                    "version": "2",
                    "type": "ping",
                    "id": json.loads(OPEN_MESSAGE)["id"],
                    "seq": seq,
                    "serverseq": 1 + len(delays),
                    "position": "PT0S",
                    "parameters": {},
                }
                await socket.send(json.dumps(ping))
    return delays


async def measure(port: int, rounds: int) -> dict[str, dict[str, list[float]]]:
    """Return the delays by server and reply."""
    delays: dict[str, dict[str, list[float]]] = {
        server: {"opened": [], "pong": []} for server in SERVERS
    }
    for _ in range(rounds):
        for server, found in delays.items():
            base = f"ws://127.0.0.1:{port}/{server}"
            found["opened"].append(await opened_delay(f"{base}/slow-start/{_RATE}"))
            found["pong"] += await pong_delays(f"{base}/slow/{_RATE}")
    return delays


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds: int = parser.parse_args().rounds
    with running_call_server() as port:
        delays = asyncio.run(measure(port, rounds))
    rows = []
    for server, replies in delays.items():
        for reply, times in replies.items():
            p50, p99 = np.percentile(times, (50, 99))
            row = {"server": server, "reply": reply, "count": len(times)}
            rows.append(row | {"p50_ms": float(p50), "p99_ms": float(p99)})
    json.dump({"rows": rows, "problems": []}, sys.stdout, indent=1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
