"""One AudioHook call: session, audio, events, hooks, and the messages an application sends.

A `Call` knows neither a socket nor a serializer. Its owner passes it what the socket delivers,
sends the replies it returns, and gives it a function that sends the messages of the application.
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
"""Sends a message, in the order of the calls; returns whether it will reach the wire."""

OpenGate = Callable[[events.OpenReceived], Awaitable[None]]
"""Awaited between ``open`` and its answer, before the hooks."""

Handler = Callable[..., Awaitable[None] | None]
"""A handler of an event or a hook: a function or a coroutine function."""

# 2000 bytes are reserved for the envelope, which has an id of up to 256 characters.
_MAX_EVENT_BYTES = MAX_MESSAGE_BYTES - 2000
# Delay in seconds before a send method returns False.
_UNSENT_SECONDS = 0.01
_UNOPENED = (State.PREPARING, State.OPENING)
# Compared for every message, and slow to look up in an enumeration.
_DISCONNECT, _CLOSED = AudioHookMessageType.DISCONNECT, AudioHookMessageType.CLOSED
_CLOSE_REASONS = frozenset(reason.value for reason in CloseReason)


class Ending(NamedTuple):
    """What began the end of a call.

    Attributes:
        by: ``genesys`` for ``close`` or a lost socket, ``bot`` for ``disconnect``, ``server`` for
            anything that this package ends.
        reason: The reason of that message, ``lost``, or the reason of the server, such as
            ``fault-seq`` for a fault of the client in ``seq``.
    """

    by: str
    reason: str


class Phase(IntEnum):
    """Phase of a call. A call never returns to an earlier phase."""

    RUNNING = 0
    """The end has not begun."""
    ENDING = 1
    """The end has begun: a fault, ``disconnect`` or ``close``."""
    ENDED = 2
    """``closed`` was sent."""
    GONE = 3
    """The socket is gone."""


# Looked up for every message, and slow to look up in an enumeration.
_ENDING, _ENDED, _GONE = Phase.ENDING, Phase.ENDED, Phase.GONE


class Call(BaseObject):
    """One call from Genesys.

    Event handlers are added with ``@call.event_handler(name)``. Each is called with the call and
    the message as Genesys sent it: ``on_open``, ``on_close``, ``on_ping``, ``on_pause`` (also for
    the protocol's ``paused``), ``on_resumed``, ``on_update``, ``on_discarded``, ``on_dtmf``,
    ``on_playback_started``, ``on_playback_completed``, ``on_error``; and ``on_connection_lost``,
    whose second argument is the typed event. They run in tasks of their own.

    Hooks are handlers that are awaited before the answer is sent, for at most
    ``hook_timeout_secs``: ``on_opening``, ``on_updating``, ``on_closing``. In a hook the
    application can set languages, variables or a pause, send events, or refuse.

    The methods that send a message return whether it will reach the wire. It will not where the
    session does not allow it: after ``close``, for example. Callers hang up at any time, so that
    is not an error.

    Attributes:
        params: The configuration.
        session: The protocol session.
        codec: The audio of the call.
        details: What ``open`` and ``update`` said.
        log: The log of the call.
        phase: How far the end of the call has come.
        ending: What began the end of the call; None while it has not begun.
        output_variables: The variables for the Architect flow; `set_output_variables` sets them.
        start_paused_choice: Whether `pause` or `resume` decided how the session starts; None
            where neither was called before ``opened``.
        discard_to: The position that `set_discard_to` set, as the protocol writes it, or None.
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
            open_gate: Awaited at each ``open`` before its hooks. `disconnect` refuses the session
                meanwhile, and `pause` opens it paused. If the gate is cancelled or raises, the
                receive path ends with that exception.
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
        self.ending: Ending | None = None
        self.output_variables: dict[str, Any] | None = None
        self.start_paused_choice: bool | None = None
        self.discard_to: str | None = None
        self._send_draft = send
        self._open_gate = open_gate
        # Names that have handlers. Without a handler nothing is awaited.
        self._handled: frozenset[str] = frozenset()
        self._phase_waiters: list[tuple[Phase, asyncio.Future[None]]] = []
        # The event whose hook runs now, and the answer that the application chose in it.
        self._hook: type[events.Event] | None = None
        self._chosen: Draft | None = None
        self._languages: list[str] | None = None
        for event_name in _EVENT_NAMES:
            self._register_event_handler(event_name, sync=event_name in _HOOK_NAMES)

    # -- handlers ----------------------------------------------------------------------------

    def add_event_handler(self, event_name: str, handler: Handler) -> None:
        """Add a handler of an event or a hook; ``event_handler`` is the decorator for it.

        Args:
            event_name: The event's or hook's name. Pipecat logs a warning for an unknown one.
            handler: The function or coroutine function to call.
        """
        super().add_event_handler(event_name, handler)
        self._handled |= {event_name}

    # -- what can be read --------------------------------------------------------------------

    @property
    def session_id(self) -> str:
        """The session's id: Genesys's once ``open`` has arrived, before that a random one."""
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
        """The caller (``ani``, ``aniName``, ``dnis``, ``id``), from ``open`` or ``update``."""
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
        """The medium in use, once ``open`` has been accepted."""
        return self.session.media

    @property
    def is_open(self) -> bool:
        """Whether ``opened`` was sent and the end has not begun."""
        return self.session.state in (State.ACTIVE, State.PAUSED)

    @property
    def is_paused(self) -> bool:
        """Whether Genesys has paused the audio."""
        return self.session.state is State.PAUSED

    @property
    def is_connection_probe(self) -> bool:
        """Whether Genesys only tests the connection, so that no bot is needed."""
        return self.session.is_probe

    @property
    def continued_sessions(self) -> tuple[ContinuedSession, ...]:
        """After a reconnection, the sessions that this one continues."""
        return self.session.continued_sessions

    @property
    def faults(self) -> dict[str, int]:
        """How often the peer broke each rule of the protocol, by the rule's name."""
        return {rule.value: count for rule, count in self.session.faults.items()}

    @property
    def is_in_hook(self) -> bool:
        """Whether the open gate or a hook runs, for which the receive path waits."""
        return self._hook is not None

    def stream_offset(self, sample: int, sample_rate: int | None = None) -> Fraction:
        """Return the stream position of a sample.

        Genesys's clock runs on while audio is paused or dropped, so the position is not simply
        the number of samples that came before. Offsets in events are such positions. The delay
        of the resampler is taken into account.

        Args:
            sample: Number of samples of its party that reached the pipeline before it.
            sample_rate: Their rate in Hz; by default the pipeline's.

        Returns:
            Seconds from the beginning of this session, exactly.
        """
        rate = sample_rate or self.codec.sample_rate or WIRE_SAMPLE_RATE
        # Every sample on the wire is `rate / 8000` samples in the pipeline.
        wire = sample * WIRE_SAMPLE_RATE - self.codec.delay_samples * rate
        whole, rest = divmod(max(wire, 0), rate)
        positions = self.session.positions
        position = positions.position(whole) - positions.start
        return Fraction(position, WIRE_SAMPLE_RATE) + Fraction(rest, rate * WIRE_SAMPLE_RATE)

    @property
    def samples_delivered(self) -> int:
        """Number of samples of each party given to the pipeline so far, at the pipeline's rate.

        An application that must process the caller's last word before ``closed`` is sent waits
        in ``on_closing`` until it has processed that many samples.
        """
        arrived = self.session.positions.arrived(self.session.position)
        return arrived * (self.codec.sample_rate or WIRE_SAMPLE_RATE) // WIRE_SAMPLE_RATE

    def log_context(self) -> AbstractContextManager[None]:
        """Put the call's ids on every log line of the current task and of the tasks it starts.

        ``record["extra"]`` then has ``session_id``, ``conversation_id`` and ``organization_id``,
        on the lines of Pipecat and of the application too; they are empty before ``open``.
        `run_call` and the endpoint do this.
        """
        # Not `self`: a timer that started inside the context keeps it for seconds after the call.
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

    # -- what can be set ---------------------------------------------------------------------

    def set_pipeline(self, setup: FrameProcessorSetup | StartFrame) -> None:
        """Take the input rate of the pipeline.

        Args:
            setup: Pipecat's ``FrameProcessorSetup`` (1.8 and newer) or ``StartFrame``.

        Raises:
            ValueError: If wire audio cannot be resampled to the rate.
        """
        # Newer Pipecats warn when a StartFrame's rate is read in the ordinary way.
        rate = self.params.sample_rate or object.__getattribute__(setup, "audio_in_sample_rate")
        check_rate(rate)
        self.codec.set_sample_rate(rate)

    def set_output_variables(self, variables: dict[str, Any] | None) -> None:
        """Set the variables to give back to the Architect flow at the end of the call.

        Genesys takes strings. Strings are sent as they are, everything else as compact JSON
        (``true``, ``0.95``).

        Args:
            variables: Names and values; they replace those set before. None means no variables.

        Raises:
            TypeError: If it is not a dict.
            ValueError: If JSON cannot encode one of them; the message names it.
        """
        if not isinstance(variables, (dict, NoneType)):
            raise TypeError(
                f"output variables are a dict of names and values, not a {type(variables).__name__}"
            )
        server_messages.to_string_map(variables or {})
        if self.session.state is State.CLOSED:
            self.log.once("WARNING", "output variables set after 'closed' are not sent")
        self.output_variables = variables
        self.log.line("DEBUG", f"output variables set: {self.log.redact(variables)}")

    def set_supported_languages(self, languages: Sequence[str]) -> None:
        """Set the languages to name when Genesys asks, until ``opened`` is sent.

        Args:
            languages: Codes such as ``en-US``; they replace the parameter of this name.

        Raises:
            TypeError: If they are not a list of strings.
        """
        if isinstance(languages, str) or not all(isinstance(code, str) for code in languages):
            raise TypeError("supported languages are a list of codes such as 'en-US'")
        self._languages = list(languages)

    def set_discard_to(self, position: Position) -> None:
        """Ask Genesys not to send the audio before a position, until ``opened`` is sent.

        After a reconnection Genesys offers up to 20 s of the audio before it; the position says
        how much of that the application already has.

        Args:
            position: A stream position, as ``open`` and every message after it name one.

        Raises:
            ValueError: If it is negative or not a duration.
        """
        self.discard_to = format_duration(seconds(position))

    @property
    def supported_languages(self) -> list[str] | None:
        """The languages to name when Genesys asks, or None where none were set."""
        return self.params.supported_languages if self._languages is None else self._languages

    @property
    def start_paused(self) -> bool:
        """Whether the session is to start paused."""
        choice = self.start_paused_choice
        return self.params.start_paused if choice is None else choice

    # -- from Genesys ------------------------------------------------------------------------

    def receive_audio(self, data: bytes) -> tuple[bytes, ...]:
        """Convert one binary message to PCM.

        Args:
            data: The message.

        Returns:
            16-bit mono PCM at the pipeline's rate for each party that the pipeline wants, the
            external party first; nothing where audio has no place in the session's state.
        """
        usable = self.session.receive_audio(len(data))
        medium = self.session.media
        if usable == 0 or medium is None:
            return ()
        if usable != len(data):
            data = data[:usable]
        return self.codec.decode(data, medium)

    async def connection_lost(self) -> None:
        """Record that the socket is gone.

        Calls ``on_connection_lost`` where ``closed`` had not been sent. Later calls have no
        effect.
        """
        event = self.session.connection_lost()
        self.record_ending("genesys", "lost")
        self._set_phase(_GONE)
        if event is None:
            return
        self.log.line("INFO", f"AudioHook connection lost while {event.state}")
        await self._call_event_handler("on_connection_lost", event)

    async def handle(self, event: events.Event) -> Draft | None:
        """Handle one event of the session: details, hooks and event handlers.

        Hooks are awaited; other handlers run in tasks of their own. Cancelling this method
        cancels a running hook.

        Args:
            event: One of those that ``session.receive_text`` returned, in their order.

        Returns:
            The answer that the application chose instead of the ordinary one, or None. An answer
            to ``open`` chosen so is a refusal.
        """
        kind = type(event)
        handling = EVENT_HANDLERS.get(kind)
        if handling is None:
            self._handle_fault(event)
            return None
        name, update, hook = handling
        if update is not None:
            update(self, event)
        chosen = None
        if hook is not None and (self._handled or self._open_gate is not None):
            chosen = await self._run_hook(event, hook)
            if chosen is not None and kind is events.OpenReceived:
                return chosen
        if name in self._handled:
            await self._call_event_handler(name, event.raw)
        return chosen

    def reply(self, event: events.Event, chosen: Draft | None) -> Draft | None:
        """Return the message that answers an event, or None where none is due.

        Args:
            event: The event.
            chosen: What `handle` returned for it.
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
                self.record_ending("server", f"fault-{event.error.rule.value}")
                self._set_phase(_ENDING)

    async def _run_hook(self, event: events.Event, name: str) -> Draft | None:
        """Await the open gate and the hook of an event, if there are any.

        Returns:
            The answer that the application chose instead of the ordinary one, or None.
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

    def _set_phase(self, phase: Phase) -> None:
        if phase <= self.phase:
            return
        self.phase = phase
        if not self._phase_waiters:
            return
        for wanted, waiter in self._phase_waiters:
            if wanted <= phase and not waiter.done():
                waiter.set_result(None)

    # -- what the application can read, updated before its handlers run ----------------------

    def _open(self, event: events.OpenReceived) -> None:
        details, log = self.details, self.log
        details.read_open(event)
        log.set_session_id(self.session.session_id)
        kind = "connection probe" if event.is_probe else "open"
        log.line("INFO", f"AudioHook {kind}: conversation={brief(details.conversation_id)}")
        if self.params.log_personal_data:
            log.line("DEBUG", f"participant: {details.participant}")

    def _close(self, event: events.CloseReceived) -> None:
        faults = f" faults={self.faults}" if self.session.faults else ""
        reason = event.reason if event.reason in _CLOSE_REASONS else "(unknown)"
        self.record_ending("genesys", reason)
        self._set_phase(_ENDING)
        self.log.line("INFO", f"AudioHook close: reason={reason}{faults}")

    def _update(self, event: events.UpdateReceived) -> None:
        self.details.read_update(event)

    def _dtmf(self, event: events.DtmfReceived) -> None:
        self.log.line("DEBUG", f"DTMF received: {self.log.redact(event.digit)}")
        if event.digit not in KEYPAD:
            self.log.once("WARNING", "a DTMF digit that no keypad has was ignored")

    def _error(self, event: events.ErrorReceived) -> None:
        text = f"AudioHook error from Genesys: {event.code} {brief(event.message)}"
        self.log.once("ERROR", text, f"error {event.code}")

    # -- to Genesys --------------------------------------------------------------------------

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

        It has the output variables and, unless ``disconnect_action`` is off, Pipecat's output
        variable ``action``.
        """
        variables = dict(self.output_variables or {})
        if self.params.disconnect_action:
            variables = {"action": "transfer", **variables}
        return server_messages.disconnect(
            output_variables=fit_output_variables(variables, self.log.once)
        )

    def record_ending(self, by: str, reason: str) -> None:
        """Set `ending`, unless it was set before. This sends nothing.

        Args:
            by: What ends the call; see `Ending`.
            reason: The reason.
        """
        if self.ending is None:
            self.ending = Ending(by, reason)

    async def end_failed_bot(self) -> None:
        """Send ``disconnect`` for the reason ``error``, because code of the bot failed."""
        self.record_ending("server", "bot-failed")
        await self.disconnect("error", info="the bot has failed")

    async def _run_handler(self, event_name: str, handler: Any, *args: Any, **kwargs: Any) -> None:
        """Run one handler; pipecat's base class calls this, and logs ordinary exceptions."""
        try:
            await super()._run_handler(event_name, handler, *args, **kwargs)
        except PROCESS_EXITS as error:
            self.log.once("ERROR", str(BotExitError(f"the handler of {event_name!r}", error)))
            await self.end_failed_bot()

    def record_defect(self, error: Exception) -> None:
        """Count and log an exception that a message from Genesys caused in this package.

        Args:
            error: The exception. Its text is not logged, because it may hold personal data.
        """
        self.session.faults[Rule.INTERNAL] += 1
        where = "".join(traceback.format_tb(error.__traceback__))
        text = f"a message could not be handled: {type(error).__name__}\n{where}"
        self.log.once("ERROR", text, Rule.INTERNAL)

    def to_wire(self, draft: Draft) -> WireMessage | None:
        """Number a message and write it as JSON, if it may be sent now.

        Args:
            draft: The message.

        Returns:
            The message to send before the next one is numbered; None where the session does not
            allow it or it cannot be written, which is logged.
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
            self.record_ending("bot", str(draft.parameters.get("reason")))
            self._set_phase(_ENDING)
        elif draft.type is _CLOSED:
            self._set_phase(_ENDED)
        return message

    def takes_bot_audio(self) -> bool:
        """Return whether the medium carries bot audio; log once where it does not."""
        medium = self.session.media
        if medium is not None and medium.is_listen_only:
            channels = "+".join(medium.channels)
            self.log.once("WARNING", f"bot audio dropped: a session of {channels} only listens")
            return False
        return True

    async def pause(self) -> bool:
        """Ask Genesys to stop the audio; Genesys answers ``paused``.

        Before ``opened`` is sent, this opens the session paused. In ``on_updating`` it is the
        answer to the update, as the protocol wants it for a language that is not supported.

        Returns:
            Whether the message will reach the wire. Genesys takes 2 a second.
        """
        if self.session.state in _UNOPENED:
            self.start_paused_choice = True
            await asyncio.sleep(0)  # for an application that calls this in a loop
            return True
        if self._hook is events.UpdateReceived:
            self._chosen = server_messages.pause()
            await asyncio.sleep(0)  # for an application that calls this in a loop
            return True
        return await self._send(server_messages.pause())

    async def resume(self) -> bool:
        """Ask Genesys for the audio after a pause.

        Genesys answers ``resumed``, or ``paused`` while it is paused for reasons of its own, in
        which case the audio comes when those end. Before ``opened`` is sent, this opens the
        session without a pause.

        Returns:
            Whether the message will reach the wire. Genesys takes 2 a second.
        """
        if self.session.state in _UNOPENED:
            self.start_paused_choice = False
            await asyncio.sleep(0)  # for an application that calls this in a loop
            return True
        return await self._send(server_messages.resume())

    async def send_event(self, entity: Entity | str, data: object = None) -> bool:
        """Send one ``event`` message to Genesys.

        Args:
            entity: One of `pipecat_genesys.protocol.entities`, or the name of an entity of your
                own.
            data: With a name, the entity's data: any JSON value.

        Returns:
            Whether the message will reach the wire.

        Raises:
            ValueError: If JSON cannot encode the data, or it is too large for one message.
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
                f"event {name!r} takes {size} bytes; Genesys accepts {MAX_MESSAGE_BYTES} in a "
                "message; send less data"
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
        """Send a ``transcript`` event: what one party said.

        Args:
            text: The words.
            offset: Stream position where the utterance begins; `stream_offset` computes it.
            duration: Length of the utterance.
            channel: The party that spoke: ``external`` or ``internal``.
            is_final: Whether the text will not change any more.
            confidence: From 0 to 1.
            language: Code of the language spoken.
            tokens: The single words, where they are known.
            id: A UUID that the interim results and the final result of an utterance share; by
                default a new one.

        Returns:
            Whether the message will reach the wire. False before ``open`` is accepted.

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
        """End the session; Genesys answers ``close``.

        In ``on_opening`` this refuses the session. A bot that wants its last words heard waits
        for ``on_playback_completed`` first. The frames that end a pipeline send ``disconnect``
        too; with Pipecat's own transports the socket is then closed at once, whereas after this
        method Genesys closes it.

        Args:
            reason: ``completed``, ``error`` (the flow's failure path; may be retried) or
                ``unauthorized``.
            info: A line for Genesys's log, without personal data.
            output_variables: Variables for the Architect flow; by default those that
                `set_output_variables` set.

        Returns:
            Whether the message will reach the wire; a session has at most one ``disconnect``.

        Raises:
            ValueError: If the reason is another, or JSON cannot encode a variable.
        """
        if reason not in set(DisconnectReason):
            known = ", ".join(DisconnectReason)
            raise ValueError(f"disconnect reason {reason!r}; Genesys knows {known}")
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
            await asyncio.sleep(0)  # for an application that calls this in a loop
            return True
        return await self._send(draft)

    async def reconnect(self, info: str | None = None) -> bool:
        """Ask Genesys to continue in a new session (Monitor, where it is configured to).

        This session goes on until Genesys closes it with the reason ``reconnect``.

        Args:
            info: A line for Genesys's log, without personal data.

        Returns:
            Whether the message will reach the wire.
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
        """Wait for a moment, or only yield in a hook, because the reply waits for the hook."""
        await asyncio.sleep(0 if self.is_in_hook else _UNSENT_SECONDS)


class _Handling(NamedTuple):
    """How a call handles one kind of event.

    Attributes:
        name: The application's event.
        update: Updates what the application can read.
        hook: The hook that is awaited before the answer.
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
"""How each event is handled; a fault has no row."""

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
