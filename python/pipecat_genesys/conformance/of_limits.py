"""What a client accepts from a bot in a second, and at once."""

from __future__ import annotations

import math

from pipecat_genesys import audio
from pipecat_genesys.protocol.types import MAX_MESSAGE_BYTES, WIRE_SAMPLE_RATE
from pipecat_genesys.simulator import ClientLimits, Rate

from .checking import BOT, FIELD, LIMITS, BrokenRule, check
from .line import Heard, Line
from .target import Target

_SOURCE = f"{LIMITS}; {FIELD}: error 429 ends the call"
_FRAME = 0.2
_LIMITS = ClientLimits()


def _voice(seconds: float) -> bytes:
    """Something like speech, for bots that wait to be spoken to: bursts of a buzz, mu-law."""
    pcm = bytearray()
    for n in range(round(seconds * WIRE_SAMPLE_RATE)):
        at = n / WIRE_SAMPLE_RATE
        loud = 0.5 + 0.5 * math.sin(2 * math.pi * 4 * at)
        buzz = sum(math.sin(2 * math.pi * 140 * k * at) / k for k in range(1, 12))
        pcm += round(6000 * loud * buzz).to_bytes(2, "little", signed=True)
    return audio.ulaw_encode(bytes(pcm))


async def _conversation(target: Target) -> Line:
    """A caller who speaks half of the time, and presses a key."""
    voice = _voice(1.0)
    frame = round(_FRAME * WIRE_SAMPLE_RATE)
    async with target.opened() as line:
        begin = line.now
        for number in range(round(target.patience.talk / _FRAME)):
            second, part = divmod(number, 5)
            spoken = voice[part * frame :][:frame] if second % 2 else None
            await line.audio(spoken)
            if number % 25 == 0:
                await line.send("ping")
            if number % 40 == 10:
                await line.send("dtmf", {"digit": "1"})
            # By the clock, so that it is as long as a caller's.
            await line.settle(max(0.0, begin + (number + 1) * _FRAME - line.now))
            while line.ended is None and line.now < begin + (number + 1) * _FRAME:
                await line.settle(begin + (number + 1) * _FRAME - line.now)
    return line


def _within(heard: list[Heard], rate: Rate, what: str) -> None:
    bucket = rate.bucket()
    for number, one in enumerate(heard, 1):
        if not bucket.take(one.at):
            raise BrokenRule(
                f"{what} {number} came {one.at - heard[0].at:.2f} s after the first: more than "
                f"{rate.per_second:g} a second after a burst of {rate.burst:g}"
            )


@check("rate-of-audio", "at most 5 binary messages a second, 25 at once", _SOURCE, modes=BOT)
async def _(target: Target) -> None:
    line = await target.shared("conversation", _conversation)
    binary = [one for one in line.heard if isinstance(one.message, bytes)]
    _within(binary, _LIMITS.binary, "audio message")


@check("rate-of-text", "at most 5 text messages a second, 25 at once", _SOURCE, modes=BOT)
async def _(target: Target) -> None:
    line = await target.shared("conversation", _conversation)
    texts = [one for one in line.heard if not isinstance(one.message, bytes)]
    _within(texts, _LIMITS.text, "text message")


@check(
    "size-of-audio",
    "no binary message exceeds 64,000 bytes",
    "Genesys Audio Connector reference implementation, MAXIMUM_BINARY_MESSAGE_SIZE",
    modes=BOT,
)
async def _(target: Target) -> None:
    line = await target.shared("conversation", _conversation)
    for one in line.heard:
        if isinstance(one.message, bytes) and one.size > MAX_MESSAGE_BYTES:
            raise BrokenRule(f"one has {one.size} bytes")
