"""Faults: client behaviour that is wrong or rare, which a server must survive.

A `Fault` has changes of the parameters or the options of a call, and a list of `Act` objects. Each
act is one wrong or rare action of the client. `FaultInjector` performs the acts during the call.
"""

from __future__ import annotations

import heapq
import itertools
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import Enum, auto
from types import MappingProxyType

from pipecat_genesys.capture import CallMode, Party
from pipecat_genesys.protocol.types import AudioHookChannel, AudioHookMediaFormat

from .connection import CallOptions
from .report import CallReport
from .session import GenesysClientSession
from .session.machine import CallStateError, SessionState
from .session.messages import gap_parameters
from .session.parameters import CallParameters, as_probe, medium
from .session.playback import SILENCE
from .session.rules import ServerRule

_EXTERNAL, _INTERNAL = AudioHookChannel.EXTERNAL, AudioHookChannel.INTERNAL
_ON_PURPOSE = "a fault on purpose"
_SOON = 0.3
"""Seconds from `opened` to most acts. The client sends audio before these acts, but no ping."""
_TOO_LARGE = 70_000
"""Size of a message that is too large, in bytes. It is above the protocol's limit, and above
65,536, the limit of many WebSocket libraries."""
_WS_TOO_BIG = 1009


class Moment(Enum):
    """The point of a call from which the time of an act is counted."""

    OPEN_SENT = auto()
    """The client sent `open`."""
    OPENED = auto()
    """The server sent `opened`."""
    SERVER_PAUSED = auto()
    """The server sent `pause`, and the client sent `paused`."""


@dataclass(frozen=True, slots=True)
class Act:
    """One wrong or rare action of the simulated client.

    Attributes:
        moment: The point of the call from which the time is counted.
        after: Seconds from that point to the act.
        do: Performs the act. It is called with the injector and the time. An act that is not
            possible in the state of the call is skipped.
    """

    moment: Moment
    after: float
    do: Callable[[FaultInjector, float], object]


class FaultInjector:
    """Performs each act of a fault once on a session. The injector does no I/O and has no clock.

    Call `update` after each change of the session and at each `next_deadline`. All times are in
    seconds on a monotonic clock.

    Args:
        session: The session, not started yet.
        acts: The acts to perform.
        one_byte_frames: Number of frames of caller audio to send one byte at a time.

    Attributes:
        session: The session.
        socket_should_drop: Whether the socket must be aborted without a close frame.
    """

    def __init__(
        self, session: GenesysClientSession, acts: Sequence[Act] = (), one_byte_frames: int = 0
    ) -> None:
        self.session = session
        self.socket_should_drop = False
        session.outbox.frames_to_split = one_byte_frames
        self._one_byte_frames = one_byte_frames
        self._has_acts = bool(acts)
        self._has_performed = False
        self._waiting = list(acts)
        self._due: list[tuple[float, int, Act]] = []
        self._reached: set[Moment] = set()
        self._order = itertools.count()

    @property
    def has_acted(self) -> bool:
        """Whether an act was performed or a frame was split; true if the fault has neither."""
        split = self._one_byte_frames - self.session.outbox.frames_to_split
        nothing_to_do = not self._has_acts and not self._one_byte_frames
        return self._has_performed or split > 0 or nothing_to_do

    def next_deadline(self) -> float | None:
        """Return the time of the next act; None if no act is scheduled."""
        return self._due[0][0] if self._due else None

    def update(self, now: float) -> None:
        """Schedule the acts whose `moment` has been reached, and perform the acts that are due."""
        state = self.session.state
        if state is not SessionState.IDLE:
            self._reach(Moment.OPEN_SENT, now)
        if state is SessionState.OPEN:
            self._reach(Moment.OPENED, now)
            if self.session.is_paused_by(Party.SERVER):
                self._reach(Moment.SERVER_PAUSED, now)
        while self._due and self._due[0][0] <= now:
            _, _, act = heapq.heappop(self._due)
            self._perform(act, now)

    def _reach(self, moment: Moment, now: float) -> None:
        if moment in self._reached:
            return
        self._reached.add(moment)
        for act in [act for act in self._waiting if act.moment is moment]:
            self._waiting.remove(act)
            heapq.heappush(self._due, (now + act.after, next(self._order), act))

    def _perform(self, act: Act, now: float) -> None:
        if self.session.state in (SessionState.OPENING, SessionState.OPEN):
            with suppress(CallStateError):
                act.do(self, now)
                self._has_performed = True

    # Methods that the acts of faults call.

    def send(
        self, kind: str, parameters: Mapping[str, object], now: float, **envelope: object
    ) -> None:
        """Send a message that is valid except for the fields that the arguments change.

        Args:
            kind: Type of the message.
            parameters: Parameters of the message.
            now: Time of sending.
            **envelope: Envelope fields to replace or to add. A `seq` given here does not change
                the numbering of later messages.
        """
        self.session.outbox.send_altered(kind, parameters, now, _ON_PURPOSE, **envelope)

    def send_gap(
        self,
        now: float,
        kind: str = "discarded",
        more: Mapping[str, object] | None = None,
        **envelope: object,
    ) -> None:
        """Report a gap of 0 samples, which has no effect on a server.

        Args:
            now: Time of sending.
            kind: `discarded` or `resumed`.
            more: Additional parameters.
            **envelope: See `send`.
        """
        gap = gap_parameters(self.session.position, 0)
        self.send(kind, {**gap, **(more or {})}, now, **envelope)

    def send_audio(self, size: int, now: float) -> None:
        """Send this many bytes of silence, in any state and with any medium."""
        media, outbox = self.session.media, self.session.outbox
        width = media.frame_bytes if media else 1
        sample = SILENCE[media.format] if media else b"\xff"
        outbox.send_audio(sample[:1] * size, now, _ON_PURPOSE)
        outbox.position += size // width

    def drop_socket(self) -> None:
        """Set `socket_should_drop`, so that the `SimulatedCall` aborts the socket."""
        self.socket_should_drop = True

    def other_session_id(self) -> str:
        """Return an id that differs from this session's id. The result is always the same."""
        return str(uuid.uuid5(uuid.NAMESPACE_OID, self.session.parameters.session_id))


