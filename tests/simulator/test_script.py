"""Tests of scripts in text form: every verb in a call, and the errors found before a call."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from pipecat_genesys.protocol.types import AudioHookChannel
from pipecat_genesys.simulator import (
    VERBS,
    AwaitTimeoutError,
    BotAudioStarted,
    CallEndedError,
    SimulatedCall,
    new_monitor_call,
    parse_script,
    play,
    sample_speech,
    synthesize,
    tone,
    write_wav,
)
from scripted import ScriptedCall, scripted
from virtual_loop import virtual_time


async def disconnect(peer: ScriptedCall, message: dict[str, Any]) -> None:
    await peer.text("disconnect", {"reason": "completed"})


async def accept_and_do_everything(peer: ScriptedCall, message: dict[str, Any]) -> None:
    """Accept the call, then send audio, `barge_in`, `pause`, `resume` and an event."""
    await peer.accept(message)
    await peer.socket.send(b"\x55" * 800)
    await peer.event("barge_in")
    await peer.text("pause")
    await peer.text("resume")
    await peer.event("hello")


async def run(*steps: str, patience: float = 5.0, **on: Any) -> ScriptedCall:
    async with scripted(**{"open": accept_and_do_everything, **on}) as server:
        async with SimulatedCall(server.url) as call:
            await call.opened()
            await play(parse_script(steps), call, patience)
        await server.done.wait()
        return server.peer


def messages_of_steps(peer: ScriptedCall) -> list[dict[str, Any]]:
    """Return the client's messages except the messages that every call has."""
    usual = {"open", "ping", "close", "playback_started", "playback_completed"}
    return [message for message in peer.received if message["type"] not in usual]


@virtual_time
async def test_say_sends_tones_speech_files_and_silence(tmp_path: Path) -> None:
    path = tmp_path / "hi.wav"
    write_wav(path, bytes(1600), bytes(1600))
    peer = await run("say:tone:440:0.5", "say:speech:0.4", f"say:{path}", "say:silence:0.2")
    heard = b"".join(peer.audio)
    assert tone(440, 0.5) in heard
    assert sample_speech(0.4) in heard


@virtual_time
async def test_say_speaks_texts_in_the_language_of_the_conversation(tmp_path: Path) -> None:
    peer = await run('say:"good morning"', "language:de-DE", "say:'guten Morgen'")
    heard = b"".join(peer.audio)
    assert synthesize("good morning", "en-US") in heard
    assert synthesize("guten Morgen", "de-DE") in heard


@virtual_time
async def test_agent_speaks_texts_and_sample_speech_in_a_voice_of_its_own() -> None:
    async with scripted() as server:
        async with SimulatedCall(server.url, new_monitor_call()) as call:
            await call.opened()
            steps = ['agent:"how can I help?"', "agent:speech:0.4"]
            await play(parse_script(steps, language="en-GB"), call)
        await server.done.wait()
    heard = b"".join(server.peer.audio)[1::2]
    assert synthesize("how can I help?", "en-GB", AudioHookChannel.INTERNAL) in heard
    assert sample_speech(0.4, AudioHookChannel.INTERNAL) in heard


def test_paths_are_relative_to_the_folder_of_the_script(tmp_path: Path) -> None:
    write_wav(tmp_path / "hi.wav", bytes(1600), bytes(1600))
    steps = ["say:hi.wav", "converse:hi.wav", f"say:{tmp_path / 'hi.wav'}"]
    assert [step.text for step in parse_script(steps, folder=tmp_path)] == steps


@virtual_time
async def test_agent_and_converse_send_audio_of_both_parties(tmp_path: Path) -> None:
    path = tmp_path / "both.wav"
    write_wav(path, b"\x10\x20" * 800, b"\x20\x10" * 800)
    async with scripted() as server:
        async with SimulatedCall(server.url, new_monitor_call()) as call:
            await call.opened()
            await play(parse_script(["agent:tone:300:0.2", f"converse:{path}"]), call)
        await server.done.wait()
    heard = b"".join(server.peer.audio)
    assert tone(300, 0.2) in heard[1::2]
    assert tone(300, 0.2) not in heard[::2]
    assert heard[::2].strip(b"\xff")


@virtual_time
async def test_press_language_pause_discard_and_hang_up_send_their_messages() -> None:
    peer = await run(
        "press:1#",
        "language:de-DE",
        "wait:updated",
        "wait:resumed",
        "pause",
        "resume",
        "discard:0.4",
        "hang-up",
    )
    sent = messages_of_steps(peer)
    assert [m["parameters"]["digit"] for m in sent if m["type"] == "dtmf"] == ["1", "#"]
    assert [m["parameters"] for m in sent if m["type"] == "update"] == [{"language": "de-DE"}]
    assert [m["parameters"]["discarded"] for m in sent if m["type"] == "discarded"] == ["PT0.4S"]
    assert [m["type"] for m in sent][-3:] == ["paused", "resumed", "discarded"]
    assert peer.received[-1]["parameters"] == {"reason": "end"}


