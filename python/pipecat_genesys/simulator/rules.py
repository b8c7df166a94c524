"""The rules a server can break, and what the client does about each of them.

One table. The codes, the texts and which of them end the session are those measured with the
reference client and a misbehaving server; where production is known to be stricter (an unknown
key in a media entry, the rate limits, the size limit) production's behaviour is taken.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from pipecat_genesys.errors import PipecatGenesysError


class Rule(StrEnum):
    """A rule of the protocol, by a name that reports and tests can rely on."""

    # Reaching a deadline.
    OPEN_TIMEOUT = "open_timeout"
    CLOSE_TIMEOUT = "close_timeout"
    PONG_TIMEOUT = "pong_timeout"
    # The envelope.
    NOT_JSON = "not_json"
    NOT_A_SERVER_MESSAGE = "not_a_server_message"
    WRONG_ID = "wrong_id"
    SEQUENCE = "sequence"
    CLIENTSEQ_AHEAD = "clientseq_ahead"
    UNKNOWN_TYPE = "unknown_type"
    BAD_PARAMETERS = "bad_parameters"
    UNEXPECTED_MESSAGE = "unexpected_message"
    AFTER_CLOSED = "after_closed"
    # Single messages.
    SEVERAL_MEDIA = "several_media"
    MEDIA_NOT_OFFERED = "media_not_offered"
    MEDIA_UNKNOWN_KEY = "media_unknown_key"
    PONG_CLIENTSEQ = "pong_clientseq"
    PONG_UNEXPECTED = "pong_unexpected"
    EVENT_BEFORE_OPENED = "event_before_opened"
    OUTPUT_VARIABLES = "output_variables"
    BAD_ENTITY = "bad_entity"
    # Audio and amounts.
    UNEXPECTED_BINARY = "unexpected_binary"
    PARTIAL_SAMPLE = "partial_sample"
    MESSAGE_TOO_LARGE = "message_too_large"
    BINARY_RATE = "binary_rate"
    TEXT_RATE = "text_rate"
    PAUSE_RATE = "pause_rate"
    RESUME_RATE = "resume_rate"
    # The socket.
    SERVER_CLOSED_SOCKET = "server_closed_socket"
    WEBSOCKET_FAULT = "websocket_fault"
    # Tolerated, and worth knowing.
    POSITION_PRESENT = "position_present"
    UNKNOWN_FIELD = "unknown_field"
    UNKNOWN_PARAMETER = "unknown_parameter"
    LANGUAGES_NOT_ASKED = "languages_not_asked"
    LANGUAGES_MISSING = "languages_missing"
    LANGUAGE_CODE = "language_code"
    TRANSCRIPT_TIMES = "transcript_times"
    CHANNEL_ID = "channel_id"
    SEVERAL_ENTITIES = "several_entities"
    CLOSED_PARAMETERS = "closed_parameters"
    UPDATED_UNEXPECTED = "updated_unexpected"
    REPEATED_DISCONNECT = "repeated_disconnect"
    EMPTY_AUDIO = "empty_audio"
    AUDIO_CUT = "audio_cut"
    SOCKET_CLOSE_RACE = "socket_close_race"


class Severity(StrEnum):
    """How bad breaking a rule is."""

    VIOLATION = "violation"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Reaction:
    """What the client does when a rule is broken.

    Attributes:
        code: Code of the ``error`` message, None where the client says nothing.
        text: Text of the ``error`` message; the detail is appended where it is ``detailed``.
        ends_call: Whether ``close`` with reason ``error`` follows.
        severity: Whether a call on which this happened can be called clean.
        detailed: Whether the particulars go on the wire too. The reference client says only
            "Internal client error"; naming the fault helps whoever reads the server's log.
    """

    code: int | None = None
    text: str = ""
    ends_call: bool = False
    severity: Severity = Severity.VIOLATION
    detailed: bool = False


def _fatal(code: int, text: str, *, detailed: bool = False) -> Reaction:
    return Reaction(code, text, ends_call=True, detailed=detailed)


_INTERNAL = _fatal(500, "Internal client error", detailed=True)
_RATE = _fatal(429, "Rate limit exceeded")
_RECORDED = Reaction()
_WARNING = Reaction(severity=Severity.WARNING)

REACTIONS: Mapping[Rule, Reaction] = MappingProxyType(
    {
        Rule.OPEN_TIMEOUT: _fatal(408, "Open transaction timeout"),
        # The session drops the socket after this one; there is no second ``close``.
        Rule.CLOSE_TIMEOUT: Reaction(408, "Close transaction timeout"),
        Rule.PONG_TIMEOUT: _fatal(408, "Timeout waiting for pong"),
        Rule.NOT_JSON: _fatal(400, "Message not well-formed JSON"),
        Rule.NOT_A_SERVER_MESSAGE: _fatal(
            400, "Message not an AudioHook server message", detailed=True
        ),
        Rule.WRONG_ID: _fatal(400, "Session id mismatch"),
        Rule.SEQUENCE: _INTERNAL,
        Rule.CLIENTSEQ_AHEAD: _fatal(400, "Invalid clientseq", detailed=True),
        Rule.UNKNOWN_TYPE: _INTERNAL,
        Rule.BAD_PARAMETERS: _INTERNAL,
        Rule.UNEXPECTED_MESSAGE: _fatal(409, "Unexpected message", detailed=True),
        Rule.AFTER_CLOSED: _RECORDED,
        Rule.SEVERAL_MEDIA: _fatal(400, "More than one media selected"),
        Rule.MEDIA_NOT_OFFERED: _fatal(400, "Selected media not one of the offered"),
        Rule.MEDIA_UNKNOWN_KEY: _fatal(400, "Unrecognized field in media", detailed=True),
        # The next two are errors that do not end the session: an unanswered ping stays
        # unanswered, and that ends it when the next one is due.
        Rule.PONG_CLIENTSEQ: Reaction(
            400, "The \"clientseq\" of the 'pong' message must match \"seq\" of the 'ping' message."
        ),
        Rule.PONG_UNEXPECTED: Reaction(409, "Unexpected 'pong' (no outstanding 'ping')"),
        Rule.EVENT_BEFORE_OPENED: _RECORDED,
        Rule.OUTPUT_VARIABLES: _RECORDED,
        # What the client does with an entity it cannot read is not known.
        Rule.BAD_ENTITY: _RECORDED,
        Rule.UNEXPECTED_BINARY: _fatal(415, "Unexpected binary message"),
        Rule.PARTIAL_SAMPLE: _fatal(400, "Binary message ends within a sample"),
        Rule.MESSAGE_TOO_LARGE: _fatal(413, "Message too large"),
        Rule.BINARY_RATE: _RATE,
        Rule.TEXT_RATE: _RATE,
        Rule.PAUSE_RATE: _RATE,
        Rule.RESUME_RATE: _RATE,
        Rule.SERVER_CLOSED_SOCKET: _RECORDED,
        Rule.WEBSOCKET_FAULT: _RECORDED,
        Rule.POSITION_PRESENT: _WARNING,
        Rule.UNKNOWN_FIELD: _WARNING,
        Rule.UNKNOWN_PARAMETER: _WARNING,
        Rule.LANGUAGES_NOT_ASKED: _WARNING,
        Rule.LANGUAGES_MISSING: _WARNING,
        Rule.LANGUAGE_CODE: _WARNING,
        Rule.TRANSCRIPT_TIMES: _WARNING,
        Rule.CHANNEL_ID: _WARNING,
        Rule.SEVERAL_ENTITIES: _WARNING,
        Rule.CLOSED_PARAMETERS: _WARNING,
        Rule.UPDATED_UNEXPECTED: _WARNING,
        Rule.REPEATED_DISCONNECT: _WARNING,
        Rule.EMPTY_AUDIO: _WARNING,
        Rule.AUDIO_CUT: _WARNING,
        Rule.SOCKET_CLOSE_RACE: _WARNING,
    }
)


class BrokenRuleError(PipecatGenesysError):
    """A server message breaks a rule; raised by the checks and handled by the session.

    Attributes:
        rule: Which one.
        detail: In what way, in words for a person.
    """

    def __init__(self, rule: Rule, detail: str) -> None:
        super().__init__(f"{rule}: {detail}")
        self.rule = rule
        self.detail = detail