def _is_clean(report: CallReport) -> bool:
    return report.clean


def _is_clean_or_too_big(report: CallReport) -> bool:
    """Return whether the server kept all rules, or closed the socket with code 1009.

    The reference server closes the socket with this code if a message is too large.
    """
    rules = {violation.rule for violation in report.violations}
    refused = rules == {ServerRule.SERVER_CLOSED_SOCKET}
    return report.clean or (refused and report.ending.socket_code == _WS_TOO_BIG)


def _is_aborted_by_client(report: CallReport) -> bool:
    return not report.violations and report.ending.socket_closed_by is Party.CLIENT


@dataclass(frozen=True, slots=True)
class Fault:
    """Client behaviour that is wrong, or allowed but rare.

    Attributes:
        name: Name of the fault.
        summary: What the client does, in one line.
        is_legal: Whether the protocol allows the behaviour. If so, the call must continue.
        parameters: Changes the parameters of the call.
        options: Changes the options of the call.
        acts: What the client does during the call.
        one_byte_frames: Number of frames of caller audio that are sent one byte at a time.
        needs_server_pause: Whether the fault happens only if the server pauses the stream.
        ends_call: Whether the fault ends the call, although it is legal.
        may_be_refused: Whether the server may answer `open` with `disconnect`, although the fault
            is legal.
        judge: Called with the report of the call; returns whether the server handled the fault
            correctly.
    """

    name: str
    summary: str
    is_legal: bool = False
    parameters: Callable[[CallParameters], CallParameters] = lambda parameters: parameters
    options: Callable[[CallOptions], CallOptions] = lambda options: options
    acts: tuple[Act, ...] = ()
    one_byte_frames: int = 0
    needs_server_pause: bool = False
    ends_call: bool = False
    may_be_refused: bool = False
    judge: Callable[[CallReport], bool] = _is_clean

    @property
    def may_end_call(self) -> bool:
        """Whether the call may end before all steps of the script are performed."""
        return self.ends_call or self.may_be_refused or not self.is_legal

    def is_handled(self, report: CallReport) -> bool:
        """Return whether the server handled the fault correctly."""
        was_refused = report.opened_latency is None and report.ending.disconnect_reason is not None
        if self.ends_call or not self.is_legal or (self.may_be_refused and was_refused):
            report = replace(report, script_error=None)
        if not self.is_legal:
            # The fault can be a wrong sequence number of the client, which is not a mistake of the
            # server.
            report = replace(report, client_seq_ok=True)
        return self.judge(report)


