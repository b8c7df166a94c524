"""Pings, which decide whether Genesys thinks the server is alive."""

from __future__ import annotations

from .checking import DOCUMENTED, MEASURED, REFERENCE, BrokenRule, check
from .target import Target


@check("pong-in-time", "'pong' answers every 'ping' within 5 s", f"{REFERENCE}; {MEASURED}")
async def _(target: Target) -> None:
    async with target.opened() as line:
        for _ in range(3):
            await line.audio()
            await target.ping(line)


@check("pong-clientseq", "the 'clientseq' of 'pong' is the 'seq' of its 'ping'", MEASURED)
async def _(target: Target) -> None:
    async with target.opened() as line:
        pings = []
        for _ in range(2):
            pings.append(await line.send("ping"))
            # The newest message of the client's is another one by the time of the answer.
            await line.send("discarded", {"start": "PT0S", "discarded": "PT0S"})
        await line.until(
            lambda _: len(line.of_type("pong")) >= len(pings), "'pong'", target.patience.pong
        )
        answered = [pong.get("clientseq") for pong in line.of_type("pong")]
        if answered != pings:
            raise BrokenRule(f"pings {pings} were answered with clientseq {answered}")


@check(
    "ping-rtt",
    "a 'ping' that tells the last round trip is answered",
    f"{REFERENCE}, PingParameters",
)
async def _(target: Target) -> None:
    async with target.opened() as line:
        before = len(line.messages)
        await line.send("ping", {"rtt": "PT0.042S"})
        await line.one_of("pong", timeout=target.patience.pong, after=before)


@check("pong-while-paused", "pings are answered while the audio is paused", DOCUMENTED)
async def _(target: Target) -> None:
    async with target.opened() as line:
        await line.send("paused")
        await target.ping(line)
