"""The drop-in for pipecat's ``GenesysAudioHookSerializer``.

Frames on one side, an `AudioHookSession` and the audio core on the other. Knows nothing of
sockets: a transport hands it messages and frames and writes what it returns.

Rules of this file: `deserialize` never raises, as an exception there ends pipecat's receive loop
and with it the call; nothing is logged per audio message; values that may be personal are logged
at DEBUG at most, and only where asked for.
"""

from __future__ import annotations

import traceback
import uuid
from collections.abc import Mapping
from fractions import Fraction
from types import NoneType
from typing import Any

from pipecat.audio.dtmf.types import KeypadEntry
from pipecat.frames.frames import (
    AudioRawFrame,
    CancelFrame,
    EndFrame,
    Frame,
    InputDTMFFrame,
    InterruptionFrame,
    OutputTransportMessageFrame,
    OutputTransportMessageUrgentFrame,
)
from pipecat.serializers.base_serializer import FrameSerializer

from pipecat_genesys import audio
from pipecat_genesys.protocol import (
    WIRE_SAMPLE_RATE,
    AudioHookSession,
    CloseReason,
    Media,
    MediaPreference,
    Rule,
    State,
    events,
    fields,
    parse_duration,
    replies,
)
from pipecat_genesys.protocol.media import preferred_entry
from pipecat_genesys.protocol.states import BOT_AUDIO
from pipecat_genesys.protocol.types import parse_media

from .call_audio import CallAudio
from .call_log import CallLog, brief
from .frames import input_audio_frame
from .messages import PipecatMessages, hand_over, to_draft
from .params import CHUNK_10MS, SerializerParams, check_rate, checked

# 200 ms; shorter chunks are more messages per second than Genesys lets through.
_MIN_CHUNK_SAMPLES = WIRE_SAMPLE_RATE // 5
# Looked up with every packet, and slow to look up in an enumeration.
_PREPARING, _OPENING = State.PREPARING, State.OPENING

_EVENTS: Mapping[type[events.Event], str] = {
    events.OpenReceived: "on_open",
    events.CloseReceived: "on_close",
    events.PingReceived: "on_ping",
    events.PauseRequested: "on_pause",
    events.Paused: "on_pause",
    events.Resumed: "on_resumed",
    events.Discarded: "on_discarded",
    events.UpdateReceived: "on_update",
    events.ErrorReceived: "on_error",
    events.DtmfReceived: "on_dtmf",
    events.PlaybackStarted: "on_playback_started",
    events.PlaybackCompleted: "on_playback_completed",
}


