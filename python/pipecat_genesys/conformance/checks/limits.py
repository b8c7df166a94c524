"""Checks of Genesys's limits on the rate and the size of a bot's messages."""

from __future__ import annotations

from collections.abc import Sequence

from pipecat_genesys.conformance.check import BOT, CONNECTOR, FIELD, LIMITS, Schedule, check
from pipecat_genesys.conformance.connection import ReceivedMessage
from pipecat_genesys.conformance.errors import CheckFailedError
from pipecat_genesys.conformance.target import Target
from pipecat_genesys.protocol.types import MAX_MESSAGE_BYTES
from pipecat_genesys.simulator import ClientLimits, Rate

from .recorded_calls import conversation

_SOURCE = f"{LIMITS}; {FIELD}: error 429 ends the call"
_CLIENT_LIMITS = ClientLimits()


def _assert_within(rate: Rate, messages: Sequence[ReceivedMessage], kind: str) -> None:
    bucket = rate.budget()
    for number, message in enumerate(messages, 1):
        if not bucket.take(message.at):
            raise CheckFailedError(
                f"{kind} message {number} arrived {message.at - messages[0].at:.2f} s after the "
                f"first one; this exceeds the limit of {rate.per_second:g} messages a second after "
                f"a burst of {rate.burst:g}"
            )


@check(_SOURCE, modes=BOT, schedule=Schedule.FIRST)
async def rate_of_audio(target: Target) -> None:
    """The server sends at most 5 binary messages a second, after a burst of 25."""
    received = (await conversation(target)).received
    audio = [one for one in received if isinstance(one.content, bytes)]
    _assert_within(_CLIENT_LIMITS.binary, audio, "binary")


@check(_SOURCE, modes=BOT, schedule=Schedule.FIRST)
async def rate_of_text(target: Target) -> None:
    """The server sends at most 5 text messages a second, after a burst of 25."""
    received = (await conversation(target)).received
    texts = [one for one in received if not isinstance(one.content, bytes)]
    _assert_within(_CLIENT_LIMITS.text, texts, "text")


@check(f"{CONNECTOR}, MAXIMUM_BINARY_MESSAGE_SIZE", modes=BOT, schedule=Schedule.FIRST)
async def size_of_audio(target: Target) -> None:
    """No binary message exceeds 64,000 bytes."""
    for one in (await conversation(target)).received:
        if isinstance(one.content, bytes) and one.size > MAX_MESSAGE_BYTES:
            raise CheckFailedError(
                f"a binary message has {one.size} bytes, above the limit of {MAX_MESSAGE_BYTES}"
            )
