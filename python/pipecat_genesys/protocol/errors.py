"""The errors of the protocol: messages that may not be sent, and rules that the peer broke.

The session raises `LocalProtocolError`. The session never raises `RemoteProtocolError`; a `Faulted`
event contains this error.
"""

from __future__ import annotations

from enum import StrEnum

from pipecat_genesys.errors import PipecatGenesysError


class AudioHookError(PipecatGenesysError):
    """Base class of the protocol's errors."""


class LocalProtocolError(AudioHookError):
    """A message may not be sent in the session's state, is too large, or is not JSON."""


class Rule(StrEnum):
    """The rules that a peer can break. The number of rules is fixed, so each can have a counter."""

    TEXT_SIZE = "text-size"
    JSON = "json"
    NOT_AN_OBJECT = "not-an-object"
    UNKNOWN_TYPE = "unknown-type"
    UNKNOWN_FIELD = "unknown-field"
    ENVELOPE = "envelope"
    PARAMETERS = "parameters"
    VERSION = "version"
    ID = "id"
    SEQ = "seq"
    SERVERSEQ = "serverseq"
    POSITION = "position"
    MEDIA = "media"
    STATE = "state"
    AUDIO_LENGTH = "audio-length"
    AUDIO_STATE = "audio-state"
    INTERNAL = "internal"
    """Not a fault of the peer: this package failed to handle a message."""


class RemoteProtocolError(AudioHookError):
    """The peer broke a rule.

    Attributes:
        rule: The broken rule.
    """

    def __init__(self, rule: Rule, detail: str) -> None:
        super().__init__(detail)
        self.rule = rule
