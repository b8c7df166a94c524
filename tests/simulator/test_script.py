"""Scripts in words: every verb on a real call, and every mistake before one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pipecat_genesys.simulator import (
    VERBS,
    AwaitTimeoutError,
    CallEndedError,
    SimulatedCall,
    new_monitor_call,
    parse_script,
    play,
    speech_like,
    tone,
    write_wav,
)
from scripted import Peer, scripted


async def hang_up(peer: Peer, message: dict[str, Any]) -> None:
    await peer.text("disconnect", {"reason": "completed"})


async def chatty(peer: Peer, message: dict[str, Any]) -> None:
    """Says hello, and does everything else that a script can wait for."""
    await peer.accept(message)
    await peer.socket.send(b"\x55" * 800)
    await peer.event("barge_in")
    await peer.text("pause")
    await peer.text("resume")
    await peer.event("hello")


async def run(*steps: str, patience: float = 5.0, **on: Any) -> Peer:
    async with scripted(**{"open": chatty, **on}) as server:
        async with SimulatedCall(server.url) as call:
            await call.opened()
            await play(parse_script(steps), call, patience)
        await server.done.wait()
        return server.peer


def kinds(peer: Peer) -> list[str]:
    usual = {"open", "ping", "close", "playback_started", "playback_completed"}
    return [m["type"] for m in peer.received if m["type"] not in usual]


async def test_the_caller_speaks(tmp_path: Path) -> None:
    path = tmp_path / "hi.wav"
    write_wav(path, bytes(1600), bytes(1600))
    peer = await run("say:tone:440:0.5", "say:speech:0.4", f"say:{path}", "say:silence:0.2")
    heard = b"".join(peer.audio)
    assert tone(440, 0.5) in heard
    assert speech_like(0.4) in heard


async def test_both_parties_of_a_monitored_call_speak(tmp_path: Path) -> None:
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


async def test_keys_languages_pauses_and_gaps() -> None:
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
    told = [m for m in peer.received if m["type"] in kinds(peer)]
    assert [m["parameters"].get("digit") for m in told if m["type"] == "dtmf"] == ["1", "#"]
    assert [m["parameters"] for m in told if m["type"] == "update"] == [{"language": "de-DE"}]
    assert [m["parameters"]["discarded"] for m in told if m["type"] == "discarded"] == ["PT0.4S"]
    assert kinds(peer)[-3:] == ["paused", "resumed", "discarded"]
    assert peer.received[-1]["parameters"] == {"reason": "end"}


async def test_waits_for_all_there_is() -> None:
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
        dtmf=hang_up,
    )


async def test_a_wait_in_vain_is_told() -> None:
    with pytest.raises(AwaitTimeoutError, match=r"waited 0.2 s for event goodbye"):
        await run("wait:event:goodbye", patience=0.2)


async def test_a_call_that_ends_within_a_wait() -> None:
    with pytest.raises(CallEndedError, match="during a wait of 30 s"):
        await run("press:5", "wait:30", dtmf=hang_up)


@pytest.mark.parametrize(
    ("step", "why"),
    [
        ("sing:song.wav", "unknown verb 'sing'; the verbs are: say, "),
        ("say:", "write it as say:FILE.wav"),
        ("say:no-such-file.wav", "No such file"),
        ("say:tone:9000", "between 0 and 4000 Hz"),
        ("say:speech:x", "'x' is not a number of seconds"),
        ("say:speech:-1", "not between 0 and 86400 seconds"),
        ("say:silence:0", "the sound is empty"),
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
def test_mistakes_are_found_before_the_call(step: str, why: str) -> None:
    with pytest.raises(ValueError, match="step") as raised:
        parse_script(["wait:1", step])
    assert why in str(raised.value)
    assert repr(step) in str(raised.value)


def test_every_verb_says_how_it_is_written() -> None:
    for name, verb in VERBS.items():
        assert verb.example.startswith(name)
        assert verb.summary


async def test_keys_are_pressed_one_after_the_other() -> None:
    async with scripted() as server, SimulatedCall(server.url) as call:
        await call.opened()
        await play(parse_script(["press:12"]), call)
        one, two = [e.at for e in call.session.capture.entries if e.type == "dtmf"]
    # As fingers do; never faster, and how much slower depends on the machine.
    assert two - one > 0.09
