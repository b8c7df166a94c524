"""The rules that a server must keep, and the client's reaction when a server breaks a rule.

`REACTIONS` has the reaction to each rule. Error codes, texts and whether the session ends were
measured with Genesys's reference client and a server that broke each rule. Production is known to
be stricter about unknown keys in a medium, message rates and message size. For these rules, the
table has production's reaction.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from pipecat_genesys.errors import PipecatGenesysError


class ServerRule(StrEnum):
    """A rule of the protocol for servers. The values are stable; reports and tests use them."""

    # Deadlines.
    OPEN_TIMEOUT = "open_timeout"
    CLOSE_TIMEOUT = "close_timeout"
    PONG_TIMEOUT = "pong_timeout"
    # Rules about the message envelope.
    NOT_JSON = "not_json"
    NOT_A_SERVER_MESSAGE = "not_a_server_message"
    WRONG_ID = "wrong_id"
    SEQUENCE = "sequence"
    CLIENTSEQ_AHEAD = "clientseq_ahead"
    UNKNOWN_TYPE = "unknown_type"
    BAD_PARAMETERS = "bad_parameters"
    UNEXPECTED_MESSAGE = "unexpected_message"
    AFTER_CLOSED = "after_closed"
    # Rules that apply to one message type.
    SEVERAL_MEDIA = "several_media"
    MEDIA_NOT_OFFERED = "media_not_offered"
    MEDIA_UNKNOWN_KEY = "media_unknown_key"
    PONG_CLIENTSEQ = "pong_clientseq"
    PONG_UNEXPECTED = "pong_unexpected"
    EVENT_BEFORE_OPENED = "event_before_opened"
    OUTPUT_VARIABLES = "output_variables"
    BAD_ENTITY = "bad_entity"
    # Rules about audio, message size and message rates.
    UNEXPECTED_BINARY = "unexpected_binary"
    PARTIAL_SAMPLE = "partial_sample"
    MESSAGE_TOO_LARGE = "message_too_large"
    BINARY_RATE = "binary_rate"
    TEXT_RATE = "text_rate"
    PAUSE_RATE = "pause_rate"
    RESUME_RATE = "resume_rate"
    # The WebSocket.
    SERVER_CLOSED_SOCKET = "server_closed_socket"
    WEBSOCKET_FAULT = "websocket_fault"
    # Rules that the client tolerates. If a server breaks one of them, a warning is reported.
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


@dataclass(frozen=True, slots=True)
class Reaction:
    """What the client does when a server breaks a rule.

    Attributes:
        code: Code of the `error` message, or None if the client sends no `error`.
        text: Text of the `error` message.
        ends_call: Whether the client sends `close` with reason `error` next.
        is_tolerated: Whether the call can still be clean. A tolerated breach is reported as a
            `ProtocolWarning`, any other as a `Violation`.
        is_detailed: Whether the `error` text also describes the mistake in this message. The
            reference client sends only "Internal client error"; the simulator adds the detail to
            help developers who read the server's log.
    """

    code: int | None = None
    text: str = ""
    ends_call: bool = False
    is_tolerated: bool = False
    is_detailed: bool = False


def _fatal(code: int, text: str, *, is_detailed: bool = False) -> Reaction:
    return Reaction(code, text, ends_call=True, is_detailed=is_detailed)


_INTERNAL = _fatal(500, "Internal client error", is_detailed=True)
_RATE = _fatal(429, "Rate limit exceeded")
_RECORDED = Reaction()
_TOLERATED = Reaction(is_tolerated=True)

REACTIONS: Mapping[ServerRule, Reaction] = MappingProxyType(
    {
        ServerRule.OPEN_TIMEOUT: _fatal(408, "Open transaction timeout"),
        # The client has already sent `close`, so it only closes the socket after this error.
        ServerRule.CLOSE_TIMEOUT: Reaction(408, "Close transaction timeout"),
        ServerRule.PONG_TIMEOUT: _fatal(408, "Timeout waiting for pong"),
        ServerRule.NOT_JSON: _fatal(400, "Message not well-formed JSON"),
        ServerRule.NOT_A_SERVER_MESSAGE: _fatal(
            400, "Message not an AudioHook server message", is_detailed=True
        ),
        ServerRule.WRONG_ID: _fatal(400, "Session id mismatch"),
        ServerRule.SEQUENCE: _INTERNAL,
        ServerRule.CLIENTSEQ_AHEAD: _fatal(400, "Invalid clientseq", is_detailed=True),
        ServerRule.UNKNOWN_TYPE: _INTERNAL,
        ServerRule.BAD_PARAMETERS: _INTERNAL,
        ServerRule.UNEXPECTED_MESSAGE: _fatal(409, "Unexpected message", is_detailed=True),
        ServerRule.AFTER_CLOSED: _RECORDED,
        ServerRule.SEVERAL_MEDIA: _fatal(400, "More than one media selected"),
        ServerRule.MEDIA_NOT_OFFERED: _fatal(400, "Selected media not one of the offered"),
        ServerRule.MEDIA_UNKNOWN_KEY: _fatal(400, "Unrecognized field in media", is_detailed=True),
        # A wrong pong does not end the session immediately. The ping stays unanswered, so the
        # session ends when the next ping is due.
        ServerRule.PONG_CLIENTSEQ: Reaction(
            400, "The \"clientseq\" of the 'pong' message must match \"seq\" of the 'ping' message."
        ),
        ServerRule.PONG_UNEXPECTED: Reaction(409, "Unexpected 'pong' (no outstanding 'ping')"),
        ServerRule.EVENT_BEFORE_OPENED: _RECORDED,
        ServerRule.OUTPUT_VARIABLES: _RECORDED,
        # The reaction of Genesys's client to a malformed entity is unknown.
        ServerRule.BAD_ENTITY: _RECORDED,
        ServerRule.UNEXPECTED_BINARY: _fatal(415, "Unexpected binary message"),
        ServerRule.PARTIAL_SAMPLE: _fatal(400, "Binary message ends within a sample"),
        ServerRule.MESSAGE_TOO_LARGE: _fatal(413, "Message too large"),
        ServerRule.BINARY_RATE: _RATE,
        ServerRule.TEXT_RATE: _RATE,
        ServerRule.PAUSE_RATE: _RATE,
        ServerRule.RESUME_RATE: _RATE,
        ServerRule.SERVER_CLOSED_SOCKET: _RECORDED,
        ServerRule.WEBSOCKET_FAULT: _RECORDED,
        ServerRule.POSITION_PRESENT: _TOLERATED,
        ServerRule.UNKNOWN_FIELD: _TOLERATED,
        ServerRule.UNKNOWN_PARAMETER: _TOLERATED,
        ServerRule.LANGUAGES_NOT_ASKED: _TOLERATED,
        ServerRule.LANGUAGES_MISSING: _TOLERATED,
        ServerRule.LANGUAGE_CODE: _TOLERATED,
        ServerRule.TRANSCRIPT_TIMES: _TOLERATED,
        ServerRule.CHANNEL_ID: _TOLERATED,
        ServerRule.SEVERAL_ENTITIES: _TOLERATED,
        ServerRule.CLOSED_PARAMETERS: _TOLERATED,
        ServerRule.UPDATED_UNEXPECTED: _TOLERATED,
        ServerRule.REPEATED_DISCONNECT: _TOLERATED,
        ServerRule.EMPTY_AUDIO: _TOLERATED,
        ServerRule.AUDIO_CUT: _TOLERATED,
        ServerRule.SOCKET_CLOSE_RACE: _TOLERATED,
    }
)


@dataclass(frozen=True, slots=True)
class Breach:
    """One rule that a server message breaks.

    Attributes:
        rule: The broken rule.
        detail: Text that explains how the message breaks the rule.
    """

    rule: ServerRule
    detail: str


class BrokenRuleError(PipecatGenesysError):
    """A server message breaks a rule and cannot be processed further.

    Validation raises the error; the session catches it and reacts as `REACTIONS` defines.

    Attributes:
        breach: The broken rule, with the detail.
    """

    def __init__(self, rule: ServerRule, detail: str) -> None:
        super().__init__(f"{rule}: {detail}")
        self.breach = Breach(rule, detail)
