"""Checks the answers to `ping`, by which Genesys decides whether the server is alive."""

from __future__ import annotations

from pipecat_genesys.conformance.check import DOCUMENTED, MEASURED, REFERENCE, check
from pipecat_genesys.conformance.errors import CheckFailedError
from pipecat_genesys.conformance.target import Target


@check(f"{REFERENCE}; {MEASURED}")
async def pong_in_time(target: Target) -> None:
    """The server answers every `ping` with `pong` within 5 s."""
    async with target.open_call() as connection:
        for _ in range(3):
            await connection.send_audio()
            await connection.ping()


@check(MEASURED)
async def pong_clientseq(target: Target) -> None:
    """`clientseq` of `pong` is the `seq` of the `ping` that it answers."""
    async with target.open_call() as connection:
        pings = []
        for _ in range(2):
            pings.append(await connection.send("ping"))
            # Send another message, so that the `seq` of the ping is not the newest `seq` of the
            # client when the server sends the pong.
            await connection.send("discarded", {"start": "PT0S", "discarded": "PT0S"})
        with connection.unless_server_ended_call():
            await connection.wait_for(
                lambda _: len(connection.of_type("pong")) >= len(pings),
                f"{len(pings)} 'pong' messages",
                target.timeouts.pong,
            )
        answered = [pong.get("clientseq") for pong in connection.of_type("pong")]
        if answered != pings:
            raise CheckFailedError(
                f"the pings had the 'seq' {pings}, the pongs have the 'clientseq' {answered}"
            )


@check(f"{REFERENCE}, PingParameters")
async def ping_rtt(target: Target) -> None:
    """The server answers a `ping` that states the round-trip time of the previous `ping`."""
    async with target.open_call() as connection:
        await connection.ping({"rtt": "PT0.042S"})


@check(DOCUMENTED)
async def pong_while_paused(target: Target) -> None:
    """The server answers `ping` while the audio is paused."""
    async with target.open_call() as connection:
        await connection.send("paused")
        await connection.ping()
