"""The server side of the AudioHook protocol, without I/O.

This package contains the messages, the states of a session, the rules that a client can break, and
the stream positions. It uses no sockets, clocks, tasks or audio samples, and does not import
pipecat.

The owner of a socket uses the package as follows:

1. Make an `AudioHookSession`.
2. Pass every text message to `receive_text`, and the length of every binary message to
   `receive_audio`, which returns how many of the bytes are audio of the call.
3. Process the events. If an event has a ``reply``, pass the reply to `to_wire` when the socket is
   ready, and send the returned text before the next message is passed to `to_wire`.
4. For other messages, build a draft with `server_messages` and pass the draft to `to_wire` in the
   same way. `allows` returns whether a message may be sent now; if not, `to_wire` raises
   `LocalProtocolError`.
5. Do not close the socket: the client closes it after ``closed``.

If the peer breaks a rule, a `Faulted` event is returned. No message of the peer makes a method
raise an exception.
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
    Position,
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
    "Position",
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
