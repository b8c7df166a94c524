"""What the application reads of a call, and the variables it gives back."""

from __future__ import annotations

from fractions import Fraction
from types import NoneType
from typing import Any

from pipecat_genesys.protocol import (
    WIRE_SAMPLE_RATE,
    AudioHookSession,
    Media,
    State,
    events,
    fields,
    server_messages,
)
from pipecat_genesys.protocol.client_messages import ContinuedSession

from .call_audio import CallAudio
from .call_log import CallLog


class CallView:
    """Properties of a call; what ``open`` and ``update`` said."""

    _session: AudioHookSession
    _audio: CallAudio
    _log: CallLog
    _is_open: bool
    _is_paused: bool

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # All that a call sets: objects that grow later share no keys, which costs memory and time.
        self._organization_id: str | None = None
        self._conversation_id: str | None = None
        self._participant: dict[str, Any] | None = None
        self._input_variables: dict[str, Any] | None = None
        self._custom_config: dict[str, Any] | None = None
        self._output_variables: dict[str, Any] | None = None
        self._languages_asked = False

    def _read_open(self, event: events.OpenReceived) -> None:
        parameters = fields.parameters(event.raw)
        self._organization_id = fields.typed(parameters, "organizationId", str)
        self._conversation_id = fields.typed(parameters, "conversationId", str)
        self._participant = fields.typed(parameters, "participant", dict)
        self._input_variables = fields.typed(parameters, "inputVariables", dict)
        self._custom_config = fields.typed(parameters, "customConfig", dict)
        self._languages_asked = parameters.get("supportedLanguages") is True

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
    def organization_id(self) -> str | None:
        """The Genesys organization's id, from ``open``."""
        return self._organization_id

    @property
    def continued_sessions(self) -> tuple[ContinuedSession, ...]:
        """After a reconnection, the sessions this one continues; what was said is theirs."""
        return self._session.continued_sessions

    @property
    def custom_config(self) -> dict[str, Any] | None:
        """The integration's configuration, from ``open``."""
        return self._custom_config

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
    def languages_asked(self) -> bool:
        """Whether Genesys asked which languages are supported."""
        return self._languages_asked

    def stream_offset(self, sample: int, sample_rate: int | None = None) -> Fraction:
        """Say where on the stream's timeline a sample is.

        Genesys's clock runs on while audio is paused or dropped, so that is not simply how many
        came before it. Offsets of events are on this timeline. What the resampler's filter delays
        is accounted for.

        Args:
            sample: How many samples of its party reached the pipeline before it.
            sample_rate: Their rate in Hz; by default the pipeline's.

        Returns:
            Seconds from the beginning of this session, exactly.
        """
        rate = sample_rate or self._audio.sample_rate or WIRE_SAMPLE_RATE
        # Every wire sample is `rate / 8000` of the pipeline's, at any moment.
        wire = sample * WIRE_SAMPLE_RATE - self._audio.delay_samples * rate
        whole, rest = divmod(max(wire, 0), rate)
        positions = self._session.positions
        position = positions.position(whole) - positions.start
        return Fraction(position, WIRE_SAMPLE_RATE) + Fraction(rest, rate * WIRE_SAMPLE_RATE)

    @property
    def samples_delivered(self) -> int:
        """How many samples of each party were given to the pipeline so far, at its rate.

        Who wants to have heard the last word before ``closed`` goes out, waits for that many in
        ``on_closing``.
        """
        session = self._session
        arrived = session.positions.arrived(session.position)
        return arrived * (self._audio.sample_rate or WIRE_SAMPLE_RATE) // WIRE_SAMPLE_RATE

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
        server_messages.to_string_map(variables or {})
        if self._session.state is State.CLOSED:
            self._log.once("WARNING", "output variables set after 'closed' are not sent")
        self._output_variables = variables
        self._log.line("DEBUG", f"output variables set: {self._log.shown(variables)}")
