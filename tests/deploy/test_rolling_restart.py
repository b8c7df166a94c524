"""Tests with HAProxy and two servers: a rolling restart under live calls, overload, replays.

The rolling restart has ROLLING_CALLS (default 8) simultaneous calls of ROLLING_SECONDS (default 4)
seconds each. `make test-slow` sets 50 calls of 30 seconds.
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
    sample_speech,
    sign_request,
)
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from .cluster import KEY, SECRET, START_TIMEOUT, Cluster
from .proxy import NAMES

CALLS = int(os.environ.get("ROLLING_CALLS", "8"))
SECONDS = float(os.environ.get("ROLLING_SECONDS", "4"))
BURST = 6

log = logging.getLogger(__name__)

pytest.importorskip("pipecat.pipeline.worker", reason="the example needs pipecat 1.3 or newer")


def options(cluster: Cluster) -> CallOptions:
    return CallOptions(
        api_key=KEY, client_secret=SECRET, ssl=cluster.tls, record_audio=False, connect_timeout=20
    )


class Callers:
    """Callers that call again as soon as a call has ended. Their calls start at different times."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.reports: list[CallReport] = []
        self.live = 0
        self._all_live = asyncio.Event()
        self._leave = asyncio.Event()

    async def all_live(self) -> None:
        """Wait until all callers have been in a call at the same time."""
        async with asyncio.timeout(60):
            await self._all_live.wait()

    def leave(self) -> None:
        """Start no more calls. The current calls continue until their normal end."""
        self._leave.set()

    async def keep_calling(self, number: int) -> None:
        """Call repeatedly as caller `number` until `leave`, or until a call fails."""
        await asyncio.sleep(number / CALLS * SECONDS)
        while not self._leave.is_set():
            if not (await self.call()).clean:
                return  # one failed call fails the test

    async def call(self) -> CallReport:
        """Make one call and return its report."""
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
            await call.say(sample_speech(1.0))
            await asyncio.sleep(max(0.0, SECONDS - call.elapsed))
            await call.hang_up()
            await call.ended(20)
        finally:
            self.live -= 1


def log_figures(reports: Sequence[CallReport]) -> None:
    """Log latencies and underruns, for `pytest --log-cli-level=INFO`."""
    opened = sorted(report.opened_latency or 0.0 for report in reports)
    log.info(
        "%d calls of %.0f s, %d at a time; opened: median %.0f ms, maximum %.0f ms; "
        "pong: maximum %.0f ms; %d underruns of bot audio",
        len(reports),
        SECONDS,
        CALLS,
        opened[len(opened) // 2] * 1000,
        opened[-1] * 1000,
        max(report.pongs.longest or 0.0 for report in reports) * 1000,
        sum(len(report.underruns) for report in reports),
    )


@pytest.mark.slow
@pytest.mark.timeout(120 + 12 * SECONDS)
async def test_a_rolling_restart_cuts_and_refuses_no_call(tmp_path: Path) -> None:
    # Each server can hold all running calls and, in addition, the calls that are ending.
    environ = {"MAX_CALLS": str(2 * CALLS + BURST)}
    async with (
        Cluster(tmp_path, first=environ, second=environ) as cluster,
        asyncio.TaskGroup() as tasks,
    ):
        callers = Callers(cluster)
        for number in range(CALLS):
            tasks.create_task(callers.keep_calling(number))
        await callers.all_live()
        for name in NAMES:
            server = cluster.servers[name]
            connections = (await cluster.proxy.server_states())[name].connections
            assert connections > 0, "the server has no calls that the restart could cut"
            server.terminate()
            # HAProxy has not detected the drain yet and still sends calls to the server.
            for _ in range(BURST):
                tasks.create_task(callers.call())
            await cluster.down(name)
            assert await server.exited(START_TIMEOUT + 2 * SECONDS) == 0, server.log
            server.start()
            await cluster.up(name)
            # The server is back in service when it has calls again.
            await cluster.proxy.wait_until(
                name, lambda state: state.connections > 0, START_TIMEOUT + SECONDS
            )
        callers.leave()
    reports = callers.reports
    log_figures(reports)
    assert len(reports) > 2 * CALLS, "the calls were longer than the restart"
    assert [report for report in reports if not report.clean] == []
    # No server disconnected a call.
    assert {report.ending.disconnect_reason for report in reports} == {None}


async def test_haproxy_sends_calls_that_a_full_server_refuses_to_the_other_server(
    tmp_path: Path,
) -> None:
    async with Cluster(tmp_path, first={"MAX_CALLS": "1"}, second={"MAX_CALLS": "5"}) as cluster:
        all_opened = asyncio.Barrier(6)

        async def talk(call: SimulatedCall) -> None:
            await call.opened()
            async with asyncio.timeout(30):
                await all_opened.wait()

        calls = [SimulatedCall(cluster.url, options=options(cluster)) for _ in range(6)]
        reports = await asyncio.gather(*(call.run(talk) for call in calls))
        assert [report for report in reports if not report.clean] == []


async def connect_status(cluster: Cluster, url: str, headers: dict[str, str]) -> int:
    """Connect with these headers, and return the HTTP status of the response."""
    tls = cluster.tls if url.startswith("wss") else None
    try:
        async with connect(url, additional_headers=headers, ssl=tls, proxy=None):
            return HTTPStatus.SWITCHING_PROTOCOLS
    except InvalidStatus as refused:
        return refused.response.status_code


async def test_a_signed_request_is_accepted_once_by_one_server(tmp_path: Path) -> None:
    async with Cluster(tmp_path) as cluster:
        first, second = (f"ws://127.0.0.1:{one.port}/audiohook" for one in cluster.servers.values())

        def signed() -> dict[str, str]:
            headers = audiohook_headers(new_call(), KEY)
            return headers | sign_request(cluster.url, headers, SECRET)

        accepted, refused = HTTPStatus.SWITCHING_PROTOCOLS, HTTPStatus.UNAUTHORIZED
        request = signed()
        assert await connect_status(cluster, first, request) == accepted
        assert await connect_status(cluster, second, request) == refused
        assert await connect_status(cluster, first, request) == refused
        assert await connect_status(cluster, cluster.url, request) == refused
        # The other server accepts a new request of the same caller.
        assert await connect_status(cluster, second, signed()) == accepted
        assert await connect_status(cluster, cluster.url, signed()) == accepted
        # HAProxy does not forward requests for metrics, probes and other paths.
        public = cluster.url.removesuffix("/audiohook")
        for path in ("/metrics", "/readyz", "/audiohook/more"):
            assert await connect_status(cluster, public + path, signed()) == HTTPStatus.NOT_FOUND
