"""Input that no Genesys sends. The server may end the call; it must not fall over."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from pipecat_genesys.protocol.types import MAX_MESSAGE_BYTES
from pipecat_genesys.simulator import PCMU_EXTERNAL

from .checking import BrokenRule, check
from .line import Line
from .target import Target

_SOURCE = "robustness: one call must not harm the others"


async def _survives(
    target: Target, act: Callable[[Line], Awaitable[None]], *, may_hang_up: bool = False
) -> None:
    """Do something to a call; then the server must carry on with it, or end it in order."""
    async with target.opened() as line:
        await act(line)
        await _in_order(target, line, may_hang_up=may_hang_up)
    await target.still_answers()


async def _in_order(target: Target, line: Line, *, may_hang_up: bool) -> None:
    before = len(line.messages)
    await line.send("ping")
    try:
        await line.one_of("pong", "disconnect", timeout=target.patience.pong, after=before)
    except BrokenRule:
        if line.of_type("disconnect"):
            return
        if may_hang_up and line.ended is not None:
            # A close frame is lost where the server has not read what it closes on.
            return
        raise


@check("hostile-not-json", "text that is not JSON does not bring the call down", _SOURCE)
async def _(target: Target) -> None:
    await _survives(target, lambda line: line.raw("{'not': json"))


@check("hostile-not-object", "JSON that is no object does not bring the call down", _SOURCE)
async def _(target: Target) -> None:
    async def act(line: Line) -> None:
        for text in ("5", "[]", "null", '"ping"'):
            await line.raw(text)

    await _survives(target, act)


@check("hostile-deep", "deeply nested JSON does not bring the call down", _SOURCE)
async def _(target: Target) -> None:
    await _survives(target, lambda line: line.raw("[" * 30_000 + "]" * 30_000))


@check("hostile-types", "fields of wrong types do not bring the call down", _SOURCE)
async def _(target: Target) -> None:
    async def act(line: Line) -> None:
        await line.raw('{"version": 2, "type": ["ping"], "seq": {}, "id": null, "parameters": 7}')
        await line.send("update", {"language": {"no": "text"}})
        await line.send("dtmf", {"digit": 10**40})

    await _survives(target, act)


@check("hostile-oversize-text", "a text message of 1 MB does no harm", _SOURCE)
async def _(target: Target) -> None:
    await _survives(
        target,
        lambda line: line.raw('{"type": "ping", "filler": "' + "x" * 1_000_000 + '"}'),
        may_hang_up=True,
    )


@check("hostile-oversize-audio", "a binary message of 1 MB does no harm", _SOURCE)
async def _(target: Target) -> None:
    await _survives(target, lambda line: line.audio(b"\xff" * 1_000_000), may_hang_up=True)


@check("hostile-early-audio", "audio before 'open' does no harm", _SOURCE)
async def _(target: Target) -> None:
    async with target.line() as line:
        await line.raw(b"\xff" * 1600)
        await line.send("open", line.call.open_parameters())
        await line.one_of("opened", "disconnect", timeout=target.patience.open, after=0)
    await target.still_answers()


@check("hostile-nothing-said", "a connection on which nothing is said does no harm", _SOURCE)
async def _(target: Target) -> None:
    async with target.line() as line:
        await line.settle(target.patience.settle / 2)
    await target.still_answers()


@check("hostile-second-open", "a second 'open' does no harm", _SOURCE)
async def _(target: Target) -> None:
    async def act(line: Line) -> None:
        await line.send("open", line.call.open_parameters())

    await _survives(target, act)


@check("hostile-dropped", "a connection that is dropped in a call harms no other", _SOURCE)
async def _(target: Target) -> None:
    async with target.opened() as bystander:
        async with target.opened() as line:
            await line.audio()
            line.drop()
        await bystander.audio()
        await target.ping(bystander)
    await target.still_answers()


@check("partial-frame", "a frame that ends within a sample is no fault of the call's", _SOURCE)
async def _(target: Target) -> None:
    medium = {**PCMU_EXTERNAL, "format": "L16"}
    call = target.new_call(media=(medium, *target.new_call().media))

    async with target.opened(call) as line:
        await line.raw(b"\0" * 1601)
        await _in_order(target, line, may_hang_up=False)
    await target.still_answers()


@check("tiny-frames", "audio may come byte by byte", "frame size is the client's choice")
async def _(target: Target) -> None:
    async with target.opened(target.new_call(media=(PCMU_EXTERNAL,))) as line:
        for _ in range(200):
            await line.audio(b"\xff")
        await target.ping(line)
        if line.of_type("disconnect"):
            raise BrokenRule("the server disconnected")


@check("big-frame", "audio may come 8 s at a time, as after a delay", "catch-up; measured")
async def _(target: Target) -> None:
    async with target.opened(target.new_call(media=(PCMU_EXTERNAL,))) as line:
        await line.audio(b"\xff" * MAX_MESSAGE_BYTES)
        await target.ping(line)
        if line.of_type("disconnect"):
            raise BrokenRule("the server disconnected")
