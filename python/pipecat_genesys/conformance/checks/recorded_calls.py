"""Calls that are placed once, and whose messages several checks examine."""

from __future__ import annotations

from pipecat_genesys.conformance.connection import CheckedConnection
from pipecat_genesys.conformance.errors import CheckFailedError
from pipecat_genesys.conformance.target import Target
from pipecat_genesys.protocol.types import WIRE_SAMPLE_RATE
from pipecat_genesys.simulator import PCMU_EXTERNAL, sample_speech

_FRAME_SECONDS = 0.2


async def sample_call(target: Target) -> CheckedConnection:
    """Return a finished call with two seconds of audio and some pings.

    Checks examine the messages that the server sent. The call is also returned if the server did
    not answer `open` or `close`, because other checks report a missing answer.

    Raises:
        ConnectFailedError: If the server could not be reached.
        ConnectionLostError: If the connection ended without a close frame.
    """
    return await target.recorded_call("sample", _place_sample_call)


async def conversation(target: Target) -> CheckedConnection:
    """Return a finished call in which the caller speaks half of the time and presses keys.

    The call lasts `Timeouts.conversation`. If the medium is not mono mu-law, the caller is silent.

    Raises:
        ConnectFailedError: If the server could not be reached.
        CheckFailedError: If the server did not accept the call.
        ConnectionLostError: If the connection ended without a close frame.
    """
    return await target.recorded_call("conversation", _place_conversation)


async def _place_sample_call(target: Target) -> CheckedConnection:
    async with target.connection() as connection:
        await connection.send_open()
        try:
            await connection.wait_for_type("opened", timeout=target.timeouts.open, skip=0)
            for turn in range(10):
                await connection.send_audio()
                if turn % 3 == 0:
                    await connection.send("ping", {"rtt": "PT0.02S"} if turn else None)
                await connection.observe(0.1)
            await connection.close_session()
        except CheckFailedError:
            pass
        await connection.observe()
        connection.assert_not_lost()
    return connection


async def _place_conversation(target: Target) -> CheckedConnection:
    voice = sample_speech(1.0)
    frame = round(_FRAME_SECONDS * WIRE_SAMPLE_RATE)
    async with target.open_call() as connection:
        if connection.medium != PCMU_EXTERNAL:
            voice = connection.silence(1.0)
            frame *= connection.frame_bytes
        begin = connection.now
        for number in range(round(target.timeouts.conversation / _FRAME_SECONDS)):
            second, part = divmod(number, 5)
            await connection.send_audio(voice[part * frame :][:frame] if second % 2 else None)
            if number % 25 == 0:
                await connection.send("ping")
            if number % 40 == 10:
                await connection.send("dtmf", {"digit": "1"})
            # Each frame is due at an absolute time, so that delays do not add up and the call lasts
            # as long as its audio.
            due = begin + (number + 1) * _FRAME_SECONDS
            while connection.closure is None and connection.now < due:
                await connection.observe(due - connection.now)
        connection.assert_not_lost()
    return connection
