"""What the client does with each message of the server, once its form is known to be right."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NoReturn

from pipecat_genesys.protocol.types import (
    WIRE_SAMPLE_RATE,
    AudioHookMediaFormat,
    AudioHookMessageType,
    CloseReason,
    DisconnectReason,
    duration_to_samples,
    parse_media,
)
from pipecat_genesys.simulator import events as ev
from pipecat_genesys.simulator.checks import Envelope, select_medium
from pipecat_genesys.simulator.clocks import PongVerdict
from pipecat_genesys.simulator.entities import check_entity
from pipecat_genesys.simulator.machine import ClientMachine, SessionState
from pipecat_genesys.simulator.playback import Playback
from pipecat_genesys.simulator.rules import BrokenRuleError, Rule

FRAME_SAMPLES = 1600
"""Samples of one frame of caller audio: 200 ms, what production and the reference client send."""

_LANGUAGE = re.compile(r"[a-z]{2,3}-[A-Za-z]{2,3}")
"""What Genesys's conformance suite takes for a language code in ``supportedLanguages``."""

_T = AudioHookMessageType


class MessageHandlers(ClientMachine):
    """The client's reactions; :meth:`_dispatch` picks one from the table below the class.

    A handler raises ``BrokenRuleError`` where the message must not come, or not like this.
    """

    def _dispatch(self, message: Envelope, now: float) -> None:
        _HANDLERS[message.type](self, message, now)

    def _on_opened(self, message: Envelope, now: float) -> None:
        if self._state is SessionState.CLOSING and not self._accepted:
            # It crossed our ``close``: the call was given up before it was accepted.
            return self._ignore(message.type, "the session is closing", now)
        if self._state is not SessionState.OPENING:
            self._unexpected(message)
        self._accepted = True
        parameters = message.parameters
        entry = select_medium(parameters["media"], self.parameters.media)
        self.media = None if entry is None else parse_media(dict(entry))
        self._state = SessionState.OPEN
        self._deadline = None
        if self.media is not None and self.media.format is not AudioHookMediaFormat.PCMU:
            self.playback = Playback(self._began, self.media.format, record=self._record_audio)
        languages = parameters.get("supportedLanguages")
        self._check_languages(languages, now)
        self._emit(
            ev.Opened(
                self.elapsed(now),
                self.media,
                bool(parameters.get("startPaused")),
                None if languages is None else tuple(languages),
            )
        )
        self._pings.start(now)
        if "discardTo" in parameters:
            # Whole frames only, as measured: discardTo 0.5 s discards 0.4 s.
            target = duration_to_samples(parameters["discardTo"])
            whole = target // FRAME_SAMPLES * FRAME_SAMPLES
            if whole > self._position:
                self._discard(whole - self._position, now)
        if parameters.get("startPaused"):
            self._pause(ev.Party.SERVER, now)
        return None

    def _check_languages(self, languages: list[str] | None, now: float) -> None:
        asked = bool(self.parameters.supported_languages)
        if languages is None:
            if asked:
                detail = "'supportedLanguages' was asked for; an empty list says none"
                self._violate(Rule.LANGUAGES_MISSING, detail, now)
            return
        if not asked:
            self._violate(Rule.LANGUAGES_NOT_ASKED, "'supportedLanguages' was not asked for", now)
        odd = [code[:20] for code in languages if not _LANGUAGE.fullmatch(code)]
        if odd:
            detail = f"{', '.join(odd)[:100]}: codes have the form 'en-US'"
            self._violate(Rule.LANGUAGE_CODE, detail, now)

    def _on_pong(self, message: Envelope, now: float) -> None:
        pinged = self._pings.outstanding
        verdict = self._pings.pong(message.clientseq, now)
        if verdict is PongVerdict.UNEXPECTED:
            raise BrokenRuleError(Rule.PONG_UNEXPECTED, "no ping is outstanding")
        if verdict is PongVerdict.WRONG_CLIENTSEQ:
            seq = pinged.seq if pinged else 0
            raise BrokenRuleError(
                Rule.PONG_CLIENTSEQ, f"'clientseq' is {message.clientseq}, 'ping' was {seq}"
            )
        if self._state is not SessionState.OPEN:
            return
        self._emit(ev.Ponged(self.elapsed(now), self._pings.last_rtt or 0.0))
        if verdict is PongVerdict.FIRST:
            self._ping(now)

    def _on_pause(self, message: Envelope, now: float) -> None:
        if not self._has_token(Rule.PAUSE_RATE, now):
            raise self._above_rate(Rule.PAUSE_RATE)
        if self._is_streaming(message, now):
            self._pause(ev.Party.SERVER, now)

    def _on_resume(self, message: Envelope, now: float) -> None:
        if not self._has_token(Rule.RESUME_RATE, now):
            raise self._above_rate(Rule.RESUME_RATE)
        if self._is_streaming(message, now):
            self._resume(ev.Party.SERVER, now)

    def _is_streaming(self, message: Envelope, now: float) -> bool:
        if self._state is SessionState.OPENING:
            self._unexpected(message)
        if self._state is SessionState.CLOSING:
            self._ignore(message.type, "the session is closing", now)
        return self._state is SessionState.OPEN

    def _on_event(self, message: Envelope, now: float) -> None:
        if self._state is SessionState.OPENING:
            # The reference client takes it; Genesys's documents say it must not come.
            self._violate(Rule.EVENT_BEFORE_OPENED, "'event' before 'opened'", now)
        entities = message.parameters["entities"]
        if len(entities) > 1:
            detail = f"{len(entities)} entities in one 'event'; clients read the first"
            self._violate(Rule.SEVERAL_ENTITIES, detail, now)
        for entity in entities:
            channels = len(self.media.channels) if self.media else 2
            for fault in check_entity(entity, channels):
                self._violate(fault.rule, fault.detail, now)
            self._emit(ev.ServerEvent(self.elapsed(now), MappingProxyType(entity)))
            if entity["type"] == "barge_in" and self._state is SessionState.OPEN:
                self._barge_in(now)

    def _on_updated(self, message: Envelope, now: float) -> None:
        sent_at, self._update_sent_at = self._update_sent_at, None
        if sent_at is None:
            self._violate(Rule.UPDATED_UNEXPECTED, "no 'update' was sent", now)
        latency = None if sent_at is None else now - sent_at
        self._emit(ev.Updated(self.elapsed(now), latency))

    def _on_reconnect(self, message: Envelope, now: float) -> None:
        self._emit(ev.ReconnectRequested(self.elapsed(now), message.parameters.get("info")))

    def _on_disconnect(self, message: Envelope, now: float) -> None:
        if self.disconnected is not None:
            self._violate(Rule.REPEATED_DISCONNECT, "'disconnect' came before", now)
            return self._ignore(message.type, "it came before", now)
        variables = message.parameters.get("outputVariables", {})
        if not isinstance(variables, dict):
            self._violate(Rule.OUTPUT_VARIABLES, "'outputVariables' is not an object", now)
            variables = {}
        wrong = sorted(name for name, value in variables.items() if not isinstance(value, str))
        if wrong:
            names = ", ".join(wrong)[:200]
            self._violate(Rule.OUTPUT_VARIABLES, f"values must be text: {names}", now)
        self.disconnected = ev.Disconnected(
            self.elapsed(now),
            DisconnectReason(message.parameters["reason"]),
            message.parameters.get("info"),
            MappingProxyType(variables),
        )
        self._emit(self.disconnected)
        pending = self.playback.pending(now)
        if self._state is SessionState.OPEN and pending:
            # Whether production plays on is not known; a careful server does not rely on it.
            seconds = pending / WIRE_SAMPLE_RATE
            self._violate(Rule.AUDIO_CUT, f"'disconnect' with {seconds:.3f} s unheard", now)
        if not self._close(CloseReason.DISCONNECT, now):
            self._ignore(message.type, "the session is closing", now)
        return None

    def _on_closed(self, message: Envelope, now: float) -> None:
        if self._state is not SessionState.CLOSING:
            self._unexpected(message)
        variables = message.parameters.get("outputVariables")
        self.closed = ev.Closed(
            self.elapsed(now),
            now - self._close_sent_at,
            MappingProxyType(variables if isinstance(variables, dict) else {}),
        )
        self._deadline = None
        self._state = SessionState.CLOSED
        self._emit(self.closed)

    def _unexpected(self, message: Envelope) -> NoReturn:
        raise BrokenRuleError(Rule.UNEXPECTED_MESSAGE, f"'{message.type}' in state {self._state}")


_HANDLERS: Mapping[str, Callable[[MessageHandlers, Envelope, float], None]] = {
    _T.OPENED: MessageHandlers._on_opened,
    _T.CLOSED: MessageHandlers._on_closed,
    _T.PONG: MessageHandlers._on_pong,
    _T.UPDATED: MessageHandlers._on_updated,
    _T.PAUSE: MessageHandlers._on_pause,
    _T.RESUME: MessageHandlers._on_resume,
    _T.EVENT: MessageHandlers._on_event,
    _T.RECONNECT: MessageHandlers._on_reconnect,
    _T.DISCONNECT: MessageHandlers._on_disconnect,
}
