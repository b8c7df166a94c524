"""Faults of a client, by name: what a server must survive, whoever makes them.

Some are the client's right and only rare (``is_legal``); after the others a server may end the
call, in an orderly way. Either way it must not fall over, and no other call may notice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from pipecat_genesys.protocol.types import AudioHookChannel, AudioHookMediaFormat
from pipecat_genesys.simulator.acting import Act, ActingSession, Moment
from pipecat_genesys.simulator.events import Party
from pipecat_genesys.simulator.options import CallOptions
from pipecat_genesys.simulator.parameters import CallMode, CallParameters, as_probe, medium
from pipecat_genesys.simulator.report import CallReport
from pipecat_genesys.simulator.rules import Rule

_EXTERNAL, _INTERNAL = AudioHookChannel.EXTERNAL, AudioHookChannel.INTERNAL
_SOON = 0.3
"""Seconds into the stream at which things happen: some audio has gone out, no ping yet."""
_TOO_LARGE = 70_000
"""Bytes: above the protocol's limit and above the 65,536 that many libraries have."""
_WS_TOO_BIG = 1009


def _is_clean(report: CallReport) -> bool:
    return report.clean


def _is_clean_or_too_big(report: CallReport) -> bool:
    """Closing the socket with 1009 is what the reference server does."""
    rules = {violation.rule for violation in report.violations}
    refused = rules == {Rule.SERVER_CLOSED_SOCKET} and report.ending.socket_code == _WS_TOO_BIG
    return report.clean or refused


def _is_cut(report: CallReport) -> bool:
    return not report.violations and report.ending.socket_closed_by is Party.CLIENT


