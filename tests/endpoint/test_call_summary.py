"""Tests of the log line that summarises each call at its end, and of the count of refused media."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator

import pytest
from genesys import Genesys, media
from loguru import logger
from pipecat.frames.frames import (
    Frame,
    InputDTMFFrame,
    InterruptionFrame,
    TTSAudioRawFrame,
    TTSStoppedFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat_genesys.endpoint import AudioHookCall
from pipecat_genesys.simulator import (
    BargedIn,
    SimulatedCall,
    StreamPaused,
    StreamResumed,
    new_call,
)
from websockets.asyncio.client import connect

from .served import SIGNED, echo, hang_up, hang_up_at_once, served


@pytest.fixture
def log() -> Iterator[list[str]]:
    """Return the log messages of level INFO and above."""
    lines: list[str] = []
    sink = logger.add(lambda line: lines.append(line.record["message"]), level="INFO")
    yield lines
    logger.remove(sink)


def summary(log: list[str]) -> dict[str, str]:
    """Return the fields of the summary line; the log must have exactly one."""
    [line] = [line for line in log if line.startswith("call ended:")]
    return dict(re.findall(r"(\w+)=(\S+)", line))


async def wait_for_the_end(caller: SimulatedCall) -> None:
    """Run a caller who stays connected until the bot ends the call."""
    await caller.opened()
    await caller.ended(10)


class SpeakingProcessor(FrameProcessor):
    """Answers each digit after 0.2 s with 2 s of audio; digit 0 interrupts this audio."""

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        await self.push_frame(frame, direction)
        if not isinstance(frame, InputDTMFFrame):
            return
        if frame.button.value == "0":
            await self.push_frame(InterruptionFrame())
            return
        await self.push_frame(VADUserStoppedSpeakingFrame(stop_secs=0.1))
        await asyncio.sleep(0.2)
        await self.push_frame(TTSAudioRawFrame(b"\x10\x00" * 32000, 16000, 1))
        await self.push_frame(TTSStoppedFrame())


async def test_summary_has_answer_times_interruptions_and_pauses(log: list[str]) -> None:
    async def bot(call: AudioHookCall) -> None:
        transport = call.transport
        await call.run(Pipeline([transport.input(), SpeakingProcessor(), transport.output()]))

    async def script(caller: SimulatedCall) -> None:
        await caller.opened()
        await caller.press("1")
        await caller.wait_for_bot_audio()
        await caller.press("0")
        await caller.wait_for(BargedIn)
        await caller.pause()
        await caller.wait_for(StreamPaused)
        await caller.resume()
        await caller.wait_for(StreamResumed)
        await hang_up(caller)

    parameters = new_call()
    async with served(bot) as server:
        report = await SimulatedCall(server.url, parameters, options=SIGNED).run(script)
        await server.idle()
    assert report.script_error is None
    fields = summary(log)
    assert (fields["by"], fields["reason"]) == ("genesys", "end")
    assert 0.3 <= float(fields["first_answer"]) < 1
    assert fields["p95_answer"] == fields["first_answer"]
    assert float(fields["seconds"]) > 0.2
    assert {name: fields[name] for name in ("interruptions", "pauses", "errors_429", "faults")} == {
        "interruptions": "1",
        "pauses": "1",
        "errors_429": "0",
        "faults": "-",
    }


async def test_summary_has_the_ids_and_no_personal_data(log: list[str]) -> None:
    parameters = new_call(input_variables={"account": "4711-secret"})
    async with served() as server:
        await SimulatedCall(server.url, parameters, options=SIGNED).run(hang_up_at_once)
        await server.idle()
    fields = summary(log)
    assert fields["session"] == repr(parameters.session_id)
    assert fields["conversation"] == repr(parameters.conversation_id)
    assert fields["organization"] == repr(parameters.organization_id)
    assert fields["correlation"] == repr(parameters.correlation_id)
    assert (fields["first_answer"], fields["p95_answer"]) == ("-", "-")
    opening = parameters.open_parameters()
    personal = [*opening["inputVariables"].values(), *opening["participant"].values()]
    assert not [value for value in personal if value and any(value in line for line in log)]


async def test_summary_says_that_the_bot_completed_the_call(log: list[str]) -> None:
    async def bot(call: AudioHookCall) -> None:
        talking = asyncio.create_task(echo(call))
        await call.transport.connection.started.wait()
        await asyncio.sleep(0.1)
        await call.transport.call.disconnect()
        await talking

    async with served(bot) as server:
        await SimulatedCall(server.url, options=SIGNED).run(wait_for_the_end)
        await server.idle()
    assert (summary(log)["by"], summary(log)["reason"]) == ("bot", "completed")


async def test_summary_says_that_the_bot_failed(log: list[str]) -> None:
    async def bot(call: AudioHookCall) -> None:
        raise RuntimeError

    async with served(bot) as server:
        await SimulatedCall(server.url, options=SIGNED).run(wait_for_the_end)
        await server.idle()
    assert (summary(log)["by"], summary(log)["reason"]) == ("server", "bot-failed")


async def test_summary_says_that_the_server_stopped(log: list[str]) -> None:
    async def script(caller: SimulatedCall) -> None:
        await caller.opened()
        await server.endpoint.drain(0)
        await caller.ended(5)

    async with served() as server:
        await SimulatedCall(server.url, options=SIGNED).run(script)
        await server.idle()
    assert (summary(log)["by"], summary(log)["reason"]) == ("server", "stopping")


async def test_summary_says_that_the_socket_was_lost(log: list[str]) -> None:
    async with served(unauthenticated=True) as server:
        async with connect(server.url, compression=None) as socket:
            await socket.send(Genesys().open())
            await socket.recv()
            socket.transport.abort()
        await server.idle()
    assert (summary(log)["by"], summary(log)["reason"]) == ("genesys", "lost")
    assert summary(log)["correlation"] == "None"


async def test_summary_names_the_fault_that_ended_the_session(log: list[str]) -> None:
    client = Genesys()
    async with served(unauthenticated=True) as server:
        async with connect(server.url, compression=None) as socket:
            await socket.send(client.open())
            client.receive(await socket.recv())
            client.seq += 5
            await socket.send(client.text("ping"))
            assert client.receive(await socket.recv())["type"] == "disconnect"
            client.seq -= 5
            await socket.send(client.text("close", {"reason": "disconnect"}))
            await socket.recv()
        await server.idle()
    fields = summary(log)
    assert (fields["by"], fields["reason"]) == ("server", "fault-seq")
    assert "seq:1" in fields["faults"]


@pytest.mark.parametrize("is_answered", [True, False], ids=["close", "silence"])
async def test_open_without_usable_media_counts_as_a_refusal_of_media(
    is_answered: bool, monkeypatch: pytest.MonkeyPatch, log: list[str]
) -> None:
    monkeypatch.setattr("pipecat_genesys.transport.connection._CLOSE_SECONDS", 0.2)
    client = Genesys()
    async with served(unauthenticated=True) as server:
        async with connect(server.url, compression=None) as socket:
            await socket.send(client.open(media("OPUS", rate=48000)))
            assert client.receive(await socket.recv())["type"] == "disconnect"
            if is_answered:
                await socket.send(client.text("close", {"reason": "disconnect"}))
                assert client.receive(await socket.recv())["type"] == "closed"
            else:
                await socket.wait_closed()
        await server.idle()
        metrics = await server.metrics()
    assert metrics["audiohook_refusals_total{reason=media}"] == 1
    assert "audiohook_refusals_total{reason=no-open}" not in metrics
    assert (summary(log)["by"], summary(log)["reason"]) == ("server", "fault-media")


async def test_probe_has_no_summary(log: list[str]) -> None:
    client = Genesys()
    async with served(unauthenticated=True) as server:
        async with connect(server.url, compression=None) as socket:
            await socket.send(client.probe())
            client.receive(await socket.recv())
            await socket.send(client.text("close", {"reason": "end"}))
            client.receive(await socket.recv())
        await server.idle()
    assert not [line for line in log if line.startswith("call ended:")]
