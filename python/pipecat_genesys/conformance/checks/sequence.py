"""Checks with messages that have a wrong `seq`, session id or version and must end the session."""

from __future__ import annotations

from typing import Any

from pipecat_genesys.conformance.check import MEASURED, REFERENCE, check
from pipecat_genesys.conformance.connection import CheckedConnection, parameters_of, shown
from pipecat_genesys.conformance.errors import CheckFailedError, CheckSkippedError
from pipecat_genesys.conformance.target import Target

_SOURCE = f"{REFERENCE}, server session; {MEASURED}"


async def _assert_disconnects(connection: CheckedConnection, **envelope: Any) -> None:
    """Send `ping` with a wrong envelope; the answer must be `disconnect` with reason `error`.

    Raises:
        CheckFailedError: If the server sends another answer, or none.
        CheckSkippedError: If the server ended the call with reason `completed`.
    """
    answer = await connection.ping(answers=("disconnect",), **envelope)
    if connection.server_ended_call:
        raise CheckSkippedError("the server ended the call with reason 'completed'")
    reason = parameters_of(answer).get("reason")
    if reason != "error":
        raise CheckFailedError(f"'reason' of 'disconnect' is {shown(reason)}, not 'error'")


@check(_SOURCE)
async def seq_gap(target: Target) -> None:
    """The server ends the session on a gap in `seq`."""
    async with target.open_call() as connection:
        await connection.ping()
        await _assert_disconnects(connection, seq=connection.seq + 3)


@check(_SOURCE)
async def seq_repeat(target: Target) -> None:
    """The server ends the session on a repeated `seq`."""
    async with target.open_call() as connection:
        await connection.ping()
        await connection.ping(answers=("disconnect",), seq=connection.seq)


@check(_SOURCE)
async def serverseq_ahead(target: Target) -> None:
    """The server ends the session on a `serverseq` above the `seq` of its last message."""
    async with target.open_call() as connection:
        await connection.ping()
        await _assert_disconnects(connection, serverseq=connection.server_seq + 100)


@check(_SOURCE)
async def other_id(target: Target) -> None:
    """The server ends the session on a message with the id of another session."""
    async with target.open_call() as connection:
        await connection.ping()
        await _assert_disconnects(connection, id=target.new_call().session_id)


@check(_SOURCE)
async def other_version(target: Target) -> None:
    """The server ends the session on a message of another protocol version."""
    async with target.open_call() as connection:
        await connection.ping()
        await _assert_disconnects(connection, version="1")
