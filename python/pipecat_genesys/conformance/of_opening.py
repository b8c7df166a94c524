"""How a session is opened."""

from __future__ import annotations

from typing import Any

from pipecat_genesys.protocol.types import AudioHookChannel, AudioHookMediaFormat
from pipecat_genesys.simulator import PCMU_EXTERNAL, as_probe, medium

from .checking import (
    BOTH,
    CONNECTOR,
    DOCUMENTED,
    FIELD,
    MEASURED,
    MONITOR,
    REFERENCE,
    WARNING,
    BrokenRule,
    check,
)
from .line import Line, Message, shown
from .target import STEREO, Target

_L16 = dict(medium(AudioHookChannel.EXTERNAL, format=AudioHookMediaFormat.L16))
_UNKNOWN = {**PCMU_EXTERNAL, "format": "OPUS", "rate": 48000}


def _media(opened: Message) -> list[Any]:
    media = (opened.get("parameters") or {}).get("media")
    if not isinstance(media, list):
        raise BrokenRule(f"'opened' has no list of media: {shown(opened.get('parameters'))}")
    return media


@check("opened-in-time", "'opened' answers 'open' within 5 s", f"{REFERENCE}; {MEASURED}")
async def _(target: Target) -> None:
    async with target.line() as line:
        await target.open(line)


@check(
    "opened-comes-first",
    "nothing precedes 'opened': no audio and no message",
    f"{REFERENCE}; {MEASURED}",
)
async def _(target: Target) -> None:
    line = await target.ordinary_call()
    if not line.heard:
        raise BrokenRule("nothing came at all")
    first = line.heard[0].message
    kind = first.get("type") if isinstance(first, dict) else f"{len(first)} bytes of audio"
    if kind != "opened":
        raise BrokenRule(f"the first thing to come was {kind!r}")


@check("opened-media-offered", "the medium in 'opened' is an offered one, verbatim", MEASURED)
async def _(target: Target) -> None:
    async with target.line() as line:
        for medium in _media(await target.open(line)):
            if medium not in [dict(entry) for entry in line.call.media]:
                raise BrokenRule(f"not offered: {shown(medium)}")


@check("opened-one-medium", "'opened' selects one medium, or none", MEASURED)
async def _(target: Target) -> None:
    call = target.new_call(media=(PCMU_EXTERNAL, STEREO))
    async with target.opened(call) as line:
        count = len(_media(line.of_type("opened")[0]))
        if count > 1:
            raise BrokenRule(f"{count} media selected")


async def _answer(target: Target, line: Line) -> Message:
    await line.send("open", line.call.open_parameters())
    return await line.one_of("opened", "disconnect", timeout=target.patience.open, after=0)


@check(
    "opened-only-l16",
    "where only L16 is offered, it is selected, or nothing, or the call is refused",
    f"{REFERENCE}, media selection",
)
async def _(target: Target) -> None:
    async with target.line(target.new_call(media=(_L16,))) as line:
        answer = await _answer(target, line)
        if answer["type"] == "opened" and _media(answer) not in ([], [_L16]):
            raise BrokenRule(f"L16 was offered, this selected: {shown(_media(answer))}")


@check(
    "opened-inverted-channels",
    "the order of channels is the offer's",
    f"{REFERENCE}, conformance test 'Inverted'",
    modes=MONITOR,
)
async def _(target: Target) -> None:
    inverted = {**STEREO, "channels": ["internal", "external"]}
    async with target.line(target.new_call(media=(inverted,))) as line:
        answer = await _answer(target, line)
        if answer["type"] == "opened" and _media(answer) not in ([], [inverted]):
            raise BrokenRule(f"selected: {shown(_media(answer))}")


@check(
    "opened-nothing-fits",
    "where no offered medium is supported, none is invented",
    f"{CONNECTOR}; {MEASURED}",
)
async def _(target: Target) -> None:
    async with target.line(target.new_call(media=(_UNKNOWN,))) as line:
        answer = await _answer(target, line)
        if answer["type"] == "opened" and _media(answer) not in ([], [_UNKNOWN]):
            raise BrokenRule(f"{shown(_UNKNOWN)} was offered, selected: {shown(_media(answer))}")


