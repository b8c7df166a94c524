"""Checks with input that Genesys never sends. The server may end the call, but must not crash."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pipecat_genesys.conformance.check import Schedule, check
from pipecat_genesys.conformance.connection import CheckedConnection
from pipecat_genesys.conformance.errors import CheckFailedError
from pipecat_genesys.conformance.target import Target
from pipecat_genesys.protocol.types import MAX_MESSAGE_BYTES, WIRE_SAMPLE_RATE
from pipecat_genesys.simulator import PCMU_EXTERNAL

_SOURCE = "robustness: one call must not affect other calls"


@asynccontextmanager
async def _surviving_call(
    target: Target, *, may_close_socket: bool = False
) -> AsyncIterator[CheckedConnection]:
    """Open a call for hostile input, and check afterwards that the server survived the input.

    Args:
        target: The server.
        may_close_socket: Whether the server may close the socket instead of answering.

    Yields:
        The connection, on which the check sends its input.
    """
    async with target.open_call() as connection:
        yield connection
        await _assert_answers_or_disconnects(connection, may_close_socket=may_close_socket)
    await target.assert_takes_calls()


async def _assert_answers_or_disconnects(
    connection: CheckedConnection, *, may_close_socket: bool = False
) -> None:
    """Check that the server answers `ping` or has ended the call with `disconnect`."""
    if connection.of_type("disconnect"):
        return
    try:
        await connection.ping(answers=("pong", "disconnect"))
    except CheckFailedError:
        # A server that stops reading may lose its close frame, so the close code is not checked.
        if may_close_socket and connection.closure is not None:
            return
        raise


@check(_SOURCE, schedule=Schedule.ALONE)
async def hostile_not_json(target: Target) -> None:
    """The server survives text that is not JSON."""
    async with _surviving_call(target) as connection:
        await connection.send_raw("{'not': json")


@check(_SOURCE, schedule=Schedule.ALONE)
async def hostile_not_object(target: Target) -> None:
    """The server survives JSON that is not an object."""
    async with _surviving_call(target) as connection:
        for text in ("5", "[]", "null", '"ping"'):
            await connection.send_raw(text)


@check(_SOURCE, schedule=Schedule.ALONE)
async def hostile_deep(target: Target) -> None:
    """The server survives JSON with 30,000 nested arrays."""
    async with _surviving_call(target) as connection:
        await connection.send_raw("[" * 30_000 + "]" * 30_000)


@check(_SOURCE, schedule=Schedule.ALONE)
async def hostile_types(target: Target) -> None:
    """The server survives fields of wrong types."""
    async with _surviving_call(target) as connection:
        await connection.send_raw(
            '{"version": 2, "type": ["ping"], "seq": {}, "id": null, "parameters": 7}'
        )
        await connection.send("update", {"language": {"no": "text"}})
        await connection.send("dtmf", {"digit": 10**40})


@check(_SOURCE, schedule=Schedule.ALONE)
async def hostile_oversize_text(target: Target) -> None:
    """The server survives a text message of 1 MB."""
    async with _surviving_call(target, may_close_socket=True) as connection:
        await connection.send_raw('{"type": "ping", "filler": "' + "x" * 1_000_000 + '"}')


@check(_SOURCE, schedule=Schedule.ALONE)
async def hostile_oversize_audio(target: Target) -> None:
    """The server survives a binary message of 1 MB."""
    async with _surviving_call(target, may_close_socket=True) as connection:
        await connection.send_audio(b"\xff" * 1_000_000)


@check(_SOURCE, schedule=Schedule.ALONE)
async def hostile_early_audio(target: Target) -> None:
    """The server survives audio that precedes `open`."""
    async with target.connection() as connection:
        await connection.send_raw(b"\xff" * 1600)
        await connection.answer_to_open()
    await target.assert_takes_calls()


@check(_SOURCE, schedule=Schedule.ALONE)
async def hostile_nothing_said(target: Target) -> None:
    """The server survives a connection on which the client sends nothing."""
    async with target.connection() as connection:
        await connection.observe(target.timeouts.observation / 2)
    await target.assert_takes_calls()


@check(_SOURCE, schedule=Schedule.ALONE)
async def hostile_second_open(target: Target) -> None:
    """The server survives a second `open`."""
    async with _surviving_call(target) as connection:
        await connection.send_open()


@check(_SOURCE, schedule=Schedule.ALONE)
async def hostile_dropped(target: Target) -> None:
    """A connection that is lost during a call does not affect another call."""
    async with target.open_call() as other:
        async with target.open_call() as connection:
            await connection.send_audio()
            connection.drop()
        await other.send_audio()
        await other.ping()
    await target.assert_takes_calls()


@check(_SOURCE, schedule=Schedule.ALONE)
async def partial_frame(target: Target) -> None:
    """The server survives audio that ends in the middle of a sample."""
    l16 = {**PCMU_EXTERNAL, "format": "L16"}
    call = target.new_call(media=(l16, *target.new_call().media))
    async with target.open_call(call) as connection:
        await connection.send_raw(b"\0" * 1601)
        await _assert_answers_or_disconnects(connection)
    await target.assert_takes_calls()


@check("the client chooses the length of its audio messages", schedule=Schedule.ALONE)
async def tiny_frames(target: Target) -> None:
    """The server accepts audio messages of one sample."""
    async with target.open_call() as connection:
        for _ in range(200):
            await connection.send_audio(connection.silence(1 / WIRE_SAMPLE_RATE))
        await connection.assert_call_continues()


@check("measured: the client catches up after a delay", schedule=Schedule.ALONE)
async def big_frame(target: Target) -> None:
    """The server accepts an audio message of 64,000 bytes, which is 8 s of mono mu-law."""
    async with target.open_call() as connection:
        await connection.send_audio(connection.silence(8)[:MAX_MESSAGE_BYTES])
        await connection.assert_call_continues()
