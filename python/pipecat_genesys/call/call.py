"""`Call`: one AudioHook call, as the application of a bot sees it.

A `Call` has no socket and no serializer. Its owner passes received messages to the call, sends the
replies that the call returns, and provides a function that sends the messages of the application.
"""

from __future__ import annotations

import asyncio
import traceback
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from enum import IntEnum
from fractions import Fraction
from types import NoneType
from typing import Any, NamedTuple

from loguru import logger
from pipecat.frames.frames import StartFrame
from pipecat.processors.frame_processor import FrameProcessorSetup
from pipecat.utils.base_object import BaseObject

from pipecat_genesys.protocol import (
    MAX_MESSAGE_BYTES,
    WIRE_SAMPLE_RATE,
    AudioHookMessageType,
    AudioHookSession,
    CloseReason,
    DisconnectReason,
    Draft,
    LocalProtocolError,
    Media,
    MediaPreference,
    Position,
    Rule,
    State,
    WireMessage,
    events,
    fields,
    format_duration,
    server_messages,
)
from pipecat_genesys.protocol.client_messages import ContinuedSession
from pipecat_genesys.protocol.entities import Entity, Token, Transcript, seconds

from .codec import CallCodec
from .containment import PROCESS_EXITS, BotExitError
from .details import CallDetails
from .frames import KEYPAD
from .log import CallLog, brief, log_context
from .params import CallParams, check_params, check_rate
from .variables import fit_output_variables

Send = Callable[[Draft], Awaitable[bool]]
"""Sends messages in the order of its calls; returns whether the message will be sent to Genesys."""

OpenGate = Callable[[events.OpenReceived], Awaitable[None]]
"""Awaited between ``open`` and its answer, before the hooks."""

Handler = Callable[..., Awaitable[None] | None]
"""A handler of an event or a hook: a function or a coroutine function."""

# Maximum size of an event's parameters in bytes. 2000 bytes are reserved for the envelope of the
# message, which has an id of up to 256 characters.
_MAX_EVENT_BYTES = MAX_MESSAGE_BYTES - 2000
# Delay in seconds before a send method returns False, so that an application that repeats the
# call of the method in a loop does not block the event loop.
_UNSENT_SECONDS = 0.01
_UNOPENED = (State.PREPARING, State.OPENING)
# Module-level names for enumeration members that are compared for every message, because access
# through the class is slow.
_DISCONNECT, _CLOSED = AudioHookMessageType.DISCONNECT, AudioHookMessageType.CLOSED


class EndCause(NamedTuple):
    """The cause of the end of a call.

    Attributes:
        by: ``genesys`` for ``close`` or a lost socket, ``bot`` for ``disconnect``, ``server`` if
            this package ended the call.
        reason: The reason in ``close`` or ``disconnect``; ``lost`` for a lost socket; or the reason
            of this package, such as ``fault-seq`` for a fault of the client in ``seq``.
    """

    by: str
    reason: str


_CLOSED_BY_GENESYS: Mapping[str, EndCause] = {
    reason.value: EndCause("genesys", reason.value) for reason in CloseReason
}
_CLOSED_FOR_UNKNOWN_REASON = EndCause("genesys", "(unknown)")
_LOST = EndCause("genesys", "lost")


class Phase(IntEnum):
    """Phase of a call. A call never returns to an earlier phase."""

    RUNNING = 0
    """The end has not begun."""
    ENDING = 1
    """The end has begun with a fault, ``disconnect`` or ``close``."""
    ENDED = 2
    """``closed`` was sent."""
    GONE = 3
    """The socket is closed or lost."""


# Module-level names for enumeration members that are used for every message, because access through
# the class is slow.
_ENDING, _ENDED, _GONE = Phase.ENDING, Phase.ENDED, Phase.GONE


