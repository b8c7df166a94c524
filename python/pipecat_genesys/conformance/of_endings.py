"""How a session ends: by 'close' and 'closed', and the client hangs up."""

from __future__ import annotations

from .checking import (
    BOT,
    CONNECTOR,
    DOCUMENTED,
    MEASURED,
    REFERENCE,
    WARNING,
    BrokenRule,
    NotApplicable,
    check,
)
from .line import Line, shown
from .target import Target

_REASONS = frozenset({"completed", "unauthorized", "error"})


@check("closed-in-time", "'closed' answers 'close' within 10 s", f"{REFERENCE}; {MEASURED}")
async def _(target: Target) -> None:
    async with target.opened() as line:
        await target.close(line)


@check("closed-once", "'close' gets one answer, also if it is repeated", REFERENCE)
async def _(target: Target) -> None:
    async with target.opened() as line:
        await target.close(line)
        await line.send("close", {"reason": "end"})
        await line.settle(target.patience.settle)
        count = len(line.of_type("closed"))
        if count != 1:
            raise BrokenRule(f"'closed' came {count} times")


@check("nothing-after-closed", "nothing follows 'closed'", REFERENCE)
async def _(target: Target) -> None:
    async with target.opened() as line:
        await line.audio()
        await target.close(line)
        await line.settle(target.patience.settle)
        kinds = [
            one.message.get("type") if isinstance(one.message, dict) else "audio"
            for one in line.heard
        ]
        after = [kind for kind in kinds[kinds.index("closed") + 1 :] if kind != "closed"]
        if after:
            raise BrokenRule(f"after it came: {shown(after)}")


@check(
    "client-hangs-up",
    "after 'closed' the client closes the socket, not the server",
    f"{DOCUMENTED}: otherwise it is taken for a network failure",
)
async def _(target: Target) -> None:
    async with target.opened() as line:
        await target.close(line)
        await line.settle(target.patience.settle)
        if line.ended is not None:
            code = line.ended.code
            raise BrokenRule(f"the server closed it{'' if code is None else f', code {code}'}")


@check(
    "closed-empty",
    "'closed' has no parameters; output variables go into 'disconnect'",
    f"{CONNECTOR}, ClosedParameters; the reference client tolerates it",
    severity=WARNING,
)
async def _(target: Target) -> None:
    async with target.opened() as line:
        parameters = (await target.close(line)).get("parameters")
        if parameters:
            raise BrokenRule(f"it has {shown(sorted(parameters))}")


@check("close-early", "'close' right after 'open' is answered too", REFERENCE)
async def _(target: Target) -> None:
    async with target.line() as line:
        await line.send("open", line.call.open_parameters())
        await target.close(line)


@check("close-while-paused", "'close' is answered while the audio is paused", REFERENCE)
async def _(target: Target) -> None:
    async with target.opened() as line:
        await line.send("paused")
        await target.close(line)


async def provoked(target: Target, line: Line) -> None:
    """Make the server disconnect, by a gap in 'seq'."""
    await line.send("ping", seq=line.seq + 5)
    await line.settle(target.patience.settle)
    if not line.of_type("disconnect"):
        raise NotApplicable("the server did not disconnect on a gap in 'seq'")


@check(
    "closed-after-disconnect",
    "'close' is answered after a 'disconnect' of the server's own",
    f"{MEASURED}: the client waits 10 s",
)
async def _(target: Target) -> None:
    async with target.opened() as line:
        await provoked(target, line)
        await target.close(line)


@check("disconnect-once", "there is one 'disconnect' in a session", REFERENCE)
async def _(target: Target) -> None:
    async with target.opened() as line:
        await provoked(target, line)
        await line.send("ping", seq=line.seq + 5)
        await line.settle(target.patience.settle)
        count = len(line.of_type("disconnect"))
        if count > 1:
            raise BrokenRule(f"'disconnect' came {count} times")


@check("disconnect-stays", "after 'disconnect' the client closes the socket", DOCUMENTED)
async def _(target: Target) -> None:
    async with target.opened() as line:
        await provoked(target, line)
        await line.settle(target.patience.settle)
        if line.ended is not None:
            raise BrokenRule("the server closed it, without waiting for 'close'")


@check("disconnect-reason", "the reason of 'disconnect' is one the client knows", MEASURED)
async def _(target: Target) -> None:
    async with target.opened() as line:
        await provoked(target, line)
        reason = line.of_type("disconnect")[0].get("parameters", {}).get("reason")
        if reason not in _REASONS:
            raise BrokenRule(f"it is {shown(reason)}")


@check(
    "disconnect-variables",
    "the output variables of 'disconnect' are text",
    f"{CONNECTOR}, JsonStringMap",
    modes=BOT,
)
async def _(target: Target) -> None:
    async with target.opened() as line:
        await provoked(target, line)
        parameters = line.of_type("disconnect")[0].get("parameters", {})
        for name, value in (parameters.get("outputVariables") or {}).items():
            if not isinstance(value, str):
                raise BrokenRule(f"{name} is {shown(value)}")