class GenesysAudioHookSerializer(PipecatMessages, FrameSerializer):
    """Serializer for the Genesys Cloud AudioHook protocol (Audio Connector and Monitor).

    A drop-in for the class of this name in pipecat: same constructor, parameters, properties,
    methods and events.

    Example::

        serializer = GenesysAudioHookSerializer()
        transport = FastAPIWebsocketTransport(
            websocket=websocket,
            params=FastAPIWebsocketParams(**genesys_params(serializer)),
        )

    Event handlers (``@serializer.event_handler(name)``; each gets the serializer and the message
    as Genesys sent it): ``on_open``, ``on_close``, ``on_ping``, ``on_pause`` (also for the
    protocol's ``paused``), ``on_update``, ``on_error``, ``on_dtmf``, and, beyond pipecat's,
    ``on_resumed``, ``on_discarded``, ``on_playback_started``, ``on_playback_completed``.
    """

    InputParams = SerializerParams

    def __init__(self, params: SerializerParams | None = None, **kwargs: Any) -> None:
        """Create the serializer of one call.

        Args:
            params: Configuration; never modified, so calls may share one.
            **kwargs: For pipecat's base class (``name``).

        Raises:
            ValueError: If ``genesys_sample_rate`` is not 8000, neither ``process_external`` nor
                ``process_internal`` is set, or ``sample_rate`` cannot be resampled to.
        """
        params = checked(params)
        super().__init__(params, **kwargs)
        self._params: SerializerParams = params
        self._session = AudioHookSession(
            str(uuid.uuid4()), MediaPreference(params.channel, params.media_format)
        )
        self._audio = CallAudio(params)
        self._conversation_id: str | None = None
        self._participant: dict[str, Any] | None = None
        self._input_variables: dict[str, Any] | None = None
        self._output_variables: dict[str, Any] | None = None
        self._languages_asked = False
        self._closed_seq: int | None = None
        self._log = CallLog(self._session.session_id, personal_data=params.log_personal_data)
        for name in dict.fromkeys(_EVENTS.values()):
            self._register_event_handler(name)

    # -- what the application reads ----------------------------------------------------------

    @property
    def session_id(self) -> str:
        """The session's id: Genesys's once ``open`` has arrived, before that a random one."""
        return self._session.session_id

    @property
    def conversation_id(self) -> str | None:
        """The Genesys conversation's id, from ``open``."""
        return self._conversation_id

    @property
    def is_open(self) -> bool:
        """Whether the session is open."""
        return self._is_open

    @property
    def is_paused(self) -> bool:
        """Whether the audio is paused."""
        return self._is_paused

    @property
    def is_connection_probe(self) -> bool:
        """Whether Genesys only tests the connection: no call, so start no bot."""
        return self._session.is_probe

    @property
    def participant(self) -> dict[str, Any] | None:
        """The caller (``ani``, ``aniName``, ``dnis``, ``id``), from ``open`` or ``update``."""
        return self._participant

    @property
    def language(self) -> str | None:
        """The conversation's language, from ``open`` or ``update``."""
        return self._session.language

    @property
    def media(self) -> Media | None:
        """The medium in use, once ``open`` has been accepted."""
        return self._session.media

    @property
    def input_variables(self) -> dict[str, Any] | None:
        """The Architect flow's input variables, from ``open``."""
        return self._input_variables

    @property
    def output_variables(self) -> dict[str, Any] | None:
        """The variables to give back to the Architect flow."""
        return self._output_variables

    @property
    def faults(self) -> dict[str, int]:
        """How often Genesys, or whoever is there, broke each rule of the protocol."""
        return {rule.value: count for rule, count in self._session.faults.items()}

    def set_output_variables(self, variables: dict[str, Any]) -> None:
        """Set the variables to give back to the Architect flow at the end of the call.

        Genesys takes strings: those are sent as they are, everything else as compact JSON
        (``true``, ``0.95``).

        Args:
            variables: Names and values; replaces what was set before.

        Raises:
            TypeError: If it is not a dict; None is taken for an empty one.
            ValueError: If JSON cannot encode one of them.
        """
        if not isinstance(variables, (dict, NoneType)):
            raise TypeError(
                f"output variables are a dict of names and values, not a {type(variables).__name__}"
            )
        replies.to_string_map(variables or {})
        if self._session.state is State.CLOSED:
            self._log.once("WARNING", "output variables set after 'closed' are not sent")
        self._output_variables = variables
        self._log.line("DEBUG", f"output variables set: {self._log.shown(variables)}")

    async def setup(self, setup: Any) -> None:
        """Take the pipeline's configuration; called by each side of a transport.

        Args:
            setup: A ``FrameProcessorSetup`` (pipecat 1.8 and newer) or a ``StartFrame``.

        Raises:
            ValueError: If the pipeline's input rate cannot be resampled to.
        """
        # Newer pipecats warn when a StartFrame's rate is read in the ordinary way.
        rate = self._params.sample_rate or object.__getattribute__(setup, "audio_in_sample_rate")
        check_rate(rate)
        self._audio.set_sample_rate(rate)

    # -- frames to Genesys -------------------------------------------------------------------

    async def serialize(self, frame: Frame) -> str | bytes | None:
        """Turn a frame into the message to send.

        Args:
            frame: Audio becomes a binary message; EndFrame and CancelFrame ``disconnect``;
                InterruptionFrame a ``barge_in`` event; a transport message that holds an
                AudioHook message that message, with its place in the wire's sequence.

        Returns:
            Text, bytes, or None where the frame is nothing to Genesys or may not be sent now.

        Raises:
            ValueError: If an audio frame's audio, rate or channel count makes no sense, or it is
                too long for one message.
        """
        if isinstance(frame, AudioRawFrame):
            return self._serialize_audio(frame)
        if isinstance(frame, (EndFrame, CancelFrame)):
            message = self.create_disconnect_message(output_variables=self._output_variables)
            if not (self._params.disconnect_action or "action" in (self._output_variables or {})):
                del message["parameters"]["outputVariables"]["action"]
            return self._serialize_message(message)
        if isinstance(frame, InterruptionFrame):
            self._forget_bot_audio()
            return self._serialize_message(self.create_barge_in_event())
        if isinstance(frame, (OutputTransportMessageFrame, OutputTransportMessageUrgentFrame)):
            message = frame.message
            # Anything else, RTVI's messages above all, is not for Genesys.
            if (
                isinstance(message, dict)
                and "version" in message
                and not self.should_ignore_frame(frame)
            ):
                return self._serialize_message(message)
        return None

    def _serialize_message(self, message: dict[str, Any]) -> str | None:
        if message.get("type") == "closed":
            if message.get("seq") == self._closed_seq:
                # Handlers of on_close run after the reply was built; what they set still counts.
                variables = self._output_variables
                message = {**message, "parameters": {"outputVariables": variables}}
            if not self._params.variables_in_closed:
                message = {**message, "parameters": {}}
        log, asked = self._log.once, self._languages_asked
        draft = to_draft(message, self._session, languages_asked=asked, log=log)
        text = None if draft is None else hand_over(self._session, draft, log)
        if text is not None and self._session.state not in BOT_AUDIO:
            self._forget_bot_audio()
        return text

    def _forget_bot_audio(self) -> None:
        lost = self._audio.forget()
        if lost:
            self._log.once(
                "WARNING",
                f"{lost} bytes of bot audio from before 'opened' were never sent: nothing was "
                "said after it that they could have gone out with; greet in on_open",
                "held audio lost",
            )

    def _serialize_audio(self, frame: AudioRawFrame) -> bytes | None:
        session = self._session
        if not self._is_open or session.state not in BOT_AUDIO:
            return None
        if self._is_paused:
            self._log.once("INFO", "bot audio is dropped while the session is paused")
            return None
        medium = self._medium()
        if medium is None:
            return None
        if medium.is_listen_only:
            channels = "+".join(medium.channels)
            self._log.once("WARNING", f"bot audio dropped: a session of {channels} only listens")
            return None
        wire = self._audio.encode(frame.audio, frame.sample_rate, frame.num_channels, medium)
        if session.state is _OPENING:
            # Nothing may precede `opened`, which is on its way through the pipeline.
            if self._audio.hold(wire):
                text = (
                    "bot audio dropped: 'opened' is still on its way and 64,000 bytes wait for it"
                )
                self._log.once("WARNING", text)
            return None
        payload = self._audio.release(wire)
        if 0 < len(payload) < _MIN_CHUNK_SAMPLES * medium.frame_bytes:
            self._log.once(
                "WARNING",
                "audio chunks shorter than 200 ms exceed Genesys's 5 messages per second and end "
                "calls with error 429, unless the transport's fixed_audio_packet_size joins them; "
                f"set audio_out_10ms_chunks={CHUNK_10MS}, for instance by "
                "FastAPIWebsocketParams(**genesys_params(serializer))",
            )
        return payload or None

    # -- messages from Genesys ---------------------------------------------------------------

    async def deserialize(self, data: str | bytes) -> Frame | None:
        """Turn a message from Genesys into a frame.

        Args:
            data: What the socket delivered.

        Returns:
            The caller's audio; a digit; the reply that the protocol wants, to be sent by the
            output transport; or None. Never raises, whatever the peer sends.
        """
        try:
            if isinstance(data, str):
                return await self._deserialize_text(data)
            return self._deserialize_audio(data)
        except Exception as error:
            # The last line of defence: the call outlives a defect of ours.
            self._session.faults[Rule.INTERNAL] += 1
            # Where and what, but not the error's text, nor values as in loguru's tracebacks:
            # they may hold what the caller said.
            where = "".join(traceback.format_tb(error.__traceback__))
            text = f"a message could not be handled: {type(error).__name__}\n{where}"
            self._log.once("ERROR", text, Rule.INTERNAL)
            return None

    def _deserialize_audio(self, data: bytes) -> Frame | None:
        length = len(data)
        usable = self._session.receive_audio(length)
        if not self._is_open or self._is_paused:
            return None
        medium = self._medium()
        if medium is None:
            return None
        if self._session.state is _PREPARING:
            # The application built `opened` by itself.
            usable = length - length % medium.frame_bytes
        if usable == 0:
            return None
        if usable != length:
            data = data[:usable]
        pcm = self._audio.decode(data, medium)
        if len(pcm) == 1:
            return input_audio_frame(pcm[0], self._audio.sample_rate, 1)
        stereo = audio.merge_stereo(pcm[0], pcm[1], 2)
        return input_audio_frame(stereo, self._audio.sample_rate, 2)

    def _medium(self) -> Media | None:
        if self._session.state is _PREPARING:
            return parse_media(preferred_entry(self._session.preference))
        return self._session.media

    async def _deserialize_text(self, text: str) -> Frame | None:
        frame: Frame | None = None
        for event in self._session.receive_text(text):
            self._note(event.raw)
            if isinstance(event, events.Faulted):
                self._log.once("WARNING", f"AudioHook protocol: {event.error}", event.error.rule)
                if event.reply is not None:
                    self._is_open = False
            else:
                self._update(event)
                await self._call_event_handler(_EVENTS[type(event)], event.raw)
            frame = self._frame(event) or frame
        return frame

    def _note(self, raw: dict[str, Any] | None) -> None:
        """Remember what the messages pipecat builds repeat."""
        if raw is None:
            return
        self._seen_seq = raw.get("seq", 0)
        if "position" in raw:
            try:
                self._seen_position = parse_duration(raw["position"])
            except ValueError:
                self._seen_position = Fraction(0)

    def _update(self, event: events.Event) -> None:
        """Bring what the application can read up to date, before its handlers run."""
        match event:
            case events.OpenReceived():
                parameters = fields.parameters(event.raw)
                self._conversation_id = fields.typed(parameters, "conversationId", str)
                self._participant = fields.typed(parameters, "participant", dict)
                self._input_variables = fields.typed(parameters, "inputVariables", dict)
                self._languages_asked = parameters.get("supportedLanguages") is True
                kind = "connection probe" if event.is_probe else "open"
                conversation = brief(self._conversation_id)
                self._log.session_id = self.session_id
                self._log.line("INFO", f"AudioHook {kind}: conversation={conversation}")
                self._log.line("DEBUG", f"participant: {self._log.shown(self._participant)}")
            case events.CloseReceived():
                self._is_open = False
                faults = f" faults={self.faults}" if self.faults else ""
                reason = event.reason if event.reason in set(CloseReason) else "(unknown)"
                self._log.line("INFO", f"AudioHook close: reason={reason}{faults}")
            case events.Paused() | events.PauseRequested():
                self._is_paused = True
            case events.Resumed():
                self._is_paused = False
            case events.UpdateReceived():
                participant = fields.typed(fields.parameters(event.raw), "participant", dict)
                if participant is not None:
                    self._participant = participant
            case events.DtmfReceived():
                self._log.line("DEBUG", f"DTMF received: {self._log.shown(event.digit)}")
            case events.ErrorReceived():
                said = f"AudioHook error from Genesys: {event.code} {brief(event.message)}"
                self._log.once("ERROR", said, f"error {event.code}")

    def _frame(self, event: events.Event) -> Frame | None:
        """Build what the transport is to do about an event."""
        match event:
            case events.OpenReceived():
                message = self.create_opened_response(
                    start_paused=self._params.start_paused,
                    supported_languages=self._params.supported_languages,
                    selected_language=self._params.selected_language,
                )
            case events.CloseReceived():
                message = self.create_closed_response(output_variables=self._output_variables)
                self._closed_seq = message["seq"]
            case events.PingReceived():
                message = self.create_pong_response()
            case events.DtmfReceived():
                try:
                    return InputDTMFFrame(KeypadEntry(event.digit))
                except ValueError:
                    self._log.once("WARNING", "a DTMF digit that no keypad has was ignored")
                    return None
            case events.Event(reply=replies.Draft() as draft):
                message = self._create(draft.type, dict(draft.parameters))
            case _:
                return None
        return OutputTransportMessageUrgentFrame(message=message)
