"""A caller's script in words, such as ``wait:bot say:question.wav wait:quiet press:9``.

A step is a verb, and what it needs after a colon; ``VERBS`` lists them. Everything is looked at
before the call is placed, files included, so that a mistake is found while nobody waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from pipecat_genesys.protocol.types import WIRE_SAMPLE_RATE, AudioHookChannel
from pipecat_genesys.simulator import events as ev
from pipecat_genesys.simulator.client import SimulatedCall
from pipecat_genesys.simulator.errors import CallEndedError
from pipecat_genesys.simulator.session import DTMF_KEYS
from pipecat_genesys.simulator.sounds import silence, speech_like, tone
from pipecat_genesys.simulator.wav import read_stereo_wav, read_wav

Action = Callable[["SimulatedCall", float], Awaitable[object]]
"""Takes the call, and how many seconds to wait for what the server is to do."""


@dataclass(frozen=True, slots=True)
class Step:
    """One thing the caller does or waits for.

    Attributes:
        text: As it was written.
        action: Does it.
    """

    text: str
    action: Action


@dataclass(frozen=True, slots=True)
class Verb:
    """A kind of step.

    Attributes:
        example: How it is written.
        summary: What it does, in a line.
        read: Makes the action of what stands after the colon.
    """

    example: str
    summary: str
    read: Callable[[str], Action]


def parse_script(steps: Sequence[str]) -> list[Step]:
    """Read a script.

    Args:
        steps: Its steps.

    Raises:
        ValueError: If one of them makes no sense; says which, and why.
    """
    return [_parse_step(text) for text in steps]


async def play(steps: Sequence[Step], call: SimulatedCall, patience: float = 10.0) -> None:
    """Do the steps, one after the other.

    Args:
        steps: The script.
        call: A call that has begun.
        patience: Seconds to wait for what the server is to do.

    Raises:
        SimulatorError: If it does not do it; see :class:`SimulatedCall`.
    """
    for step in steps:
        await step.action(call, patience)


def _parse_step(text: str) -> Step:
    name, _, argument = text.partition(":")
    verb = VERBS.get(name)
    if verb is None:
        raise ValueError(f"step {text!r}: no verb {name!r}; there are: {', '.join(VERBS)}")
    try:
        return Step(text, verb.read(argument))
    except (ValueError, OSError) as error:
        raise ValueError(f"step {text!r}: {error}; write it as {verb.example}") from None


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        raise ValueError(f"{text!r} is no number of seconds") from None
    if not 0 <= seconds < 86_400:
        raise ValueError(f"{text} is no time that a call takes")
    return seconds


def _sound(argument: str) -> bytes:
    kind, _, rest = argument.partition(":")
    if kind == "speech":
        sound = speech_like(_seconds(rest or "2"))
    elif kind == "silence":
        sound = silence(_seconds(rest or "1"))
    elif kind == "tone":
        frequency, _, seconds = rest.partition(":")
        sound = tone(_seconds(frequency or "1000"), _seconds(seconds or "1"))
    else:
        sound = read_wav(argument)
    if not sound:
        raise ValueError("there is nothing to hear")
    return sound


def _say(party: AudioHookChannel) -> Callable[[str], Action]:
    def read(argument: str) -> Action:
        sound = _sound(argument)
        return lambda call, _: call.say(sound, party)

    return read


def _converse(argument: str) -> Action:
    read_stereo_wav(argument)
    return lambda call, _: call.converse(argument)


def _wait(argument: str) -> Action:
    if argument in _AWAITED:
        return _AWAITED[argument]
    kind, _, entity = argument.partition(":")
    if kind == "event" and entity:
        return lambda call, patience: _entity(call, entity, patience)
    try:
        seconds = _seconds(argument)
    except ValueError:
        names = ", ".join([*_AWAITED, "event:TYPE"])
        raise ValueError(
            f"{argument!r} is neither a number of seconds nor one of {names}"
        ) from None
    return lambda call, _: _rest(call, seconds)


async def _rest(call: SimulatedCall, seconds: float) -> None:
    """Let time pass; a call that ends meanwhile ends the script."""
    try:
        async with asyncio.timeout(seconds) as limit:
            await call.ended()
    except TimeoutError:
        if not limit.expired():
            raise
        return
    raise CallEndedError(f"the call ended within a wait of {seconds:g} s")


async def _entity(call: SimulatedCall, kind: str, patience: float) -> None:
    def is_wanted(event: ev.Event) -> bool:
        return isinstance(event, ev.ServerEvent) and event.type == kind

    is_wanted.__name__ = f"event {kind}"
    await call.wait_for(is_wanted, patience)


async def _quiet(call: SimulatedCall, patience: float) -> None:
    await call.wait_for_silence(0.5, patience)


_AWAITED: Mapping[str, Action] = MappingProxyType(
    {
        "bot": lambda call, patience: call.wait_for_bot_audio(patience),
        "quiet": _quiet,
        "barge-in": lambda call, patience: call.wait_for(ev.BargedIn, patience),
        "pause": lambda call, patience: call.wait_for(ev.Paused, patience),
        "resumed": lambda call, patience: call.wait_for(ev.Resumed, patience),
        "updated": lambda call, patience: call.wait_for(ev.Updated, patience),
        "pong": lambda call, patience: call.wait_for(ev.Ponged, patience),
        "end": lambda call, patience: call.ended(patience),
    }
)


def _press(argument: str) -> Action:
    wrong = [key for key in argument if key not in DTMF_KEYS]
    if wrong or not argument:
        raise ValueError(f"keys are {DTMF_KEYS}, got {argument!r}")

    async def press(call: SimulatedCall, _: float) -> None:
        for index, key in enumerate(argument):
            if index:
                await asyncio.sleep(0.1)
            await call.press(key)

    return press


def _language(argument: str) -> Action:
    if not argument:
        raise ValueError("which language?")
    return lambda call, _: call.update(argument)


def _discard(argument: str) -> Action:
    samples = round(_seconds(argument) * WIRE_SAMPLE_RATE)
    if not samples:
        raise ValueError("how many seconds?")
    return lambda call, _: call.discard(samples)


def _bare(action: Action) -> Callable[[str], Action]:
    def read(argument: str) -> Action:
        if argument:
            raise ValueError(f"nothing belongs after the verb, got {argument!r}")
        return action

    return read


VERBS: Mapping[str, Verb] = MappingProxyType(
    {
        "say": Verb(
            "say:FILE.wav, say:speech:2, say:tone:440:1 or say:silence:1",
            "the caller speaks: a recording, or something generated of so many seconds",
            _say(AudioHookChannel.EXTERNAL),
        ),
        "agent": Verb(
            "agent:FILE.wav or agent:speech:2",
            "the agent of a monitored call speaks",
            _say(AudioHookChannel.INTERNAL),
        ),
        "converse": Verb(
            "converse:FILE.wav", "both speak: the caller left, the agent right", _converse
        ),
        "wait": Verb(
            f"wait:2.5, wait:{', wait:'.join(_AWAITED)} or wait:event:TYPE",
            "so many seconds, or until the bot speaks, falls silent, ends the call ...",
            _wait,
        ),
        "press": Verb("press:12#", "the caller presses keys", _press),
        "language": Verb("language:de-DE", "the conversation changes its language", _language),
        "pause": Verb("pause", "the client pauses the stream", _bare(lambda call, _: call.pause())),
        "resume": Verb(
            "resume", "the client ends its own pause", _bare(lambda call, _: call.resume())
        ),
        "discard": Verb("discard:0.4", "the client drops so many seconds of audio", _discard),
        "hang-up": Verb("hang-up", "the caller hangs up", _bare(lambda call, _: call.hang_up())),
    }
)
"""The verbs, by name."""
