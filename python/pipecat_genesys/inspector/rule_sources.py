"""The sources of the rules: the document or the measurement that each rule is taken from."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from pipecat_genesys.protocol.errors import Rule
from pipecat_genesys.simulator import ServerRule

_CLIENT = "Genesys AudioHook reference implementation, client; measured"
_VALIDATORS = "Genesys AudioHook reference implementation, message validators"
_SERVER = "Genesys AudioHook reference implementation, server; measured"
_REFERENCE = "Genesys developer centre, AudioHook protocol reference"
_LIMITS = "Genesys developer centre, AudioHook limits"
_CONNECTOR = "Genesys Audio Connector reference implementation"
_FIELD = "reported by integrators from production"
_SUITE = "Genesys AudioHook reference implementation, conformance tests"
_HELP = "Genesys help centre, what happens during a successful AudioHook session"
_RFC = "RFC 6455, The WebSocket Protocol"

_R = ServerRule
SERVER_RULE_SOURCES: Mapping[ServerRule, str] = MappingProxyType(
    {
        _R.OPEN_TIMEOUT: f"{_CLIENT}: 'opened' within 5 s",
        _R.CLOSE_TIMEOUT: f"{_CLIENT}: 'closed' within 10 s",
        _R.PONG_TIMEOUT: f"{_CLIENT}: a pong before the next ping is due",
        _R.NOT_JSON: _VALIDATORS,
        _R.NOT_A_SERVER_MESSAGE: _VALIDATORS,
        _R.WRONG_ID: _CLIENT,
        _R.SEQUENCE: _CLIENT,
        _R.CLIENTSEQ_AHEAD: _CLIENT,
        _R.UNKNOWN_TYPE: _CLIENT,
        _R.BAD_PARAMETERS: _VALIDATORS,
        _R.UNEXPECTED_MESSAGE: _CLIENT,
        _R.AFTER_CLOSED: _REFERENCE,
        _R.SEVERAL_MEDIA: _CLIENT,
        _R.MEDIA_NOT_OFFERED: _CLIENT,
        _R.MEDIA_UNKNOWN_KEY: _FIELD,
        _R.PONG_CLIENTSEQ: _CLIENT,
        _R.PONG_UNEXPECTED: _CLIENT,
        _R.EVENT_BEFORE_OPENED: _REFERENCE,
        _R.OUTPUT_VARIABLES: _CONNECTOR,
        _R.BAD_ENTITY: _VALIDATORS,
        _R.UNEXPECTED_BINARY: _REFERENCE,
        _R.PARTIAL_SAMPLE: _REFERENCE,
        _R.MESSAGE_TOO_LARGE: _LIMITS,
        _R.BINARY_RATE: _LIMITS,
        _R.TEXT_RATE: _LIMITS,
        _R.PAUSE_RATE: _LIMITS,
        _R.RESUME_RATE: _LIMITS,
        _R.SERVER_CLOSED_SOCKET: f"{_HELP}: the client closes the connection",
        _R.WEBSOCKET_FAULT: _RFC,
        _R.POSITION_PRESENT: _VALIDATORS,
        _R.UNKNOWN_FIELD: _VALIDATORS,
        _R.UNKNOWN_PARAMETER: _VALIDATORS,
        _R.LANGUAGES_NOT_ASKED: _SERVER,
        _R.LANGUAGES_MISSING: _SERVER,
        _R.LANGUAGE_CODE: _SUITE,
        _R.TRANSCRIPT_TIMES: _SUITE,
        _R.CHANNEL_ID: _VALIDATORS,
        _R.SEVERAL_ENTITIES: _CONNECTOR,
        _R.CLOSED_PARAMETERS: _REFERENCE,
        _R.UPDATED_UNEXPECTED: _CLIENT,
        _R.REPEATED_DISCONNECT: _CLIENT,
        _R.EMPTY_AUDIO: _CLIENT,
        _R.AUDIO_CUT: "not documented: the client may discard audio that was not played",
        _R.SOCKET_CLOSE_RACE: _HELP,
    }
)
"""The source of each rule for servers."""

CLIENT_RULE_SOURCES: Mapping[Rule, str] = MappingProxyType(
    {
        Rule.TEXT_SIZE: _SERVER,
        Rule.JSON: _VALIDATORS,
        Rule.NOT_AN_OBJECT: _VALIDATORS,
        Rule.UNKNOWN_TYPE: _VALIDATORS,
        Rule.UNKNOWN_FIELD: _VALIDATORS,
        Rule.ENVELOPE: _VALIDATORS,
        Rule.PARAMETERS: _VALIDATORS,
        Rule.VERSION: _VALIDATORS,
        Rule.ID: _SERVER,
        Rule.SEQ: _SERVER,
        Rule.SERVERSEQ: _SERVER,
        Rule.POSITION: f"{_REFERENCE}: position",
        Rule.MEDIA: _REFERENCE,
        Rule.STATE: _SERVER,
        Rule.AUDIO_LENGTH: _REFERENCE,
        Rule.AUDIO_STATE: _SERVER,
        Rule.INTERNAL: "a failure of the inspector",
    }
)
"""The source of each rule for clients."""

CLIENT_WARNINGS = frozenset({Rule.UNKNOWN_FIELD, Rule.UNKNOWN_TYPE})
"""The rules for clients whose breach is a warning: new client versions add fields and types."""
