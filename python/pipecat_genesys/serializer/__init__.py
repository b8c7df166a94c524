"""The drop-in for pipecat's Genesys serializer; the only room that imports pipecat.

* `serializer`: the class, frames to session and audio and back.
* `call_view`: what the application reads of a call.
* `answers`: what it may decide before Genesys gets an answer.
* `verbs`: what it says to Genesys.
* `receiving`: what a text message from Genesys does.
* `delivery`: how that gets to a stock transport's socket.
* `control_frames`: what Genesys says, as frames.
* `params`: its configuration, and the transport's.
* `messages`: the dicts pipecat's class builds, and their way to the wire.
* `frames`: the audio frame, made quickly.
* `call_audio`: wire audio to PCM and back.
* `call_log`: what a call writes to the log.
* `stereo`: a processor that separates two channels.
"""

from .control_frames import (
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
from .params import genesys_params
from .serializer import GenesysAudioHookSerializer
from .stereo import StereoSplitter

GenesysFrameSerializer = GenesysAudioHookSerializer
"""The same class under the name Pipecat's naming rule gives it."""

__all__ = [
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
    "StereoSplitter",
    "genesys_params",
]
