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
from typing import Any

from pipecat.frames.frames import (
    AudioRawFrame,
    CancelFrame,
    EndFrame,
    Frame,
    InterruptionFrame,
    OutputTransportMessageFrame,
    OutputTransportMessageUrgentFrame,
)
from pipecat.serializers.base_serializer import FrameSerializer

from pipecat_genesys import audio
from pipecat_genesys.protocol import (
    WIRE_SAMPLE_RATE,
    AudioHookSession,
    Draft,
    Media,
    MediaPreference,
    Rule,
    State,
    fields,
    server_messages,
)
from pipecat_genesys.protocol.media import preferred_entry
from pipecat_genesys.protocol.states import BOT_AUDIO
from pipecat_genesys.protocol.types import parse_media

from .answers import HOOKS
from .call_audio import CallAudio
from .call_log import CallLog
from .delivery import FrameDelivery
from .frames import input_audio_frame
from .messages import hand_over, string_map, to_draft
from .params import CHUNK_10MS, SerializerParams, check_rate, checked
from .receiving import MEANS, Receiving

# 200 ms; shorter chunks are more messages per second than Genesys lets through.
_MIN_CHUNK_SAMPLES = WIRE_SAMPLE_RATE // 5
# Looked up with every packet, and slow to look up in an enumeration.
_PREPARING, _OPENING = State.PREPARING, State.OPENING


class GenesysAudioHookSerializer(FrameDelivery, Receiving, FrameSerializer):
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
    ``on_resumed``, ``on_discarded``, ``on_playback_started``, ``on_playback_completed``, and
    ``on_connection_lost``, whose second argument is the typed event.

    Hooks, awaited before the answer goes out: ``on_opening``, ``on_updating``, ``on_closing``.
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
        self._log = CallLog(self._session.session_id, personal_data=params.log_personal_data)
        for name in dict.fromkeys(
            (*(means.name for means in MEANS.values()), "on_connection_lost")
        ):
            self._register_event_handler(name)
        for name in HOOKS.values():
            self._register_event_handler(name, sync=True)
        self._handled = set()

    def add_event_handler(self, event_name: str, handler: Any) -> None:
        """Add a handler of an event or a hook; ``event_handler`` is the decorator for it.

        Args:
            event_name: Its name.
            handler: What to call, a coroutine function or a plain one.
        """
        super().add_event_handler(event_name, handler)
        self._handled.add(event_name)

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
        self._worker = getattr(setup, "pipeline_worker", None)

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
        if isinstance(frame, (OutputTransportMessageUrgentFrame, OutputTransportMessageFrame)):
            message = frame.message
            # Anything else, RTVI's messages above all, is not for Genesys.
            if (
                isinstance(message, dict)
                and "version" in message
                and not self.should_ignore_frame(frame)
            ):
                return self._serialize_message(message)
        if isinstance(frame, (EndFrame, CancelFrame)):
            message = self.create_disconnect_message(output_variables=self._output_variables)
            if not (self._params.disconnect_action or "action" in (self._output_variables or {})):
                del message["parameters"]["outputVariables"]["action"]
            return self._serialize_message(message)
        if isinstance(frame, InterruptionFrame):
            self._forget_bot_audio()
            return self._serialize_message(self.create_barge_in_event())
        return None

    def _serialize_message(self, message: dict[str, Any]) -> str | None:
        log = self._log.once
        if message.get("type") == "closed":
            draft: Draft | None = server_messages.closed(self._last_variables(message))
        else:
            if message.get("type") == "opened" and self._start_paused is not None:
                # The application changed its mind while `opened` was on its way.
                parameters = {**fields.parameters(message), "startPaused": self._start_paused}
                message = {**message, "parameters": parameters}
            asked = self._languages_asked
            draft = to_draft(message, self._session, languages_asked=asked, log=log)
        text = None if draft is None else hand_over(self._session, draft, log)
        if text is not None and self._session.state not in BOT_AUDIO:
            self._forget_bot_audio()
        return text

    def _last_variables(self, closed: dict[str, Any]) -> dict[str, str] | None:
        # Handlers of on_close run after the reply was built; what they set still counts.
        ours = closed.get("seq") == self._closed_seq
        given = self._output_variables if ours else fields.parameters(closed).get("outputVariables")
        if not given or not self._params.variables_in_closed:
            return None
        return string_map(given, self._log.once)

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
        self._check_chunk(payload, medium)
        return payload or None

    def _check_chunk(self, payload: bytes, medium: Media) -> None:
        """Warn of chunks that a transport sends as they are, and Genesys takes too many of."""
        if 0 < len(payload) < _MIN_CHUNK_SAMPLES * medium.frame_bytes:
            self._log.once(
                "WARNING",
                "audio chunks shorter than 200 ms exceed Genesys's 5 messages per second and end "
                "calls with error 429, unless the transport's fixed_audio_packet_size joins them; "
                f"set audio_out_10ms_chunks={CHUNK_10MS}, for instance by "
                "FastAPIWebsocketParams(**genesys_params(serializer))",
            )

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
                return await self._receive(data)
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
            self._session.leave_out(usable)
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
