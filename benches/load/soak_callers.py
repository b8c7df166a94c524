"""The callers of the soak: a constant number of calls. When a call ends, a new call starts.

    python -m load.soak_callers --url URL --calls N --seconds S

Prints a line of JSON every minute: the measurements of the calls that ended in that minute.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
from collections import Counter
from typing import Any

import numpy as np
import signals
from pipecat_genesys.load.caller import Caller
from pipecat_genesys.load.connection import connect
from pipecat_genesys.load.results import AUDIBLE_SECONDS
from pipecat_genesys.simulator import BargedIn, CallOptions, ConnectFailedError, Violation
from signals import WIRE_RATE, speech_band_noise

from . import API_KEY, CLIENT_SECRET
from .process_stats import percentiles_ms

_MINUTE = 60.0
# The caller speaks for two seconds in each period of eight seconds. The bot answers in the rest of
# the period.
_PERIOD_SECONDS, _SPEECH_SECONDS = 8.0, 2.0
# Time of a key press after the start of a period, in seconds: in the middle of the bot's answer.
_KEY_PRESS_SECONDS = 3.5
_SHORTEST_CALL_SECONDS, _LENGTH_VARIATION_SECONDS, _SPARE_SECONDS = 60, 40, 10


def caller_audio(seconds: float) -> bytes:
    """Return speech and silence in turn, as mu-law."""
    speech = speech_band_noise(round(seconds * WIRE_RATE))
    at = np.arange(len(speech)) / WIRE_RATE % _PERIOD_SECONDS
    wire: bytes = signals.ulaw_codes(np.where(at < _SPEECH_SECONDS, speech, 0.0)).tobytes()
    return wire


class SoakCallers:
    """A constant number of callers.

    Args:
        url: URL of the server.
        calls: Number of simultaneous calls.
        seconds: Length of the soak. A call takes 60 to 99 s. In a soak of less than 120 s, the
            shortest call takes half of `seconds` instead of 60 s.
    """

    def __init__(self, url: str, calls: int, seconds: float) -> None:
        self._url = url
        self._calls = calls
        self._end = asyncio.get_running_loop().time() + seconds
        self._shortest = min(_SHORTEST_CALL_SECONDS, seconds / 2)
        self._wire = caller_audio(
            _SHORTEST_CALL_SECONDS + _LENGTH_VARIATION_SECONDS + _SPARE_SECONDS
        )
        self._options = CallOptions(api_key=API_KEY, client_secret=CLIENT_SECRET)
        self._lags: list[float] = []
        self._records: list[dict[str, Any]] = []
        self._active = 0

    async def run(self) -> None:
        """Make calls until the soak ends, and print their measurements."""
        printing = asyncio.create_task(self._print_every_minute())
        await asyncio.gather(*(self._call_repeatedly(number) for number in range(self._calls)))
        printing.cancel()
        self._print()

    async def _call_repeatedly(self, number: int) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(number * self._shortest / 2 / self._calls)
        while True:
            length = self._shortest + number * 7 % _LENGTH_VARIATION_SECONDS
            if loop.time() + length > self._end:
                return
            await self._call(number, length)
            number += 11

    async def _call(self, number: int, length: float) -> None:
        loop = asyncio.get_running_loop()
        key_press = _PERIOD_SECONDS * (1 + number % 5) + _KEY_PRESS_SECONDS
        caller = Caller(self._wire, [key_press], loop.time() + length)
        try:
            protocol = await connect(self._url, caller, self._lags, self._options)
        except ConnectFailedError as error:
            self._records.append({"completed": False, "broken_rules": {str(error): 1}})
            return
        self._active += 1
        await protocol.closed.wait()
        self._active -= 1
        self._records.append(measure_call(caller))

    async def _print_every_minute(self) -> None:
        while True:
            await asyncio.sleep(_MINUTE)
            self._print()

    def _print(self) -> None:
        records, self._records = self._records, []
        lags, self._lags = self._lags, []
        print(json.dumps(aggregate_minute(records, lags) | {"active": self._active}), flush=True)


def measure_call(caller: Caller) -> dict[str, Any]:
    """Return the measurements of a finished call; times in seconds."""
    session, playback = caller.session, caller.session.playback
    events = list(session.take_events())
    answered = [entry for entry in session.capture.entries if entry.latency is not None]
    key_presses = [entry.at for entry in session.capture.entries if entry.type == "dtmf"]
    barge_ins = [event.at for event in events if isinstance(event, BargedIn)]
    return {
        "completed": session.close_reason == "end" and session.closed is not None,
        "broken_rules": dict(
            Counter(event.rule.value for event in events if isinstance(event, Violation))
        ),
        "spoken_seconds": session.position / WIRE_RATE,
        "heard_seconds": sum(span.seconds for span in playback.spans),
        "gaps": [gap.seconds for gap in playback.underruns() if gap.seconds >= AUDIBLE_SECONDS],
        "opened": [entry.latency for entry in answered if entry.type == "opened"],
        "pong": [entry.latency for entry in answered if entry.type == "pong"],
        "barge_in": [
            min(at - press for at in barge_ins if at > press)
            for press in key_presses
            if any(at > press for at in barge_ins)
        ],
    }


def aggregate_minute(records: list[dict[str, Any]], lags: list[float]) -> dict[str, Any]:
    """Aggregate the calls that ended in a minute; times in ms."""

    def all_values(key: str) -> list[float]:
        return [value for record in records for value in record.get(key, ())]

    violations: Counter[str] = Counter()
    for record in records:
        violations.update(record["broken_rules"])
    return {
        "calls": len(records),
        "completed": sum(record["completed"] for record in records),
        "broken_rules": dict(violations),
        "gaps_ms": [round(1000 * seconds) for seconds in all_values("gaps")],
        "spoken_seconds": sum(record.get("spoken_seconds", 0) for record in records),
        "bot_seconds": sum(record.get("heard_seconds", 0) for record in records),
        "opened_ms": percentiles_ms(all_values("opened")),
        "pong_ms": percentiles_ms(all_values("pong")),
        "barge_in_ms": percentiles_ms(all_values("barge_in")),
        "lag_ms": percentiles_ms(lags),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--calls", type=int, required=True, help="number of simultaneous calls")
    parser.add_argument("--seconds", type=float, required=True, help="seconds of the whole soak")
    parser.add_argument("--cores", type=int, nargs="*", help="CPU cores to run on")
    options = parser.parse_args()
    if options.cores:
        os.sched_setaffinity(0, options.cores)

    async def run() -> None:
        callers = SoakCallers(options.url, options.calls, options.seconds)
        # Make garbage collections fewer and shorter, so that they do not delay the callers.
        gc.collect()
        gc.freeze()
        gc.set_threshold(20_000, 50, 50)
        await callers.run()

    asyncio.run(run())


if __name__ == "__main__":
    main()
