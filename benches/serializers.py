"""Creates our serializer or pipecat's serializer, and runs coroutines without an event loop."""

from __future__ import annotations

from collections.abc import Coroutine
from types import SimpleNamespace
from typing import Any

import pipecat.serializers.genesys as pipecat_genesys_serializer
from loguru import logger
from open_message import OPEN_MESSAGE
from pipecat.frames.frames import OutputAudioRawFrame
from pipecat_genesys import GenesysAudioHookSerializer

# Log lines are not part of any measurement unless a benchmark adds a log itself.
logger.remove()

SERIALIZERS: dict[str, Any] = {
    "ours": GenesysAudioHookSerializer,
    "pipecat": pipecat_genesys_serializer.GenesysAudioHookSerializer,
}

LOSSLESS = {"resampler_clear_after_secs": None}
"""Parameters with which pipecat's resampler discards no audio; ours ignores them."""


def run_coroutine(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine that never waits, without the cost of an event loop."""
    try:
        coroutine.send(None)
    except StopIteration as finished:
        return finished.value
    raise RuntimeError("the coroutine waits; this function runs only coroutines that never wait")


def connected_serializer(name: str, rate: int, **params: Any) -> Any:
    """Return a serializer that has been set up and has received no message.

    Args:
        name: A key of `SERIALIZERS`.
        rate: Sample rate of the pipeline in Hz.
        params: Fields of the serializer's `InputParams`.
    """
    kind = SERIALIZERS[name]
    serializer = kind(kind.InputParams(**params))
    run_coroutine(serializer.setup(SimpleNamespace(audio_in_sample_rate=rate)))
    return serializer


def opened_serializer(name: str, rate: int, **params: Any) -> Any:
    """Return a serializer that has received `open` and sent `opened`.

    Args:
        name: A key of `SERIALIZERS`.
        rate: Sample rate of the pipeline in Hz.
        params: Fields of the serializer's `InputParams`.
    """
    serializer = connected_serializer(name, rate, **params)
    reply = run_coroutine(serializer.deserialize(OPEN_MESSAGE))
    opened = run_coroutine(serializer.serialize(reply))
    assert '"opened"' in opened, opened
    return serializer


def output_frame(pcm: bytes, rate: int) -> OutputAudioRawFrame:
    """Return the frame that a transport passes to `serialize`."""
    return OutputAudioRawFrame(audio=pcm, sample_rate=rate, num_channels=1)
