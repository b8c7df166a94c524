"""A drop-in replacement for Pipecat's ``GenesysAudioHookSerializer``.

The serializer converts between Pipecat's frames and a `Call`. The serializer has no socket: a
transport passes messages and frames to the serializer, and sends the results.

Rules of this file: `deserialize` never raises, because an exception would end Pipecat's receive
loop and the call. No line is logged for each audio message. Values that may be personal are logged
only at DEBUG, and only if the parameter ``log_personal_data`` is set.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from loguru import logger
from pipecat.frames.frames import (
    AudioRawFrame,
    CancelFrame,
    EndFrame,
    Frame,
    InterruptionFrame,
    OutputAudioRawFrame,
    OutputTransportMessageFrame,
    OutputTransportMessageUrgentFrame,
    StartFrame,
)
from pipecat.processors.frame_processor import FrameProcessorSetup
from pipecat.serializers.base_serializer import FrameSerializer
from pipecat.transports.base_transport import BaseTransport

from pipecat_genesys import audio
from pipecat_genesys.call import Call, CallParams, Handler, Phase
from pipecat_genesys.call.frames import (
    NOTICE_FRAMES,
    GenesysCloseFrame,
    GenesysOpenFrame,
    GenesysPingFrame,
    GenesysUpdateFrame,
    input_audio_frame,
)
from pipecat_genesys.call.message_dicts import to_draft
from pipecat_genesys.protocol import (
    MAX_MESSAGE_BYTES,
    PROTOCOL_VERSION,
    WIRE_SAMPLE_RATE,
    Draft,
    Media,
    State,
    events,
    fields,
    server_messages,
)
from pipecat_genesys.protocol.media import preferred_entry
from pipecat_genesys.protocol.states import BOT_AUDIO
from pipecat_genesys.protocol.types import parse_media

from .pipecat_compat import PAUSES, PipecatState
from .stock_transport import CHUNK_10MS

# Maximum bot audio that is kept before `open`, in seconds. `open` always arrives before this limit
# is reached.
_MAX_EARLY_SECONDS = 4.0
# Minimum number of samples in a chunk: 200 ms of audio. With shorter chunks, a transport sends more
# messages per second than Genesys accepts.
_MIN_CHUNK_SAMPLES = WIRE_SAMPLE_RATE // 5
_CLOSED = server_messages.closed()
_GONE = Phase.GONE
# Module-level names for enumeration members that are used for every packet, because access through
# the class is slow.
_PREPARING, _OPENING = State.PREPARING, State.OPENING


class GenesysAudioHookSerializer(FrameSerializer):
    """Serializer for the Genesys Cloud AudioHook protocol (Audio Connector and Monitor).

    This class replaces Pipecat's class of the same name, and has the same constructor, parameters,
    properties, methods and events. Additional features are in `call`: the methods that send
    messages, the details of the call, and stream positions.

    Example::

        serializer = GenesysAudioHookSerializer()
        transport = FastAPIWebsocketTransport(
            websocket=websocket,
            params=FastAPIWebsocketParams(**genesys_params(serializer)),
        )

    ``@serializer.event_handler(name)`` adds a handler of an event or a hook of `Call`. The handler
    is called with the serializer and the message as Genesys sent it.

    Attributes:
        call: The call.
    """

    InputParams = CallParams
    PROTOCOL_VERSION: ClassVar[str] = PROTOCOL_VERSION

    def __init__(self, params: CallParams | None = None, **kwargs: Any) -> None:
        """Create the serializer of one call.

        Args:
            params: Configuration; never modified, so calls may share one.
            **kwargs: Options of Pipecat's base class (``name``).

        Raises:
            ValueError: If ``genesys_sample_rate`` is not 8000, neither ``process_external`` nor
                ``process_internal`` is set, or wire audio cannot be resampled to ``sample_rate``.
        """
        self.call = call = Call(params, self._send, name=kwargs.get("name"))
        super().__init__(call.params, **kwargs)
        self._params: CallParams = call.params
        # The serializer and the call share their handlers. A handler can be added to either object,
        # and `cleanup` of either object waits for all running handlers.
        self._event_handlers = call._event_handlers
        self._event_tasks = call._event_tasks
        self._state = PipecatState(call.session)
        # Bot audio that arrived before `open`, and wire audio that was encoded before `opened` was
        # sent.
        self._early: list[tuple[bytes, int, int]] = []
        self._unsent = b""
        self._transport: BaseTransport | None = None
        self._worker: Any = None
        self._adapters: dict[tuple[str, Handler], Handler] | None = None

    # -- attributes and methods of Pipecat's class -------------------------------------------

    @property
    def session_id(self) -> str:
        """The id of the session: a random id before ``open``, and then the id from Genesys."""
        return self.call.session_id

    @property
    def conversation_id(self) -> str | None:
        """The Genesys conversation's id, from ``open``; None before ``open``."""
        return self.call.conversation_id

    @property
    def is_open(self) -> bool:
        """Whether the answer to ``open`` was built, and no answer to ``close`` after it."""
        return self._state.is_open and self.call.phase is not _GONE

    @property
    def is_paused(self) -> bool:
        """Whether the audio is paused."""
        return self._state.is_paused

    @property
    def participant(self) -> dict[str, Any] | None:
        """The caller, as a dict with the keys ``ani``, ``aniName``, ``dnis`` and ``id``."""
        return self.call.participant

    @property
    def input_variables(self) -> dict[str, Any] | None:
        """The Architect flow's input variables, from ``open``."""
        return self.call.input_variables

    @property
    def output_variables(self) -> dict[str, Any] | None:
        """The variables that the Architect flow gets at the end of the call."""
        return self.call.output_variables

    def set_output_variables(self, variables: dict[str, Any]) -> None:
        """Set the variables that the Architect flow gets at the end of the call.

        Args:
            variables: Names and values; see `Call.set_output_variables`.

        Raises:
            TypeError: If `variables` is neither a dict nor None.
            ValueError: If a value cannot be encoded as JSON.
        """
        self.call.set_output_variables(variables)

    def add_event_handler(self, event_name: str, handler: Handler) -> None:
        """Add a handler of an event or a hook; ``event_handler`` is the decorator for it.

        Args:
            event_name: The event's or hook's name.
            handler: The function or coroutine function to call with the serializer and the
                message.
        """
        if inspect.iscoroutinefunction(handler):

            async def adapter(_: Call, *args: Any) -> None:
                await handler(self, *args)
        else:

            def adapter(_: Call, *args: Any) -> None:  # type: ignore[misc]  # one of the two
                handler(self, *args)

        self._adapters = self._adapters or {}
        self._adapters[event_name, handler] = adapter
        self.call.add_event_handler(event_name, adapter)

    def remove_event_handler(self, event_name: str, handler: Handler) -> None:
        """Remove a handler, if it was added.

        Args:
            event_name: The event's or hook's name.
            handler: The handler.
        """
        adapter = (self._adapters or {}).pop((event_name, handler), None)
        if adapter is not None:
            self.call.remove_event_handler(event_name, adapter)

    def create_opened_response(
        self,
        start_paused: bool = False,
        supported_languages: list[str] | None = None,
        selected_language: str | None = None,
    ) -> dict[str, Any]:
        """Create an ``opened`` message, and mark the session as open.

        `deserialize` calls this method for every accepted ``open``.

        Args:
            start_paused: Whether to start the session paused.
            supported_languages: Language codes that the bot supports. The codes are sent only if
                Genesys asked for them.
            selected_language: Kept for compatibility. It is not sent, because the protocol has no
                such field.

        Returns:
            The message, with a provisional ``seq``.
        """
        session = self.call.session
        if session.media is not None:
            chosen = [session.media.raw]
        elif session.state is State.PREPARING:
            chosen = [preferred_entry(session.preference)]
        else:
            chosen = []
        parameters: dict[str, Any] = {"startPaused": start_paused, "media": chosen}
        if supported_languages:
            parameters["supportedLanguages"] = supported_languages
        if selected_language:
            parameters["selectedLanguage"] = selected_language
        self._state.is_open = True
        return self._state.message("opened", parameters, positioned=False)

    def create_closed_response(
        self,
        output_variables: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Create a ``closed`` message, and mark the session as closed.

        Args:
            output_variables: Variables for the Architect flow.

        Returns:
            The message, with a provisional ``seq``.
        """
        parameters = {"outputVariables": output_variables} if output_variables else {}
        message = self._state.message("closed", parameters)
        self._state.is_open = False
        return message

    def create_pong_response(self) -> dict[str, Any]:
        """Create a ``pong`` message for the newest client message.

        Returns:
            The message, with a provisional ``seq``.
        """
        return self._state.message("pong", {})

    def create_resumed_response(self) -> dict[str, Any]:
        """Create the message that ends a pause, and mark the session as not paused.

        In the protocol, only the client sends ``resumed``. Therefore this message is sent as
        ``resume``, which asks the client to send audio again.

        Returns:
            The message, with a provisional ``seq``.
        """
        message = self._state.message("resumed", {})
        self._state.is_paused = False
        return message

    def create_barge_in_event(self) -> dict[str, Any]:
        """Create a ``barge_in`` event, which lets Genesys discard its queued bot audio.

        Returns:
            The message, with a provisional ``seq``.
        """
        return self._state.message("event", dict(server_messages.barge_in().parameters))

    def create_disconnect_message(
        self,
        reason: str = "completed",
        action: str = "transfer",
        output_variables: dict[str, Any] | None = None,
        info: str | None = None,
    ) -> dict[str, Any]:
        """Create a ``disconnect`` message, with which the server ends the session.

        Args:
            reason: "completed" or "error". After "error", the Architect flow takes its failure
                path.
            action: Value of the output variable ``action``, unless ``output_variables`` has it.
            output_variables: Variables for the Architect flow.
            info: A line for Genesys's log, without personal data.

        Returns:
            The message, with a provisional ``seq``.
        """
        parameters: dict[str, Any] = {
            "reason": reason,
            "outputVariables": {"action": action, **(output_variables or {})},
        }
        if info:
            parameters["info"] = info
        return self._state.message("disconnect", parameters)

    def create_error_message(
        self,
        code: int,
        message: str,
        retryable: bool = False,
    ) -> dict[str, Any]:
        """Create an ``error`` message.

        The message is never sent, because the protocol has no ``error`` from server to client, and
        Genesys would end the call. Use `create_disconnect_message` with ``reason="error"``.

        Args:
            code: Error code.
            message: Description of the error.
            retryable: Whether the client should try again.

        Returns:
            The message, with a provisional ``seq``.
        """
        parameters = {"code": code, "message": message, "retryable": retryable}
        return self._state.message("error", parameters)

    # -- connection to the transport ---------------------------------------------------------

    # Pipecat's FrameSerializer also changes the type of the argument of its base class.
    async def setup(  # type: ignore[override]
        self, setup: FrameProcessorSetup | StartFrame
    ) -> None:
        """Set the configuration of the pipeline. The input and the output call this method.

        Args:
            setup: A ``FrameProcessorSetup`` (Pipecat 1.8 and newer) or a ``StartFrame``.

        Raises:
            ValueError: If wire audio cannot be resampled to the pipeline's input rate.
        """
        self.call.set_pipeline(setup)
        self._worker = getattr(setup, "pipeline_worker", None)

    def attach(self, transport: BaseTransport) -> None:
        """Set the transport that uses this serializer.

        The messages of `call` are then pushed as frames from the transport's input to its output,
        in order with the replies: a message from a hook of ``on_closing`` is sent before
        ``closed``. The call is also informed when the connection is lost. Without `attach`, the
        messages are queued in the pipeline's worker, which needs Pipecat 1.8 or newer.

        Args:
            transport: One of Pipecat's WebSocket transports.
        """
        self._transport = transport

        async def on_client_disconnected(*_: Any) -> None:
            await self.call.connection_lost()

        transport.add_event_handler("on_client_disconnected", on_client_disconnected)

    async def _send(self, draft: Draft) -> bool:
        """Send a message of the application as a frame."""
        session = self.call.session
        # If `opened` is queued but not sent yet, later messages may be queued behind it.
        if not session.allows(draft.type) and session.state is not State.OPENING:
            logger.debug(f"{draft.type.value!r} not sent: the session is {session.state.value}")
            return False
        frame = OutputTransportMessageUrgentFrame(message=self._message_of(draft))
        if self._transport is not None:
            await self._transport.input().push_frame(frame)
        elif self._worker is not None:
            await self._worker.queue_frame(frame)
        else:
            raise RuntimeError(
                "the serializer cannot send messages of the application without a transport; call "
                "serializer.attach(transport) when you create the transport"
            )
        return True

    # -- frames to Genesys -------------------------------------------------------------------

    async def serialize(self, frame: Frame) -> str | bytes | None:
        """Convert a frame to the message to send.

        Args:
            frame: Audio is converted to a binary message, EndFrame and CancelFrame to
                ``disconnect``, InterruptionFrame to a ``barge_in`` event, and a transport message
                with an AudioHook message to that message, with its final sequence number.

        Returns:
            Text or bytes; None if the frame has no message, or the message may not be sent now.

        Raises:
            ValueError: If an audio frame's audio, rate or number of channels is not valid, or
                the audio is too long for one message.
        """
        if isinstance(frame, AudioRawFrame):
            return self._serialize_audio(frame)
        if isinstance(frame, (OutputTransportMessageUrgentFrame, OutputTransportMessageFrame)):
            message = frame.message
            # Other messages, such as RTVI messages, are not sent to Genesys.
            if (
                isinstance(message, dict)
                and "version" in message
                and not self.should_ignore_frame(frame)
            ):
                return self._serialize_message(message)
        if isinstance(frame, (EndFrame, CancelFrame)):
            variables = self.output_variables
            message = self.create_disconnect_message(output_variables=variables)
            if not (self._params.disconnect_action or "action" in (variables or {})):
                del message["parameters"]["outputVariables"]["action"]
            return self._serialize_message(message)
        if isinstance(frame, InterruptionFrame):
            if self._has_protected_audio():
                # `barge_in` makes Genesys discard all queued bot audio, so it is not sent while a
                # part of the audio must not be interrupted.
                return None
            self._drop_bot_audio()
            return self._serialize_message(self.create_barge_in_event())
        return None

    def _has_protected_audio(self) -> bool:
        """Return whether the attached transport has queued audio that must not be interrupted.

        On an interruption, Pipecat's output transport keeps only such audio.
        """
        if self._transport is None:
            return False
        senders = getattr(self._transport.output(), "_media_senders", {})
        queue = getattr(senders.get(None), "_audio_queue", None)
        has_frame = getattr(queue, "has_frame", None)  # exists in pipecat 1.11 and newer
        return bool(has_frame is not None and has_frame(OutputAudioRawFrame))

    def _serialize_message(self, message: dict[str, Any]) -> str | None:
        call = self.call
        name = message.get("type")
        if name == "closed":
            draft = self._closed(message)
        else:
            if name == "opened" and call.start_paused_choice is not None:
                # Set `startPaused` again, because the application may have called `pause` or
                # `resume` while `opened` was in the pipeline.
                parameters = {**fields.parameters(message), "startPaused": call.start_paused}
                message = {**message, "parameters": parameters}
            draft = to_draft(message, call)
        wire = None if draft is None else call.to_wire(draft)
        if wire is None:
            return None
        if call.session.state not in BOT_AUDIO:
            self._drop_bot_audio()
        return wire.text

    def _closed(self, message: dict[str, Any]) -> Draft | None:
        # Handlers of `on_close` run after the reply was built, and they may have set output
        # variables.
        if message.get("seq") == self._state.closed_seq:
            return self.call.closed()
        return to_draft(message, self.call) if self._params.variables_in_closed else _CLOSED

    def _drop_bot_audio(self) -> None:
        lost, self._unsent, self._early = len(self._unsent), b"", []
        self.call.codec.reset_outbound()
        if lost:
            self.call.log.once(
                "WARNING",
                f"{lost} bytes of bot audio from before 'opened' were never sent, because they are "
                "sent only with later bot audio, and there was none; greet in on_open",
                "unsent audio lost",
            )

    def _serialize_audio(self, frame: AudioRawFrame) -> bytes | None:
        call = self.call
        state = call.session.state
        if state is _PREPARING and not self._state.is_open:
            self._keep_early(frame)
            return None
        if not self._state.is_open or state not in BOT_AUDIO:
            return None
        if self._state.is_paused:
            call.log.once("INFO", "bot audio is dropped while the session is paused")
            return None
        medium = self._medium()
        if medium is None or not call.takes_bot_audio():
            return None
        if self._early:
            early, self._early = self._early, []
            for pcm, rate, channels in early:
                self._unsent += call.codec.encode(pcm, rate, channels, medium)
        wire = call.codec.encode(frame.audio, frame.sample_rate, frame.num_channels, medium)
        if state is not _OPENING and not self._unsent:
            self._check_chunk(wire, medium)
            return wire or None
        # Until `opened` is sent, audio is kept. After that, the kept audio is sent first.
        unsent = self._unsent + wire
        if state is _OPENING:
            self._unsent = unsent[:MAX_MESSAGE_BYTES]
            if len(unsent) > MAX_MESSAGE_BYTES:
                call.log.once(
                    "WARNING",
                    "bot audio dropped: 'opened' is still on its way and 64,000 bytes wait for it",
                )
            return None
        self._unsent = unsent[MAX_MESSAGE_BYTES:]
        return unsent[:MAX_MESSAGE_BYTES]

    def _keep_early(self, frame: AudioRawFrame) -> None:
        """Keep bot audio that arrived before ``open``, up to a limit. It is sent later."""
        if frame.sample_rate <= 0 or frame.num_channels <= 0:
            return
        seconds = sum(len(pcm) / 2 / rate / channels for pcm, rate, channels in self._early)
        if seconds < _MAX_EARLY_SECONDS:
            self._early.append((frame.audio, frame.sample_rate, frame.num_channels))
        else:
            self.call.log.once("WARNING", "bot audio dropped: 'open' has not arrived yet")

    def _check_chunk(self, wire: bytes, medium: Media) -> None:
        """Warn once if the transport sends more messages per second than Genesys accepts."""
        if 0 < len(wire) < _MIN_CHUNK_SAMPLES * medium.frame_bytes:
            self.call.log.once(
                "WARNING",
                "audio chunks shorter than 200 ms exceed Genesys's 5 messages per second and end "
                "calls with error 429, unless the transport's fixed_audio_packet_size joins them; "
                f"set audio_out_10ms_chunks={CHUNK_10MS}, for instance by "
                "FastAPIWebsocketParams(**genesys_params(serializer))",
            )

    # -- messages from Genesys ---------------------------------------------------------------

    async def deserialize(self, data: str | bytes) -> Frame | None:
        """Convert a message from Genesys to a frame.

        Args:
            data: The text or the bytes of one message from the socket.

        Returns:
            A frame with caller audio, a DTMF digit, or the reply that the output transport must
            send. None if the message has no frame. This method never raises an exception, even for
            invalid messages.
        """
        try:
            if not isinstance(data, str):
                return self._deserialize_audio(data)
            call, state, frame = self.call, self._state, None
            for event in call.session.receive_text(data):
                kind, raw = type(event), event.raw
                # Update the state first, because the handlers of the event may read it.
                if raw is not None:
                    state.client_seq = raw.get("seq", 0)
                    state.client_position = raw.get("position", state.client_position)
                if kind in PAUSES:
                    state.is_paused = PAUSES[kind]
                elif kind is events.CloseReceived:
                    state.is_open = False
                chosen = await call.handle(event)
                make_answer = _ANSWER_FRAMES.get(kind)
                if make_answer is not None:
                    frame = make_answer(self, event, chosen) or frame
                elif kind in NOTICE_FRAMES:
                    frame = NOTICE_FRAMES[kind](event) or frame
            return frame
        except Exception as error:
            # An exception in this package must not end the call.
            self.call.record_defect(error)
            return None

    def _fault_frame(self, event: events.Faulted, _: Draft | None) -> Frame | None:
        return None if event.reply is None else self._refusal_frame(event.reply)

    def _refusal_frame(self, draft: Draft) -> Frame:
        # This frame is not a `GenesysOpenFrame`, because processors would start a call when they
        # receive a `GenesysOpenFrame`.
        self._state.is_open = False
        return OutputTransportMessageUrgentFrame(message=self._message_of(draft))

    def _open_frame(self, event: events.OpenReceived, chosen: Draft | None) -> Frame:
        if chosen is not None:
            return self._refusal_frame(chosen)
        call = self.call
        message = self.create_opened_response(
            start_paused=call.start_paused,
            supported_languages=call.supported_languages,
            selected_language=self._params.selected_language,
        )
        if call.discard_to is not None:
            message["parameters"]["discardTo"] = call.discard_to
        return GenesysOpenFrame(message, opening=event)

    def _close_frame(self, event: events.CloseReceived, _: Draft | None) -> Frame:
        message = self.create_closed_response(output_variables=self.call.output_variables)
        self._state.closed_seq = message["seq"]
        return GenesysCloseFrame(message, reason=event.reason)

    def _ping_frame(self, event: events.PingReceived, _: Draft | None) -> Frame:
        return GenesysPingFrame(self._state.message("pong", {}), pinged=event)

    def _update_frame(self, event: events.UpdateReceived, chosen: Draft | None) -> Frame | None:
        draft = chosen or event.reply
        if draft is None or event.language is None:
            return None
        return GenesysUpdateFrame(self._message_of(draft), language=event.language)

    def _message_of(self, draft: Draft) -> dict[str, Any]:
        return self._state.message(draft.type, dict(draft.parameters))

    def _deserialize_audio(self, data: bytes) -> Frame | None:
        session, length = self.call.session, len(data)
        usable = session.receive_audio(length)
        if not self._state.is_open or self._state.is_paused:
            session.leave_out(usable)
            return None
        medium = self._medium()
        if medium is None:
            return None
        if session.state is _PREPARING:
            # The application built `opened` before `open` arrived. The session then accepts no
            # audio, but Pipecat's serializer does, so whole frames are accepted here.
            usable = length - length % medium.frame_bytes
        if usable == 0:
            return None
        if usable != length:
            data = data[:usable]
        codec = self.call.codec
        pcm = codec.decode(data, medium)
        if len(pcm) == 1:
            return input_audio_frame(pcm[0], codec.sample_rate, 1)
        return input_audio_frame(audio.merge_stereo(pcm[0], pcm[1], 2), codec.sample_rate, 2)

    def _medium(self) -> Media | None:
        session = self.call.session
        if session.state is _PREPARING:
            return parse_media(preferred_entry(session.preference))
        return session.media


_S = GenesysAudioHookSerializer
_ANSWER_FRAMES: Mapping[
    type[events.Event],
    Callable[[GenesysAudioHookSerializer, Any, Draft | None], Frame | None],
] = {
    events.OpenReceived: _S._open_frame,
    events.CloseReceived: _S._close_frame,
    events.PingReceived: _S._ping_frame,
    events.UpdateReceived: _S._update_frame,
    events.Faulted: _S._fault_frame,
}
"""For each event that may need an answer, a function that makes the frame with the answer.

The arguments are the serializer, the event, and the answer that the application chose, or None.
"""
