"""What a text message from Genesys does: state, handlers, and the frame it becomes.

One table says it all, by what the session reports. Looked up and not tried in turn, as a call gets
a message a second and a machine holds hundreds of calls.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from pipecat.audio.dtmf.types import KeypadEntry
from pipecat.frames.frames import Frame, InputDTMFFrame, OutputTransportMessageUrgentFrame

from pipecat_genesys.protocol import CloseReason, Draft, events, fields

from .answers import HOOKS
from .call_log import brief
from .call_view import CallView
from .control_frames import (
    CONTROL,
    GenesysCloseFrame,
    GenesysOpenFrame,
    GenesysPingFrame,
    GenesysUpdateFrame,
)
from .messages import PipecatMessages
from .verbs import Verbs


class Receiving(Verbs, PipecatMessages, CallView):
    """Turns a session's events into calls of handlers, and frames.

    Knows nothing of how a reply gets to the socket.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._closed_seq: int | None = None

    async def _receive(self, text: str) -> Frame | None:
        frame: Frame | None = None
        for event in self._session.receive_text(text):
            kind, raw, instead = type(event), event.raw, None
            if raw is not None:
                # What the messages pipecat builds repeat.
                self._seen_seq = raw.get("seq", 0)
                self._seen_position = raw.get("position", self._seen_position)
            means = MEANS.get(kind)
            if means is None:
                frame = self._faulted(event) or frame
                continue
            if means.update is not None:
                means.update(self, event)
            if self._handled and kind in HOOKS:
                instead = await self._consult(event)
                if instead is not None and kind is events.OpenReceived:
                    # Refused: nothing that waits for a call may take this for one.
                    frame = OutputTransportMessageUrgentFrame(message=self._written(instead))
                    continue
            if means.name in self._handled:
                await self._call_event_handler(means.name, raw)
            if means.frame is not None:
                frame = means.frame(self, event, instead) or frame
        return frame

    def _faulted(self, event: events.Event) -> Frame | None:
        if not isinstance(event, events.Faulted):
            return None
        self._log.once("WARNING", f"AudioHook protocol: {event.error}", event.error.rule)
        if event.reply is None:
            return None
        self._is_open = False
        return OutputTransportMessageUrgentFrame(message=self._written(event.reply))

    def _written(self, draft: Draft) -> dict[str, Any]:
        return self._create(draft.type, dict(draft.parameters))

    # -- what the application can read, brought up to date before its handlers run ---------------

    def _open(self, event: events.OpenReceived) -> None:
        self._read_open(event)
        kind = "connection probe" if event.is_probe else "open"
        conversation = brief(self._conversation_id)
        self._log.name_call(self.session_id)
        self._log.line("INFO", f"AudioHook {kind}: conversation={conversation}")
        if self._params.log_personal_data:
            self._log.line("DEBUG", f"participant: {self._participant}")

    def _close(self, event: events.CloseReceived) -> None:
        self._is_open = False
        faults = f" faults={self.faults}" if self._session.faults else ""
        reason = event.reason if event.reason in _CLOSE_REASONS else "(unknown)"
        self._log.line("INFO", f"AudioHook close: reason={reason}{faults}")

    def _paused(self, event: events.Event) -> None:
        self._is_paused = True

    def _resumed(self, event: events.Resumed) -> None:
        self._is_paused = False

    def _update(self, event: events.UpdateReceived) -> None:
        participant = fields.typed(fields.parameters(event.raw), "participant", dict)
        if participant is not None:
            self._participant = participant

    def _digit(self, event: events.DtmfReceived) -> None:
        self._log.line("DEBUG", f"DTMF received: {self._log.shown(event.digit)}")

    def _error(self, event: events.ErrorReceived) -> None:
        said = f"AudioHook error from Genesys: {event.code} {brief(event.message)}"
        self._log.once("ERROR", said, f"error {event.code}")

    # -- frames ------------------------------------------------------------------------------

    def _opened_frame(self, event: events.OpenReceived, _: Draft | None) -> Frame:
        params, paused = self._params, self._start_paused
        languages = params.supported_languages if self._languages is None else self._languages
        message = self.create_opened_response(
            start_paused=params.start_paused if paused is None else paused,
            supported_languages=languages,
            selected_language=params.selected_language,
        )
        if self._discard_to is not None:
            message["parameters"]["discardTo"] = self._discard_to
        return GenesysOpenFrame(message, opening=event)

    def _closed_frame(self, event: events.CloseReceived, _: Draft | None) -> Frame:
        message = self.create_closed_response(output_variables=self._output_variables)
        self._closed_seq = message["seq"]
        return GenesysCloseFrame(message, reason=event.reason)

    def _pong_frame(self, event: events.PingReceived, _: Draft | None) -> Frame:
        return GenesysPingFrame(self.create_pong_response(), pinged=event)

    def _updated_frame(self, event: events.UpdateReceived, instead: Draft | None) -> Frame | None:
        draft = instead or event.reply
        if draft is None or event.language is None:
            return None
        return GenesysUpdateFrame(self._written(draft), language=event.language)

    def _digit_frame(self, event: events.DtmfReceived, _: Draft | None) -> Frame | None:
        button = _BUTTONS.get(event.digit)
        if button is None:
            self._log.once("WARNING", "a DTMF digit that no keypad has was ignored")
            return None
        return InputDTMFFrame(button)


class _Means(NamedTuple):
    """What an event of the session's means here.

    Attributes:
        name: The application's event.
        update: Brings up to date what the application can read.
        frame: Makes the frame, given the event and what the application answers instead.
    """

    name: str
    update: Callable[[Receiving, Any], None] | None = None
    frame: Callable[[Receiving, Any, Draft | None], Frame | None] | None = None


def _control(kind: type[events.Event]) -> Callable[[Receiving, Any, Draft | None], Frame]:
    make = CONTROL[kind]
    return lambda _, event, instead: make(event)


_CLOSE_REASONS = frozenset(reason.value for reason in CloseReason)
_BUTTONS: Mapping[str, KeypadEntry] = {entry.value: entry for entry in KeypadEntry}

_R = Receiving
MEANS: Mapping[type[events.Event], _Means] = {
    events.OpenReceived: _Means("on_open", _R._open, _R._opened_frame),
    events.CloseReceived: _Means("on_close", _R._close, _R._closed_frame),
    events.PingReceived: _Means("on_ping", None, _R._pong_frame),
    events.UpdateReceived: _Means("on_update", _R._update, _R._updated_frame),
    events.PauseRequested: _Means("on_pause", _R._paused),
    events.Paused: _Means("on_pause", _R._paused, _control(events.Paused)),
    events.Resumed: _Means("on_resumed", _R._resumed, _control(events.Resumed)),
    events.Discarded: _Means("on_discarded", None, _control(events.Discarded)),
    events.DtmfReceived: _Means("on_dtmf", _R._digit, _R._digit_frame),
    events.PlaybackStarted: _Means("on_playback_started", None, _control(events.PlaybackStarted)),
    events.PlaybackCompleted: _Means(
        "on_playback_completed", None, _control(events.PlaybackCompleted)
    ),
    events.ErrorReceived: _Means("on_error", _R._error),
}
"""What each event means; a fault is in no row."""