@check("start-paused-boolean", "'startPaused', if there, is true or false", REFERENCE)
async def _(target: Target) -> None:
    async with target.opened() as line:
        value = line.of_type("opened")[0].get("parameters", {}).get("startPaused", False)
        if not isinstance(value, bool):
            raise BrokenRule(f"'startPaused' is {shown(value)}")


@check(
    "languages-asked-for",
    "'supportedLanguages' comes only where the client asked",
    f"{REFERENCE}, OpenedParameters",
    severity=WARNING,
)
async def _(target: Target) -> None:
    async with target.opened() as line:
        if "supportedLanguages" in line.of_type("opened")[0].get("parameters", {}):
            raise BrokenRule("'opened' lists languages, 'open' did not ask")


@check(
    "languages-list",
    "asked for, 'supportedLanguages' is a list of language codes, if it comes",
    f"{REFERENCE}, OpenedParameters",
)
async def _(target: Target) -> None:
    async with target.opened(target.new_call(supported_languages=True)) as line:
        told = line.of_type("opened")[0].get("parameters", {}).get("supportedLanguages", [])
        if not (isinstance(told, list) and all(isinstance(one, str) for one in told)):
            raise BrokenRule(f"'supportedLanguages' is {shown(told)}")


@check(
    "open-without-variables",
    "an 'open' without inputVariables and customConfig is accepted",
    f"{DOCUMENTED}, OpenParameters",
)
async def _(target: Target) -> None:
    async with target.opened(target.new_call(input_variables=None)):
        pass


@check(
    "open-language-forms",
    "any language code is accepted, as 'en' and 'es-419', and none",
    DOCUMENTED,
)
async def _(target: Target) -> None:
    for language in ("en", "es-419", None):
        try:
            async with target.opened(target.new_call(language=language)):
                pass
        except BrokenRule as broken:
            raise BrokenRule(f"language {language!r}: {broken}") from None


@check(
    "open-unknown-fields", "unknown fields in 'open' are ignored", f"{DOCUMENTED}, compatibility"
)
async def _(target: Target) -> None:
    async with target.line() as line:
        parameters = line.call.open_parameters() | {"futureParameter": {"a": [1]}}
        await line.send("open", parameters, futureField=True)
        answer = await line.one_of("opened", "disconnect", timeout=target.patience.open, after=0)
        if answer["type"] == "disconnect":
            raise BrokenRule(f"refused: {shown(answer.get('parameters'))}")


@check("open-other-version", "an 'open' of another protocol version is not accepted", REFERENCE)
async def _(target: Target) -> None:
    async with target.line() as line:
        await line.send("open", line.call.open_parameters(), version="3")
        await line.settle(target.patience.settle)
        if line.of_type("opened"):
            raise BrokenRule("version '3' got 'opened'")


@check(
    "open-after-retry",
    "a connection that is a retry (Audiohook-Retry-Attempt: 1) is accepted",
    f"{DOCUMENTED}, session walkthrough",
)
async def _(target: Target) -> None:
    async with target.line(Audiohook_Retry_Attempt="1") as line:
        await target.open(line)


@check(
    "open-continues",
    "an 'open' that continues another session is accepted, at the position it says",
    f"{DOCUMENTED}, reconnection",
    modes=MONITOR,
)
async def _(target: Target) -> None:
    before = {"id": target.new_call().session_id, "serverseq": 3, "clientseq": 5}
    async with target.line() as line:
        parameters = line.call.open_parameters() | {"continuedSessions": [before]}
        await line.send("open", parameters, position="PT12.5S")
        await line.one_of("opened", timeout=target.patience.open, after=0)


def _probe(target: Target) -> Line:
    return target.line(as_probe(target.new_call()))


@check(
    "probe-answered",
    "a connection probe gets 'opened' and 'closed'",
    f"{REFERENCE}, connection probe",
    modes=BOTH,
)
async def _(target: Target) -> None:
    async with _probe(target) as line:
        await target.open(line)
        await target.close(line)


@check(
    "probe-quiet",
    "a connection probe is no call: no audio and no events",
    f"{DOCUMENTED}; {FIELD}",
    severity=WARNING,
)
async def _(target: Target) -> None:
    async with _probe(target) as line:
        await target.open(line)
        await line.settle(target.patience.settle)
        if line.of_type("event") or any(isinstance(one.message, bytes) for one in line.heard):
            raise BrokenRule("the server talks to a probe")
