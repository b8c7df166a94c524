"""Genesys Cloud AudioHook and Audio Connector for Pipecat.

`GenesysAudioHookSerializer` is a drop-in for pipecat's class of that name. The names that need
pipecat are resolved on first use, as importing it takes seconds; `pipecat_genesys.audio`,
`pipecat_genesys.auth`, `pipecat_genesys.protocol` and `pipecat_genesys.simulator` work without.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .errors import PipecatGenesysError
from .protocol.types import AudioHookChannel, AudioHookMediaFormat, AudioHookMessageType

if TYPE_CHECKING:
    from .call.frames import (
        GenesysCloseFrame,
        GenesysDiscardedFrame,
        GenesysOpenFrame,
        GenesysPausedFrame,
        GenesysPingFrame,
        GenesysPlaybackCompletedFrame,
        GenesysPlaybackStartedFrame,
        GenesysResumedFrame,
        GenesysUpdateFrame,
    )
    from .serializer import (
        GenesysAudioHookSerializer,
        GenesysFrameSerializer,
        StereoSplitter,
        genesys_params,
    )

__all__ = [
    "AudioHookChannel",
    "AudioHookMediaFormat",
    "AudioHookMessageType",
    "GenesysAudioHookSerializer",
    "GenesysCloseFrame",
    "GenesysDiscardedFrame",
    "GenesysFrameSerializer",
    "GenesysOpenFrame",
    "GenesysPausedFrame",
    "GenesysPingFrame",
    "GenesysPlaybackCompletedFrame",
    "GenesysPlaybackStartedFrame",
    "GenesysResumedFrame",
    "GenesysUpdateFrame",
    "PipecatGenesysError",
    "StereoSplitter",
    "genesys_params",
]


def __getattr__(name: str) -> Any:
    if name in __all__:
        is_frame = name.endswith("Frame")
        return getattr(import_module(".call.frames" if is_frame else ".serializer", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