@virtual_time
async def test_wait_recognizes_everything_that_a_server_can_do() -> None:
    await run(
        "wait:bot",
        "wait:barge-in",
        "wait:pause",
        "wait:resumed",
        "wait:event:hello",
        "wait:quiet",
        "wait:pong",
        "wait:0.1",
        "press:5",
        "wait:end",
        dtmf=disconnect,
    )


@virtual_time
async def test_wait_bot_ignores_speech_before_a_silence() -> None:
    async def greet_twice(peer: ScriptedCall, message: dict[str, Any]) -> None:
        await peer.accept(message)
        await peer.socket.send(b"\x55" * 800)
        await asyncio.sleep(0.3)
        await peer.socket.send(b"\x55" * 800)

    async def answer(peer: ScriptedCall, message: dict[str, Any]) -> None:
        await asyncio.sleep(2)
        await peer.socket.send(b"\x66" * 800)

    async with (
        scripted(open=greet_twice, dtmf=answer) as server,
        SimulatedCall(server.url) as call,
    ):
        await play(parse_script(["wait:bot", "wait:quiet", "press:1", "wait:bot"]), call)
        elapsed = call.elapsed
        answered = [e.at for e in call.events if isinstance(e, BotAudioStarted)][-1]
    assert elapsed == pytest.approx(answered, abs=0.01)
    assert answered > 2


@virtual_time
async def test_wait_bot_counts_speech_that_began_during_the_step_before() -> None:
    async def answer_early(peer: ScriptedCall, message: dict[str, Any]) -> None:
        if len(peer.audio) == 2:
            await peer.socket.send(b"\x66" * 800)

    async with scripted(audio=answer_early) as server, SimulatedCall(server.url) as call:
        await play(parse_script(["say:tone:440:1.4", "wait:bot"]), call)
        assert call.elapsed < 2


@virtual_time
async def test_first_wait_bot_counts_speech_since_the_beginning_of_the_call() -> None:
    async def greet(peer: ScriptedCall, message: dict[str, Any]) -> None:
        await peer.accept(message)
        await peer.socket.send(b"\x55" * 800)

    async with scripted(open=greet) as server, SimulatedCall(server.url) as call:
        await asyncio.sleep(1)
        await play(parse_script(["wait:bot"]), call)
        assert call.elapsed == pytest.approx(1, abs=0.05)


@virtual_time
async def test_wait_for_an_event_that_does_not_happen_times_out() -> None:
    with pytest.raises(AwaitTimeoutError, match=r"waited 0.2 s for event goodbye"):
        await run("wait:event:goodbye", patience=0.2)


@virtual_time
async def test_call_that_ends_during_a_wait_for_a_time_ends_the_script() -> None:
    with pytest.raises(CallEndedError, match="during a wait of 30 s"):
        await run("press:5", "wait:30", dtmf=disconnect)


@virtual_time
async def test_keys_of_one_step_are_pressed_100_ms_apart() -> None:
    async with scripted() as server, SimulatedCall(server.url) as call:
        await call.opened()
        await play(parse_script(["press:12"]), call)
        one, two = [e.at for e in call.session.capture.entries if e.type == "dtmf"]
    assert two - one == pytest.approx(0.1, abs=0.001)


@pytest.mark.parametrize(
    ("step", "why"),
    [
        ("sing:song.wav", "unknown verb 'sing'; the verbs are: say, "),
        ("say:", "write it as say:FILE.wav"),
        ("say:no-such-file.wav", "No such file"),
        ("say:tone:9000", "between 0 and 4000 Hz"),
        ("say:speech:x", "'x' is not a number of seconds"),
        ("say:speech:86400", "must be 0 or more, and below 86400 s"),
        ("say:tone:x", "'x' is not a frequency in Hz"),
        ("say:speech:-1", "must be 0 or more, and below 86400 s"),
        ("say:silence:0", "the sound is empty"),
        ('say:"hello', 'the text does not end with the quotation mark "'),
        ('say:""', "the text '' contains nothing that can be spoken"),
        ("say:'", "the text does not end with the quotation mark '"),
        ("wait:", "is neither a number of seconds nor one of bot, quiet"),
        ("wait:event:", "is neither a number of seconds nor one of"),
        ("wait:nan", "neither a number of seconds"),
        ("press:", "the keys are"),
        ("press:12A", "the keys are"),
        ("language", "a language code is missing"),
        ("discard:0", "must be above 0"),
        ("pause:5", "this verb has no argument"),
        ("converse:no-such-file.wav", "No such file"),
    ],
)
def test_error_for_an_invalid_step_names_the_step_and_the_reason(step: str, why: str) -> None:
    with pytest.raises(ValueError, match="step") as raised:
        parse_script(["wait:1", step])
    assert why in str(raised.value)
    assert repr(step) in str(raised.value)


@pytest.mark.parametrize("name", VERBS)
def test_verb_has_an_example_and_a_summary(name: str) -> None:
    assert VERBS[name].example.startswith(name)
    assert VERBS[name].summary
