"""How the client handles each type of server message.

`HANDLERS` has one function for each type. A handler is called with a message whose form is valid;
it raises `BrokenRuleError` if the message is not allowed in the current state.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NoReturn

from pipecat_genesys.protocol.types import (
    WIRE_SAMPLE_RATE,
    AudioHookMessageType,
    CloseReason,
    DisconnectReason,
    duration_to_samples,
    parse_media,
)

from . import events as ev
from . import validation
from .machine import ClientMachine, SessionState
from .parameters import FRAME_SAMPLES
from .pings_and_pauses import PongResult
from .rules import BrokenRuleError, ServerRule
from .validation import ServerMessage

_T = AudioHookMessageType
_CLOSING = "the session is closing"


def _on_opened(client: ClientMachine, message: ServerMessage, now: float) -> None:
    if client.state is SessionState.CLOSING and not client.was_opened:
        # The server sent `opened` before it received `close`.
        client.ignore(message.type, _CLOSING, now)
        return
    if client.state is not SessionState.OPENING:
        _reject(client, message)
    parameters = message.parameters
    entry = validation.select_medium(parameters["media"], client.parameters.media)
    client.accept(None if entry is None else parse_media(dict(entry)), now)
    languages = parameters.get("supportedLanguages")
    requested = bool(client.parameters.supported_languages)
    client.react_to(validation.check_languages(languages, requested=requested), now)
    client.events.append(
        ev.Opened(
            client.elapsed(now),
            client.media,
            bool(parameters.get("startPaused")),
            None if languages is None else tuple(languages),
        )
    )
    if "discardTo" in parameters:
        # Round down to whole frames: a measured `discardTo` of 0.5 s discarded 0.4 s.
        target = duration_to_samples(parameters["discardTo"])
        whole_frames = target // FRAME_SAMPLES * FRAME_SAMPLES
        if whole_frames > client.outbox.position:
            client.discard(whole_frames - client.outbox.position, now)
    if parameters.get("startPaused"):
        client.pause(ev.Party.SERVER, now)


def _on_pong(client: ClientMachine, message: ServerMessage, now: float) -> None:
    ping = client.pings.outstanding
    result = client.pings.pong_received(message.clientseq, now)
    if result is PongResult.UNEXPECTED:
        raise BrokenRuleError(ServerRule.PONG_UNEXPECTED, "no 'ping' is unanswered")
    if result is PongResult.WRONG_CLIENTSEQ:
        seq = ping.seq if ping else 0
        detail = f"'clientseq' is {message.clientseq}, the 'ping' has seq {seq}"
        raise BrokenRuleError(ServerRule.PONG_CLIENTSEQ, detail)
    if client.state is not SessionState.OPEN:
        return
    client.events.append(ev.PongReceived(client.elapsed(now), client.pings.last_rtt or 0.0))
    if result is PongResult.FIRST:
        client.send_ping(now)


def _on_pause(client: ClientMachine, message: ServerMessage, now: float) -> None:
    if _takes_effect(client, message, ServerRule.PAUSE_RATE, now):
        client.pause(ev.Party.SERVER, now)


def _on_resume(client: ClientMachine, message: ServerMessage, now: float) -> None:
    if _takes_effect(client, message, ServerRule.RESUME_RATE, now):
        client.resume(ev.Party.SERVER, now)


def _takes_effect(
    client: ClientMachine, message: ServerMessage, rate: ServerRule, now: float
) -> bool:
    """Check the rate of `pause` or `resume`, and return whether the message has an effect."""
    if not client.take_token(rate, now):
        raise client.above_rate(rate)
    if client.state is SessionState.OPENING:
        _reject(client, message)
    if client.state is SessionState.CLOSING:
        client.ignore(message.type, _CLOSING, now)
    return client.state is SessionState.OPEN


def _on_event(client: ClientMachine, message: ServerMessage, now: float) -> None:
    if client.state is SessionState.OPENING:
        # The reference client accepts the message, although Genesys's documentation forbids it.
        client.react(ServerRule.EVENT_BEFORE_OPENED, "'event' before 'opened'", now)
    entities = message.parameters["entities"]
    if len(entities) > 1:
        detail = f"{len(entities)} entities in one 'event'; clients read only the first one"
        client.react(ServerRule.SEVERAL_ENTITIES, detail, now)
    for entity in entities:
        channels = len(client.media.channels) if client.media else 2
        client.react_to(validation.check_entity(entity, channels), now)
        client.events.append(ev.ServerEvent(client.elapsed(now), MappingProxyType(entity)))
        if entity["type"] == "barge_in" and client.state is SessionState.OPEN:
            client.barge_in(now)


def _on_updated(client: ClientMachine, message: ServerMessage, now: float) -> None:
    sent_at, client.update_sent_at = client.update_sent_at, None
    if sent_at is None:
        client.react(ServerRule.UPDATED_UNEXPECTED, "no 'update' was sent", now)
    latency = None if sent_at is None else now - sent_at
    client.events.append(ev.Updated(client.elapsed(now), latency))


def _on_reconnect(client: ClientMachine, message: ServerMessage, now: float) -> None:
    info = message.parameters.get("info")
    client.events.append(ev.ReconnectRequested(client.elapsed(now), info))


def _on_disconnect(client: ClientMachine, message: ServerMessage, now: float) -> None:
    if client.disconnected is not None:
        client.react(ServerRule.REPEATED_DISCONNECT, "'disconnect' was sent before", now)
        client.ignore(message.type, "'disconnect' was sent before", now)
        return
    variables = message.parameters.get("outputVariables", {})
    client.react_to(validation.check_output_variables(variables), now)
    client.disconnected = ev.Disconnected(
        client.elapsed(now),
        DisconnectReason(message.parameters["reason"]),
        message.parameters.get("info"),
        MappingProxyType(variables if isinstance(variables, dict) else {}),
    )
    client.events.append(client.disconnected)
    pending = client.playback.pending(now)
    if client.state is SessionState.OPEN and pending:
        # It is unknown whether the production system plays the remaining audio. A server should not
        # rely on it.
        seconds = pending / WIRE_SAMPLE_RATE
        detail = f"'disconnect' while {seconds:.3f} s of bot audio were not heard yet"
        client.react(ServerRule.AUDIO_CUT, detail, now)
    if not client.close(CloseReason.DISCONNECT, now):
        client.ignore(message.type, _CLOSING, now)


def _on_closed(client: ClientMachine, message: ServerMessage, now: float) -> None:
    if client.state is not SessionState.CLOSING:
        _reject(client, message)
    value = message.parameters.get("outputVariables")
    variables = value if isinstance(value, dict) else {}
    if client.disconnected is not None:
        late = sorted(variables.keys() - client.disconnected.output_variables.keys())
        if late:
            names = ", ".join(name[:40] for name in late)
            detail = f"'closed' has output variables that 'disconnect' lacks: {names}"
            client.react(ServerRule.CLOSED_PARAMETERS, detail, now)
    client.finish(
        ev.Closed(
            client.elapsed(now),
            now - client.close_sent_at,
            MappingProxyType(variables),
        )
    )


def _reject(client: ClientMachine, message: ServerMessage) -> NoReturn:
    detail = f"'{message.type}' in state {client.state}"
    raise BrokenRuleError(ServerRule.UNEXPECTED_MESSAGE, detail)


HANDLERS: Mapping[str, Callable[[ClientMachine, ServerMessage, float], None]] = MappingProxyType(
    {
        _T.OPENED: _on_opened,
        _T.CLOSED: _on_closed,
        _T.PONG: _on_pong,
        _T.UPDATED: _on_updated,
        _T.PAUSE: _on_pause,
        _T.RESUME: _on_resume,
        _T.EVENT: _on_event,
        _T.RECONNECT: _on_reconnect,
        _T.DISCONNECT: _on_disconnect,
    }
)
"""The handler of each server message type. Each takes the client, the message and the time."""
