"""Tests of the lists of functions in ARCHITECTURE.md, with AudioHook calls over a WebSocket.

Each list has the functions that handle a packet or a message, in order.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import pipecat_genesys
import pytest
from echo_server import Echo
from loopback import serving
from pipecat_genesys.simulator import SimulatedCall

from .server import TransportServer

PACKAGE = Path(pipecat_genesys.__file__).parent
PAGE = (Path(__file__).parents[2] / "ARCHITECTURE.md").read_text()
LONGEST = {
    "A caller's packet, from the socket to the pipeline:": 6,
    "A bot frame, from the pipeline to the socket:": 7,
    "`open` to `opened`, and `ping` to `pong`:": 8,
}


def listed(heading: str) -> list[str]:
    """Return the functions that are listed under a heading, as `folder/file.py:Class.function`."""
    numbered = PAGE.split(heading)[1].strip().split("\n\n")[0]
    lines = re.findall(r"^\d+\. (.*)$", numbered, re.MULTILINE)
    return [re.findall(r"`([a-z_/]+\.py:[\w.]+)`", line)[0] for line in lines]


class Trace:
    """A profile function that records which functions of the package run.

    Attributes:
        called: Functions of the package that were called.
        parsed: Functions of the transport that called `json.loads`.
    """

    def __init__(self) -> None:
        self.called: set[str] = set()
        self.parsed: list[str] = []

    def __call__(self, frame: FrameType, event: str, argument: Any) -> None:
        if event != "call":
            return
        code = frame.f_code
        if code.co_filename == json.__file__ and code.co_name == "loads":
            caller = frame.f_back
            if caller is not None and caller.f_code.co_filename.startswith(
                str(PACKAGE / "transport")
            ):
                self.parsed.append(caller.f_code.co_qualname)
        path = Path(code.co_filename)
        if path.is_relative_to(PACKAGE):
            self.called.add(f"{path.relative_to(PACKAGE)}:{code.co_qualname}")


async def traced_call() -> Trace:
    trace, server = Trace(), TransportServer(Echo)

    async def script(caller: SimulatedCall) -> None:
        await caller.opened()
        await caller.say(b"\x10" * 4000)
        await caller.wait_for_bot_audio()
        await caller.hang_up()
        await caller.ended(10)

    async with serving(server.app) as url:
        sys.setprofile(trace)
        try:
            await SimulatedCall(url).run(script)
        finally:
            sys.setprofile(None)
        await asyncio.wait_for(server.done.wait(), 10)
    return trace


@pytest.mark.parametrize("heading", LONGEST)
def test_listed_path_is_at_most_as_long_as_promised(heading: str) -> None:
    """The number of functions in each list does not exceed the limit in `LONGEST`."""
    assert 3 <= len(listed(heading)) <= LONGEST[heading]


async def test_call_takes_the_listed_paths_and_the_transport_parses_no_json() -> None:
    trace = await traced_call()
    functions = {function for heading in LONGEST for function in listed(heading)}
    assert sorted(functions - trace.called) == []
    assert trace.parsed == []
