"""Converts messages that an application wrote as dicts to protocol messages.

The dicts are in Pipecat's transport message frames. The ``create_*`` methods of Pipecat's class or
the application itself may have made them. `to_draft` converts them to messages that Genesys
accepts; docs/parity.md lists the changes, with reasons.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from pipecat_genesys.protocol import (
    AudioHookMessageType,
    AudioHookSession,
    DisconnectReason,
    Draft,
    server_messages,
)

from .details import CallDetails
from .log import CallLog
from .variables import fit_output_variables

# Largest number of characters in `info`, which is one line of Genesys's log. A longer text would
# leave less space for the output variables.
_MAX_INFO = 500

Log = Callable[[str, str], None]
"""A function that logs a line: called with a loguru level name and the line."""

# Messages with fixed parameters. The parameters in the dict are ignored.
_FIXED: Mapping[str, Draft] = {
    "pause": server_messages.pause(),
    "resume": server_messages.resume(),
    "resumed": server_messages.resume(),
    "updated": server_messages.updated(),
}


class CallFacts(Protocol):
    """The attributes of a call that the conversion uses."""

    session: AudioHookSession
    details: CallDetails
    log: CallLog


def to_draft(message: Mapping[str, Any], call: CallFacts) -> Draft | None:
    """Convert a message dict to a protocol message.

    Args:
        message: The dict from the frame.
        call: The call.

    Returns:
        The protocol message; None, with a log line, if Genesys would refuse the message.
    """
    name = message.get("type")
    if name == "pong":
        seq = message.get("clientseq")
        known = isinstance(seq, int) and not isinstance(seq, bool)
        return server_messages.pong(seq if known else None)
    if isinstance(name, str) and name in _FIXED:
        return _FIXED[name]
    given = message.get("parameters")
    # `given` is nearly always a dict, and the check for dict is faster than the check for Mapping.
    parameters: Mapping[str, Any] = given if isinstance(given, (dict, Mapping)) else {}
    log = call.log.once
    match name:
        case "opened":
            return _opened(parameters, call)
        case "closed":
            return server_messages.closed(
                fit_output_variables(parameters.get("outputVariables"), log)
            )
        case "disconnect":
            return _disconnect(parameters, log)
        case "event" if not parameters.get("entities"):
            log("ERROR", "an event without entities ends the call and was not sent")
        case "event" | "reconnect":
            return Draft(AudioHookMessageType(name), dict(parameters))
        case "error":
            log(
                "ERROR",
                "AudioHook has no error message from server to client; not sent. "
                'Use create_disconnect_message(reason="error") to end the call.',
            )
        case _:
            log("WARNING", f"not an AudioHook server message, not sent: type {str(name)[:40]!r}")
    return None


def _opened(parameters: Mapping[str, Any], call: CallFacts) -> Draft:
    languages, position = parameters.get("supportedLanguages"), parameters.get("discardTo")
    media = call.session.media
    entries = [media.raw] if media is not None else []
    asked = (languages or []) if call.details.asks_languages else None
    paused = bool(parameters.get("startPaused"))
    try:
        return server_messages.opened(
            entries, start_paused=paused, supported_languages=asked, discard_to=position
        )
    except ValueError as error:
        call.log.once("ERROR", f"'discardTo' left out: {error}")
        return server_messages.opened(entries, start_paused=paused, supported_languages=asked)


def _disconnect(parameters: Mapping[str, Any], log: Log) -> Draft:
    reason = str(parameters.get("reason") or DisconnectReason.COMPLETED)
    info = str(parameters.get("info") or "")[:_MAX_INFO].encode("utf-8", "replace").decode()
    if reason not in set(DisconnectReason):
        known = ", ".join(DisconnectReason)
        log("WARNING", f"disconnect reason {reason[:40]!r} is sent as 'error'; known: {known}")
        info, reason = info or reason[:_MAX_INFO], DisconnectReason.ERROR.value
    variables = fit_output_variables(parameters.get("outputVariables"), log)
    return server_messages.disconnect(reason, info=info, output_variables=variables)
