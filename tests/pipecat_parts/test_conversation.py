"""Tests of Pipecat's turns, contexts, transcripts, muting, idle timer and DTMF in a call."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pipecat.audio.vad.silero import SileroVADAnalyzer
from pipecat.audio.vad.vad_analyzer import VADAnalyzer
from pipecat.frames.frames import (
    BotStoppedSpeakingFrame,
    InterruptionFrame,
    LLMRunFrame,
    UserStartedSpeakingFrame,
    UserStoppedSpeakingFrame,
)
from pipecat.processors.aggregators.dtmf_aggregator import DTMFAggregator
from pipecat.turns.user_mute import AlwaysUserMuteStrategy
from pipecat_genesys.simulator import SimulatedCall
from pipecat_genesys.vad import TelephoneVADAnalyzer
from vehicles import call, utterance

from .bot import INTERRUPTION, QUESTION, Bot, needs_sentences


@needs_sentences
@pytest.mark.parametrize("vad", [SileroVADAnalyzer, TelephoneVADAnalyzer])
async def test_smart_turn_and_the_aggregators_hold_a_conversation(vad: type[VADAnalyzer]) -> None:
    bot = Bot("Hello. What is it?", vad=vad())
    turns: list[tuple[str, str]] = []

    @bot.aggregators.user().event_handler("on_user_turn_stopped")
    async def on_user_turn_stopped(_: Any, __: Any, message: Any) -> None:
        turns.append(("user", message.content))

    @bot.aggregators.assistant().event_handler("on_assistant_turn_stopped")
    async def on_assistant_turn_stopped(_: Any, message: Any) -> None:
        turns.append(("assistant", message.content))

    async def script(caller: SimulatedCall) -> None:
        await caller.say(QUESTION)
        await caller.wait_for_bot_audio()
        await caller.wait_for_silence(0.4)

    outcome = await call(bot.served, script)
    expected = [("user", "I have a question."), ("assistant", "Hello. What is it?")]
    assert bot.said() == turns == expected
    assert outcome.heard() == pytest.approx(1.0, abs=0.05)
    assert len(bot.tap.times(UserStartedSpeakingFrame)) == 1
    assert len(bot.tap.times(UserStoppedSpeakingFrame)) == 1


@needs_sentences
async def test_the_context_holds_what_the_caller_heard_before_interrupting() -> None:
    bot = Bot("One. Two. Three. Four.", "Yes.", sentence_seconds=1.0)

    async def script(caller: SimulatedCall) -> None:
        await bot.served.queue(LLMRunFrame())
        await caller.wait_for_bot_audio()
        await asyncio.sleep(1.0)
        await caller.say(INTERRUPTION)
        await caller.wait_for_silence(0.4)

    outcome = await call(bot.served, script)
    begin, end = outcome.loud()[0]
    assert 1.0 < end - begin < 2.2
    words = ["One.", "Two.", "Three.", "Four."]
    role, text = bot.said()[0]
    assert role == "assistant"
    # A sentence is added to the context when the caller has heard its last sample.
    assert text.split() == words[: int(end - begin + 0.05)]


async def test_a_mute_strategy_mutes_the_caller_for_as_long_as_the_bot_is_heard() -> None:
    bot = Bot(user={"user_mute_strategies": [AlwaysUserMuteStrategy()]})

    async def script(caller: SimulatedCall) -> None:
        await bot.served.queue(*utterance(2.0))
        await caller.wait_for_bot_audio()
        await caller.say(INTERRUPTION)
        await caller.wait_for_silence(0.4)
        # The bot is silent, so the caller is no longer muted.
        await caller.say(QUESTION)
        await caller.wait_for_bot_audio()

    outcome = await call(bot.served, script)
    begin, end = outcome.loud()[0]
    assert end - begin == pytest.approx(2.0, abs=0.05)
    assert [message[0] for message in bot.said()][:1] == ["user"]
    (interruption,) = bot.tap.times(InterruptionFrame)
    assert interruption > bot.tap.times(BotStoppedSpeakingFrame)[0]
    assert len(bot.llm.requests) == 1


async def test_the_idle_timer_begins_when_the_caller_has_heard_the_bot() -> None:
    bot = Bot(user={"user_idle_timeout": 0.5})
    idle = asyncio.Event()
    times: list[float] = []

    @bot.aggregators.user().event_handler("on_user_turn_idle")
    async def on_user_turn_idle(*_: Any) -> None:
        times.append(asyncio.get_running_loop().time())
        idle.set()

    async def script(caller: SimulatedCall) -> None:
        await bot.served.queue(*utterance(1.5))
        await asyncio.wait_for(idle.wait(), 10)

    outcome = await call(bot.served, script)
    heard_until = outcome.began + outcome.loud()[-1][1]
    assert times[0] - heard_until == pytest.approx(0.5, abs=0.3)


# pipecat 1.0 does not await one of its coroutines if two interruptions arrive together.
@pytest.mark.filterwarnings("ignore:coroutine 'FrameProcessor:RuntimeWarning")
async def test_keys_become_a_message_of_the_caller_and_silence_the_bot() -> None:
    """DTMF digits interrupt the bot, and become a user message in the context."""
    bot = Bot("Account 12.", before=[DTMFAggregator(timeout=1.0)])

    async def script(caller: SimulatedCall) -> None:
        await bot.served.queue(*utterance(3.0))
        await caller.wait_for_bot_audio()
        for key in "12#":
            await caller.press(key)
        await caller.wait_for(lambda _: bool(bot.llm.requests), 8)
        await caller.wait_for_bot_audio()

    outcome = await call(bot.served, script)
    assert bot.said()[0] == ("user", "DTMF: 12#")
    begin, end = outcome.loud()[0]
    assert end - begin < 1.0


@needs_sentences
async def test_a_flow_speaks_its_nodes_and_ends_the_call_when_all_was_heard() -> None:
    """A flow speaks the text of its nodes; the call ends when the caller has heard all audio."""
    flows = pytest.importorskip("pipecat.flows", reason="flows are a part of pipecat since 1.5")
    bot = Bot("The shop is open.")

    async def script(caller: SimulatedCall) -> None:
        await asyncio.wait_for(bot.served.running.wait(), 5)
        flow = flows.FlowManager(
            llm=bot.llm,
            context_aggregator=bot.aggregators,
            worker=bot.served.worker,
            transport=bot.served.transport,
        )
        await flow.initialize(
            {
                "name": "opening hours",
                "task_messages": [{"role": "developer", "content": "Say when we open."}],
                "functions": [],
                "pre_actions": [{"type": "tts_say", "text": "Welcome."}],
                "post_actions": [{"type": "end_conversation", "text": "Good bye."}],
            }
        )

    outcome = await call(bot.served, script, hang_up=False)
    assert outcome.heard() == pytest.approx(1.5, abs=0.05)
    assert outcome.report.ending.disconnect_reason == "completed"
    (request,) = bot.llm.requests
    assert "Say when we open." in str(request)
