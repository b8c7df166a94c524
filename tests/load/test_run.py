"""Tests that place calls on a server over real sockets."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path

import pytest
from echo_peer import audible, echo_peer, silent
from pipecat_genesys.load import (
    Criteria,
    Expect,
    LoadPlan,
    LoadProgress,
    Talk,
    find_failures,
    run_load,
)
from pipecat_genesys.load.scripted import barge_ins_by_keys
from pipecat_genesys.simulator import CallOptions, ConnectFailedError, Scenario, read_wav
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

QUESTION = Path(__file__).parents[2] / "examples" / "audio" / "caller-question.wav"
SHORT = LoadPlan(calls=3, ramp=0.3, duration=4.5)
ECHO = Talk(expect=Expect.ECHO)
# In these calls, the caller asks a question of 1 s once, and then waits for the answer.
ONE_QUESTION = LoadPlan(calls=3, ramp=0.3, duration=5.7)
QUESTION_ONCE = Talk(utterances=[read_wav(QUESTION)[:8000]], first=0.5, period=5.0)


async def test_an_echo_is_measured_in_every_call() -> None:
    reports: list[LoadProgress] = []
    async with echo_peer() as peer:
        result = await run_load(peer.url, SHORT, ECHO, on_progress=reports.append)
    assert (result.calls, result.connected, result.completed) == (3, 3, 3)
    assert peer.connections == 3
    assert result.broken_rules == {}
    assert result.replies > 0
    assert result.replies_missing == 0
    # A packet is sent when it has 200 ms of audio, so the delay of an echo is at least 200 ms.
    assert result.delay_ms.p50 is not None
    assert result.delay_ms.p50 >= 200
    assert result.opened_ms.count == result.closed_ms.count == 3
    assert result.lag_ms.count > 0
    assert result.spoken_seconds == pytest.approx(3 * SHORT.longest_call_seconds, abs=1)
    assert max(report.running for report in reports) == 3


async def test_answers_of_a_silent_bot_are_missing() -> None:
    async with echo_peer(silent) as peer:
        result = await run_load(peer.url, ONE_QUESTION, QUESTION_ONCE)
    assert result.completed == 3
    assert (result.replies, result.replies_missing) == (0, 3)
    assert find_failures(result, Criteria()) == ["3 of 3 replies missing"]


async def test_answers_are_measured_from_the_end_of_the_utterance() -> None:
    """The delay of an answer is measured from the end of the question, not from its start."""
    async with echo_peer(delay=1.4) as peer:
        result = await run_load(peer.url, ONE_QUESTION, QUESTION_ONCE)
    assert result.replies == 3
    assert result.delay_ms.p50 is not None
    # The echo begins about 0.4 s after the end of the question. Packets of 200 ms, and silence at
    # the beginning and the end of the question, change the measured delay.
    assert 200 <= result.delay_ms.p50 <= 900


async def test_audio_that_begins_before_the_end_of_the_utterance_is_no_answer() -> None:
    async with echo_peer() as peer:
        result = await run_load(peer.url, ONE_QUESTION, QUESTION_ONCE)
    assert (result.replies, result.replies_missing) == (0, 3)


async def test_callers_with_a_scenario_place_one_call_after_the_other() -> None:
    scenario = Scenario(
        steps=("say:tone:440:0.3", "wait:1.2", "hang-up"), expect=("answered within 3 s",)
    )
    plan = LoadPlan(calls=2, ramp=0.0, duration=3.0)
    async with echo_peer(audible, delay=0.5) as peer:
        result = await run_load(peer.url, plan, Talk(utterances=[b"\xff"]), scenario=scenario)
    assert result.calls == peer.connections >= 4
    assert result.completed == result.calls
    assert result.script_errors == {}


def test_barge_ins_by_speech_are_not_measured_from_keys() -> None:
    assert barge_ins_by_keys([1.0, 5.0, 9.0], [1.2, 6.5, 9.5], [6.0, 20.0]) == pytest.approx(
        [0.2, 0.5]
    )


async def test_an_expectation_that_is_not_met_is_a_failure() -> None:
    scenario = Scenario(steps=("say:tone:440:0.3", "wait:1"), expect=("answered within 0.5 s",))
    plan = LoadPlan(calls=1, ramp=0.0, duration=0.5)
    async with echo_peer(silent) as peer:
        result = await run_load(peer.url, plan, Talk(utterances=[b"\xff"]), scenario=scenario)
    assert result.completed == 0
    (reason,) = result.script_errors
    assert "answered within 0.5 s" in reason


async def test_a_server_that_is_down_is_an_error_at_the_first_call() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(ConnectFailedError, match=f"no connection to ws://127.0.0.1:{port}/x"):
        await run_load(f"ws://127.0.0.1:{port}/x", SHORT, ECHO)


async def test_a_server_that_refuses_the_first_call_is_an_error_with_its_status() -> None:
    def refuse(connection: ServerConnection, request: Request) -> Response:
        return connection.respond(HTTPStatus.UNAUTHORIZED, "no")

    async def unused(connection: ServerConnection) -> None:
        raise AssertionError

    async with serve(unused, "127.0.0.1", 0, process_request=refuse) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        with pytest.raises(ConnectFailedError) as caught:
            await run_load(f"ws://127.0.0.1:{port}/x", SHORT, ECHO)
    assert caught.value.status == HTTPStatus.UNAUTHORIZED


async def test_a_server_that_does_not_answer_is_an_error_after_a_time() -> None:
    hung_up = asyncio.Event()

    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        hung_up.set()

    server = await asyncio.start_server(wait, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        options = CallOptions(connect_timeout=0.1)
        with pytest.raises(ConnectFailedError, match="no answer in time"):
            await run_load(f"ws://127.0.0.1:{port}/x", SHORT, ECHO, options=options)
        await asyncio.wait_for(hung_up.wait(), 5)


async def test_calls_that_a_full_server_refuses_are_counted() -> None:
    accepted = 0

    def limit(connection: ServerConnection, request: Request) -> Response | None:
        nonlocal accepted
        accepted += 1
        return connection.respond(HTTPStatus.SERVICE_UNAVAILABLE, "") if accepted > 1 else None

    async with (
        echo_peer() as peer,
        serve(peer.handle, "127.0.0.1", 0, process_request=limit) as server,
    ):
        port = next(iter(server.sockets)).getsockname()[1]
        result = await run_load(f"ws://127.0.0.1:{port}/x", replace(SHORT, duration=1.5), ECHO)
    assert (result.calls, result.connected, result.completed) == (3, 1, 1)
    assert list(result.refusals.values()) == [2]
    assert "HTTP status 503" in next(iter(result.refusals))
    assert "2 connections failed" in find_failures(result, Criteria())


async def test_a_cancelled_load_test_closes_its_connections() -> None:
    async with echo_peer() as peer:
        # Only the cancellation ends calls of this length in time.
        load = asyncio.create_task(run_load(peer.url, replace(SHORT, duration=60.0), ECHO))
        async with asyncio.timeout(10):
            await peer.opened(3)
            load.cancel()
            with pytest.raises(asyncio.CancelledError):
                await load
            await peer.opened(0)


async def test_an_address_that_is_no_websocket_is_refused() -> None:
    with pytest.raises(ConnectFailedError, match="ftp"):
        await run_load("ftp://127.0.0.1/x", SHORT, ECHO)
