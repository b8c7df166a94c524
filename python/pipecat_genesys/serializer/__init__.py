"""The drop-in for Pipecat's Genesys serializer.

* `serializer`: the class; it holds a `pipecat_genesys.call.Call`.
* `pipecat_compat`: the dict messages that Pipecat's class builds, and their conversion.
* `stock_transport`: parameters for Pipecat's own transports.
* `stereo`: a processor that separates two channels.
"""

from .serializer import GenesysAudioHookSerializer
from .stereo import StereoSplitter
from .stock_transport import genesys_params

GenesysFrameSerializer = GenesysAudioHookSerializer
"""The same class under the name that Pipecat's naming rule gives it."""

__all__ = [
    "GenesysAudioHookSerializer",
    "GenesysFrameSerializer",
    "StereoSplitter",
    "genesys_params",
]
