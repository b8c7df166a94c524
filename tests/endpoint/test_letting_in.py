"""Who gets a bot, and what everybody else gets."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import uuid
from typing import Any

import pytest
from fastapi import FastAPI
from pipecat_genesys.auth import MemoryReplayStore, SignatureVerifier
from pipecat_genesys.endpoint import AudioHookCall, audiohook_router
from pipecat_genesys.simulator import (
    CallOptions,
    CallParameters,
    ConnectFailedError,
    SimulatedCall,
    as_probe,
    audiohook_headers,
    new_call,
)
from pipecat_genesys.simulator.connection import upgrade_headers
from websockets.asyncio.client import connect

from .served import API_KEY, SECRET, SIGNED, echo, served


async def short(caller: SimulatedCall) -> None:
    await caller.opened()
    await asyncio.sleep(0.5)
    await caller.hang_up()
    await caller.ended(5)


async def refused(url: str, status: int, *args: Any, **options: Any) -> None:
    """Call, and see the HTTP status of the refusal."""
    with pytest.raises(ConnectFailedError, match=f"HTTP {status}"):
        async with SimulatedCall(url, *args, **options):
            pass


async def test_a_signed_call_gets_a_bot() -> None:
    async with served() as server:
        report = await SimulatedCall(server.url, options=SIGNED).run(short)
        assert report.clean, report.violations
        await server.idle()
        seen = await server.metrics()
    assert seen["audiohook_opens_total{kind=call}"] == 1
    assert seen["audiohook_ends_total{reason=end}"] == 1
    assert seen["audiohook_active_calls"] == 0
    assert seen["audiohook_call_seconds_count"] == 1


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (CallOptions(api_key=API_KEY), "unsigned"),
        (CallOptions(api_key="another", client_secret=SECRET), "signature"),
        (CallOptions(api_key=API_KEY, client_secret="YW5vdGhlciBzZWNyZXQ="), "signature"),
        (dataclasses.replace(SIGNED, headers={"Audiohook-Session-Id": None}), "request"),
    ],
)
async def test_others_are_refused_before_the_upgrade(options: CallOptions, reason: str) -> None:
    calls: list[AudioHookCall] = []

    async def bot(call: AudioHookCall) -> None:
        calls.append(call)

    async with served(bot) as server:
        await refused(server.url, 401, options=options)
        seen = await server.metrics()
    assert seen[f"audiohook_refusals_total{{reason={reason}}}"] == 1
    assert "audiohook_opens_total{kind=call}" not in seen
    assert calls == []


async def send_open(url: str, headers_of: CallParameters, open_of: CallParameters) -> list[Any]:
    """Connect as one call, open another, and close as Genesys would; the server's messages."""
    headers = upgrade_headers(url, audiohook_headers(headers_of, API_KEY), SIGNED)
    seen: list[Any] = []
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
        seen.append(json.loads(await socket.recv()))
        close = message | {"type": "close", "seq": 2, "serverseq": 1}
        close["parameters"] = {"reason": "disconnect"}
        await socket.send(json.dumps(close))
        seen.append(json.loads(await socket.recv()))
    return seen


@pytest.mark.parametrize("field", ["session_id", "organization_id"])
async def test_open_must_be_of_the_call_that_was_signed(field: str) -> None:
    """Who has one genuine request does not get the calls of others."""
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
        seen = await server.metrics()
    assert calls == []
    assert seen["audiohook_refusals_total{reason=mismatch}"] == 1


async def test_a_session_id_in_other_letters_is_the_same() -> None:
    signed = new_call()
    shouted = dataclasses.replace(signed, session_id=signed.session_id.upper())

    async with served() as server:
        answer, _ = await send_open(server.url, signed, shouted)
    assert answer["type"] == "opened"


async def test_a_signature_is_good_for_one_connection() -> None:
    call = new_call()
    async with served() as server:
        headers = upgrade_headers(server.url, audiohook_headers(call, API_KEY), SIGNED)
        replayed = CallOptions(api_key=API_KEY, headers=headers)
        first = await SimulatedCall(server.url, call, options=replayed).run(short)
        assert first.clean, first.violations
        await refused(server.url, 401, call, options=replayed)
        seen = await server.metrics()
    assert seen["audiohook_refusals_total{reason=replay}"] == 1


