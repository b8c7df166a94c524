"""Checks of the messages of a running call, and of input that must not end the call."""

from __future__ import annotations

from pipecat_genesys.conformance.check import (
    BOT,
    DOCUMENTED,
    FIELD,
    MEASURED,
    MONITOR,
    REFERENCE,
    WARNING,
    check,
)
from pipecat_genesys.conformance.connection import Message, parameters_of, shown
from pipecat_genesys.conformance.errors import CheckFailedError
from pipecat_genesys.conformance.target import Target

from .recorded_calls import sample_call

_KEYS = "0123456789*#"


@check(f"{DOCUMENTED}, compatibility")
async def unknown_type(target: Target) -> None:
    """The server ignores a message of an unknown type."""
    async with target.open_call() as connection:
        await connection.send("futureMessage", {"what": "ever"})
        await connection.assert_call_continues()


@check(f"{DOCUMENTED}, compatibility")
async def unknown_fields(target: Target) -> None:
    """The server ignores unknown fields of a message and of its parameters."""
    async with target.open_call() as connection:
        await connection.ping({"futureParameter": 1}, futureField=[1])
        await connection.assert_call_continues()


@check("Genesys help, AudioHook session")
async def client_pause(target: Target) -> None:
    """The server does not answer a `paused` for which it did not ask."""
    async with target.open_call() as connection:
        await connection.send_audio()
        before = len(connection.messages)
        await connection.send("paused")
        await connection.observe()
        answers = [m.get("type") for m in connection.messages[before:] if m.get("type") != "event"]
        if answers and not connection.server_ended_call:
            raise CheckFailedError(f"the server answered 'paused' with {shown(answers)}")


@check(f"{REFERENCE}; {DOCUMENTED}")
async def client_resume(target: Target) -> None:
    """The server accepts `resumed` after a pause by the client, and the audio that follows."""
    async with target.open_call() as connection:
        await connection.send_audio()
        await connection.send("paused")
        connection.position += 8000
        await connection.send("resumed", {"start": "PT0.2S", "discarded": "PT1S"})
        await connection.assert_call_continues()


@check(REFERENCE)
async def discarded(target: Target) -> None:
    """The server accepts `discarded` and the gap in the audio that it reports."""
    async with target.open_call() as connection:
        await connection.send_audio()
        connection.position += 1600
        await connection.send("discarded", {"start": "PT0.2S", "discarded": "PT0.2S"})
        await connection.assert_call_continues()


@check(f"{REFERENCE}, DTMF", modes=BOT)
async def dtmf(target: Target) -> None:
    """The server accepts `dtmf` for every key of a telephone."""
    async with target.open_call() as connection:
        for key in _KEYS:
            await connection.send("dtmf", {"digit": key})
        await connection.assert_call_continues()


@check(FIELD, modes=BOT)
async def playback(target: Target) -> None:
    """The server accepts `playback_started` and `playback_completed`."""
    async with target.open_call() as connection:
        await connection.send("playback_started")
        await connection.send("playback_completed")
        await connection.assert_call_continues()


@check(f"{REFERENCE}, UpdateParameters")
async def update(target: Target) -> None:
    """The call continues after a change of language."""
    async with target.open_call() as connection:
        await connection.send("update", {"language": "de-DE"})
        await connection.assert_call_continues()


@check(f"{DOCUMENTED}, update", severity=WARNING)
async def update_answered(target: Target) -> None:
    """The server answers `update` with `updated`, or with `pause` or `disconnect`."""
    async with target.open_call() as connection:
        before = len(connection.messages)
        await connection.send("update", {"language": "de-DE"})
        await connection.wait_for_type(
            "updated", "pause", "disconnect", timeout=target.timeouts.pong, skip=before
        )


@check(MEASURED)
async def client_error(target: Target) -> None:
    """The server answers `close` after an `error` from the client."""
    async with target.open_call() as connection:
        await connection.send("error", {"code": 500, "message": "Internal client error"})
        await connection.close_session()


@check(f"{MEASURED}: error 415", modes=MONITOR)
async def silent_monitor(target: Target) -> None:
    """A server that only listens sends no audio."""
    connection = await sample_call(target)
    if any(isinstance(one.content, bytes) for one in connection.received):
        raise CheckFailedError("the server sent audio")


@check(
    f"{FIELD}; every 'barge_in' counts against the limit for text messages",
    severity=WARNING,
    modes=BOT,
)
async def barge_in_idle(target: Target) -> None:
    """The server sends `barge_in` only while bot audio is being played."""
    async with target.open_call() as connection:
        for key in "12":
            await connection.send("dtmf", {"digit": key})
            await connection.send_audio()
            await connection.observe(target.timeouts.observation / 2)
        playing_until = 0.0
        for one in connection.received:
            if isinstance(one.content, bytes):
                playing_until = max(playing_until, one.at) + len(one.content) / 8000
            elif isinstance(one.content, dict) and _is_barge_in(one.content):
                if one.at > playing_until:
                    raise CheckFailedError(
                        f"the server sent 'barge_in' {one.at:.1f} s into the call, "
                        "when no bot audio was being played"
                    )
                playing_until = one.at


def _is_barge_in(message: Message) -> bool:
    entities = parameters_of(message).get("entities") or [{}]
    return message.get("type") == "event" and entities[0].get("type") == "barge_in"
