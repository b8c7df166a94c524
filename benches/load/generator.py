"""The load generator: makes calls in real time, in a separate process.

    python -m load.generator --url URL --bot BOT --calls N
        --ramp S --plateau S --ramp-down S --begin T

Prints the result of `pipecat_genesys.load.run_load` as JSON when all calls are finished. `--begin`
is a time of the system's monotonic clock, which all processes share.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import sys
import time

from pipecat_genesys.load import Expect, LoadPlan, Talk, run_load
from pipecat_genesys.simulator import CallOptions, read_wav
from pydantic_core import to_json
from report import ROOT

from . import BOTS

_QUESTION = ROOT / "examples" / "audio" / "caller-question.wav"
# Time of the caller's first utterance, and time between the starts of two utterances, in seconds.
# The bot needs about two seconds to answer a question of 2.4 s, and speaks for two seconds.
_FIRST_SECONDS, _PERIOD_SECONDS = 1.0, 8.0


def talk_of(bot: str) -> Talk:
    """Return the utterances and keys of the callers of a bot, and the expected answers."""
    if bot == "echo":
        return Talk(expect=Expect.ECHO, key="1")
    return Talk(utterances=[read_wav(_QUESTION)], first=_FIRST_SECONDS, period=_PERIOD_SECONDS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--bot", choices=BOTS, required=True)
    parser.add_argument("--calls", type=int, required=True)
    parser.add_argument(
        "--ramp", type=float, required=True, help="seconds over which the calls begin"
    )
    parser.add_argument(
        "--plateau", type=float, required=True, help="seconds during which all calls run"
    )
    parser.add_argument(
        "--ramp-down", type=float, required=True, help="seconds over which the calls end"
    )
    parser.add_argument(
        "--begin",
        type=float,
        required=True,
        help="start of the first call, in seconds on the monotonic clock",
    )
    parser.add_argument("--cores", type=int, nargs="*", help="CPU cores to run on")
    options = parser.parse_args()
    if options.cores:
        os.sched_setaffinity(0, options.cores)
    plan = LoadPlan(
        calls=options.calls,
        ramp=options.ramp,
        duration=options.plateau,
        ramp_down=options.ramp_down,
    )
    talk = talk_of(options.bot)
    # Objects of the calls are kept until the end, so a collection would find nothing to free.
    gc.collect()
    gc.freeze()
    gc.disable()
    time.sleep(max(0.0, options.begin - time.monotonic()))
    result = asyncio.run(run_load(options.url, plan, talk, options=CallOptions(rtt=0.0)))
    sys.stdout.write(to_json(result).decode())


if __name__ == "__main__":
    main()