async def test_a_probe_gets_an_answer_and_no_bot() -> None:
    calls: list[AudioHookCall] = []

    async def bot(call: AudioHookCall) -> None:
        calls.append(call)

    async with served(bot) as server:
        report = await SimulatedCall(server.url, as_probe(new_call()), options=SIGNED).run(short)
        assert report.clean, report.violations
        assert report.ending.closed_received
        await server.idle()
        seen = await server.metrics()
    assert calls == []
    assert seen["audiohook_opens_total{kind=probe}"] == 1


async def test_a_full_server_refuses_and_says_so() -> None:
    async with served(max_calls=1) as server:
        assert await server.get("/readyz") == (200, "ready")

        async def script(caller: SimulatedCall) -> None:
            await caller.opened()
            assert await server.get("/readyz") == (503, "full")
            assert (await server.get("/healthz"))[0] == 200
            await refused(server.url, 503, options=SIGNED)
            await short(caller)

        report = await SimulatedCall(server.url, options=SIGNED).run(script)
        assert report.script_error is None
        assert report.clean, report.violations
        await server.idle()
        assert await server.get("/readyz") == (200, "ready")
        again = await SimulatedCall(server.url, options=SIGNED).run(short)
        assert again.clean, again.violations
        seen = await server.metrics()
    assert seen["audiohook_refusals_total{reason=full}"] == 1
    assert seen["audiohook_call_limit"] == 1


async def test_what_a_full_server_refuses_is_still_good_for_another() -> None:
    """Also when the last place goes while two are at the door."""
    store = MemoryReplayStore()

    def verifier() -> SignatureVerifier:
        # As behind a balancer: one name, and nonces in common.
        return SignatureVerifier({API_KEY: SECRET}, authority="bot.example.com", replay_store=store)

    async with (
        served(verifier=verifier(), max_calls=1) as full,
        served(verifier=verifier()) as other,
    ):
        calls = [new_call(), new_call()]
        place = "wss://bot.example.com/audiohook"
        signed = [
            CallOptions(
                api_key=API_KEY,
                headers=upgrade_headers(place, audiohook_headers(call, API_KEY), SIGNED),
            )
            for call in calls
        ]
        reports = await asyncio.gather(
            *(
                SimulatedCall(full.url, call, options=options).run(short)
                for call, options in zip(calls, signed, strict=True)
            )
        )
        (loser,) = [n for n, report in enumerate(reports) if report.script_error]
        assert "HTTP 503" in str(reports[loser].script_error)
        again = await SimulatedCall(other.url, calls[loser], options=signed[loser]).run(short)
        assert again.clean, again.script_error


async def test_who_is_not_authenticated_takes_nobodys_place() -> None:
    """A refusal takes half a second, in which a genuine call must get in."""
    async with served(max_calls=1) as server:
        strangers = [asyncio.create_task(refused(server.url, 401)) for _ in range(20)]
        await asyncio.sleep(0.1)
        report = await SimulatedCall(server.url, options=SIGNED).run(short)
        assert report.clean, report.violations
        await asyncio.gather(*strangers)


async def test_connections_that_say_nothing_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipecat_genesys.endpoint.call_handler._OPEN_SECONDS", 0.3)
    call = new_call()
    async with served() as server:
        headers = upgrade_headers(server.url, audiohook_headers(call, API_KEY), SIGNED)
        async with connect(server.url, additional_headers=headers) as socket:
            await asyncio.wait_for(socket.wait_closed(), 5)
        await server.idle()
        seen = await server.metrics()
    assert seen["audiohook_refusals_total{reason=no-open}"] == 1


def test_a_router_that_lets_in_everybody_must_say_so() -> None:
    with pytest.raises(ValueError, match="nothing says who may call"):
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
def test_options_that_make_no_sense(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        audiohook_router(echo, unauthenticated=True, **options)


def test_the_environment_must_make_sense_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPECAT_GENESYS_DRAIN_SECONDS", "ten")
    with pytest.raises(ValueError, match="PIPECAT_GENESYS_DRAIN_SECONDS is 'ten'"):
        audiohook_router(echo, unauthenticated=True)


async def test_two_endpoints_of_a_process_share_the_metrics() -> None:
    app = FastAPI()
    for path in ("/one", "/two"):
        app.include_router(audiohook_router(echo, unauthenticated=True, path=path))
