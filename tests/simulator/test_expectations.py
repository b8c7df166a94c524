"""Tests of expectations. Many limits are just below or just above a time of the call."""

from __future__ import annotations

import asyncio
import wave
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from pipecat_genesys.audio import ulaw_decode
from pipecat_genesys.simulator import (
    EXPECTATIONS,
    CallOptions,
    ExpectationKind,
    Judgement,
    Scenario,
    Verdict,
    parse_expectation,
    place_call,
    silence,
    tone,
)
from scripted import ScriptedCall, scripted
from virtual_loop import virtual_time

NO_DELAY = CallOptions(rtt=0)
BOT_SECOND = b"\x55" * 8000
"""One second of bot audio, which is sent in one message."""


async def place(expect: list[str], *steps: str, **on: Any) -> Verdict:
    async with scripted(**on) as server:
        scenario = Scenario(steps=steps, expect=tuple(expect))
        return await place_call(server.url, scenario, options=NO_DELAY)


def results(verdict: Verdict) -> dict[str, bool]:
    return {judgement.expectation: judgement.is_met for judgement in verdict.judgements}


def detail(verdict: Verdict, expectation: str) -> str:
    (found,) = [j.detail for j in verdict.judgements if j.expectation == expectation]
    return found


def greets(
    after: float, seconds: int = 1
) -> Callable[[ScriptedCall, dict[str, Any]], Awaitable[None]]:
    """Return a handler of `open` that sends bot audio some seconds after `opened`."""

    async def accept(peer: ScriptedCall, message: dict[str, Any]) -> None:
        await peer.accept(message)
        await asyncio.sleep(after)
        for _ in range(seconds):
            await peer.socket.send(BOT_SECOND)

    return accept


def answers(
    after: float, what: bytes = BOT_SECOND, frames: int = 5
) -> Callable[[ScriptedCall, dict[str, Any]], Awaitable[None]]:
    """Return a handler that sends audio `after` seconds after every `frames` frames of speech."""
    heard: list[bytes] = []

    async def answer(peer: ScriptedCall, message: dict[str, Any]) -> None:
        if not peer.audio[-1].strip(b"\xff"):
            return
        heard.append(peer.audio[-1])
        if len(heard) % frames == 0:
            await asyncio.sleep(after)
            await peer.socket.send(what)

    return answer


@virtual_time
async def test_answer_is_timed_from_the_end_of_the_speech_to_the_audible_audio() -> None:
    # The speech of one second has five frames. The last frame is sent when its last sample is
    # spoken.
    expect = ["answered within 480 ms", "answered within 0.52 s"]
    verdict = await place(
        expect, "say:tone:300:1", "wait:bot", "wait:0.2", "hang-up", audio=answers(0.5)
    )
    assert results(verdict) == dict(zip(expect, [False, True], strict=True))
    assert detail(verdict, expect[0]).startswith("500 ms after the speech that ended at ")
    assert detail(verdict, expect[1]) == "1 answered, the slowest after 500 ms"


@virtual_time
async def test_speech_without_an_answer_is_not_answered() -> None:
    expect = ["answered within 1 s"]
    verdict = await place(
        expect, "wait:bot", "wait:quiet", "say:tone:300:1", "wait:1.5", open=greets(0.1)
    )
    assert results(verdict) == {expect[0]: False}
    assert detail(verdict, expect[0]).startswith("no answer to the speech that ended at ")


@virtual_time
async def test_answer_that_is_not_due_yet_when_the_caller_goes_on_is_not_judged() -> None:
    expect = ["answered within 1 s"]
    # The second speech begins 0.4 s after the first speech, and the call ends 0.4 s after the third
    # speech.
    steps = ["say:tone:300:1", "wait:0.4", "say:tone:300:1", "wait:bot", "wait:1.5"]
    verdict = await place(
        expect, *steps, "say:tone:300:1", "wait:0.4", "hang-up", audio=answers(0.3, frames=10)
    )
    assert verdict.passed, str(verdict)
    assert detail(verdict, expect[0]).startswith("1 answered")


@virtual_time
async def test_caller_who_never_waits_for_an_answer_proves_nothing() -> None:
    expect = ["answered within 1 s"]
    verdict = await place(expect, "say:tone:300:1", "hang-up")
    assert results(verdict) == {expect[0]: False}
    assert detail(verdict, expect[0]).startswith("no answer was due before")


@virtual_time
async def test_silence_of_the_caller_needs_no_answer_and_does_not_interrupt() -> None:
    expect = ["answered within 1 s", "barge-in silences within 5 s"]
    verdict = await place(expect, "wait:bot", "say:silence:2", "wait:2", open=greets(0.1))
    assert results(verdict) == dict.fromkeys(expect, False)
    assert detail(verdict, expect[0]) == "the caller did not speak"
    assert "did not begin to speak while the bot was audible" in detail(verdict, expect[1])


@virtual_time
async def test_bot_audio_that_begins_during_the_speech_is_no_answer() -> None:
    expect = ["answered within 300 ms"]
    verdict = await place(
        expect, "say:tone:300:1", "wait:0.5", audio=answers(0.0, frames=4, what=BOT_SECOND)
    )
    assert results(verdict) == {expect[0]: False}
    assert detail(verdict, expect[0]).endswith("; the bot was speaking at that time")


@virtual_time
async def test_answer_during_the_silence_at_the_end_of_a_recording_is_in_time(
    tmp_path: Path,
) -> None:
    path = tmp_path / "speech.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", "NONE"))
        file.writeframes(ulaw_decode(tone(300, 1.0) + silence(0.6)))
    expect = ["answered within 180 ms", "answered within 220 ms"]
    verdict = await place(
        expect, f"say:{path}", "wait:1", audio=answers(0.2, frames=5, what=BOT_SECOND)
    )
    assert results(verdict) == dict(zip(expect, [False, True], strict=True))


