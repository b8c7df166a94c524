"""Both servers are restarted under live calls, and no caller notices.

ROLLING_CALLS (8) calls are live at any time, each ROLLING_SECONDS (4) long; `make test-slow` has 50
calls of half a minute.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Sequence
from http import HTTPStatus
from pathlib import Path

import pytest
from pipecat_genesys.simulator import (
    CallOptions,
    CallReport,
    SimulatedCall,
    audiohook_headers,
    new_call,
    sign_request,
    speech_like,
)
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from .cluster import KEY, PATIENCE, SECRET, Cluster
from .proxy import NAMES

CALLS = int(os.environ.get("ROLLING_CALLS", "8"))
SECONDS = float(os.environ.get("ROLLING_SECONDS", "4"))
BURST = 6

log = logging.getLogger(__name__)

pytest.importorskip("pipecat.pipeline.worker", reason="the example is for newer pipecats")


def options(cluster: Cluster) -> CallOptions:
    return CallOptions(
        api_key=KEY, client_secret=SECRET, ssl=cluster.tls, record_audio=False, connect_timeout=20
    )


class Callers:
    """Callers who call again as soon as they have hung up, each at a time of their own."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.reports: list[CallReport] = []
        self.live = 0
        self._all_live = asyncio.Event()
        self._leave = asyncio.Event()

    async def all_live(self) -> None:
        """Wait until every one of them has been talking to a bot at the same time."""
        async with asyncio.timeout(60):
            await self._all_live.wait()

    def leave(self) -> None:
        """Let them finish their calls, and call no more."""
        self._leave.set()

    async def call_on(self, number: int) -> None:
        """Be one of them."""
        await asyncio.sleep(number / CALLS * SECONDS)
        while not self._leave.is_set():
            if not (await self.call()).clean:
                return  # one is enough

    async def call(self) -> CallReport:
        """Call once."""
        call = SimulatedCall(self._cluster.url, options=options(self._cluster))
        report = await call.run(self._talk)
        self.reports.append(report)
        return report

    async def _talk(self, call: SimulatedCall) -> None:
        await call.opened()
        await call.wait_for_bot_audio(20)
        self.live += 1
        try:
            if self.live >= CALLS:
                self._all_live.set()
            await call.say(speech_like(1.0))
            await asyncio.sleep(max(0.0, SECONDS - call.elapsed))
            await call.hang_up()
            await call.ended(20)
        finally:
            self.live -= 1


def log_figures(reports: Sequence[CallReport]) -> None:
    """For `pytest --log-cli-level=INFO`; nothing is asserted of them."""
    opened = sorted(report.opened_latency or 0.0 for report in reports)
    log.info(
        "%d calls, %d at a time, %d s each; opened after %.0f ms (half of them), %.0f ms (all); "
        "pongs after %.0f ms at most; %d holes in what bots said",
        len(reports),
        CALLS,
        SECONDS,
        opened[len(opened) // 2] * 1000,
        opened[-1] * 1000,
        max(report.pongs.longest or 0.0 for report in reports) * 1000,
        sum(len(report.underruns) for report in reports),
    )


@pytest.mark.slow
@pytest.mark.timeout(120 + 12 * SECONDS)
async def test_a_rolling_restart_cuts_and_refuses_no_call(tmp_path: Path) -> None:
    # Each server can carry all of them, and those that are just hanging up.
    environ = {"MAX_CALLS": str(2 * CALLS + BURST)}
    async with (
        Cluster(tmp_path, first=environ, second=environ) as cluster,
        asyncio.TaskGroup() as tasks,
    ):
        callers = Callers(cluster)
        for number in range(CALLS):
            tasks.create_task(callers.call_on(number))
        await callers.all_live()
        for name in NAMES:
            server = cluster.servers[name]
            assert (await cluster.proxy.seen())[name].connections > 0, "nobody would notice"
            server.terminate()
            # Now HAProxy still thinks that it takes calls.
            for _ in range(BURST):
                tasks.create_task(callers.call())
            await cluster.down(name)
            assert await server.exited(PATIENCE + 2 * SECONDS) == 0, server.log
            server.start()
            await cluster.up(name)
            # It is back in service when it has calls again.
            await cluster.proxy.until(name, lambda seen: seen.connections > 0, PATIENCE + SECONDS)
        callers.leave()
    reports = callers.reports
    log_figures(reports)
    assert len(reports) > 2 * CALLS, "the calls outlasted the restart"
    assert [report for report in reports if not report.clean] == []
    # Nobody was asked to leave either.
    assert {report.ending.disconnect_reason for report in reports} == {None}


async def test_a_full_server_passes_calls_on(tmp_path: Path) -> None:
    async with Cluster(tmp_path, first={"MAX_CALLS": "1"}, second={"MAX_CALLS": "5"}) as cluster:
        everybody = asyncio.Barrier(6)

        async def talk(call: SimulatedCall) -> None:
            await call.opened()
            async with asyncio.timeout(30):
                await everybody.wait()

        calls = [SimulatedCall(cluster.url, options=options(cluster)) for _ in range(6)]
        reports = await asyncio.gather(*(call.run(talk) for call in calls))
        assert [report for report in reports if not report.clean] == []


async def knock(cluster: Cluster, url: str, headers: dict[str, str]) -> int:
    """Connect with these headers; the status of the answer."""
    tls = cluster.tls if url.startswith("wss") else None
    try:
        async with connect(url, additional_headers=headers, ssl=tls, proxy=None):
            return HTTPStatus.SWITCHING_PROTOCOLS
    except InvalidStatus as refused:
        return refused.response.status_code


async def test_a_signature_is_good_for_one_server_once(tmp_path: Path) -> None:
    async with Cluster(tmp_path) as cluster:
        first, second = (f"ws://127.0.0.1:{one.port}/audiohook" for one in cluster.servers.values())

        def signed() -> dict[str, str]:
            headers = audiohook_headers(new_call(), KEY)
            return headers | sign_request(cluster.url, headers, SECRET)

        accepted, refused = HTTPStatus.SWITCHING_PROTOCOLS, HTTPStatus.UNAUTHORIZED
        request = signed()
        assert await knock(cluster, first, request) == accepted
        assert await knock(cluster, second, request) == refused
        assert await knock(cluster, first, request) == refused
        assert await knock(cluster, cluster.url, request) == refused
        # The other server has nothing against the caller.
        assert await knock(cluster, second, signed()) == accepted
        assert await knock(cluster, cluster.url, signed()) == accepted
        # Nor does HAProxy let anybody see what is the operator's.
        public = cluster.url.removesuffix("/audiohook")
        for path in ("/metrics", "/readyz", "/audiohook/more"):
            assert await knock(cluster, public + path, signed()) == HTTPStatus.NOT_FOUND
