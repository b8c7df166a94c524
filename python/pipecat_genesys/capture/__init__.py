"""Reads and writes captures, which are files with the messages of a call, and masks personal data.

The simulator writes captures of its simulated calls, and the endpoint writes captures of received
calls. Both use the format in `file`. `masking` removes personal data from messages. No function of
this package is asynchronous, and no module imports pipecat.
"""

from .entries import AUDIO, CallMode, CaptureEntry, Direction, Party, content_size
from .file import (
    VERSION,
    CaptureHead,
    CaptureSource,
    MarkKind,
    RecordedCall,
    RecordingMark,
    create_file,
    end_line,
    entry_line,
    head_line,
    mark_line,
    message_line,
    read_capture,
)
from .gaps import has_gaps, make_replayable
from .masking import Choice, Choices, mask_client_message, mask_server_parameters

__all__ = [
    "AUDIO",
    "VERSION",
    "CallMode",
    "CaptureEntry",
    "CaptureHead",
    "CaptureSource",
    "Choice",
    "Choices",
    "Direction",
    "MarkKind",
    "Party",
    "RecordedCall",
    "RecordingMark",
    "content_size",
    "create_file",
    "end_line",
    "entry_line",
    "has_gaps",
    "head_line",
    "make_replayable",
    "mark_line",
    "mask_client_message",
    "mask_server_parameters",
    "message_line",
    "read_capture",
]
