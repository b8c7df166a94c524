"""The messages pipecat's serializer builds, in its shape, and their way to the wire.

Applications written for pipecat's serializer call its ``create_*`` methods and read the dicts that
travel in frames, so both stay as they were: provisional sequence numbers, a ``position``, fields
the protocol does not have. `to_draft` is where such a dict becomes what Genesys expects; what it
changes is listed, with reasons, in docs/parity.md. (`closed` is the serializer's to make, as what
it says is decided last.)

Needs loguru, which pipecat brings, but not pipecat itself.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from loguru import logger

from pipecat_genesys.protocol import (
    MAX_MESSAGE_BYTES,
    PROTOCOL_VERSION,
    AudioHookMessageType,
    AudioHookSession,
    DisconnectReason,
    Draft,
    LocalProtocolError,
    State,
    server_messages,
)
from pipecat_genesys.protocol.media import preferred_entry
from pipecat_genesys.protocol.types import DURATION

# `info` is a line for a log; what it and the envelope take is not there for variables.
_MAX_INFO = 500
_MAX_VARIABLES = MAX_MESSAGE_BYTES - 4000


class PipecatMessages:
    """Builds server messages as pipecat's serializer does, side effects included."""

    PROTOCOL_VERSION: ClassVar[str] = PROTOCOL_VERSION

    _session: AudioHookSession

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._is_open = False
        self._is_paused = False
        self._built = 0
        self._seen_seq: Any = 0
        self._seen_position: Any = None

    def create_opened_response(
        self,
        start_paused: bool = False,
        supported_languages: list[str] | None = None,
        selected_language: str | None = None,
    ) -> dict[str, Any]:
        """Create an ``opened`` message; marks the session open.

        `deserialize` does this for every ``open`` it accepts.

        Args:
            start_paused: Whether to start the session paused.
            supported_languages: Language codes the bot supports. They reach Genesys only where
                it asked for them.
            selected_language: Kept for compatibility; the protocol has no such field and it is
                not sent.

        Returns:
            The message, with a provisional ``seq``.
        """
        media = self._session.media
        if media is not None:
            chosen = [media.raw]
        elif self._session.state is State.PREPARING:
            chosen = [preferred_entry(self._session.preference)]
        else:
            chosen = []
        parameters: dict[str, Any] = {"startPaused": start_paused, "media": chosen}
        if supported_languages:
            parameters["supportedLanguages"] = supported_languages
        if selected_language:
            parameters["selectedLanguage"] = selected_language
        self._is_open = True
        # Without a position, as pipecat's.
        return self._create("opened", parameters, positioned=False)

    def create_closed_response(
        self,
        output_variables: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Create a ``closed`` message; marks the session closed.

        Args:
            output_variables: Variables for the Architect flow.

        Returns:
            The message, with a provisional ``seq``.
        """
        parameters = {"outputVariables": output_variables} if output_variables else {}
        message = self._create("closed", parameters)
        self._is_open = False
        return message

    def create_pong_response(self) -> dict[str, Any]:
        """Create a ``pong`` message for the newest client message.

        Returns:
            The message, with a provisional ``seq``.
        """
        return self._create("pong", {})

    def create_resumed_response(self) -> dict[str, Any]:
        """Create the message that ends a pause; marks the session not paused.

        In the protocol ``resumed`` is the client's word; when this message is sent it goes out
        as ``resume``, which asks the client for the audio.

        Returns:
            The message, with a provisional ``seq``.
        """
        message = self._create("resumed", {})
        self._is_paused = False
        return message

    def create_barge_in_event(self) -> dict[str, Any]:
        """Create a ``barge_in`` event, on which Genesys drops the bot audio it has queued.

        Returns:
            The message, with a provisional ``seq``.
        """
        return self._create("event", dict(server_messages.barge_in().parameters))

    def create_disconnect_message(
        self,
        reason: str = "completed",
        action: str = "transfer",
        output_variables: dict[str, Any] | None = None,
        info: str | None = None,
    ) -> dict[str, Any]:
        """Create a ``disconnect`` message, which ends the session from this side.

        Args:
            reason: "completed", or "error" for the flow's failure path.
            action: Value of the output variable ``action``, unless ``output_variables`` has one.
            output_variables: Variables for the Architect flow.
            info: A line for Genesys's log; no personal data.

        Returns:
            The message, with a provisional ``seq``.
        """
        parameters: dict[str, Any] = {
            "reason": reason,
            "outputVariables": {"action": action, **(output_variables or {})},
        }
        if info:
            parameters["info"] = info
        return self._create("disconnect", parameters)

    def create_error_message(
        self,
        code: int,
        message: str,
        retryable: bool = False,
    ) -> dict[str, Any]:
        """Create an ``error`` message.

        The protocol has no error from server to client, and one ends the call; the message is
        not sent. Use `create_disconnect_message` with ``reason="error"``.

        Args:
            code: Error code.
            message: What happened.
            retryable: Whether to try again.

        Returns:
            The message, with a provisional ``seq``.
        """
        parameters = {"code": code, "message": message, "retryable": retryable}
        return self._create("error", parameters)

    def _create(
        self, message_type: str, parameters: dict[str, Any], *, positioned: bool = True
    ) -> dict[str, Any]:
        self._built = seq = self._built + 1
        message = {
            "version": PROTOCOL_VERSION,
            "type": str(message_type),
            "seq": seq,
            "clientseq": self._seen_seq,
            "id": self._session.session_id,
        }
        if positioned:
            position = self._seen_position
            known = isinstance(position, str) and DURATION.fullmatch(position)
            # As pipecat repeats it: in milliseconds.
            message["position"] = f"PT{float(position[2:-1]):.3f}S" if known else "PT0.000S"
        message["parameters"] = parameters
        return message


# The messages that have no parameters, whatever the application gave them.
_PLAIN: Mapping[str, Draft] = {
    "pause": server_messages.pause(),
    "resume": server_messages.resume(),
    "resumed": server_messages.resume(),
    "updated": server_messages.updated(),
}


def to_draft(
    message: Mapping[str, Any],
    session: AudioHookSession,
    *,
    languages_asked: bool,
    log: Callable[[str, str], None],
) -> Draft | None:
    """Turn a message in pipecat's shape into what the protocol has.

    Args:
        message: The dict a frame carried.
        session: The call.
        languages_asked: Whether ``open`` asked for ``supportedLanguages``.
        log: Takes a level and a line.

    Returns:
        The draft, or None for a message that Genesys would refuse; that has been logged.
    """
    name = message.get("type")
    if name == "pong":
        seq = message.get("clientseq")
        known = isinstance(seq, int) and not isinstance(seq, bool)
        return server_messages.pong(seq if known else None)
    if isinstance(name, str) and name in _PLAIN:
        return _PLAIN[name]
    given = message.get("parameters")
    # Nearly always a dict, and then it is quicker told.
    parameters: Mapping[str, Any] = given if isinstance(given, (dict, Mapping)) else {}
    match name:
        case "opened":
            return _opened(parameters, session, languages_asked, log)
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


def _opened(
    parameters: Mapping[str, Any],
    session: AudioHookSession,
    languages_asked: bool,
    log: Callable[[str, str], None],
) -> Draft:
    languages, position = parameters.get("supportedLanguages"), parameters.get("discardTo")
    media = [session.media.raw] if session.media is not None else []
    asked = (languages or []) if languages_asked else None
    paused = bool(parameters.get("startPaused"))
    try:
        return server_messages.opened(
            media, start_paused=paused, supported_languages=asked, discard_to=position
        )
    except ValueError as error:
        log("ERROR", f"'discardTo' left out: {error}")
        return server_messages.opened(media, start_paused=paused, supported_languages=asked)


def _disconnect(parameters: Mapping[str, Any], log: Callable[[str, str], None]) -> Draft:
    reason = str(parameters.get("reason") or DisconnectReason.COMPLETED)
    info = str(parameters.get("info") or "")[:_MAX_INFO].encode("utf-8", "replace").decode()
    if reason not in set(DisconnectReason):
        known = ", ".join(DisconnectReason)
        log("WARNING", f"disconnect reason {reason[:40]!r} goes out as 'error'; known: {known}")
        info, reason = info or reason[:_MAX_INFO], DisconnectReason.ERROR.value
    variables = string_map(parameters.get("outputVariables"), log)
    return server_messages.disconnect(reason, info=info, output_variables=variables)


def string_map(variables: object, log: Callable[[str, str], None]) -> dict[str, str] | None:
    """Make variables what the protocol has, leaving out what cannot be sent.

    Variables are checked when they are set, but dicts can be changed afterwards, and ``create_*``
    takes any. Raising here, at the end of the call, would lose all of them.
    """
    if not isinstance(variables, Mapping):
        return None
    if not variables:
        return {}
    sent: dict[str, str] = {}
    for name, value in variables.items():
        try:
            sent.update(server_messages.to_string_map({name: value}))
        except ValueError as error:
            log("ERROR", f"left out: {error}")
    sizes = _wire_sizes(sent)
    excess = sum(sizes.values()) - _MAX_VARIABLES
    left_out = []
    for name in sorted(sizes, key=sizes.__getitem__, reverse=True):
        if excess <= 0:
            break
        excess -= sizes[name]
        left_out.append(name)
        del sent[name]
    if left_out:
        log(
            "ERROR",
            f"{len(left_out)} output variables left out, largest first, as Genesys accepts "
            f"{MAX_MESSAGE_BYTES} bytes in a message: {', '.join(map(repr, left_out[:5]))}",
        )
    return sent


def _wire_sizes(variables: Mapping[str, str]) -> dict[str, int]:
    """Bytes each variable takes in a message."""
    try:
        json.dumps(variables, ensure_ascii=False).encode()
        escaped = False
    except UnicodeEncodeError:
        escaped = True  # text that UTF-8 does not have makes the whole message ASCII
    return {
        name: len(json.dumps({name: value}, ensure_ascii=escaped).encode())
        for name, value in variables.items()
    }


def hand_over(
    session: AudioHookSession, draft: Draft, log: Callable[[str, str], None]
) -> str | None:
    """Give a draft its place on the wire, if it may have one.

    Args:
        session: The call.
        draft: The message.
        log: Takes a level and a line.

    Returns:
        The text to send, or None where nothing may be sent.
    """
    try:
        return session.to_wire(draft)
    except LocalProtocolError as error:
        if session.allows(draft.type):
            log("ERROR", f"not sent: {error}")
        else:
            logger.debug(f"{draft.type.value!r} not sent: the session is {session.state.value}")
        return None
