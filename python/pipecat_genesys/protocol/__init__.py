"""The AudioHook protocol as a server speaks it, sans-I/O.

What belongs here: messages, states, faults, positions. What does not: sockets, clocks, tasks,
pipecat, audio samples.

The contract, for whoever owns a socket:

1. Make an `AudioHookSession`.
2. Hand every text message to `receive_text` and the length of every binary one to
   `receive_audio`; the latter says how many of the bytes are audio of the call.
3. Act on the events. Where one has a ``reply``, pass it to `to_wire` when the socket is ready and
   send what that returns before passing the next.
4. For messages of your own, build a draft with `server_messages` and do the same. `allows` says
   beforehand what `to_wire` would refuse with `LocalProtocolError`.
5. Never close the socket; the client does after ``closed``.

A peer's faults arrive as `Faulted` events; nothing the peer sends makes a method raise.
"""

from . import entities, events, fields, server_messages
from .errors import AudioHookError, LocalProtocolError, RemoteProtocolError, Rule
from .media import MediaPreference, select_media
from .server_messages import Draft, WireMessage
from .session import AudioHookSession
from .states import State
from .types import (
    MAX_MESSAGE_BYTES,
    NULL_UUID,
    PROTOCOL_VERSION,
    WIRE_SAMPLE_RATE,
    AudioHookChannel,
    AudioHookMediaFormat,
    AudioHookMessageType,
    CloseReason,
    DisconnectReason,
    ErrorCode,
    Media,
    format_duration,
    parse_duration,
    samples_to_duration,
)

__all__ = [
    "MAX_MESSAGE_BYTES",
    "NULL_UUID",
    "PROTOCOL_VERSION",
    "WIRE_SAMPLE_RATE",
    "AudioHookChannel",
    "AudioHookError",
    "AudioHookMediaFormat",
    "AudioHookMessageType",
    "AudioHookSession",
    "CloseReason",
    "DisconnectReason",
    "Draft",
    "ErrorCode",
    "LocalProtocolError",
    "Media",
    "MediaPreference",
    "RemoteProtocolError",
    "Rule",
    "State",
    "WireMessage",
    "entities",
    "events",
    "fields",
    "format_duration",
    "parse_duration",
    "samples_to_duration",
    "select_media",
    "server_messages",
]
