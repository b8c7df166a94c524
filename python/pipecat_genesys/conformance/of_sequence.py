"""Numbers and names that must fit, and the 'disconnect' that says they do not."""

from __future__ import annotations

from typing import Any

from .checking import MEASURED, REFERENCE, BrokenRule, check
from .line import shown
from .target import Target

_SOURCE = f"{REFERENCE}, server session; {MEASURED}"


async def _disconnects(target: Target, **envelope: Any) -> None:
    """Send a ping with something wrong and see the session ended for it."""
    async with target.opened() as line:
        await target.ping(line)
        relative = envelope.pop("by", None)
        if relative is not None:
            envelope["seq"] = line.seq + relative
        ahead = envelope.pop("ahead", None)
        if ahead is not None:
            envelope["serverseq"] = line.server_seq + ahead
        before = len(line.messages)
        await line.send("ping", **envelope)
        said = await line.one_of("disconnect", timeout=target.patience.pong, after=before)
        reason = (said.get("parameters") or {}).get("reason")
        if reason != "error":
            raise BrokenRule(f"the reason given is {shown(reason)}, not 'error'")


@check("seq-gap", "a gap in 'seq' ends the session", _SOURCE)
async def _(target: Target) -> None:
    await _disconnects(target, by=3)


@check("seq-repeat", "a repeated 'seq' ends the session", _SOURCE)
async def _(target: Target) -> None:
    async with target.opened() as line:
        await target.ping(line)
        before = len(line.messages)
        await line.send("ping", seq=line.seq)
        await line.one_of("disconnect", timeout=target.patience.pong, after=before)


@check("serverseq-ahead", "a 'serverseq' that was never sent ends the session", _SOURCE)
async def _(target: Target) -> None:
    await _disconnects(target, ahead=100)


@check("other-id", "a message of another session ends the session", _SOURCE)
async def _(target: Target) -> None:
    await _disconnects(target, id=target.new_call().session_id)


@check("other-version", "a message of another version ends the session", _SOURCE)
async def _(target: Target) -> None:
    await _disconnects(target, version="1")
