"""How a session ends: `close`, `closed`, and `disconnect` by the server."""

from __future__ import annotations

from pipecat_genesys.conformance.check import (
    BOT,
    CONNECTOR,
    DOCUMENTED,
    MEASURED,
    REFERENCE,
    WARNING,
    check,
)
from pipecat_genesys.conformance.connection import CheckedConnection, shown
from pipecat_genesys.conformance.errors import CheckFailedError, CheckSkippedError
from pipecat_genesys.conformance.target import Target

_DISCONNECT_REASONS = frozenset({"completed", "unauthorized", "error"})


@check(f"{REFERENCE}; {MEASURED}")
async def closed_in_time(target: Target) -> None:
    """The server answers `close` with `closed` within 10 s."""
    async with target.open_call() as connection:
        await connection.close_session()


@check(REFERENCE)
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
            raise CheckFailedError(f"the server sent after 'closed': {shown(late)}")


@check(f"{DOCUMENTED}: Genesys takes a socket closed by the server for a network failure")
async def client_hangs_up(target: Target) -> None:
    """After `closed` the server leaves it to the client to close the socket."""
    async with target.open_call() as connection:
        await connection.close_session()
        await connection.observe()
        if connection.closure is not None:
            code = connection.closure.code
            with_code = "without a close frame" if code is None else f"with code {code}"
            raise CheckFailedError(f"the server closed the socket {with_code}")


@check(f"{CONNECTOR}, ClosedParameters; the reference client tolerates it", severity=WARNING)
async def closed_empty(target: Target) -> None:
    """`closed` has no parameters; output variables belong in `disconnect`."""
    async with target.open_call() as connection:
        parameters = (await connection.close_session()).get("parameters")
        if parameters:
            raise CheckFailedError(f"'closed' has the parameters {shown(sorted(parameters))}")


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
    """Make the server send `disconnect`, by a gap in `seq`.

    Raises:
        CheckSkippedError: If the server does not send `disconnect`.
    """
    await connection.send("ping", seq=connection.seq + 5)
    await connection.observe()
    if not connection.of_type("disconnect"):
        raise CheckSkippedError("the server did not answer a gap in 'seq' with 'disconnect'")


@check(f"{MEASURED}: the client waits for 10 s")
async def closed_after_disconnect(target: Target) -> None:
    """The server answers the `close` that follows its own `disconnect`."""
    async with target.open_call() as connection:
        await _provoke_disconnect(connection)
        await connection.close_session()


@check(REFERENCE)
async def disconnect_once(target: Target) -> None:
    """The server sends `disconnect` at most once in a session."""
    async with target.open_call() as connection:
        await _provoke_disconnect(connection)
        await connection.send("ping", seq=connection.seq + 5)
        await connection.observe()
        count = len(connection.of_type("disconnect"))
        if count > 1:
            raise CheckFailedError(f"the server sent 'disconnect' {count} times")


@check(DOCUMENTED)
async def disconnect_stays(target: Target) -> None:
    """After `disconnect` the server leaves it to the client to close the socket."""
    async with target.open_call() as connection:
        await _provoke_disconnect(connection)
        await connection.observe()
        if connection.closure is not None:
            raise CheckFailedError("the server closed the socket without waiting for 'close'")


@check(MEASURED)
async def disconnect_reason(target: Target) -> None:
    """The `reason` of `disconnect` is one that the client knows."""
    async with target.open_call() as connection:
        await _provoke_disconnect(connection)
        reason = connection.of_type("disconnect")[0].get("parameters", {}).get("reason")
        if reason not in _DISCONNECT_REASONS:
            raise CheckFailedError(f"'reason' is {shown(reason)}")


@check(f"{CONNECTOR}, JsonStringMap", modes=BOT)
async def disconnect_variables(target: Target) -> None:
    """The output variables in `disconnect` are strings."""
    async with target.open_call() as connection:
        await _provoke_disconnect(connection)
        parameters = connection.of_type("disconnect")[0].get("parameters", {})
        for name, value in (parameters.get("outputVariables") or {}).items():
            if not isinstance(value, str):
                raise CheckFailedError(f"the output variable {name!r} is {shown(value)}")