@virtual_time
async def test_bot_that_talks_over_the_caller_gives_no_answer() -> None:
    expect = ["answered within 500 ms"]
    verdict = await place(
        expect, "wait:bot", "say:tone:300:1", "wait:2.5", open=greets(0.0, seconds=3)
    )
    assert results(verdict) == {expect[0]: False}


@virtual_time
async def test_barge_in_is_timed_from_the_speech_to_the_silence_of_the_bot() -> None:
    async def barge_in(peer: ScriptedCall, message: dict[str, Any]) -> None:
        if peer.audio[-1].strip(b"\xff") and not any(m["type"] == "x" for m in peer.received):
            peer.received.append({"type": "x", "seq": peer.received[-1]["seq"]})
            await asyncio.sleep(0.1)
            await peer.event("barge_in")

    # The server receives the speech with its first frame, after 200 ms, and reacts 100 ms later.
    expect = ["barge-in silences within 280 ms", "barge-in silences within 320 ms"]
    verdict = await place(
        expect,
        "wait:bot",
        "wait:0.5",
        "say:tone:300:1",
        "wait:0.2",
        open=greets(0.0, seconds=3),
        audio=barge_in,
    )
    assert results(verdict) == dict(zip(expect, [False, True], strict=True))
    assert "the bot was silent 300 ms after the caller's speech at " in detail(verdict, expect[0])


@virtual_time
async def test_greeting_and_opened_are_timed() -> None:
    async def late(peer: ScriptedCall, message: dict[str, Any]) -> None:
        await asyncio.sleep(0.3)
        await greets(0.4)(peer, message)

    expect = {
        "opened within 280 ms": False,
        "opened within 320 ms": True,
        "greets within 380 ms": False,
        "greets within 0.42 s": True,
        "hears at least 1.1 s": False,
        "hears at least 0.9 s": True,
        "hears at most 0.9 s": False,
        "hears at most 1100 ms": True,
        "no gaps": True,
        "caller ends the call": True,
        "bot ends the call": False,
    }
    verdict = await place(list(expect), "wait:bot", "wait:quiet", open=late)
    assert results(verdict) == expect


@virtual_time
async def test_gaps_inside_an_utterance_are_reported() -> None:
    async def stutter(peer: ScriptedCall, message: dict[str, Any]) -> None:
        await greets(0.0)(peer, message)
        await asyncio.sleep(1.2)
        await peer.socket.send(BOT_SECOND)

    verdict = await place(["no gaps"], "wait:bot", "wait:quiet", open=stutter)
    assert results(verdict) == {"no gaps": False}
    assert detail(verdict, "no gaps") == "1 gaps, the longest of 200 ms at 1.00 s"


@virtual_time
async def test_output_variables_events_and_the_end_of_the_call_are_judged() -> None:
    async def goodbye(peer: ScriptedCall, message: dict[str, Any]) -> None:
        await peer.event("hello")
        variables = {"intent": "billing and more", "score": "0.5"}
        await peer.text("disconnect", {"reason": "completed", "outputVariables": variables})

    expect = {
        "output variable intent is billing and more": True,
        "output variable intent is billing": False,
        "output variable other is x": False,
        "event hello is sent": True,
        "event transcript is sent": False,
        "bot ends the call": True,
        "caller ends the call": False,
    }
    verdict = await place(list(expect), "press:1", "wait:end", dtmf=goodbye)
    assert results(verdict) == expect
    assert detail(verdict, "output variable other is x") == (
        "the output variables are intent, score"
    )


@virtual_time
async def test_output_variables_of_closed_count_if_the_caller_hangs_up() -> None:
    async def closed(peer: ScriptedCall, message: dict[str, Any]) -> None:
        await peer.text("closed", {"outputVariables": {"intent": "billing"}})

    verdict = await place(["output variable intent is billing"], "hang-up", close=closed)
    assert results(verdict) == {"output variable intent is billing": True}


@virtual_time
async def test_call_that_is_refused_meets_no_expectation_of_the_bot() -> None:
    async def refuse(peer: ScriptedCall, message: dict[str, Any]) -> None:
        await peer.text("disconnect", {"reason": "unauthorized"})

    expect = ["opened within 5 s", "greets within 5 s", "answered within 5 s"]
    verdict = await place(expect, "wait:bot", open=refuse)
    assert results(verdict) == dict.fromkeys(expect, False)
    assert detail(verdict, "opened within 5 s") == "the server did not send 'opened'"


@pytest.mark.parametrize("kind", EXPECTATIONS, ids=lambda kind: kind.example)
def test_example_of_every_kind_is_an_expectation(kind: ExpectationKind) -> None:
    assert kind.pattern.fullmatch(kind.example)
    assert parse_expectation(f"  {kind.example.replace(' ', '  ')} ").text == kind.example
    assert kind.summary


@pytest.mark.parametrize(
    "text", ["", "answered", "answered within 5 minutes", "hears at least -1 s", "is nice"]
)
def test_error_for_an_unknown_expectation_lists_the_kinds(text: str) -> None:
    with pytest.raises(ValueError, match="answered within 800 ms; barge-in silences") as raised:
        parse_expectation(text)
    assert repr(text) in str(raised.value)


def test_judgement_as_text_names_the_expectation_and_what_happened() -> None:
    assert str(Judgement("hears at least 2 s", False, "1.20 s")) == (
        "not met: hears at least 2 s (1.20 s)"
    )
