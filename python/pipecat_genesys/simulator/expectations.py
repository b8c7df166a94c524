"""Expectations: requirements for a server in one call, and the check whether a call meets them.

`EXPECTATIONS` lists the kinds of expectations. All times are measured on the caller's side, between
samples that the caller sends and samples that the caller hears, so they include the delay of the
network.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from sys import byteorder

from pipecat_genesys import audio
from pipecat_genesys.protocol.types import WIRE_SAMPLE_RATE, AudioHookChannel, CloseReason

from .call import SimulatedCall
from .caller_audio import Spoken
from .session import events as ev

_SAME_UTTERANCE = 0.5
"""A silence of the bot that is shorter than this time, in seconds, is a gap inside one utterance,
as in `Playback.underruns`."""


_WINDOW = round(0.02 * WIRE_SAMPLE_RATE)
_AUDIBLE = 330
"""Largest sample value that counts as silence: -40 dB relative to full scale."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """Whether a call meets an expectation.

    Attributes:
        expectation: The expectation as written.
        is_met: Whether the call meets it.
        detail: Text that says what happened in the call.
    """

    expectation: str
    is_met: bool
    detail: str

    def __str__(self) -> str:
        return f"{'met' if self.is_met else 'not met'}: {self.expectation} ({self.detail})"


Judge = Callable[[SimulatedCall], tuple[bool, str]]
"""Judges a finished call. Returns whether the call meets the expectation, and what happened."""


@dataclass(frozen=True, slots=True)
class Expectation:
    """A requirement for one call.

    Attributes:
        text: The expectation as written.
        judge: Called with a finished call; returns whether the call meets the expectation, and a
            text that says what happened.
    """

    text: str
    judge: Judge


@dataclass(frozen=True, slots=True)
class ExpectationKind:
    """A kind of expectation.

    Attributes:
        example: How the expectation is written.
        summary: What a call must do to meet the expectation, in one line.
        pattern: Matches the expectation as written, with single spaces.
        judge: Called with the groups of the match; returns the attribute `judge` of the
            expectation.
    """

    example: str
    summary: str
    pattern: re.Pattern[str]
    judge: Callable[..., Judge]


def parse_expectation(text: str) -> Expectation:
    """Parse an expectation, such as `answered within 800 ms`.

    Raises:
        ValueError: If there is no such expectation. The message lists the kinds.
    """
    words = " ".join(text.split())
    for kind in EXPECTATIONS:
        if match := kind.pattern.fullmatch(words):
            return Expectation(words, kind.judge(*match.groups()))
    examples = "; ".join(kind.example for kind in EXPECTATIONS)
    raise ValueError(f"unknown expectation {text!r}; write it as one of: {examples}")


def _seconds(amount: str, unit: str) -> float:
    return float(amount) / (1000 if unit == "ms" else 1)


def _milliseconds(seconds: float) -> str:
    return f"{1000 * seconds:.0f} ms"


@dataclass(frozen=True, slots=True)
class _Utterance:
    """Bot audio that the caller heard without a long gap; times are in seconds since `open`."""

    start: float
    end: float


def _utterances(call: SimulatedCall) -> list[_Utterance]:
    speech_ends = [speech.end for speech in _speeches(call)]
    found: list[_Utterance] = []
    was_cut = True
    for span in call.session.playback.spans:
        start, end = span.start / WIRE_SAMPLE_RATE, span.end / WIRE_SAMPLE_RATE
        if found and not was_cut and start - found[-1].end < _SAME_UTTERANCE:
            gap = found[-1].end, start
            # If the caller finished speaking during the gap, the audio after the gap is an answer
            # and not part of the same utterance.
            if not any(gap[0] <= at <= gap[1] for at in speech_ends):
                start = found.pop().start
        found.append(_Utterance(start, end))
        was_cut = span.cut
    return found


def _speeches(call: SimulatedCall) -> Sequence[Spoken]:
    return call.caller_audio.voice(AudioHookChannel.EXTERNAL).speeches


def _audible_end(call: SimulatedCall, speech: Spoken) -> float:
    """Return the end of the last audible sound of a speech, in seconds since `open`.

    A recording or synthetic speech can end with silence, during which a bot may answer.
    """
    track = call.caller_audio.voice(AudioHookChannel.EXTERNAL).track
    end = speech.end_sample
    while end > speech.first_sample:
        begin = max(speech.first_sample, end - _WINDOW)
        samples = array("h", audio.ulaw_decode(track[begin:end]))
        if byteorder == "big":
            samples.byteswap()
        if max(map(abs, samples)) > _AUDIBLE:
            break
        end = begin
    return speech.end - (speech.end_sample - end) / WIRE_SAMPLE_RATE


def _closed_at(call: SimulatedCall) -> float:
    """Return when the session began to close, in seconds since `open`."""
    ends = (e.at for e in call.events if isinstance(e, ev.CloseSent | ev.SocketClosed))
    return next(ends, call.elapsed)


def _answered_within(amount: str, unit: str) -> Judge:
    limit = _seconds(amount, unit)

    def judge(call: SimulatedCall) -> tuple[bool, str]:
        speeches, utterances = _speeches(call), _utterances(call)
        if not speeches:
            return False, "the caller did not speak"
        # An answer must begin before the caller's next speech and before the end of the call. If
        # that is earlier than `limit`, a missing answer is not a failure.
        lasts = [*(speech.start for speech in speeches[1:]), _closed_at(call)]
        latencies = []
        for speech, last in zip(speeches, lasts, strict=True):
            end = _audible_end(call, speech)
            starts = (one.start for one in utterances if end <= one.start < last)
            start = next(starts, None)
            latency = None if start is None else start - end
            if latency is None and last - end >= limit:
                talked_over = any(one.start < end < one.end for one in utterances)
                return False, f"no answer to the speech that ended at {end:.2f} s" + (
                    "; the bot was speaking at that time" if talked_over else ""
                )
            if latency is not None and latency > limit:
                when = f"the speech that ended at {end:.2f} s"
                return False, f"{_milliseconds(latency)} after {when}"
            if latency is not None:
                latencies.append(latency)
        if not latencies:
            return False, "no answer was due before the caller spoke again or the call ended"
        return True, f"{len(latencies)} answered, the slowest after {_milliseconds(max(latencies))}"

    return judge


def _silenced_within(amount: str, unit: str) -> Judge:
    limit = _seconds(amount, unit)

    def judge(call: SimulatedCall) -> tuple[bool, str]:
        delays = [
            (utterance.end - speech.start, speech)
            for speech in _speeches(call)
            for utterance in _utterances(call)
            if utterance.start < speech.start < utterance.end
        ]
        if not delays:
            return False, "the caller did not begin to speak while the bot was audible"
        slowest, speech = max(delays, key=lambda delay: delay[0])
        when = f"{_milliseconds(slowest)} after the caller's speech at {speech.start:.2f} s"
        return slowest <= limit, f"the bot was silent {when}"

    return judge


def _greets_within(amount: str, unit: str) -> Judge:
    limit = _seconds(amount, unit)

    def judge(call: SimulatedCall) -> tuple[bool, str]:
        opened = next((e.at for e in call.events if isinstance(e, ev.Opened)), None)
        first = next((e.at for e in call.events if isinstance(e, ev.BotAudioStarted)), None)
        if opened is None or first is None:
            return False, "the caller heard no bot audio"
        return first - opened <= limit, f"{_milliseconds(first - opened)} after 'opened'"

    return judge


def _opened_within(amount: str, unit: str) -> Judge:
    limit = _seconds(amount, unit)

    def judge(call: SimulatedCall) -> tuple[bool, str]:
        latency = call.report().opened_latency
        if latency is None:
            return False, "the server did not send 'opened'"
        return latency <= limit, _milliseconds(latency)

    return judge


def _hears(bound: str, amount: str, unit: str) -> Judge:
    limit = _seconds(amount, unit)

    def judge(call: SimulatedCall) -> tuple[bool, str]:
        heard = call.report().heard
        return heard >= limit if bound == "least" else heard <= limit, f"{heard:.2f} s"

    return judge


def _no_gaps() -> Judge:
    def judge(call: SimulatedCall) -> tuple[bool, str]:
        gaps = call.report().underruns
        if not gaps:
            return True, "none"
        longest = max(gaps, key=lambda gap: gap.seconds)
        detail = f"the longest of {_milliseconds(longest.seconds)} at {longest.at:.2f} s"
        return False, f"{len(gaps)} gaps, {detail}"

    return judge


def _output_variable_is(name: str, value: str) -> Judge:
    def judge(call: SimulatedCall) -> tuple[bool, str]:
        ending = call.report().ending
        # If the caller hangs up, the server sends no `disconnect`, and the variables can only be in
        # `closed`.
        variables = ending.output_variables or ending.closed_output_variables
        if name not in variables:
            return False, f"the output variables are {', '.join(variables) or 'none'}"
        return variables[name] == value, f"it is {variables[name]!r}"

    return judge


def _event_is_sent(kind: str) -> Judge:
    def judge(call: SimulatedCall) -> tuple[bool, str]:
        count = sum(isinstance(e, ev.ServerEvent) and e.type == kind for e in call.events)
        return count > 0, f"{count} sent"

    return judge


def _party_ends_call(party: str) -> Judge:
    expected = CloseReason.DISCONNECT if party == "bot" else CloseReason.END

    def judge(call: SimulatedCall) -> tuple[bool, str]:
        reason = call.report().ending.close_reason
        return reason == expected, f"the reason of 'close' is {reason}"

    return judge


_TIME = r"(\d+(?:\.\d+)?) ?(ms|s)"

EXPECTATIONS: Sequence[ExpectationKind] = (
    ExpectationKind(
        "opened within 500 ms",
        "the server sends `opened` within this time",
        re.compile(f"opened within {_TIME}"),
        _opened_within,
    ),
    ExpectationKind(
        "greets within 2 s",
        "the caller hears the bot within this time after `opened`",
        re.compile(f"greets within {_TIME}"),
        _greets_within,
    ),
    ExpectationKind(
        "answered within 800 ms",
        "the bot begins to speak within this time after the end of each speech of the caller. "
        "Bot audio that began before that end is not an answer",
        re.compile(f"answered within {_TIME}"),
        _answered_within,
    ),
    ExpectationKind(
        "barge-in silences within 300 ms",
        "if the caller begins to speak while the bot speaks, the bot is silent within this time",
        re.compile(f"barge-in silences within {_TIME}"),
        _silenced_within,
    ),
    ExpectationKind(
        "hears at least 2 s",
        "the caller hears at least this much bot audio in the whole call; `at most` sets a maximum",
        re.compile(f"hears at (least|most) {_TIME}"),
        _hears,
    ),
    ExpectationKind(
        "no gaps",
        "the bot's utterances have no gaps",
        re.compile("no gaps"),
        _no_gaps,
    ),
    ExpectationKind(
        "output variable intent is billing",
        "`disconnect`, or `closed` if the caller hung up, has the variable with this value",
        re.compile(r"output variable (\S+) is (.*)"),
        _output_variable_is,
    ),
    ExpectationKind(
        "event transcript is sent",
        "the server sends at least one event of this type",
        re.compile(r"event (\S+) is sent"),
        _event_is_sent,
    ),
    ExpectationKind(
        "bot ends the call",
        "the server ends the call with `disconnect`; `caller ends the call` is the opposite",
        re.compile("(bot|caller) ends the call"),
        _party_ends_call,
    ),
)
"""All kinds of expectations."""