def _at_open(do: Callable[[FaultInjector, float], object]) -> tuple[Act, ...]:
    return (Act(Moment.OPEN_SENT, 0.0, do),)


def _streaming(do: Callable[[FaultInjector, float], object]) -> tuple[Act, ...]:
    return (Act(Moment.OPENED, _SOON, do),)


def _gap(injector: FaultInjector, now: float) -> None:
    # The messages after the gap continue the numbering from before the gap. Genesys's servers do
    # not count a message with a wrong sequence number, so they would refuse a `close` that is
    # numbered after the gap.
    injector.send_gap(now, seq=injector.session.last_seq + 2)


def _duplicate(injector: FaultInjector, now: float) -> None:
    injector.send_gap(now, seq=injector.session.last_seq)


def _odd_length(injector: FaultInjector, now: float) -> None:
    media = injector.session.media
    injector.send_audio(800 * (media.frame_bytes if media else 1) + 1, now)


def _unknown_fields(injector: FaultInjector, now: float) -> None:
    injector.send_gap(now, more={"mood": {"of": ["the", "caller"]}}, priority=1, trace=None)


def _offering(
    parameters: CallParameters, format: AudioHookMediaFormat, *channels: AudioHookChannel
) -> CallParameters:
    return replace(parameters, media=(medium(*channels, format=format),))


def _l16(parameters: CallParameters) -> CallParameters:
    both = (_EXTERNAL, _INTERNAL)
    channels = (_EXTERNAL,) if parameters.mode is CallMode.BOT else both
    return _offering(parameters, AudioHookMediaFormat.L16, *channels)


def _inverted(parameters: CallParameters) -> CallParameters:
    return _offering(
        replace(parameters, mode=CallMode.MONITOR),
        AudioHookMediaFormat.PCMU,
        _INTERNAL,
        _EXTERNAL,
    )


def _language(code: str | None) -> Callable[[CallParameters], CallParameters]:
    return lambda parameters: replace(parameters, language=code)


