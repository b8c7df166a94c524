"""Tests that `examples/monitor.py` reports the offset of each utterance, over a real WebSocket."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
from agent_call import AgentCall, Speech
from loopback import serving

pytest.importorskip("pipecat.pipeline.worker", reason="the examples need pipecat 1.3 or newer")
EXAMPLE = Path(__file__).parents[2] / "examples" / "monitor.py"
# The example analyses windows of this length, in seconds.
WINDOW = 0.02


@pytest.fixture(scope="module")
def app() -> Any:
    spec = importlib.util.spec_from_file_location("monitor_example", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.app


def seconds(duration: str) -> float:
    return float(duration.removeprefix("PT").removesuffix("S"))


def check(call: AgentCall, expected: list[Speech]) -> None:
    """Assert that each utterance is reported once, at its offset, before `closed`."""
    assert [message["type"] for message in call.received] == [
        "opened",
        *["event"] * len(expected),
        "closed",
    ]
    heard = sorted(call.transcripts, key=lambda data: (seconds(data["offset"]), data["channelId"]))
    truth = sorted(
        expected, key=lambda speech: (speech.offset, call.channels.index(speech.channel))
    )
    for data, speech in zip(heard, truth, strict=True):
        assert call.channels[data["channelId"]] == speech.channel
        offset, duration = seconds(data["offset"]), seconds(data["duration"])
        assert offset == pytest.approx(speech.offset, abs=WINDOW)
        assert offset + duration == pytest.approx(speech.offset + speech.duration, abs=WINDOW)
        assert data["isFinal"] is True
        (alternative,) = data["alternatives"]
        (token,) = alternative["interpretations"][0]["tokens"]
        assert (token["offset"], token["duration"]) == (data["offset"], data["duration"])
    assert len({data["id"] for data in heard}) == len(heard)


@pytest.mark.parametrize("channels", [("external", "internal"), ("internal", "external")])
@pytest.mark.parametrize("format", ["PCMU", "L16"])
async def test_utterances_of_both_parties_have_the_offsets_they_were_spoken_at(
    app: Any, channels: tuple[str, ...], format: str
) -> None:
    speeches = [
        Speech("external", 0.513, 0.7),
        Speech("internal", 1.006, 0.5),
        Speech("external", 2.2, 0.33),
        # The agent is still speaking when the call ends.
        Speech("internal", 2.85, 0.15),
    ]
    call = AgentCall(speeches, channels, format)
    async with serving(app) as url:
        await call.run(url, [("send", 3.0)])
    check(call, speeches)


async def test_offsets_include_paused_and_lost_audio(app: Any) -> None:
    speeches = [
        Speech("external", 0.31, 0.4),
        # Audio is lost from 1.2 to 1.9333 s, so this utterance ends at 1.2 s.
        Speech("internal", 1.05, 0.15),
        Speech("external", 2.4, 0.5),
        # The stream is paused from 3.1333 to 5.8 s, so the server does not receive this utterance.
        Speech("external", 4.0, 0.5),
        Speech("internal", 6.2, 0.42),
        Speech("external", 7.55, 0.3),
    ]
    call = AgentCall(speeches)
    script = [
        ("send", 1.2),
        ("lose", 0.7333333),
        ("send", 1.2),
        ("pause", 2.6666667),
        ("send", 1.2),
        ("lose", 0.125),
        ("lose", 0.25),
        ("send", 0.525),
    ]
    async with serving(app) as url:
        await call.run(url, script)
    check(call, [speech for speech in speeches if speech.offset != 4.0])


async def test_lost_audio_divides_an_utterance_in_two(app: Any) -> None:
    """If audio is lost in the middle of an utterance, the example reports two utterances."""
    call = AgentCall([Speech("external", 0.5, 2.0)], ("external",))
    async with serving(app) as url:
        await call.run(url, [("send", 1.0), ("lose", 0.8), ("send", 1.5)])
    check(call, [Speech("external", 0.5, 0.5), Speech("external", 1.8, 0.7)])


async def test_call_without_speech_has_no_transcript(app: Any) -> None:
    call = AgentCall([])
    async with serving(app) as url:
        await call.run(url, [])
    check(call, [])
