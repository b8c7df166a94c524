"""Tests of simulated calls over a real WebSocket, with a real pipeline and the serializer."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from echo_server import EchoServer
from genesys import Genesys
from pipecat_genesys import audio
from pipecat_genesys.simulator import Disconnected, Party, ServerRule, SimulatedCall, read_wav
from websockets.asyncio.client import connect

SPEECH = Path(__file__).parents[2] / "examples" / "audio" / "caller-interrupt.wav"


async def test_call_that_the_caller_ends_is_clean_and_loses_no_audio(echo: EchoServer) -> None:
    async def script(call: SimulatedCall) -> None:
        await call.opened()
        spoken = await call.say(SPEECH)
        await call.wait_for_bot_audio(since=spoken.start)
        await call.say(b"\xff" * 1600)
        echo.serializer.set_output_variables({"intent": "billing"})
        await call.hang_up()
        await call.ended(10)

    report = await SimulatedCall(echo.url).run(script)
    assert report.violations == ()
    assert report.script_error is None
    assert report.clean
    assert report.warnings == ()
    assert report.ending.closed_output_variables == {"intent": "billing"}
    assert report.ending.socket_closed_by is Party.CLIENT
    sent = report.audio_to_server.size
    await asyncio.wait_for(echo.done.wait(), 10)
    # The pipeline runs at 16 kHz, so it gets two samples for each byte of mu-law.
    assert echo.echo.heard == 2 * sent
    assert echo.serializer.call.faults == {}


async def test_echo_of_the_caller_is_bit_exact(echo: EchoServer) -> None:
    speech = read_wav(SPEECH)
    packets = [speech[at : at + 1600] for at in range(0, len(speech) // 1600 * 1600, 1600)]
    genesys = Genesys()
    async with connect(echo.url) as socket:
        await socket.send(genesys.open())
        assert genesys.receive(await socket.recv())["type"] == "opened"
        # Send all packets at once, as Genesys does with the audio from before `opened`.
        for packet in packets:
            await socket.send(packet)
        back = [await socket.recv() for _ in packets]
    assert [len(packet) for packet in back] == [1600] * len(packets)
    pcm = audio.InboundAudio("PCMU", 1, 16000).process(b"".join(packets))[0]
    assert b"".join(back) == audio.OutboundAudio("PCMU", 16000).process(pcm)


async def test_disconnect_of_the_bot_carries_its_output_variables(echo: EchoServer) -> None:
    async def script(call: SimulatedCall) -> None:
        await call.opened()
        echo.serializer.set_output_variables({"resolved": True})
        await echo.end()
        await call.wait_for(Disconnected)
        await call.ended(10)

    report = await SimulatedCall(echo.url).run(script)
    assert report.ending.output_variables == {"action": "transfer", "resolved": "true"}
    # Pipecat's own transport may close the socket before Genesys does.
    assert {violation.rule for violation in report.violations} <= {ServerRule.SERVER_CLOSED_SOCKET}


async def test_invalid_text_messages_do_not_end_the_call(echo: EchoServer) -> None:
    genesys = Genesys()
    async with connect(echo.url) as socket:
        await socket.send(genesys.open())
        assert genesys.receive(await socket.recv())["type"] == "opened"
        for junk in ("[1]", "null", '{"type":"close"', '{"type":"update","parameters":null}'):
            await socket.send(junk)
        await socket.send(b"\xff" * 1600)
        await socket.send(genesys.text("ping", seq=None))
        answers = [await socket.recv(), await socket.recv()]
        texts = [json.loads(answer) for answer in answers if isinstance(answer, str)]
        assert [message["type"] for message in texts] == ["pong"]
        assert [len(answer) for answer in answers if isinstance(answer, bytes)] == [1600]
