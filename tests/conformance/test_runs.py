"""Tests of many checks on servers that crash, refuse calls, end calls or accept only one medium."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from pipecat_genesys.conformance import (
    CATALOGUE,
    CheckResult,
    Outcome,
    Target,
    Timeouts,
    failures,
    run_checks,
)
from pipecat_genesys.protocol import Draft, events, server_messages
from pipecat_genesys.simulator import CallMode
from reference_server import KEY, SECRET, ReferenceCall, reference_server
from websockets.asyncio.server import Server, ServerConnection, serve

from .mutations import MUTATIONS

SHORT = Timeouts(
    connect=5, open=1, pong=0.5, close=0.5, observation=0.2, conversation=1, restart=0.3
)


def failed(results: list[CheckResult]) -> dict[str, str]:
    return {r.check.id: r.detail for r in results if r.outcome is Outcome.FAILED}


def skipped(results: list[CheckResult]) -> dict[str, str]:
    return {r.check.id: r.detail for r in results if r.outcome is Outcome.SKIPPED}


class MortalServer:
    """A reference server that stops listening and drops all connections on some messages.

    Args:
        kills: Returns whether a message stops the server.
        restart_after: Seconds until the server listens again on the same port; None for never.
        lives: Number of times that the server stops; later messages do not stop it.
        delay: Seconds from the message until the server stops.
    """

    def __init__(
        self,
        kills: Callable[[str | bytes], bool],
        restart_after: float | None,
        lives: int = 1000,
        delay: float = 0.0,
    ) -> None:
        self.deaths = 0
        self._kills = kills
        self._restart_after = restart_after
        self._lives = lives
        self._delay = delay
        self._server: Server | None = None
        self._port = 0
        self._connections: set[ServerConnection] = set()
        self._restarts: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        """Run the server; yields its URL."""
        await self._start()
        try:
            yield f"ws://127.0.0.1:{self._port}/audiohook"
        finally:
            for task in self._restarts:
                task.cancel()
            await asyncio.gather(*self._restarts, return_exceptions=True)
            self._stop()

    async def _start(self) -> None:
        self._server = await serve(
            self._handle, "127.0.0.1", self._port, ping_interval=None, compression=None
        )
        self._port = self._server.sockets[0].getsockname()[1]

    async def _handle(self, socket: ServerConnection) -> None:
        server = self

        class MortalCall(ReferenceCall):
            async def on_text(self, text: str) -> None:
                if not server._dies_of(text):
                    await super().on_text(text)

            async def on_audio(self, data: bytes) -> None:
                if not server._dies_of(data):
                    await super().on_audio(data)

        self._connections.add(socket)
        try:
            await MortalCall(socket, is_bot=True).run()
        finally:
            self._connections.discard(socket)

    def _dies_of(self, data: str | bytes) -> bool:
        if self.deaths >= self._lives or not self._kills(data):
            return False
        self.deaths += 1
        if self._delay:
            asyncio.get_running_loop().call_later(self._delay, self._stop)
            return False
        self._stop()
        if self._restart_after is not None:
            self._restarts.add(asyncio.create_task(self._restart(self._restart_after)))
        return True

    async def _restart(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        await self._start()

    def _stop(self) -> None:
        assert self._server is not None
        self._server.close(close_connections=False)
        for connection in self._connections:
            connection.transport.abort()


def is_type(kind: str) -> Callable[[str | bytes], bool]:
    """Return a function that returns whether a message has the type `kind`."""
    return lambda data: isinstance(data, str) and f'"type": "{kind}"' in data


async def run_catalogue(url: str, **target: Any) -> list[CheckResult]:
    return await run_checks(Target(url=url, timeouts=SHORT, **target), CATALOGUE.values())


async def test_a_crash_in_hostile_input_is_one_finding_and_the_rest_is_skipped() -> None:
    server = MortalServer(lambda data: data == "{'not': json", restart_after=None)
    async with server.running() as url:
        results = await run_catalogue(url)
    assert list(failed(results)) == ["hostile-not-json"]
    assert "the server crashed" in failed(results)["hostile-not-json"]
    unsigned = {k: v for k, v in skipped(results).items() if not CATALOGUE[k].signed}
    assert set(unsigned.values()) == {"not run, because the server crashed after hostile-not-json"}
    assert "hostile-deep" in unsigned


async def test_a_run_continues_when_a_crashed_server_is_back() -> None:
    server = MortalServer(lambda data: data == "{'not': json", restart_after=0.15)
    async with server.running() as url:
        results = await run_catalogue(url)
    assert list(failed(results)) == ["hostile-not-json"]
    assert all(CATALOGUE[name].signed for name in skipped(results))


async def test_the_check_that_crashes_the_server_is_found_among_concurrent_ones() -> None:
    server = MortalServer(is_type("playback_completed"), restart_after=0.15)
    async with server.running() as url:
        results = await run_catalogue(url)
    assert list(failed(results)) == ["playback"]
    assert "the server crashed" in failed(results)["playback"]
    assert all(CATALOGUE[name].signed for name in skipped(results))
    assert server.deaths == 2


async def test_a_crash_among_concurrent_checks_without_a_restart_names_the_suspects() -> None:
    server = MortalServer(is_type("playback_completed"), restart_after=None)
    async with server.running() as url:
        results = await run_catalogue(url)
    (detail,) = failed(results).values()
    assert detail.startswith("the server crashed while these checks ran: ")
    assert "playback" in detail
    assert "hostile-deep" in skipped(results)


async def test_a_crash_that_does_not_happen_again_is_reported_once() -> None:
    server = MortalServer(is_type("playback_completed"), restart_after=0.15, lives=1)
    async with server.running() as url:
        results = await run_catalogue(url)
    (detail,) = failed(results).values()
    assert "this happened once, while these checks ran: " in detail
    assert "playback" in detail


async def test_a_crash_after_a_check_has_passed_is_a_finding_for_that_check() -> None:
    server = MortalServer(is_type("error"), restart_after=None, delay=0.05)
    names = ("client-error", "hostile-nothing-said", "hostile-deep")
    timeouts = Timeouts(observation=0.6, restart=0.3)
    async with server.running() as url:
        target = Target(url=url, timeouts=timeouts)
        results = await run_checks(target, [CATALOGUE[name] for name in names])
    assert len(failed(results)) == 1
    assert skipped(results)["hostile-deep"].startswith("not run, because the server crashed after ")


async def test_authentication_checks_do_not_pass_on_a_server_that_answers_nobody() -> None:
    names = [name for name, check in CATALOGUE.items() if check.signed]

    class DropsOthers(ReferenceCall):
        """Accepts the correct signature, and drops every other connection without an answer."""

        @classmethod
        async def accepts(cls, verifier: Any, request: Any) -> bool:
            request.headers["Refused"] = str(not await super().accepts(verifier, request))
            return True

        async def run(self) -> None:
            assert self.socket.request is not None
            if self.socket.request.headers["Refused"] == "True":
                self.socket.transport.abort()
            else:
                await super().run()

        def is_authorized(self, event: events.OpenReceived) -> bool:
            if not super().is_authorized(event):
                self.socket.transport.abort()
            return True

    async with reference_server(DropsOthers, secret=SECRET) as url:
        target = Target(url=url, api_key=KEY, secret=SECRET, timeouts=SHORT)
        results = await run_checks(target, [CATALOGUE[name] for name in names])
    passed = {r.check.id for r in results if r.outcome is Outcome.PASSED}
    assert passed == {"signed", "signed-other-order"}


async def test_a_server_that_refuses_every_open_is_one_finding() -> None:
    class RefusesCalls(ReferenceCall):
        async def on_open(self, event: events.OpenReceived) -> None:
            await self.send(server_messages.disconnect("error", info="no such customer"))

    async with reference_server(RefusesCalls) as url:
        results = await run_catalogue(url)
    ((name, detail),) = failed(results).items()
    assert name == "opened-in-time"
    assert "no such customer" in detail
    assert len(skipped(results)) == len(results) - 1


async def test_a_server_that_limits_its_calls_is_checked_with_fewer_at_a_time() -> None:
    class LimitedCall(ReferenceCall):
        running = 0
        refusals = 0

        async def run(self) -> None:
            LimitedCall.running += 1
            try:
                await super().run()
            finally:
                LimitedCall.running -= 1

        @classmethod
        async def accepts(cls, verifier: Any, request: Any) -> bool:
            LimitedCall.refusals += cls.running >= 3
            return cls.running < 3

    names = ("opened-in-time", "opened-media-offered", "start-paused-boolean", "probe-quiet")
    async with reference_server(LimitedCall, secret=SECRET) as url:
        target = Target(url=url, timeouts=SHORT)
        results = await run_checks(target, [CATALOGUE[name] for name in names])
    assert LimitedCall.refusals
    assert failed(results) == {}


async def test_a_monitor_that_takes_stereo_only_fails_no_check() -> None:
    class StereoOnly(ReferenceCall):
        async def on_text(self, text: str) -> None:
            if '"type": "open"' in text:
                message = json.loads(text)
                offer = message["parameters"]["media"]
                stereo = [one for one in offer if len(one["channels"]) == 2]
                if not stereo:
                    self.session.receive_text(text)
                    await self.send(server_messages.disconnect("error"))
                    return
                message["parameters"]["media"] = stereo
                text = json.dumps(message)
            await super().on_text(text)

    async with reference_server(StereoOnly, is_bot=False) as url:
        results = await run_catalogue(url, mode=CallMode.MONITOR)
    assert failed(results) == {}


async def test_a_cancelled_run_closes_its_connections() -> None:
    is_busy, is_idle = asyncio.Event(), asyncio.Event()

    class CountedCall(ReferenceCall):
        running = 0

        async def run(self) -> None:
            CountedCall.running += 1
            if CountedCall.running == 5:
                is_busy.set()
            try:
                await super().run()
            finally:
                CountedCall.running -= 1
                if not CountedCall.running:
                    is_idle.set()

    async with reference_server(CountedCall) as url:
        run = asyncio.create_task(run_catalogue(url))
        await asyncio.wait_for(is_busy.wait(), 5)
        is_idle.clear()
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        await asyncio.wait_for(is_idle.wait(), 2)
        assert CountedCall.running == 0


async def test_a_server_that_repeats_closed_earns_a_warning_only() -> None:
    async with reference_server(MUTATIONS["closed-once"]) as url:
        results = await run_catalogue(url)
    assert list(failed(results)) == ["closed-once"]
    assert failures(results) == []


@pytest.mark.parametrize("counts_wrong_messages", [True, False])
async def test_close_after_disconnect_has_the_number_that_the_server_expects(
    counts_wrong_messages: bool,
) -> None:
    class ChecksSeqAlways(ReferenceCall):
        """Checks `seq` of every message first, also after `disconnect`."""

        expected = 1
        is_disconnecting = False

        async def on_text(self, text: str) -> None:
            message = json.loads(text)
            if message["seq"] != self.expected:
                if counts_wrong_messages:
                    self.expected = message["seq"] + 1
                return await self.on_disconnect(server_messages.disconnect("error"))
            self.expected += 1
            if self.is_disconnecting:
                # `AudioHookSession` does not check `seq` after `disconnect`, so `seq` is checked
                # above. Of the messages after `disconnect`, only `close` is answered.
                if message["type"] == "close":
                    await super().on_text(text)
                return None
            return await super().on_text(text)

        async def on_disconnect(self, draft: Draft) -> None:
            self.is_disconnecting = True
            await super().on_disconnect(draft)

    names = [name for name in CATALOGUE if "disconnect" in name]
    async with reference_server(ChecksSeqAlways) as url:
        target = Target(url=url, timeouts=SHORT)
        results = await run_checks(target, [CATALOGUE[name] for name in names])
    assert [r for r in results if r.outcome is not Outcome.PASSED] == []


async def test_a_bot_that_ends_the_call_at_a_key_fails_no_check() -> None:
    class EndsAtHash(ReferenceCall):
        async def on_dtmf(self, event: events.DtmfReceived) -> None:
            if event.digit == "#":
                await self.send(server_messages.disconnect("completed"))

    class EndsAndStopsAnswering(EndsAtHash):
        async def on_ping(self, event: events.PingReceived) -> None:
            if self.session.state != "disconnecting":
                await super().on_ping(event)

    for call_class in (EndsAtHash, EndsAndStopsAnswering):
        async with reference_server(call_class) as url:
            target = Target(url=url, timeouts=SHORT)
            (result,) = await run_checks(target, [CATALOGUE["dtmf"]])
        assert result.outcome is Outcome.PASSED, result


async def test_checks_pass_over_a_simulated_network_and_replies_take_its_round_trip() -> None:
    async with reference_server(ReferenceCall) as url:
        target = Target(url=url, rtt=0.2)
        async with target.open_call() as connection:
            began = connection.now
            for _ in range(3):
                last = await connection.send("ping")
            await connection.wait_for(
                lambda message: message.get("clientseq") == last, "the last pong", 2
            )
            assert connection.now - began >= 0.2
            assert [one["type"] for one in connection.messages[-3:]] == ["pong"] * 3
            await connection.close_session()
        checks = [CATALOGUE[name] for name in ("opened-in-time", "pong-in-time", "pong-clientseq")]
        results = await run_checks(target, checks)
    assert failed(results) == {}
