"""Whose fault it was: the peer's or our caller's.

The tree::

    AudioHookError
    +-- LocalProtocolError    this side asked for something the protocol forbids now; raised
    +-- RemoteProtocolError   the peer broke a rule; carried by an event, never raised

"""

from __future__ import annotations

from enum import StrEnum

from pipecat_genesys.errors import PipecatGenesysError


class AudioHookError(PipecatGenesysError):
    """Base of everything this package raises about the protocol."""


class LocalProtocolError(AudioHookError):
    """The application asked for a message that may not be sent in the session's state."""


class Rule(StrEnum):
    """The rules a peer can break; a closed list, so counters keyed by it stay small."""

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
    """Not the peer's fault: a message this package failed on."""


class RemoteProtocolError(AudioHookError):
    """The peer broke a rule.

    Attributes:
        rule: Which one.
    """

    def __init__(self, rule: Rule, detail: str) -> None:
        super().__init__(detail)
        self.rule = rule
