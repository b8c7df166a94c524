"""Scripts in text form, such as `wait:bot say:question.wav wait:quiet press:9`.

A step is a verb, with an argument after a colon if the verb needs one. `VERBS` lists the verbs.
`parse_script` checks all steps, reads all files and synthesizes all texts before the call
is placed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from pipecat_genesys.protocol.types import WIRE_SAMPLE_RATE, AudioHookChannel

from .call import SimulatedCall
from .event_log import CallEndedError
from .session import events as ev
from .session.session import DTMF_KEYS
from .sounds import (
    NoSpeechError,
    read_stereo_wav,
    read_wav,
    sample_speech,
    silence,
    synthesize,
    tone,
)


@dataclass(frozen=True, slots=True)
class StepContext:
    """The settings and the state of the script that a step needs.

    Attributes:
        patience: Maximum time in seconds to wait for the server.
        since: Time in seconds since `open`. `wait:bot` ignores bot audio that began before this
            time. It is the beginning of the previous step, or the end of a previous `wait:quiet`.
    """

    patience: float = 10.0
    since: float = 0.0


Action = Callable[[SimulatedCall, StepContext], Awaitable[object]]
"""Performs a step."""


@dataclass(frozen=True, slots=True)
class ParseContext:
    """The settings that are needed to parse a step.

    Attributes:
        folder: The folder to which the paths of files are relative.
        language: BCP-47 code of the language of texts to speak.
    """

    folder: Path = Path()
    language: str = "en-US"


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a script.

    Attributes:
        text: The step as written.
        action: Performs the step.
    """

    text: str
    action: Action


@dataclass(frozen=True, slots=True)
class Verb:
    """A kind of step.

    Attributes:
        example: How the step is written.
        summary: What the step does, in one line.
        parse: Called with the text after the colon; returns the action.
    """

    example: str
    summary: str
    parse: Callable[[str, ParseContext], Action]


def parse_script(
    steps: Sequence[str], *, folder: Path | None = None, language: str = "en-US"
) -> list[Step]:
    """Parse a script.

    Args:
        steps: The steps as written.
        folder: The folder to which the paths of files are relative; the current folder by default.
        language: BCP-47 code of the language of texts to speak. A step `language:` changes it for
            the steps that follow.

    Raises:
        ValueError: If a step is not valid. The message names the step and the reason.
    """
    context = ParseContext(folder or Path(), language)
    parsed = []
    for text in steps:
        parsed.append(_parse_step(text, context))
        verb, _, argument = text.partition(":")
        if verb == _LANGUAGE:
            context = replace(context, language=argument)
    return parsed


async def play(steps: Sequence[Step], call: SimulatedCall, patience: float = 10.0) -> None:
    """Perform the steps one after the other.

    Args:
        steps: The steps.
        call: A call that is connected.
        patience: Maximum time in seconds to wait for the server in each step.

    Raises:
        SimulatorError: If the call does not do what a step waits for, see `SimulatedCall`.
    """
    since = 0.0
    for step in steps:
        began = call.elapsed
        await step.action(call, StepContext(patience, since))
        # After `wait:quiet`, the next `wait:bot` ignores audio that began during `wait:quiet`.
        since = call.elapsed if step.text == _QUIET else began


_QUIET = "wait:quiet"
_LANGUAGE = "language"
_QUOTES = frozenset("\"'")
"""Characters that can enclose a text to speak."""


def _parse_step(text: str, context: ParseContext) -> Step:
    name, _, argument = text.partition(":")
    verb = VERBS.get(name)
    if verb is None:
        raise ValueError(f"step {text!r}: unknown verb {name!r}; the verbs are: {', '.join(VERBS)}")
    try:
        return Step(text, verb.parse(argument, context))
    except NoSpeechError as error:  # the spelling of the step is right
        raise ValueError(f"step {text!r}: {error}") from None
    except (ValueError, OSError) as error:
        raise ValueError(f"step {text!r}: {error}; write it as {verb.example}") from None


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a number of seconds") from None
    if not 0 <= seconds < 86_400:
        raise ValueError(f"{text} s is not a valid time; it must be 0 or more, and below 86400 s")
    return seconds