@dataclass(frozen=True, slots=True)
class Fault:
    """Something a client does wrong, or only rarely.

    Attributes:
        name: What to ask for it by.
        summary: What happens, in a line.
        is_legal: Whether the protocol allows it, so that the call must go on as if nothing were.
        parameters: Changes who calls and what is offered.
        options: Changes how the call is placed.
        acts: What the client does in the call.
        one_byte_frames: How many frames of caller audio go out a byte at a time.
        needs_server_pause: Whether nothing happens unless the server pauses the stream.
        ends_call: Whether the call is over by it, though it is legal.
        judge: Whether a call with this fault ended as it should, the script apart.
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
    judge: Callable[[CallReport], bool] = _is_clean

    @property
    def may_end_call(self) -> bool:
        """Whether a script must be ready for the call to be over before its time."""
        return self.ends_call or not self.is_legal

    def is_handled(self, report: CallReport) -> bool:
        """Whether the server dealt with it as it should."""
        if self.may_end_call:
            report = replace(report, script_error=None)
        if not self.is_legal:
            # That the client's own numbers are out of order is the fault.
            report = replace(report, client_seq_ok=True)
        return self.judge(report)


def _at_open(do: Callable[[ActingSession, float], object]) -> tuple[Act, ...]:
    return (Act(Moment.OPEN_SENT, 0.0, do),)


def _streaming(do: Callable[[ActingSession, float], object]) -> tuple[Act, ...]:
    return (Act(Moment.OPENED, _SOON, do),)


def _gap(session: ActingSession, now: float) -> None:
    session.skip_seq()
    session.inject_gap(now)


def _duplicate(session: ActingSession, now: float) -> None:
    session.inject_gap(now, seq=session.last_seq)


def _odd_length(session: ActingSession, now: float) -> None:
    width = session.media.frame_bytes if session.media else 1
    session.inject_audio(800 * width + 1, now)


def _unknown_fields(session: ActingSession, now: float) -> None:
    session.inject_gap(now, more={"mood": {"of": ["the", "caller"]}}, priority=1, trace=None)


def _in_mode(
    parameters: CallParameters, format: AudioHookMediaFormat, *channels: AudioHookChannel
) -> CallParameters:
    return replace(parameters, media=(medium(*channels, format=format),))


def _l16(parameters: CallParameters) -> CallParameters:
    both = (_EXTERNAL, _INTERNAL)
    channels = (_EXTERNAL,) if parameters.mode is CallMode.BOT else both
    return _in_mode(parameters, AudioHookMediaFormat.L16, *channels)


def _inverted(parameters: CallParameters) -> CallParameters:
    return _in_mode(
        replace(parameters, mode=CallMode.MONITOR),
        AudioHookMediaFormat.PCMU,
        _INTERNAL,
        _EXTERNAL,
    )


def _language(code: str | None) -> Callable[[CallParameters], CallParameters]:
    return lambda parameters: replace(parameters, language=code)


_ALL = (
    Fault("seq-gap", "a message's seq leaves one out", acts=_streaming(_gap)),
    Fault("seq-duplicate", "a message repeats the seq before", acts=_streaming(_duplicate)),
    Fault(
        "wrong-id",
        "a message names another session",
        acts=_streaming(lambda s, now: s.inject_gap(now, id=s.another_id())),
    ),
    Fault(
        "serverseq-ahead",
        "a message has seen more than the server sent",
        acts=_streaming(lambda s, now: s.inject_gap(now, serverseq=s.last_server_seq + 1000)),
    ),
    Fault(
        "ping-before-opened",
        "a ping follows open at once",
        acts=_at_open(lambda s, now: s.ping_now(now)),
    ),
    Fault(
        "second-open",
        "open comes again in a running call",
        acts=_streaming(lambda s, now: s.inject("open", s.parameters.open_parameters(), now)),
    ),
    Fault(
        "audio-before-opened",
        "200 ms of audio follow open at once",
        acts=_at_open(lambda s, now: s.inject_audio(1600, now)),
    ),
    Fault(
        "odd-length-frame",
        "a frame of L16 audio ends within a sample",
        parameters=_l16,
        acts=_streaming(_odd_length),
    ),
    Fault(
        "oversize-text",
        f"a text message of more than {_TOO_LARGE:,} bytes",
        acts=_streaming(lambda s, now: s.inject_gap(now, more={"padding": "x" * _TOO_LARGE})),
        judge=_is_clean_or_too_big,
    ),
    Fault(
        "oversize-audio",
        f"a frame of {_TOO_LARGE:,} bytes",
        acts=_streaming(lambda s, now: s.inject_audio(_TOO_LARGE, now)),
        judge=_is_clean_or_too_big,
    ),
    Fault(
        "unknown-type",
        "a message of a type that servers do not know yet",
        is_legal=True,
        acts=_streaming(lambda s, now: s.inject("weather", {"sky": "blue"}, now)),
    ),
    Fault(
        "unknown-fields",
        "fields that servers do not know yet, in envelope, parameters and open",
        is_legal=True,
        parameters=lambda p: replace(p, more={**p.more, "region": {"name": "mars"}}),
        acts=_streaming(_unknown_fields),
    ),
    Fault(
        "unsolicited-pause",
        "the client pauses for half a second, and says paused twice",
        is_legal=True,
        acts=(
            Act(Moment.OPENED, _SOON, lambda s, now: s.pause(now)),
            Act(Moment.OPENED, _SOON + 0.1, lambda s, now: s.pause(now)),
            Act(Moment.OPENED, _SOON + 0.5, lambda s, now: s.resume(now)),
        ),
    ),
    Fault(
        "unsolicited-resumed",
        "resumed without a pause before it",
        is_legal=True,
        acts=_streaming(lambda s, now: s.inject_gap(now, "resumed")),
    ),
    Fault(
        "overlapping-pauses",
        "the client pauses for a second within the server's pause",
        is_legal=True,
        acts=(
            Act(Moment.SERVER_PAUSED, 0.2, lambda s, now: s.pause(now)),
            Act(Moment.SERVER_PAUSED, 1.2, lambda s, now: s.resume(now)),
        ),
        needs_server_pause=True,
    ),
    Fault(
        "huge-catch-up",
        "7.8 s of audio that gathered while connecting, in one frame",
        is_legal=True,
        options=lambda o: replace(o, backlog=7.8, catch_up_at_once=True),
    ),
    Fault(
        "one-byte-frames",
        "200 ms of audio, a byte a message",
        is_legal=True,
        one_byte_frames=1,
    ),
    Fault(
        "socket-drop",
        "the connection is lost without close",
        is_legal=True,
        acts=_streaming(lambda s, now: s.drop_socket()),
        ends_call=True,
        judge=_is_cut,
    ),
    Fault(
        "close-before-opened",
        "close follows open at once",
        is_legal=True,
        acts=_at_open(lambda s, now: s.hang_up(now)),
        ends_call=True,
    ),
    Fault(
        "no-input-variables",
        "open without inputVariables",
        is_legal=True,
        parameters=lambda p: replace(p, input_variables=None),
    ),
    Fault(
        "probe",
        "the connection probe of an integration that is activated",
        is_legal=True,
        parameters=as_probe,
    ),
    Fault("l16", "L16 is all that is offered", is_legal=True, parameters=_l16),
    Fault(
        "inverted-channels",
        "a monitored call whose internal party comes first",
        is_legal=True,
        parameters=_inverted,
    ),
    Fault("language-en", "language is 'en', without a region", True, parameters=_language("en")),
    Fault(
        "language-es-419",
        "language is 'es-419', with a region in digits",
        True,
        parameters=_language("es-419"),
    ),
    Fault("language-missing", "open without language", True, parameters=_language(None)),
    Fault(
        "retry",
        "a connection is lost right after open, and made again as attempt 1",
        is_legal=True,
        options=lambda o: replace(o, lost_attempts=1),
    ),
)

FAULTS: Mapping[str, Fault] = MappingProxyType({fault.name: fault for fault in _ALL})
"""All faults, by name."""


def find_fault(name: str) -> Fault:
    """Find a fault.

    Raises:
        ValueError: If there is none of that name; says which there are.
    """
    try:
        return FAULTS[name]
    except KeyError:
        raise ValueError(f"no fault {name!r}; there are: {', '.join(FAULTS)}") from None
