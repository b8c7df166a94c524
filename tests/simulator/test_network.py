"""Tests of the delay of the simulated network, over real sockets."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pipecat_genesys.simulator import (
    FAULTS,
    BargedIn,
    BotAudioStarted,
    CallOptions,
    Direction,
    Party,
    PongReceived,
    ServerEvent,
    SimulatedCall,
)
from scripted import ScriptedCall, scripted
from virtual_loop import virtual_time

RTT = 0.4


def now() -> float:
    return asyncio.get_running_loop().time()


@virtual_time
async def test_open_arrives_one_round_trip_after_the_upgrade() -> None:
    times: dict[str, float] = {}

    async def accept_upgrade(connection: Any, request: Any) -> None:
        times["upgrade"] = now()

    async def on_open(peer: ScriptedCall, message: dict[str, Any]) -> None:
        times["open"] = now()
        await peer.accept(message)

    async with (
        scripted(process_request=accept_upgrade, open=on_open) as server,
        SimulatedCall(server.url, options=CallOptions(rtt=RTT)) as call,
    ):
        opened = await call.opened()
    assert times["open"] - times["upgrade"] == pytest.approx(RTT, abs=0.001)
    assert opened.at == pytest.approx(RTT, abs=0.001)


@virtual_time
async def test_default_round_trip_time_is_40_ms() -> None:
    async with scripted() as server, SimulatedCall(server.url) as call:
        assert (await call.opened()).at == pytest.approx(0.04, abs=0.001)
        assert (await call.wait_for(PongReceived)).rtt == pytest.approx(0.04, abs=0.001)


async def test_delay_is_real_time() -> None:
    async with scripted() as server:
        options = CallOptions(rtt=0.1)
        async with SimulatedCall(server.url, options=options) as call:
            opened = await call.opened()
            await call.hang_up()
            report = await call.ended()
    assert report.clean
    assert opened.at >= 0.1
    assert report.closed_latency is not None
    assert report.closed_latency >= 0.1


@virtual_time
async def test_text_and_audio_are_delayed_in_both_directions() -> None:
    arrived: list[tuple[str, float]] = []

    async def on_dtmf(peer: ScriptedCall, message: dict[str, Any]) -> None:
        arrived.append(("dtmf", now()))
        await peer.socket.send(b"\x55" * 800)
        await peer.event("hello")

    async def on_audio(peer: ScriptedCall, message: dict[str, Any]) -> None:
        arrived.append(("audio", now()))

    async with (
        scripted(dtmf=on_dtmf, audio=on_audio) as server,
        SimulatedCall(server.url, options=CallOptions(rtt=RTT)) as call,
    ):
        await call.opened()
        start = now() - call.elapsed
        pressed = call.elapsed
        await call.press("1")
        heard = await call.wait_for(BotAudioStarted)
        greeted = await call.wait_for(ServerEvent)
        entries = call.session.capture.entries
        sent = next(e for e in entries if e.is_audio and e.direction is Direction.TO_SERVER)
    assert heard.at == pytest.approx(pressed + RTT, abs=0.001)
    assert greeted.at == pytest.approx(pressed + RTT, abs=0.001)
    first = {kind: at - start for kind, at in reversed(arrived)}
    assert first["dtmf"] == pytest.approx(pressed + RTT / 2, abs=0.001)
    assert first["audio"] == pytest.approx(sent.at + RTT / 2, abs=0.001)


@virtual_time
async def test_jitter_delays_messages_at_random_and_keeps_their_order() -> None:
    sent: list[float] = []

    async def speak(peer: ScriptedCall, message: dict[str, Any]) -> None:
        await peer.accept(message)
        for number in range(20):
            await asyncio.sleep(0.2)
            sent.append(now())
            await peer.event(f"e{number}")

    async with (
        scripted(open=speak) as server,
        SimulatedCall(server.url, options=CallOptions(rtt=0.1, jitter=0.15)) as call,
    ):
        await call.opened()
        start = now() - call.elapsed
        events = [await call.wait_for(ServerEvent) for _ in range(20)]
    assert [event.type for event in events] == [f"e{number}" for number in range(20)]
    delays = [event.at + start - at for event, at in zip(events, sent, strict=True)]
    assert min(delays) >= 0.05 - 0.001
    assert max(delays) <= 0.05 + 0.15 + 0.001
    assert max(delays) - min(delays) > 0.03


@virtual_time
async def test_burst_with_jitter_keeps_its_order() -> None:
    async def speak(peer: ScriptedCall, message: dict[str, Any]) -> None:
        await peer.accept(message)
        for number in range(20):
            await peer.event(f"e{number}")

    async with (
        scripted(open=speak) as server,
        SimulatedCall(server.url, options=CallOptions(jitter=0.5)) as call,
    ):
        await call.opened()
        types = [(await call.wait_for(ServerEvent)).type for _ in range(20)]
        await call.hang_up()
        report = await call.ended()
    assert types == [f"e{number}" for number in range(20)]
    assert report.clean, report


@virtual_time
async def test_call_over_a_slow_network_ends_clean() -> None:
    async with scripted() as server:
        async with SimulatedCall(server.url, options=CallOptions(rtt=2.0)) as call:
            await call.opened()
            await call.say(b"\x11" * 1600)
            await call.hang_up()
            report = await call.ended()
        await server.done.wait()
    assert report.clean, report
    assert report.closed_latency == pytest.approx(2.0, abs=0.001)
    assert server.peer.close_code == 1005
    assert b"\x11" * 1600 in b"".join(server.peer.audio)


@virtual_time
async def test_bot_audio_that_is_in_flight_at_barge_in_is_cleared_too() -> None:
    async def speak(peer: ScriptedCall, message: dict[str, Any]) -> None:
        await peer.accept(message)
        await peer.socket.send(b"\x55" * 16_000)
        await asyncio.sleep(0.1)
        await peer.event("barge_in")

    async with (
        scripted(open=speak) as server,
        SimulatedCall(server.url, options=CallOptions(rtt=RTT)) as call,
    ):
        started = await call.wait_for(BotAudioStarted)
        barged = await call.wait_for(BargedIn)
    assert barged.at - started.at == pytest.approx(0.1, abs=0.001)
    assert barged.dropped == pytest.approx(16_000 - 800, abs=16)


@virtual_time
async def test_abort_of_the_socket_follows_the_messages_before_it() -> None:
    async with scripted() as server:
        call = SimulatedCall(server.url, fault=FAULTS["socket-drop"], options=CallOptions(rtt=RTT))
        async with call:
            await call.opened()
            report = await call.ended()
        await server.done.wait()
    assert report.ending.socket_closed_by is Party.CLIENT
    assert server.peer.close_code == 1006
    assert len(server.peer.audio) == len([e for e in call.session.capture.entries if e.is_audio])


@virtual_time
async def test_message_on_its_way_to_a_client_that_dropped_its_socket_is_no_violation() -> None:
    async def talk(peer: ScriptedCall, message: dict[str, Any]) -> None:
        await peer.accept(message)
        for _ in range(40):
            await asyncio.sleep(0.05)
            await peer.socket.send(b"\xff" * 400)

    async with scripted(open=talk) as server:
        call = SimulatedCall(server.url, fault=FAULTS["socket-drop"], options=CallOptions(rtt=RTT))
        async with call:
            await call.opened()
            report = await call.ended()
    assert report.violations == ()


@virtual_time
async def test_network_without_delay_needs_no_additional_task() -> None:
    async def tasks_of(options: CallOptions) -> set[str]:
        async with scripted() as server, SimulatedCall(server.url, options=options) as call:
            await call.opened()
            names = {getattr(task.get_coro(), "__qualname__", "") for task in asyncio.all_tasks()}
        return {name for name in names if name.startswith("CallConnection.")}

    immediate = await tasks_of(CallOptions(rtt=0, jitter=0))
    assert immediate == {"CallConnection.run", "CallConnection._write"}
    assert await tasks_of(CallOptions()) == immediate | {"CallConnection._read"}


@pytest.mark.parametrize("wrong", [{"rtt": -0.1}, {"jitter": -0.1}])
def test_negative_delay_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must not be negative"):
        CallOptions(**wrong)  # type: ignore[arg-type]
