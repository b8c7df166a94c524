"""Callers that come and go, so many at once, for the soak.

    python -m load.visitors --url URL --calls N --seconds S

Prints what the calls that ended in the last minute were like, as a line of JSON, every minute.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
from collections import Counter
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import signals
from pipecat_genesys.simulator import BargedIn, CallOptions, Violation
from signals import WIRE_RATE

from . import API_KEY, CLIENT_SECRET
from .caller import AUDIBLE_SECONDS, Caller
from .calls import CallProtocol
from .echoes import speech
from .vitals import spread

MINUTE = 60.0
# Two seconds of speech in eight; the bot's answer lies in between.
_PERIOD, _SPEECH = 8.0, 2.0
# A key is pressed in the middle of an answer.
_KEY_AT = 3.5
_SHORTEST, _VARIETY = 60, 40


def conversation(seconds: float) -> bytes:
    """What a caller says, mu-law: speech and silence in turn."""
    said = speech(seconds)
    at = np.arange(len(said)) / WIRE_RATE % _PERIOD
    wire: bytes = signals.ulaw_codes(np.where(at < _SPEECH, said, 0.0)).tobytes()
    return wire


class Visitors:
    """So many callers at once; whoever hangs up is followed by another.

    Args:
        url: The server.
        calls: How many.
        seconds: For how long. Calls take one to two minutes, or half of this where that is less.
    """

    def __init__(self, url: str, calls: int, seconds: float) -> None:
        self._url = url
        self._address = urlsplit(url)
        self._calls = calls
        self._until = asyncio.get_running_loop().time() + seconds
        self._shortest = min(_SHORTEST, seconds / 2)
        self._wire = conversation(_SHORTEST + _VARIETY + 10)
        self._options = CallOptions(api_key=API_KEY, client_secret=CLIENT_SECRET)
        self._lags: list[float] = []
        self._records: list[dict[str, Any]] = []
        self.active = 0

    async def run(self) -> None:
        """Call until it is over, and print."""
        reporting = asyncio.create_task(self._report())
        await asyncio.gather(*(self._line(number) for number in range(self._calls)))
        reporting.cancel()
        self._print()

    async def _line(self, number: int) -> None:
        """One caller after the other."""
        loop = asyncio.get_running_loop()
        await asyncio.sleep(number * self._shortest / 2 / self._calls)
        while True:
            length = self._shortest + number * 7 % _VARIETY
            if loop.time() + length > self._until:
                return
            await self._call(number, length)
            number += 11

    async def _call(self, number: int, length: float) -> None:
        loop = asyncio.get_running_loop()
        answer = _PERIOD * (1 + number % 5) + _KEY_AT
        caller = Caller(self._wire, [answer], loop.time() + length)
        try:
            _, protocol = await loop.create_connection(
                lambda: CallProtocol(self._url, caller, self._lags, self._options),
                self._address.hostname,
                self._address.port,
            )
        except OSError as error:
            self._records.append({"held": False, "broken_rules": {str(error): 1}})
            return
        self.active += 1
        await protocol.over.wait()
        self.active -= 1
        self._records.append(record(caller))

    async def _report(self) -> None:
        while True:
            await asyncio.sleep(MINUTE)
            self._print()

    def _print(self) -> None:
        records, self._records = self._records, []
        lags, self._lags = self._lags, []
        print(json.dumps(summary(records, lags) | {"active": self.active}), flush=True)


def record(caller: Caller) -> dict[str, Any]:
    """How a call went; times in seconds."""
    session, playback = caller.session, caller.session.playback
    events = list(session.take_events())
    entries = [entry for entry in session.capture.entries if entry.latency is not None]
    keys = [entry.at for entry in session.capture.entries if entry.type == "dtmf"]
    barged = [event.at for event in events if isinstance(event, BargedIn)]
    return {
        "held": session.close_reason == "end" and session.closed is not None,
        "broken_rules": dict(
            Counter(event.rule.value for event in events if isinstance(event, Violation))
        ),
        "spoken_seconds": session.position / WIRE_RATE,
        "heard_seconds": sum(span.seconds for span in playback.spans),
        "holes": [hole.seconds for hole in playback.underruns() if hole.seconds >= AUDIBLE_SECONDS],
        "opened": [entry.latency for entry in entries if entry.type == "opened"],
        "pong": [entry.latency for entry in entries if entry.type == "pong"],
        "barge_in": [min(at - key for at in barged if at > key) for key in keys if barged],
    }


def summary(records: list[dict[str, Any]], lags: list[float]) -> dict[str, Any]:
    """What several calls were like; times in ms."""

    def all_of(what: str) -> list[float]:
        return [value for call in records for value in call.get(what, ())]

    broken: Counter[str] = Counter()
    for call in records:
        broken.update(call["broken_rules"])
    return {
        "calls": len(records),
        "held": sum(call["held"] for call in records),
        "broken_rules": dict(broken),
        "holes_ms": [round(1000 * seconds) for seconds in all_of("holes")],
        "spoken_seconds": sum(call.get("spoken_seconds", 0) for call in records),
        "bot_seconds": sum(call.get("heard_seconds", 0) for call in records),
        "opened_ms": spread(all_of("opened")),
        "pong_ms": spread(all_of("pong")),
        "barge_in_ms": spread(all_of("barge_in")),
        "lag_ms": spread(lags),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--calls", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--cores", type=int, nargs="*")
    options = parser.parse_args()
    if options.cores:
        os.sched_setaffinity(0, options.cores)

    async def run() -> None:
        visitors = Visitors(options.url, options.calls, options.seconds)
        gc.collect()
        gc.freeze()
        gc.set_threshold(20_000, 50, 50)
        await visitors.run()

    asyncio.run(run())


if __name__ == "__main__":
    main()