class Call(BaseObject):
    """One call from Genesys.

    Event handlers are added with ``@call.event_handler(name)``. Each handler is called with the
    call and the message from Genesys: ``on_open``, ``on_close``, ``on_ping``, ``on_pause`` (also
    for the protocol's ``paused``), ``on_resumed``, ``on_update``, ``on_discarded``, ``on_dtmf``,
    ``on_playback_started``, ``on_playback_completed``, ``on_error``. The second argument of
    ``on_connection_lost`` is the typed event. Each event handler runs in a separate task.

    Hooks are handlers that are awaited before the answer is sent, for at most
    ``hook_timeout_secs``: ``on_opening``, ``on_updating``, ``on_closing``. In a hook the
    application can set languages, variables or a pause, send events, or refuse.

    The methods that send a message return whether the message will be sent to Genesys. They return
    False if the session does not allow the message, for example after ``close``. This is not an
    error, because callers may hang up at any time.

    Attributes:
        params: The configuration.
        session: The protocol session.
        codec: The audio of the call.
        details: The details of the call from ``open`` and ``update``.
        log: The log of the call.
        phase: The phase of the call.
        ending: The cause of the end of the call; None until the call begins to end.
        output_variables: The variables for the Architect flow; `set_output_variables` sets them.
        start_paused_choice: True if `pause`, or False if `resume`, was called last before
            ``opened`` was sent; None if neither was called.
        discard_to: The position of `set_discard_to` in the notation of the protocol, or None.
    """

    def __init__(
        self,
        params: CallParams | None,
        send: Send,
        *,
        open_gate: OpenGate | None = None,
        name: str | None = None,
    ) -> None:
        """Create a call that waits for ``open``.

        Args:
            params: The configuration; never modified, so calls may share one.
            send: Sends the messages of the application.
            open_gate: Called and awaited at each ``open`` before the hooks. During this time,
                `disconnect` refuses the session, and with `pause` the session starts paused. If the
                gate is cancelled or raises, the exception ends the reading of messages.
            name: The name in Pipecat's logs.

        Raises:
            TypeError: If ``params`` is not a `CallParams`.
            ValueError: If a parameter has no valid value.
        """
        super().__init__(name=name)
        params = check_params(params)
        self.params = params
        self.session = AudioHookSession(
            str(uuid.uuid4()), MediaPreference(params.channel, params.media_format)
        )
        self.codec = CallCodec(params)
        self.details = CallDetails()
        self.log = CallLog(self.session.session_id, personal_data=params.log_personal_data)
        self.phase = Phase.RUNNING
        self.ending: EndCause | None = None
        self.output_variables: dict[str, Any] | None = None
        self.start_paused_choice: bool | None = None
        self.discard_to: str | None = None
        self._send_draft = send
        self._open_gate = open_gate
        # Names of the events and hooks that have handlers. Pipecat's event code is called only for
        # these names.
        self._handled: frozenset[str] = frozenset()
        self._phase_waiters: list[tuple[Phase, asyncio.Future[None]]] = []
        # The kind of event whose hook runs now, and the answer that the application chose in the
        # hook.
        self._hook: type[events.Event] | None = None
        self._chosen: Draft | None = None
        self._languages: list[str] | None = None
        for event_name in _EVENT_NAMES:
            self._register_event_handler(event_name, sync=event_name in _HOOK_NAMES)

    # -- event handlers ----------------------------------------------------------------------

    def add_event_handler(self, event_name: str, handler: Handler) -> None:
        """Add a handler of an event or a hook; ``event_handler`` is the decorator for it.

        Args:
            event_name: Name of the event or the hook. For an unknown name, Pipecat logs a warning.
            handler: The function or coroutine function to call.
        """
        super().add_event_handler(event_name, handler)
        self._handled |= {event_name}

    # -- attributes of the call --------------------------------------------------------------

    @property
    def session_id(self) -> str:
        """The id of the session: a random id before ``open``, and then the id from Genesys."""
        return self.session.session_id

    @property
    def organization_id(self) -> str | None:
        """The Genesys organization's id, from ``open``."""
        return self.details.organization_id

    @property
    def conversation_id(self) -> str | None:
        """The Genesys conversation's id, from ``open``."""
        return self.details.conversation_id

    @property
    def participant(self) -> dict[str, Any] | None:
        """The caller, as a dict with the keys ``ani``, ``aniName``, ``dnis`` and ``id``."""
        return self.details.participant

    @property
    def input_variables(self) -> dict[str, Any] | None:
        """The Architect flow's input variables, from ``open``."""
        return self.details.input_variables

    @property
    def custom_config(self) -> dict[str, Any] | None:
        """The integration's configuration, from ``open``."""
        return self.details.custom_config

    @property
    def language(self) -> str | None:
        """The conversation's language, from ``open`` or the last ``update``."""
        return self.session.language

    @property
    def media(self) -> Media | None:
        """The medium of the session, or None before ``open`` is accepted."""
        return self.session.media

    @property
    def is_open(self) -> bool:
        """Whether ``opened`` was sent and the call has not begun to end."""
        return self.session.state in (State.ACTIVE, State.PAUSED)

    @property
    def is_paused(self) -> bool:
        """Whether Genesys has paused the audio."""
        return self.session.state is State.PAUSED

    @property
    def is_connection_probe(self) -> bool:
        """Whether Genesys only tests the connection and needs no bot."""
        return self.session.is_probe

    @property
    def continued_sessions(self) -> tuple[ContinuedSession, ...]:
        """The earlier sessions that this session continues after a reconnection."""
        return self.session.continued_sessions

    @property
    def faults(self) -> dict[str, int]:
        """The number of the peer's faults for each rule of the protocol, by the rule's name."""
        return {rule.value: count for rule, count in self.session.faults.items()}

    @property
    def is_in_hook(self) -> bool:
        """Whether the open gate or a hook runs. No message is processed during this time."""
        return self._hook is not None

    def stream_offset(self, sample: int, sample_rate: int | None = None) -> Fraction:
        """Return the stream position of a sample.

        Genesys's clock does not stop while audio is paused or dropped, so the position is not the
        number of previous samples. Offsets in events are stream positions. The delay of the
        resampler is included.

        Args:
            sample: Number of samples of the same party that reached the pipeline before this
                sample.
            sample_rate: The rate of the samples in Hz; by default the rate of the pipeline.

        Returns:
            Exact time since the beginning of this session, in seconds.
        """
        rate = sample_rate or self.codec.sample_rate or WIRE_SAMPLE_RATE
        # One sample on the wire has the duration of `rate / 8000` samples in the pipeline.
        wire = sample * WIRE_SAMPLE_RATE - self.codec.delay_samples * rate
        whole, rest = divmod(max(wire, 0), rate)
        positions = self.session.positions
        position = positions.position(whole) - positions.start
        return Fraction(position, WIRE_SAMPLE_RATE) + Fraction(rest, rate * WIRE_SAMPLE_RATE)

    @property
    def samples_delivered(self) -> int:
        """Number of samples of each party that the pipeline has received, at the pipeline's rate.

        An application may have to process all caller audio before ``closed`` is sent. Then its hook
        ``on_closing`` waits until the application has processed this number of samples.
        """
        arrived = self.session.positions.arrived(self.session.position)
        return arrived * (self.codec.sample_rate or WIRE_SAMPLE_RATE) // WIRE_SAMPLE_RATE

    def log_context(self) -> AbstractContextManager[None]:
        """Put the call's ids on every log line of the current task and of the tasks it starts.

        The ids are ``session_id``, ``conversation_id`` and ``organization_id`` in
        ``record["extra"]``, also on the lines of Pipecat and of the application. The ids are empty
        before ``open``. `run_call` and the endpoint use this method.
        """
        # The functions below must not refer to `self`, because a timer that was started inside the
        # context keeps the context in memory for seconds after the call.
        session, details = self.session, self.details

        def session_id() -> str | None:
            return None if session.state is State.PREPARING else session.session_id

        return log_context(
            session_id=session_id,
            conversation_id=lambda: details.conversation_id,
            organization_id=lambda: details.organization_id,
        )

    async def wait_for_phase(self, phase: Phase) -> None:
        """Wait until the call has reached a phase.

        Cancelling the wait has no effect on the call.

        Args:
            phase: The phase, or any later one.
        """
        if self.phase >= phase:
            return
        waiter = (phase, asyncio.get_running_loop().create_future())
        self._phase_waiters.append(waiter)
        try:
            await waiter[1]
        finally:
            self._phase_waiters.remove(waiter)

    # -- settings of the application ---------------------------------------------------------

    def set_pipeline(self, setup: FrameProcessorSetup | StartFrame) -> None:
        """Set the input rate of the pipeline.

        Args:
            setup: Pipecat's ``FrameProcessorSetup`` (1.8 and newer) or ``StartFrame``.

        Raises:
            ValueError: If wire audio cannot be resampled to the rate.
        """
        # Newer versions of Pipecat warn if the rate of a StartFrame is read as an attribute.
        rate = self.params.sample_rate or object.__getattribute__(setup, "audio_in_sample_rate")
        check_rate(rate)
        self.codec.set_sample_rate(rate)

    def set_output_variables(self, variables: dict[str, Any] | None) -> None:
        """Set the variables that the Architect flow gets at the end of the call.

        Genesys accepts only strings. Strings are sent unchanged, and other values as compact JSON
        (``true``, ``0.95``).

        Args:
            variables: Names and values, which replace all previous variables. None means no
                variables.

        Raises:
            TypeError: If `variables` is not a dict.
            ValueError: If a value cannot be encoded as JSON; the message names the variable.
        """
        if not isinstance(variables, (dict, NoneType)):
            raise TypeError(
                f"output variables must be a dict of names and values, "
                f"not {type(variables).__name__}"
            )
        server_messages.to_string_map(variables or {})
        if self.session.state is State.CLOSED:
            self.log.once("WARNING", "output variables set after 'closed' are not sent")
        self.output_variables = variables
        self.log.line("DEBUG", f"output variables set: {self.log.redact(variables)}")

    def set_supported_languages(self, languages: Sequence[str]) -> None:
        """Set the supported languages. ``opened`` contains the languages if Genesys asks for them.

        Args:
            languages: Codes such as ``en-US``; they replace the parameter ``supported_languages``.

        Raises:
            TypeError: If `languages` is not a list of strings.
        """
        if isinstance(languages, str) or not all(isinstance(code, str) for code in languages):
            raise TypeError("supported languages must be a list of codes such as 'en-US'")

        self._languages = list(languages)

    def set_discard_to(self, position: Position) -> None:
        """Set the position in ``opened`` at which Genesys begins to send audio.

        After a reconnection, Genesys offers up to 20 s of earlier audio. If the application already
        has the first part of this audio, `position` is the end of that part.

        Args:
            position: A stream position, in the notation of ``position`` in ``open``, or in seconds.

        Raises:
            ValueError: If the position is negative or not a duration.
        """
        self.discard_to = format_duration(seconds(position))

    @property
    def supported_languages(self) -> list[str] | None:
        """The languages for ``opened``, or None if none were set."""
        return self.params.supported_languages if self._languages is None else self._languages

    @property
    def start_paused(self) -> bool:
        """Whether the session starts paused."""
        choice = self.start_paused_choice
        return self.params.start_paused if choice is None else choice

    # -- messages from Genesys ---------------------------------------------------------------

    def receive_audio(self, data: bytes) -> tuple[bytes, ...]:
        """Convert one binary message to PCM.

        Args:
            data: The message.

        Returns:
            16-bit mono PCM at the pipeline's rate for each party that the parameters select, the
            external party first; empty if the state of the session does not allow audio.
        """
        usable = self.session.receive_audio(len(data))
        medium = self.session.media
        if usable == 0 or medium is None:
            return ()
        if usable != len(data):
            data = data[:usable]
        return self.codec.decode(data, medium)

    async def connection_lost(self) -> None:
        """Record that the WebSocket connection was lost.

        Emits ``on_connection_lost`` if ``closed`` was not sent. Calling this method again has no
        effect.
        """
        event = self.session.connection_lost()
        self._advance(_GONE, _LOST)
        if event is None:
            return
        self.log.line("INFO", f"AudioHook connection lost while {event.state}")
        await self._call_event_handler("on_connection_lost", event)

    def detach(self) -> None:
        """Remove the references to the connection and the application after the end of the call.

        The event handlers are removed, and the methods that send a message return False.
        """
        self._send_draft, self._open_gate = _send_nothing, None
        for handler in self._event_handlers.values():
            # A new list, because a loop over the old list may still run.
            handler.handlers = []

    async def handle(self, event: events.Event) -> Draft | None:
        """Handle one event of the session: update the details, and run hooks and event handlers.

        Hooks are awaited; other handlers run in separate tasks. If this method is cancelled, a
        running hook is cancelled.

        Args:
            event: The next event that ``session.receive_text`` returned.

        Returns:
            The answer that the application chose instead of the ordinary answer, or None. A chosen
            answer to ``open`` is a refusal.
        """
        kind = type(event)
        handling = EVENT_HANDLERS.get(kind)
        if handling is None:
            self._handle_fault(event)
            return None
        name, update, hook = handling
        if update is not None:
            update(self, event)
        if not self._handled and self._open_gate is None:
            return None
        chosen = None
        if hook is not None:
            chosen = await self._run_hook(event, hook)
            if chosen is not None and kind is events.OpenReceived:
                return chosen
        if name in self._handled:
            await self._call_event_handler(name, event.raw)
        return chosen

    def reply(self, event: events.Event, chosen: Draft | None) -> Draft | None:
        """Return the message that answers an event, or None if the event needs no answer.

        Args:
            event: The event.
            chosen: The result of `handle` for the event.
        """
        if chosen is not None:
            return chosen
        kind = type(event)
        if kind is events.OpenReceived:
            return self.opened()
        return self.closed() if kind is events.CloseReceived else event.reply

    def _handle_fault(self, event: events.Event) -> None:
        if isinstance(event, events.Faulted):
            self.log.once("WARNING", f"AudioHook protocol: {event.error}", event.error.rule)
            if event.reply is not None:
                self._advance(_ENDING, EndCause("server", f"fault-{event.error.rule.value}"))

    async def _run_hook(self, event: events.Event, name: str) -> Draft | None:
        """Await the open gate and the hook of an event, if there are any.

        Returns:
            The answer that the application chose instead of the ordinary answer, or None.
        """
        if name not in self._handled and self._open_gate is None:
            return None
        if isinstance(event, events.UpdateReceived) and event.reply is None:
            return None
        self._hook, self._chosen = type(event), None
        try:
            if self._open_gate is not None and isinstance(event, events.OpenReceived):
                await self._open_gate(event)
            if name in self._handled and self._chosen is None:
                async with asyncio.timeout(self.params.hook_timeout_secs):
                    await self._call_event_handler(name, event.raw)
        except TimeoutError:
            limit = self.params.hook_timeout_secs
            self.log.once(
                "ERROR", f"{name} took longer than {limit} s; the answer is sent without it", name
            )
        finally:
            self._hook = None
        return self._chosen

    def _advance(self, phase: Phase, cause: EndCause | None = None) -> None:
        """Enter a phase, unless the call is in a later phase; set `ending` if it is not set."""
        if cause is not None and self.ending is None:
            self.ending = cause
        if phase <= self.phase:
            return
        self.phase = phase
        if not self._phase_waiters:
            return
        for wanted, waiter in self._phase_waiters:
            if wanted <= phase and not waiter.done():
                waiter.set_result(None)

    # -- updates of attributes before the handlers run ---------------------------------------

    def _open(self, event: events.OpenReceived) -> None:
        details, log = self.details, self.log
        details.read_open(event)
        log.set_session_id(self.session.session_id)
        kind = "connection probe" if event.is_probe else "open"
        log.line("INFO", f"AudioHook {kind}: conversation={details.conversation_id!r:.120}")
        if self.params.log_personal_data:
            log.line("DEBUG", f"participant: {details.participant}")

    def _close(self, event: events.CloseReceived) -> None:
        cause = _CLOSED_BY_GENESYS.get(event.reason, _CLOSED_FOR_UNKNOWN_REASON)
        self._advance(_ENDING, cause)
        faults = f" faults={self.faults}" if self.session.faults else ""
        self.log.line("INFO", f"AudioHook close: reason={cause.reason}{faults}")

    def _update(self, event: events.UpdateReceived) -> None:
        self.details.read_update(event)

    def _dtmf(self, event: events.DtmfReceived) -> None:
        self.log.line("DEBUG", f"DTMF received: {self.log.redact(event.digit)}")
        if event.digit not in KEYPAD:
            self.log.once("WARNING", "a DTMF digit that is not on a keypad was ignored")

    def _error(self, event: events.ErrorReceived) -> None:
        text = f"AudioHook error from Genesys: {event.code} {brief(event.message)}"
        self.log.once("ERROR", text, f"error {event.code}")

    # -- messages to Genesys -----------------------------------------------------------------

    def opened(self) -> Draft:
        """Return the ``opened`` message that answers ``open``."""
        media = self.session.media
        return server_messages.opened(
            [media.raw] if media is not None else [],
            start_paused=self.start_paused,
            supported_languages=(
                self.supported_languages or [] if self.details.asks_languages else None
            ),
            discard_to=self.discard_to,
        )

    def closed(self) -> Draft:
        """Return the ``closed`` message that answers ``close``, with the output variables."""
        if not self.output_variables or not self.params.variables_in_closed:
            return server_messages.closed()
        return server_messages.closed(fit_output_variables(self.output_variables, self.log.once))

    def final_disconnect(self) -> Draft:
        """Return the ``disconnect`` for the frames that end a pipeline.

        The message has the output variables and, unless ``disconnect_action`` is off, Pipecat's
        output variable ``action``.
        """
        variables = dict(self.output_variables or {})
        if self.params.disconnect_action:
            variables = {"action": "transfer", **variables}
        return server_messages.disconnect(
            output_variables=fit_output_variables(variables, self.log.once)
        )

    def record_ending(self, by: str, reason: str) -> None:
        """Set `ending`, unless it was set before. This method sends no message.

        Args:
            by: The party that ends the call; see `EndCause`.
            reason: The reason; see `EndCause`.
        """
        if self.ending is None:
            self.ending = EndCause(by, reason)

    async def end_failed_bot(self) -> None:
        """Send ``disconnect`` for the reason ``error``, because code of the bot failed."""
        self.record_ending("server", "bot-failed")
        await self.disconnect("error", info="the bot has failed")

    async def _run_handler(self, event_name: str, handler: Any, *args: Any, **kwargs: Any) -> None:
        """Run one event handler. Pipecat's base class calls this method."""
        try:
            await super()._run_handler(event_name, handler, *args, **kwargs)
        except PROCESS_EXITS as error:
            self.log.once("ERROR", str(BotExitError(f"the handler of {event_name!r}", error)))
            await self.end_failed_bot()

    def record_defect(self, error: Exception) -> None:
        """Count and log an exception that a message from Genesys caused in this package.

        Args:
            error: The exception. Its text is not logged, because it may contain personal data.
        """
        self.session.faults[Rule.INTERNAL] += 1
        where = "".join(traceback.format_tb(error.__traceback__))
        text = f"a message could not be handled: {type(error).__name__}\n{where}"
        self.log.once("ERROR", text, Rule.INTERNAL)

    def to_wire(self, draft: Draft) -> WireMessage | None:
        """Add a sequence number to a message and encode the message as JSON, if it may be sent now.

        Args:
            draft: The message.

        Returns:
            The encoded message, which must be sent before this method is called again. None if the
            session does not allow the message, or it cannot be encoded; the reason is logged.
        """
        try:
            message = self.session.to_wire(draft)
        except LocalProtocolError as error:
            if self.session.allows(draft.type):
                self.log.once("ERROR", f"not sent: {error}")
            else:
                logger.debug(f"{draft.type.value!r} not sent: the session is {self.session.state}")
            return None
        if draft.type is _DISCONNECT:
            self._advance(_ENDING, EndCause("bot", str(draft.parameters.get("reason"))))
        elif draft.type is _CLOSED:
            self._advance(_ENDED)
        return message

    def takes_bot_audio(self) -> bool:
        """Return whether the medium carries bot audio. Log the first time that it does not."""
        medium = self.session.media
        if medium is not None and medium.is_listen_only:
            channels = "+".join(medium.channels)
            self.log.once("WARNING", f"bot audio dropped: a session of {channels} only listens")
            return False
        return True

    async def pause(self) -> bool:
        """Ask Genesys to stop the audio; Genesys answers ``paused``.

        Before ``opened`` is sent, no message is sent, and the session starts paused. In the hook
        ``on_updating``, ``pause`` becomes the answer to the update; the protocol requires this
        answer for a language that is not supported.

        Returns:
            Whether the message will be sent to Genesys.
        """
        if self.session.state in _UNOPENED:
            self.start_paused_choice = True
            await asyncio.sleep(0)  # lets other tasks run if this method is called in a loop
            return True
        if self._hook is events.UpdateReceived:
            self._chosen = server_messages.pause()
            await asyncio.sleep(0)  # lets other tasks run if this method is called in a loop
            return True
        return await self._send(server_messages.pause())

    async def resume(self) -> bool:
        """Ask Genesys to send audio again after a pause.

        Genesys answers ``resumed``. If Genesys has its own reason to pause the audio, such as a
        caller on hold, Genesys answers ``paused``, and sends audio when the reason ends. Before
        ``opened`` is sent, no message is sent, and the session starts without a pause.

        Returns:
            Whether the message will be sent to Genesys.
        """
        if self.session.state in _UNOPENED:
            self.start_paused_choice = False
            await asyncio.sleep(0)  # lets other tasks run if this method is called in a loop
            return True
        return await self._send(server_messages.resume())

    async def send_event(self, entity: Entity | str, data: object = None) -> bool:
        """Send one ``event`` message to Genesys.

        Args:
            entity: An entity of `pipecat_genesys.protocol.entities`, or the name of another entity.
            data: The data of the entity, if `entity` is a name: any JSON value.

        Returns:
            Whether the message will be sent to Genesys.

        Raises:
            ValueError: If the data cannot be encoded as JSON, or is too large for one message.
        """
        draft = (
            server_messages.event(entity, data)
            if isinstance(entity, str)
            else server_messages.entity(entity)
        )
        name = draft.parameters["entities"][0]["type"]
        try:
            size = fields.wire_size(fields.encode(draft.parameters))
        except (TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"event {name!r} cannot be sent: {error}") from None
        if size > _MAX_EVENT_BYTES:
            raise ValueError(
                f"event {name!r} has {size} bytes; Genesys accepts at most {MAX_MESSAGE_BYTES} "
                "bytes in a message; send less data"
            )
        return await self._send(draft)

    async def send_transcript(
        self,
        text: str,
        *,
        offset: Position,
        duration: Position,
        channel: str = "external",
        is_final: bool = True,
        confidence: float = 1.0,
        language: str | None = None,
        tokens: Sequence[Token] | None = None,
        id: str | None = None,
    ) -> bool:
        """Send a ``transcript`` event with the words of one party.

        Args:
            text: The words.
            offset: Stream position where the utterance begins; `stream_offset` computes it.
            duration: Length of the utterance.
            channel: The party that spoke: ``external`` or ``internal``.
            is_final: Whether the text is final; False for an interim result.
            confidence: Confidence of the recognition, from 0 to 1.
            language: Code of the language spoken.
            tokens: The single words, if they are known.
            id: A UUID that the interim results and the final result of an utterance share; by
                default a new UUID.

        Returns:
            Whether the message will be sent to Genesys. False before ``open`` is accepted.

        Raises:
            ValueError: If an argument has no valid value (the message names it), or the medium
                does not carry the channel.
        """
        media = self.session.media
        if media is None:
            await self._refused()
            return False
        transcript = Transcript.of(
            text,
            id=id or str(uuid.uuid4()),
            channel_id=media.channel_id(channel),
            offset=offset,
            duration=duration,
            is_final=is_final,
            confidence=confidence,
            language=language,
            tokens=tokens,
        )
        return await self.send_event(transcript)

    async def disconnect(
        self,
        reason: str = "completed",
        *,
        info: str | None = None,
        output_variables: dict[str, Any] | None = None,
    ) -> bool:
        """End the session with ``disconnect``, which Genesys answers with ``close``.

        In the hook ``on_opening``, this method refuses the session. If the caller must hear the
        bot's last words, wait for ``on_playback_completed`` before you call this method. The frames
        that end a pipeline also send ``disconnect``, but then Pipecat's own transports close the
        socket immediately. After this method, Genesys closes the socket.

        Args:
            reason: ``completed``, ``error`` or ``unauthorized``. After ``error``, the Architect
                flow takes its failure path, and may call again.
            info: A line for Genesys's log, without personal data.
            output_variables: Variables for the Architect flow; by default the variables of
                `set_output_variables`.

        Returns:
            Whether the message will be sent; a session has at most one ``disconnect``.

        Raises:
            ValueError: If Genesys does not know the reason, or a variable cannot be encoded as
                JSON.
        """
        if reason not in set(DisconnectReason):
            known = ", ".join(DisconnectReason)
            raise ValueError(f"disconnect reason {reason!r} is unknown; Genesys accepts {known}")

        if output_variables is not None:
            server_messages.to_string_map(output_variables)
        variables = self.output_variables if output_variables is None else output_variables
        draft = server_messages.disconnect(
            reason, info=info, output_variables=fit_output_variables(variables, self.log.once)
        )
        if self._hook in (events.OpenReceived, events.UpdateReceived):
            if self._chosen is not None and self._chosen.type is AudioHookMessageType.DISCONNECT:
                await self._refused()
                return False
            self._chosen = draft
            await asyncio.sleep(0)  # lets other tasks run if this method is called in a loop
            return True
        return await self._send(draft)

    async def reconnect(self, info: str | None = None) -> bool:
        """Ask Genesys to continue in a new session, if the Monitor integration allows this.

        The current session continues until Genesys closes the session with the reason
        ``reconnect``.

        Args:
            info: A line for Genesys's log, without personal data.

        Returns:
            Whether the message will be sent to Genesys.
        """
        return await self._send(server_messages.reconnect(info))

    async def _send(self, draft: Draft) -> bool:
        """Send a message of the application.

        If the message cannot be sent, the method returns after a short delay. Without the delay,
        an application that repeats the call in a loop would block the event loop.
        """
        if await self._send_draft(draft):
            return True
        await self._refused()
        return False

    async def _refused(self) -> None:
        """Wait for a short time before a send method returns False.

        In a hook, only let other tasks run, because the reply to Genesys waits for the hook.
        """
        await asyncio.sleep(0 if self.is_in_hook else _UNSENT_SECONDS)


