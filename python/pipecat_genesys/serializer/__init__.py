"""A drop-in replacement for Pipecat's Genesys serializer.

* `serializer`: the class of the serializer; it holds a `pipecat_genesys.call.Call`.
* `pipecat_compat`: builds the same dict messages as Pipecat's class.
* `stock_transport`: parameters for Pipecat's own transports.
* `stereo`: a processor that separates two channels.
"""

from .serializer import GenesysAudioHookSerializer
from .stereo import StereoSplitter
from .stock_transport import genesys_params

GenesysFrameSerializer = GenesysAudioHookSerializer
"""The same class with a name that follows Pipecat's naming rule."""

__all__ = [
    "GenesysAudioHookSerializer",
    "GenesysFrameSerializer",
    "StereoSplitter",
    "genesys_params",
]