def _hertz(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a frequency in Hz") from None


def _sound(argument: str, context: ParseContext, party: AudioHookChannel) -> bytes:
    kind, _, rest = argument.partition(":")
    if argument[:1] in _QUOTES:
        sound = synthesize(_unquoted(argument), context.language, party)
    elif kind == "speech":
        sound = sample_speech(_seconds(rest or "2"), party)
    elif kind == "silence":
        sound = silence(_seconds(rest or "1"))
    elif kind == "tone":
        frequency, _, seconds = rest.partition(":")
        sound = tone(_hertz(frequency or "1000"), _seconds(seconds or "1"))
    else:
        sound = read_wav(context.folder / argument)
    if not sound:
        raise ValueError("the sound is empty")
    return sound


def _unquoted(text: str) -> str:
    if len(text) < 2 or text[0] != text[-1]:
        raise ValueError(f"the text does not end with the quotation mark {text[0]}")
    return text[1:-1]


def _say(party: AudioHookChannel) -> Callable[[str, ParseContext], Action]:
    def parse(argument: str, context: ParseContext) -> Action:
        sound = _sound(argument, context, party)
        return lambda call, _: call.say(sound, party)

    return parse


def _converse(argument: str, context: ParseContext) -> Action:
    recording = context.folder / argument
    read_stereo_wav(recording)
    return lambda call, _: call.converse(recording)


def _wait(argument: str, context: ParseContext) -> Action:
    if argument in _WAITS:
        return _WAITS[argument]
    kind, _, entity = argument.partition(":")
    if kind == "event" and entity:
        return lambda call, context: _wait_for_entity(call, entity, context.patience)
    try:
        seconds = _seconds(argument)
    except ValueError:
        names = ", ".join([*_WAITS, "event:TYPE"])
        raise ValueError(
            f"{argument!r} is neither a number of seconds nor one of {names}"
        ) from None
    return lambda call, _: _rest(call, seconds)


async def _rest(call: SimulatedCall, seconds: float) -> None:
    """Wait for the given number of seconds. Raise `CallEndedError` if the call ends first."""
    try:
        async with asyncio.timeout(seconds) as limit:
            await call.ended()
    except TimeoutError:
        if not limit.expired():
            raise
        return
    raise CallEndedError(f"the call ended during a wait of {seconds:g} s")


async def _wait_for_entity(call: SimulatedCall, kind: str, patience: float) -> None:
    def is_wanted(event: ev.Event) -> bool:
        return isinstance(event, ev.ServerEvent) and event.type == kind

    is_wanted.__name__ = f"event {kind}"
    await call.wait_for(is_wanted, patience)


_WAITS: Mapping[str, Action] = MappingProxyType(
    {
        "bot": lambda call, context: call.wait_for_bot_audio(context.patience, since=context.since),
        "quiet": lambda call, context: call.wait_for_silence(0.5, context.patience),
        "barge-in": lambda call, context: call.wait_for(ev.BargedIn, context.patience),
        "pause": lambda call, context: call.wait_for(ev.StreamPaused, context.patience),
        "resumed": lambda call, context: call.wait_for(ev.StreamResumed, context.patience),
        "updated": lambda call, context: call.wait_for(ev.Updated, context.patience),
        "pong": lambda call, context: call.wait_for(ev.PongReceived, context.patience),
        "end": lambda call, context: call.ended(context.patience),
    }
)


def _press(argument: str, context: ParseContext) -> Action:
    wrong = [key for key in argument if key not in DTMF_KEYS]
    if wrong or not argument:
        raise ValueError(f"the keys are {DTMF_KEYS}, got {argument!r}")

    async def press(call: SimulatedCall, _: StepContext) -> None:
        for index, key in enumerate(argument):
            if index:
                await asyncio.sleep(0.1)
            await call.press(key)

    return press


def _language(argument: str, context: ParseContext) -> Action:
    if not argument:
        raise ValueError("a language code is missing")
    return lambda call, _: call.update(argument)


def _discard(argument: str, context: ParseContext) -> Action:
    samples = round(_seconds(argument) * WIRE_SAMPLE_RATE)
    if not samples:
        raise ValueError("the number of seconds must be above 0")
    return lambda call, _: call.discard(samples)


def _without_argument(action: Action) -> Callable[[str, ParseContext], Action]:
    def parse(argument: str, context: ParseContext) -> Action:
        if argument:
            raise ValueError(f"this verb has no argument, got {argument!r}")
        return action

    return parse


VERBS: Mapping[str, Verb] = MappingProxyType(
    {
        "say": Verb(
            'say:FILE.wav, say:"TEXT", say:speech:2, say:tone:440:1 or say:silence:1',
            "the caller speaks: a WAV file, a text, or a sound of the given length",
            _say(AudioHookChannel.EXTERNAL),
        ),
        "agent": Verb(
            'agent:FILE.wav, agent:"TEXT" or agent:speech:2',
            "the agent of a monitored call speaks",
            _say(AudioHookChannel.INTERNAL),
        ),
        "converse": Verb(
            "converse:FILE.wav", "both parties speak: the caller left, the agent right", _converse
        ),
        "wait": Verb(
            f"wait:2.5, wait:{', wait:'.join(_WAITS)} or wait:event:TYPE",
            "waits for the given time, or until the bot speaks, falls silent, ends the call ...",
            _wait,
        ),
        "press": Verb("press:12#", "the caller presses keys", _press),
        _LANGUAGE: Verb("language:de-DE", "the language of the conversation changes", _language),
        "pause": Verb(
            "pause", "the client pauses the stream", _without_argument(lambda call, _: call.pause())
        ),
        "resume": Verb(
            "resume",
            "the client ends its own pause",
            _without_argument(lambda call, _: call.resume()),
        ),
        "discard": Verb("discard:0.4", "the client drops audio of the given length", _discard),
        "hang-up": Verb(
            "hang-up", "the caller hangs up", _without_argument(lambda call, _: call.hang_up())
        ),
    }
)
"""All verbs, by name."""