async def _send_nothing(_: Draft) -> bool:
    return False


class _Handling(NamedTuple):
    """How one kind of event is processed.

    Attributes:
        name: The name of the application's event.
        update: A method that updates the attributes of the call, or None.
        hook: The name of the hook that is awaited before the answer, or None.
    """

    name: str
    update: Callable[[Call, Any], None] | None = None
    hook: str | None = None


EVENT_HANDLERS: Mapping[type[events.Event], _Handling] = {
    events.OpenReceived: _Handling("on_open", Call._open, "on_opening"),
    events.CloseReceived: _Handling("on_close", Call._close, "on_closing"),
    events.PingReceived: _Handling("on_ping"),
    events.UpdateReceived: _Handling("on_update", Call._update, "on_updating"),
    events.PauseRequested: _Handling("on_pause"),
    events.Paused: _Handling("on_pause"),
    events.Resumed: _Handling("on_resumed"),
    events.Discarded: _Handling("on_discarded"),
    events.DtmfReceived: _Handling("on_dtmf", Call._dtmf),
    events.PlaybackStarted: _Handling("on_playback_started"),
    events.PlaybackCompleted: _Handling("on_playback_completed"),
    events.ErrorReceived: _Handling("on_error", Call._error),
}
"""The handling of each kind of event. Faults are not in this table."""

_HOOK_NAMES = frozenset(row.hook for row in EVENT_HANDLERS.values() if row.hook is not None)
_EVENT_NAMES = tuple(
    dict.fromkeys(
        (
            *(row.name for row in EVENT_HANDLERS.values()),
            "on_connection_lost",
            *sorted(_HOOK_NAMES),
        )
    )
)
