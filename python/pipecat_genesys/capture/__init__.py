"""Captures: the messages of a call in a file, and what of them is personal.

The simulator writes captures of the calls that it makes, and the endpoint writes captures of the
calls that it gets. Both use the format in `file`. `masking` removes personal data from messages.
Nothing here waits, and nothing here imports pipecat.
"""

from .entries import AUDIO, CallMode, CaptureEntry, Direction, Party, content_size
from .file import (
    VERSION,
    CaptureHead,
    CaptureSource,
    MarkKind,
    RecordedCall,
    RecordingMark,
    audio_line,
    create_file,
    end_line,
    entry_line,
    head_line,
    mark_line,
    message_line,
    read_capture,
    silence_content,
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
    "audio_line",
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
    "silence_content",
]
