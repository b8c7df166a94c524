"""Genesys Cloud AudioHook and Audio Connector for Pipecat.

`GenesysAudioHookSerializer` is a drop-in replacement for pipecat's class of that name.

All names except `PipecatGenesysError` are imported on first use, because importing pipecat takes
seconds. `pipecat_genesys.audio`, `pipecat_genesys.auth`, `pipecat_genesys.protocol` and
`pipecat_genesys.simulator` do not import pipecat.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .errors import PipecatGenesysError

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
    from .protocol.types import AudioHookChannel, AudioHookMediaFormat, AudioHookMessageType
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


def _module_of(name: str) -> str:
    if name.startswith("AudioHook"):
        return ".protocol.types"
    return ".call.frames" if name.endswith("Frame") else ".serializer"


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module(_module_of(name), __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