_ALL = (
    Fault("seq-gap", "a message skips one sequence number", acts=_streaming(_gap)),
    Fault(
        "seq-duplicate",
        "a message repeats the previous sequence number",
        acts=_streaming(_duplicate),
    ),
    Fault(
        "wrong-id",
        "a message has another session id",
        acts=_streaming(lambda i, now: i.send_gap(now, id=i.other_session_id())),
    ),
    Fault(
        "serverseq-ahead",
        "a message acknowledges more messages than the server has sent",
        acts=_streaming(lambda i, now: i.send_gap(now, serverseq=i.session.last_server_seq + 1000)),
    ),
    Fault(
        "ping-before-opened",
        "the client sends ping right after open",
        acts=_at_open(lambda i, now: i.session.send_ping(now)),
    ),
    Fault(
        "second-open",
        "the client sends open again during the call",
        acts=_streaming(lambda i, now: i.send("open", i.session.parameters.open_parameters(), now)),
    ),
    Fault(
        "audio-before-opened",
        "the client sends 200 ms of audio right after open",
        acts=_at_open(lambda i, now: i.send_audio(1600, now)),
    ),
    Fault(
        "odd-length-frame",
        "an L16 audio message ends in the middle of a sample",
        parameters=_l16,
        acts=_streaming(_odd_length),
    ),
    Fault(
        "oversize-text",
        f"a text message of more than {_TOO_LARGE:,} bytes",
        acts=_streaming(lambda i, now: i.send_gap(now, more={"padding": "x" * _TOO_LARGE})),
        judge=_is_clean_or_too_big,
    ),
    Fault(
        "oversize-audio",
        f"an audio message of {_TOO_LARGE:,} bytes",
        acts=_streaming(lambda i, now: i.send_audio(_TOO_LARGE, now)),
        judge=_is_clean_or_too_big,
    ),
    Fault(
        "unknown-type",
        "a message has an unknown type",
        is_legal=True,
        acts=_streaming(lambda i, now: i.send("weather", {"sky": "blue"}, now)),
    ),
    Fault(
        "unknown-fields",
        "the envelope, the parameters and open have unknown fields",
        is_legal=True,
        parameters=lambda p: replace(p, more={**p.more, "region": {"name": "mars"}}),
        acts=_streaming(_unknown_fields),
    ),
    Fault(
        "unsolicited-pause",
        "the client pauses for half a second and sends paused twice",
        is_legal=True,
        acts=(
            Act(Moment.OPENED, _SOON, lambda i, now: i.session.pause(now)),
            Act(Moment.OPENED, _SOON + 0.1, lambda i, now: i.session.pause(now)),
            Act(Moment.OPENED, _SOON + 0.5, lambda i, now: i.session.resume(now)),
        ),
    ),
    Fault(
        "unsolicited-resumed",
        "the client sends resumed without a pause",
        is_legal=True,
        acts=_streaming(lambda i, now: i.send_gap(now, "resumed")),
    ),
    Fault(
        "overlapping-pauses",
        "the client pauses for one second during the server's pause",
        is_legal=True,
        acts=(
            Act(Moment.SERVER_PAUSED, 0.2, lambda i, now: i.session.pause(now)),
            Act(Moment.SERVER_PAUSED, 1.2, lambda i, now: i.session.resume(now)),
        ),
        needs_server_pause=True,
    ),
    Fault(
        "huge-catch-up",
        "the client sends 7.8 s of audio, recorded while connecting, in one message",
        is_legal=True,
        options=lambda o: replace(o, backlog=7.8, catch_up_at_once=True),
    ),
    Fault(
        "one-byte-frames",
        "the client sends 200 ms of audio, one byte per message",
        is_legal=True,
        one_byte_frames=1,
    ),
    Fault(
        "socket-drop",
        "the connection is lost without close",
        is_legal=True,
        acts=_streaming(lambda i, now: i.drop_socket()),
        ends_call=True,
        judge=_is_aborted_by_client,
    ),
    Fault(
        "close-before-opened",
        "the client sends close right after open",
        is_legal=True,
        acts=_at_open(lambda i, now: i.session.hang_up(now)),
        ends_call=True,
    ),
    Fault(
        "no-input-variables",
        "open has no inputVariables",
        is_legal=True,
        parameters=lambda p: replace(p, input_variables=None),
    ),
    Fault(
        "probe",
        "a connection probe, as sent when an integration is activated",
        is_legal=True,
        parameters=as_probe,
    ),
    Fault(
        "l16",
        "the client offers only L16",
        is_legal=True,
        parameters=_l16,
        may_be_refused=True,
    ),
    Fault(
        "inverted-channels",
        "a monitored call offers the internal channel first",
        is_legal=True,
        parameters=_inverted,
    ),
    Fault(
        "language-en", "the language is 'en', without a region", True, parameters=_language("en")
    ),
    Fault(
        "language-es-419",
        "the language is 'es-419', with a numeric region",
        True,
        parameters=_language("es-419"),
    ),
    Fault("language-missing", "open has no language", True, parameters=_language(None)),
    Fault(
        "retry",
        "a connection is lost right after open and is made again as attempt 1",
        is_legal=True,
        options=lambda o: replace(o, lost_attempts=1),
    ),
)

FAULTS: Mapping[str, Fault] = MappingProxyType({fault.name: fault for fault in _ALL})
"""All faults, by name."""


def find_fault(name: str) -> Fault:
    """Return the fault with this name.

    Raises:
        ValueError: If there is no such fault. The message lists the faults.
    """
    try:
        return FAULTS[name]
    except KeyError:
        raise ValueError(f"unknown fault {name!r}; the faults are: {', '.join(FAULTS)}") from None
