"""Checks how a session ends: `close`, `closed`, and `disconnect` by the server."""

from __future__ import annotations

from contextlib import suppress

from pipecat_genesys.conformance.check import (
    BOT,
    CONNECTOR,
    DOCUMENTED,
    MEASURED,
    REFERENCE,
    WARNING,
    check,
)
from pipecat_genesys.conformance.connection import CheckedConnection, parameters_of, shown
from pipecat_genesys.conformance.errors import CheckFailedError, CheckSkippedError
from pipecat_genesys.conformance.target import Target

_DISCONNECT_REASONS = frozenset({"completed", "unauthorized", "error"})


@check(f"{REFERENCE}; {MEASURED}")
async def closed_in_time(target: Target) -> None:
    """The server answers `close` with `closed` within 10 s."""
    async with target.open_call() as connection:
        await connection.close_session()


@check(
    "Genesys sends 'close' once; Genesys's reference server answers a repeated one, too",
    severity=WARNING,
)
async def closed_once(target: Target) -> None:
    """The server sends `closed` once, even if the client repeats `close`."""
    async with target.open_call() as connection:
        await connection.close_session()
        await connection.send("close", {"reason": "end"})
        await connection.observe()
        count = len(connection.of_type("closed"))
        if count != 1:
            raise CheckFailedError(f"the server sent 'closed' {count} times")


@check(REFERENCE)
async def nothing_after_closed(target: Target) -> None:
    """The server sends nothing after `closed`."""
    async with target.open_call() as connection:
        await connection.send_audio()
        await connection.close_session()
        await connection.observe()
        kinds = [
            one.content.get("type") if isinstance(one.content, dict) else "audio"
            for one in connection.received
        ]
        late = [kind for kind in kinds[kinds.index("closed") + 1 :] if kind != "closed"]
        if late:
            raise CheckFailedError(f"after 'closed', the server sent {shown(late)}")


@check(f"{DOCUMENTED}: Genesys treats a socket that the server closed as a network failure")
async def client_hangs_up(target: Target) -> None:
    """After `closed` the server waits for the client to close the socket."""
    async with target.open_call() as connection:
        await connection.close_session()
        await connection.observe()
        if connection.closure is not None:
            connection.assert_not_lost()
            raise CheckFailedError(
                f"after 'closed', the server closed the socket (code {connection.closure.code}) "
                "instead of waiting for the client to close it"
            )


@check(
    f"{CONNECTOR}, ClosedParameters; pipecat's documentation has output variables in 'closed', and "
    "the reference client tolerates them",
    severity=WARNING,
)
async def closed_empty(target: Target) -> None:
    """`closed` has no parameters, except output variables after the caller has hung up."""
    async with target.open_call() as connection:
        unknown = parameters_of(await connection.close_session()).keys() - {"outputVariables"}
        if unknown:
            raise CheckFailedError(
                f"'closed' has the unexpected parameters {shown(sorted(unknown))}"
            )


@check(REFERENCE)
async def close_early(target: Target) -> None:
    """The server answers a `close` that follows `open` immediately."""
    async with target.connection() as connection:
        await connection.send_open()
        await connection.close_session()


@check(REFERENCE)
async def close_while_paused(target: Target) -> None:
    """The server answers `close` while the audio is paused."""
    async with target.open_call() as connection:
        await connection.send("paused")
        await connection.close_session()


async def _provoke_disconnect(connection: CheckedConnection) -> None:
    """Make the server send `disconnect`, by a wrong `serverseq` or a gap in `seq`.

    Some servers increase their expected `seq` after a message with a wrong number, and others do
    not. Therefore the first message has a correct `seq`. After the second message, the connection
    returns to the `seq` before the gap.

    Raises:
        CheckSkippedError: If the server does not send `disconnect`.
    """
    await connection.send("ping", serverseq=connection.server_seq + 100)
    await _observe_until_disconnect(connection)
    if not connection.of_type("disconnect"):
        accepted = connection.seq
        await connection.send("ping", seq=accepted + 5)
        await _observe_until_disconnect(connection)
        connection.seq = accepted
    connection.assert_not_lost()
    if not connection.of_type("disconnect"):
        raise CheckSkippedError(
            "the server did not answer a wrong 'serverseq' or a gap in 'seq' with 'disconnect'"
        )


async def _observe_until_disconnect(connection: CheckedConnection) -> None:
    with suppress(CheckFailedError):
        await connection.wait_for_type(
            "disconnect", timeout=connection.timeouts.observation, skip=0
        )


@check(f"{MEASURED}: the client waits for 10 s")
async def closed_after_disconnect(target: Target) -> None:
    """The server answers the `close` that follows its own `disconnect`."""
    async with target.open_call() as connection:
        await _provoke_disconnect(connection)
        await connection.close_session()


@check(
    f"{REFERENCE}; its client ignores a second 'disconnect', and the {CONNECTOR} sends one",
    severity=WARNING,
)
async def disconnect_once(target: Target) -> None:
    """The server sends `disconnect` at most once in a session."""
    async with target.open_call() as connection:
        await _provoke_disconnect(connection)
        await connection.send("ping", serverseq=connection.server_seq + 100)
        await connection.observe()
        count = len(connection.of_type("disconnect"))
        if count > 1:
            raise CheckFailedError(f"the server sent 'disconnect' {count} times")


@check(DOCUMENTED)
async def disconnect_stays(target: Target) -> None:
    """After `disconnect` the server waits for the client to close the socket."""
    async with target.open_call() as connection:
        await _provoke_disconnect(connection)
        await connection.observe()
        if connection.closure is not None:
            connection.assert_not_lost()
            raise CheckFailedError("the server closed the socket without waiting for 'close'")


@check(MEASURED)
async def disconnect_reason(target: Target) -> None:
    """The `reason` of `disconnect` is a reason that the client knows."""
    async with target.open_call() as connection:
        await _provoke_disconnect(connection)
        reason = parameters_of(connection.of_type("disconnect")[0]).get("reason")
        if reason not in _DISCONNECT_REASONS:
            raise CheckFailedError(
                f"'reason' of 'disconnect' is {shown(reason)}, not a reason of the protocol"
            )


@check(f"{CONNECTOR}, JsonStringMap", modes=BOT)
async def disconnect_variables(target: Target) -> None:
    """The output variables in `disconnect` are strings."""
    async with target.open_call() as connection:
        await _provoke_disconnect(connection)
        parameters = parameters_of(connection.of_type("disconnect")[0])
        for name, value in (parameters.get("outputVariables") or {}).items():
            if not isinstance(value, str):
                raise CheckFailedError(
                    f"the output variable {name!r} is {shown(value)}, which is not a string"
                )
