"""Tests of which connections the endpoint accepts, and of its refusals."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import uuid
from typing import Any

import pytest
from fastapi import FastAPI
from loguru import logger
from pipecat_genesys.auth import MemoryReplayStore, SignatureVerifier
from pipecat_genesys.endpoint import AudioHookCall, audiohook_router
from pipecat_genesys.simulator import (
    CallOptions,
    CallParameters,
    CallReport,
    ConnectFailedError,
    SimulatedCall,
    as_probe,
    audiohook_headers,
    new_call,
)
from pipecat_genesys.simulator.connection import upgrade_headers
from prometheus_client import CollectorRegistry
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from .served import API_KEY, SECRET, SIGNED, echo, hang_up, hang_up_at_once, served


async def is_refused(url: str, status: int, *args: Any, **options: Any) -> None:
    """Check that the endpoint refuses a call with an HTTP status."""
    with pytest.raises(ConnectFailedError, match=f"HTTP status {status}"):
        async with SimulatedCall(url, *args, **options):
            pass


async def test_signed_call_gets_a_bot() -> None:
    async with served() as server:
        report = await SimulatedCall(server.url, options=SIGNED).run(hang_up_at_once)
        assert report.clean, report.violations
        await server.idle()
        metrics = await server.metrics()
    assert metrics["audiohook_opens_total{kind=call}"] == 1
    assert metrics["audiohook_ends_total{reason=end}"] == 1
    assert metrics["audiohook_active_calls"] == 0
    assert metrics["audiohook_call_seconds_count"] == 1


@pytest.mark.parametrize(
    ("offered", "selected"), [(None, None), (["audiohook"], "audiohook"), (["b", "a"], "b")]
)
async def test_a_subprotocol_that_the_client_offers_is_selected(
    offered: Any, selected: str | None
) -> None:
    async with served() as server:
        headers = upgrade_headers(server.url, audiohook_headers(new_call(), API_KEY), SIGNED)
        async with connect(
            server.url, additional_headers=headers, subprotocols=offered
        ) as websocket:
            assert websocket.subprotocol == selected


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (CallOptions(api_key=API_KEY), "unsigned"),
        (CallOptions(api_key="another", client_secret=SECRET), "signature"),
        (CallOptions(api_key=API_KEY, client_secret="YW5vdGhlciBzZWNyZXQ="), "signature"),
        (dataclasses.replace(SIGNED, headers={"Audiohook-Session-Id": None}), "request"),
    ],
)
async def test_call_without_a_valid_signature_is_refused_before_the_upgrade(
    options: CallOptions, reason: str
) -> None:
    calls: list[AudioHookCall] = []

    async def bot(call: AudioHookCall) -> None:
        calls.append(call)

    async with served(bot) as server:
        await is_refused(server.url, 401, options=options)
        metrics = await server.metrics()
    assert metrics[f"audiohook_refusals_total{{reason={reason}}}"] == 1
    assert "audiohook_opens_total{kind=call}" not in metrics
    assert calls == []


async def send_open(url: str, headers_of: CallParameters, open_of: CallParameters) -> list[Any]:
    """Connect with the headers of one call; send `open` of another call, and then `close`.

    Returns:
        The server's messages.
    """
    headers = upgrade_headers(url, audiohook_headers(headers_of, API_KEY), SIGNED)
    received: list[Any] = []
    async with connect(url, additional_headers=headers) as socket:
        message = {
            "version": "2",
            "type": "open",
            "id": open_of.session_id,
            "seq": 1,
            "serverseq": 0,
            "position": "PT0S",
            "parameters": {
                "organizationId": open_of.organization_id,
                "conversationId": str(uuid.uuid4()),
                "participant": {"id": str(uuid.uuid4()), "ani": "", "aniName": "", "dnis": ""},
                "media": [
                    {"type": "audio", "format": "PCMU", "channels": ["external"], "rate": 8000}
                ],
            },
        }
        await socket.send(json.dumps(message))
        received.append(json.loads(await socket.recv()))
        close = message | {"type": "close", "seq": 2, "serverseq": 1}
        close["parameters"] = {"reason": "disconnect"}
        await socket.send(json.dumps(close))
        received.append(json.loads(await socket.recv()))
    return received


@pytest.mark.parametrize("field", ["session_id", "organization_id"])
async def test_open_of_another_call_than_the_signed_one_is_disconnected(field: str) -> None:
    """The server sends `disconnect` if an id in `open` differs from the id in a signed header."""
    signed = new_call()
    other = dataclasses.replace(signed, **{field: str(uuid.uuid4())})
    calls: list[AudioHookCall] = []

    async def bot(call: AudioHookCall) -> None:
        calls.append(call)

    async with served(bot) as server:
        answer, closed = await send_open(server.url, signed, other)
        assert (answer["type"], answer["parameters"]["reason"]) == ("disconnect", "unauthorized")
        assert closed["type"] == "closed"
        await server.idle()
        metrics = await server.metrics()
    assert calls == []
    assert metrics["audiohook_refusals_total{reason=mismatch}"] == 1


async def test_session_id_of_open_may_differ_in_upper_case() -> None:
    signed = new_call()
    upper = dataclasses.replace(signed, session_id=signed.session_id.upper())

    async with served() as server:
        answer, _ = await send_open(server.url, signed, upper)
    assert answer["type"] == "opened"


async def test_signature_is_valid_for_one_connection() -> None:
    """A second connection with the same signature is refused as a replay."""
    call = new_call()
    async with served() as server:
        headers = upgrade_headers(server.url, audiohook_headers(call, API_KEY), SIGNED)
        replayed = CallOptions(api_key=API_KEY, headers=headers)
        first = await SimulatedCall(server.url, call, options=replayed).run(hang_up_at_once)
        assert first.clean, first.violations
        await is_refused(server.url, 401, call, options=replayed)
        metrics = await server.metrics()
    assert metrics["audiohook_refusals_total{reason=replay}"] == 1


async def test_probe_gets_opened_and_no_bot() -> None:
    calls: list[AudioHookCall] = []

    async def bot(call: AudioHookCall) -> None:
        calls.append(call)

    async with served(bot) as server:
        report = await SimulatedCall(server.url, as_probe(new_call()), options=SIGNED).run(
            hang_up_at_once
        )
        assert report.clean, report.violations
        assert report.ending.closed_received
        await server.idle()
        metrics = await server.metrics()
    assert calls == []
    assert metrics["audiohook_opens_total{kind=probe}"] == 1


async def test_refusals_are_logged_with_reason_address_and_correlation_id() -> None:
    records: list[Any] = []
    sink = logger.add(lambda message: records.append(message.record), level="WARNING")
    async with served(max_calls=1) as server:
        headers = audiohook_headers(new_call(), API_KEY)
        with pytest.raises(InvalidStatus):
            await connect(server.url, additional_headers=headers)
        async with SimulatedCall(server.url, options=SIGNED):
            with pytest.raises(InvalidStatus):
                await connect(server.url, additional_headers=headers)
    logger.remove(sink)
    unsigned, full = (one for one in records if "refused" in one["message"])
    assert unsigned["message"].startswith("connection from 127.0.0.1 refused (unsigned): ")
    assert full["message"].startswith("connection from 127.0.0.1 refused (full): ")
    for record in (unsigned, full):
        assert record["extra"]["correlation_id"] == headers["Audiohook-Correlation-Id"]


async def test_a_flood_of_refusals_is_counted_and_does_not_fill_the_log() -> None:
    lines: list[str] = []
    counted = asyncio.Event()

    def write(message: Any) -> None:
        lines.append(message.record["message"])
        if "more connections were refused" in lines[-1]:
            counted.set()

    async def refused() -> None:
        with pytest.raises(InvalidStatus):
            await connect(server.url)

    sink = logger.add(write, level="WARNING")
    async with served() as server:
        # The refusals arrive within a second, because each takes half a second or less.
        await asyncio.gather(*(refused() for _ in range(60)))
        async with asyncio.timeout(30):
            await counted.wait()
        metrics = await server.metrics()
    logger.remove(sink)
    refusals = [line for line in lines if line.startswith("connection from")]
    omitted = sum(int(line.split()[0]) for line in lines if "more connections" in line)
    assert 20 <= len(refusals) < 60
    assert len(refusals) + omitted == 60
    assert sum(n for name, n in metrics.items() if "refusals_total" in name) == 60


def test_an_application_refuses_in_each_event_loop_that_serves_it() -> None:
    """Test clients run an application in several event loops."""
    verifier = SignatureVerifier({API_KEY: SECRET}, refusal_seconds=0.01)
    application = FastAPI()
    application.include_router(
        audiohook_router(echo, verifier=verifier, registry=CollectorRegistry())
    )
    scope = {
        "type": "websocket",
        "path": "/audiohook",
        "headers": [],
        "query_string": b"",
        "extensions": {"websocket.http.response": {}},
    }
    statuses: list[int] = []

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        if message["type"] == "websocket.http.response.start":
            statuses.append(message["status"])

    async def refused_together() -> None:
        # More than can wait for their refusal.
        await asyncio.gather(*(application(dict(scope), receive, send) for _ in range(60)))

    for _ in range(2):
        asyncio.run(refused_together())
    assert statuses == [401] * 120


async def test_full_server_refuses_calls_and_is_not_ready() -> None:
    async with served(max_calls=1) as server:
        assert await server.get("/readyz") == (200, "ready")

        async def script(caller: SimulatedCall) -> None:
            await caller.opened()
            assert await server.get("/readyz") == (503, "full")
            assert (await server.get("/healthz"))[0] == 200
            await is_refused(server.url, 503, options=SIGNED)
            await hang_up(caller)

        report = await SimulatedCall(server.url, options=SIGNED).run(script)
        assert report.script_error is None
        assert report.clean, report.violations
        await server.idle()
        assert await server.get("/readyz") == (200, "ready")
        again = await SimulatedCall(server.url, options=SIGNED).run(hang_up_at_once)
        assert again.clean, again.violations
        metrics = await server.metrics()
    assert metrics["audiohook_refusals_total{reason=full}"] == 1
    assert metrics["audiohook_call_limit"] == 1


async def test_signature_that_a_full_server_refuses_is_valid_at_another_server() -> None:
    """Two calls arrive at a server with `max_calls=1`; another server accepts the refused call."""
    store = MemoryReplayStore()

    def verifier() -> SignatureVerifier:
        # Both servers are behind one load balancer: they have the same host name and nonce store.
        return SignatureVerifier({API_KEY: SECRET}, authority="bot.example.com", replay_store=store)

    async with (
        served(verifier=verifier(), max_calls=1) as full,
        served(verifier=verifier()) as other,
    ):
        calls = [new_call(), new_call()]
        url = "wss://bot.example.com/audiohook"
        signed = [
            CallOptions(
                api_key=API_KEY,
                headers=upgrade_headers(url, audiohook_headers(call, API_KEY), SIGNED),
            )
            for call in calls
        ]
        refused = asyncio.Event()

        async def stay(caller: SimulatedCall) -> None:
            await caller.opened()
            await asyncio.wait_for(refused.wait(), 10)
            await hang_up(caller)

        async def place_call(call: CallParameters, options: CallOptions) -> CallReport:
            report = await SimulatedCall(full.url, call, options=options).run(stay)
            refused.set()
            return report

        reports = await asyncio.gather(*map(place_call, calls, signed))
        (loser,) = [n for n, report in enumerate(reports) if report.script_error]
        assert "HTTP status 503" in str(reports[loser].script_error)
        again = await SimulatedCall(other.url, calls[loser], options=signed[loser]).run(
            hang_up_at_once
        )
        assert again.clean, again.script_error


async def test_calls_that_are_being_refused_take_no_place() -> None:
    """A refusal takes 0.5 s; the endpoint accepts a valid call that arrives during this time."""
    async with served(max_calls=1) as server:
        strangers = [asyncio.create_task(is_refused(server.url, 401)) for _ in range(20)]
        await asyncio.sleep(0.1)
        report = await SimulatedCall(server.url, options=SIGNED).run(hang_up_at_once)
        assert report.clean, report.violations
        await asyncio.gather(*strangers)


async def test_connection_without_open_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipecat_genesys.endpoint.call_handler._OPEN_SECONDS", 0.3)
    call = new_call()
    async with served() as server:
        headers = upgrade_headers(server.url, audiohook_headers(call, API_KEY), SIGNED)
        async with connect(server.url, additional_headers=headers) as socket:
            await asyncio.wait_for(socket.wait_closed(), 5)
        await server.idle()
        metrics = await server.metrics()
    assert metrics["audiohook_refusals_total{reason=no-open}"] == 1


def test_router_needs_credentials_or_unauthenticated() -> None:
    with pytest.raises(ValueError, match="authentication is configured by nothing"):
        audiohook_router(echo)
    with pytest.raises(ValueError, match="credentials and unauthenticated"):
        audiohook_router(echo, credentials={API_KEY: SECRET}, unauthenticated=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_calls": 0}, "max_calls is 0"),
        ({"ready_seconds": 5}, "ready_seconds is 5"),
        ({"after_call_seconds": -1}, "after_call_seconds is -1"),
        ({"drain_seconds": float("nan")}, "drain_seconds is nan"),
    ],
)
def test_option_out_of_range_raises(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        audiohook_router(echo, unauthenticated=True, **options)


def test_environment_variable_that_is_no_number_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPECAT_GENESYS_DRAIN_SECONDS", "ten")
    with pytest.raises(ValueError, match="PIPECAT_GENESYS_DRAIN_SECONDS is 'ten'"):
        audiohook_router(echo, unauthenticated=True)


async def test_process_may_have_two_endpoints_with_one_metrics_registry() -> None:
    app = FastAPI()
    for path in ("/one", "/two"):
        app.include_router(audiohook_router(echo, unauthenticated=True, path=path))
