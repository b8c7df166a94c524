"""What happens in a call, and what must not disturb it."""

from __future__ import annotations

from .checking import (
    BOT,
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
from .target import Target

_KEYS = "0123456789*#"


async def goes_on(target: Target, line: Line) -> None:
    """See that the call is none the worse: no 'disconnect', and pings are answered."""
    await line.audio()
    await target.ping(line)
    if said := line.of_type("disconnect"):
        raise BrokenRule(f"the server disconnected: {shown(said[0].get('parameters'))}")


@check("unknown-type", "a message of an unknown type is ignored", f"{DOCUMENTED}, compatibility")
async def _(target: Target) -> None:
    async with target.opened() as line:
        await line.send("futureMessage", {"what": "ever"})
        await goes_on(target, line)


@check("unknown-fields", "unknown fields are ignored", f"{DOCUMENTED}, compatibility")
async def _(target: Target) -> None:
    async with target.opened() as line:
        before = len(line.messages)
        await line.send("ping", {"futureParameter": 1}, futureField=[1])
        await line.one_of("pong", timeout=target.patience.pong, after=before)
        await goes_on(target, line)


@check(
    "client-pause",
    "'paused' without having asked is a pause of the client's, and gets no answer",
    "Genesys help, AudioHook session",
)
async def _(target: Target) -> None:
    async with target.opened() as line:
        await line.audio()
        before = len(line.messages)
        await line.send("paused")
        await line.settle(target.patience.settle)
        answers = [m.get("type") for m in line.messages[before:] if m.get("type") != "event"]
        if answers:
            raise BrokenRule(f"'paused' was answered: {shown(answers)}")


@check(
    "client-resume",
    "after a pause of the client's, 'resumed' and the audio that follows are taken",
    f"{REFERENCE}; {DOCUMENTED}",
)
async def _(target: Target) -> None:
    async with target.opened() as line:
        await line.audio()
        await line.send("paused")
        line.samples += 8000
        await line.send("resumed", {"start": "PT0.2S", "discarded": "PT1S"})
        await goes_on(target, line)


@check("discarded", "'discarded' is taken, and its gap is no fault", REFERENCE)
async def _(target: Target) -> None:
    async with target.opened() as line:
        await line.audio()
        line.samples += 1600
        await line.send("discarded", {"start": "PT0.2S", "discarded": "PT0.2S"})
        await goes_on(target, line)


@check("dtmf", "every key of a telephone is taken", f"{REFERENCE}, DTMF", modes=BOT)
async def _(target: Target) -> None:
    async with target.opened() as line:
        for key in _KEYS:
            await line.send("dtmf", {"digit": key})
        await goes_on(target, line)


@check("playback", "'playback_started' and 'playback_completed' are taken", FIELD, modes=BOT)
async def _(target: Target) -> None:
    async with target.opened() as line:
        await line.send("playback_started")
        await line.send("playback_completed")
        await goes_on(target, line)


@check("update", "a change of language is no fault", f"{REFERENCE}, UpdateParameters")
async def _(target: Target) -> None:
    async with target.opened() as line:
        await line.send("update", {"language": "de-DE"})
        await goes_on(target, line)


@check(
    "update-answered",
    "a change of language is answered: 'updated', or 'pause' where it is not supported",
    f"{DOCUMENTED}, update",
    severity=WARNING,
)
async def _(target: Target) -> None:
    async with target.opened() as line:
        before = len(line.messages)
        await line.send("update", {"language": "de-DE"})
        await line.one_of(
            "updated", "pause", "disconnect", timeout=target.patience.pong, after=before
        )


@check("client-error", "an 'error' of the client's does not keep it from closing", MEASURED)
async def _(target: Target) -> None:
    async with target.opened() as line:
        await line.send("error", {"code": 500, "message": "Internal client error"})
        await target.close(line)


@check(
    "silent-monitor",
    "no audio is sent to a client that does not play any",
    f"{MEASURED}: error 415",
    modes=MONITOR,
)
async def _(target: Target) -> None:
    line = await target.ordinary_call()
    if any(isinstance(one.message, bytes) for one in line.heard):
        raise BrokenRule("the server sends audio")


@check(
    "barge-in-idle",
    "'barge_in' is sent only while bot audio plays",
    f"{FIELD}; it uses up the text messages that replies need",
    severity=WARNING,
    modes=BOT,
)
async def _(target: Target) -> None:
    async with target.opened() as line:
        for key in "12":
            await line.send("dtmf", {"digit": key})
            await line.audio()
            await line.settle(target.patience.settle / 2)
        until = 0.0
        for one in line.heard:
            if isinstance(one.message, bytes):
                until = max(until, one.at) + len(one.message) / 8000
            elif isinstance(one.message, dict) and _is_barge_in(one.message):
                if one.at > until:
                    raise BrokenRule(f"at {one.at:.1f} s, and nothing was playing")
                until = one.at


def _is_barge_in(message: Message) -> bool:
    entities = (message.get("parameters") or {}).get("entities") or [{}]
    return message.get("type") == "event" and entities[0].get("type") == "barge_in"
