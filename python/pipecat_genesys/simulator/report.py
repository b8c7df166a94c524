"""The report of a call, computed from its capture, its playback and its end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipecat_genesys.capture import CaptureEntry, Direction, Party
from pipecat_genesys.protocol.types import WIRE_SAMPLE_RATE, CloseReason, DisconnectReason

from .session import GenesysClientSession
from .session.events import Event, ProtocolWarning, Violation
from .session.machine import SessionState
from .session.playback import Underrun
from .session.rules import ServerRule


@dataclass(frozen=True, slots=True)
class Traffic:
    """The text messages, or the audio messages, in one direction.

    Attributes:
        messages: Number of messages.
        size: Total size of the messages in bytes.
        per_second: Average number of messages per second of the call.
        burst: Maximum number of messages within one second.
        lowest_bucket: Lowest number of messages that the client's rate limit still allowed during
            the call, or None if the direction has no rate limit. The number is negative if a
            message was refused.
    """

    messages: int
    size: int
    per_second: float
    burst: int
    lowest_bucket: float | None


@dataclass(frozen=True, slots=True)
class Latency:
    """The latencies of several replies, in seconds.

    Attributes:
        count: Number of replies.
        mean: Mean latency, or None without replies.
        longest: Longest latency, or None without replies.
    """

    count: int
    mean: float | None
    longest: float | None


@dataclass(frozen=True, slots=True)
class Ending:
    """How a call ended.

    Attributes:
        close_reason: Reason of the client's `close`, or None if the client sent none.
        closed_received: Whether the server sent `closed`.
        disconnect_reason: Reason of the server's `disconnect`, or None if the server sent none.
        disconnect_info: Text of the server's `disconnect`, or None.
        output_variables: Output variables in `disconnect`.
        closed_output_variables: Output variables in `closed`, which the protocol does not define.
        socket_closed_by: The party that closed the socket, or None while the socket is open. The
            protocol requires that the client closes it.
        socket_code: Close code received from the server, or None.
    """

    close_reason: CloseReason | None
    closed_received: bool
    disconnect_reason: DisconnectReason | None
    disconnect_info: str | None
    output_variables: Mapping[str, Any]
    closed_output_variables: Mapping[str, Any]
    socket_closed_by: Party | None
    socket_code: int | None


@dataclass(frozen=True, slots=True)
class CallReport:
    """The report of a call. Times and amounts of audio are in seconds.

    Attributes:
        duration: Time from `open` to the end of the socket, or to the time of the report.
        opened_latency: Time from `open` to `opened`, or None if the server did not send `opened`.
        closed_latency: Time from `close` to `closed`, or None if the server did not send
            `closed`.
        pongs: Latencies of the pongs.
        text_from_server: The server's text messages.
        audio_from_server: The server's audio messages.
        text_to_server: The client's text messages.
        audio_to_server: The client's audio messages.
        violations: Rules that the server broke.
        warnings: Rules that the server broke and the client tolerates.
        server_seq_ok: Whether the server numbered its messages 1, 2, 3 without a gap.
        client_seq_ok: Whether the client numbered its messages 1, 2, 3 without a gap.
        heard: Bot audio that the caller heard.
        received: Bot audio that was received.
        dropped_by_barge_in: Bot audio that was cleared by `barge_in`.
        unheard_at_end: Bot audio in the playback queue when the session began to close.
        underruns: Gaps inside utterances of the bot.
        ending: How the call ended.
        script_error: Error that ended the script, or None.
    """

    duration: float
    opened_latency: float | None
    closed_latency: float | None
    pongs: Latency
    text_from_server: Traffic
    audio_from_server: Traffic
    text_to_server: Traffic
    audio_to_server: Traffic
    violations: tuple[Violation, ...]
    warnings: tuple[ProtocolWarning, ...]
    server_seq_ok: bool
    client_seq_ok: bool
    heard: float
    received: float
    dropped_by_barge_in: float
    unheard_at_end: float
    underruns: tuple[Underrun, ...]
    ending: Ending
    script_error: str | None = None

    @property
    def clean(self) -> bool:
        """Whether the server kept every rule from `open` to the end of the socket.

        A call whose script ended with an error is not clean. A call with warnings, underruns or
        unheard audio can be clean.
        """
        return (
            not self.violations
            and self.script_error is None
            and self.server_seq_ok
            and self.client_seq_ok
            and self.ending.closed_received
            and self.ending.socket_closed_by is Party.CLIENT
        )


def build_report(
    session: GenesysClientSession,
    events: Iterable[Event],
    now: float,
    script_error: str | None = None,
) -> CallReport:
    """Compute the report of a call. The call may still be running.

    Args:
        session: Session of the call.
        events: All events of the call.
        now: Time of the report, in seconds on the session's monotonic clock.
        script_error: Error that ended the script, or None.
    """
    entries = session.capture.entries
    events = list(events)
    if session.socket_closed is not None:
        duration = session.socket_closed.at
    else:
        duration = 0.0 if session.state is SessionState.IDLE else session.elapsed(now)
    violations = tuple(e for e in events if isinstance(e, Violation))
    opened, closed = _latencies(entries, "opened"), _latencies(entries, "closed")
    received, dropped = session.playback.received, session.playback.dropped

    def traffic(direction: Direction, is_audio: bool, rate: ServerRule | None) -> Traffic:
        chosen = [e for e in entries if e.direction is direction and e.is_audio is is_audio]
        return _traffic(chosen, duration, None if rate is None else session.budgets[rate].lowest)

    sent = [e.seq for e in entries if e.direction is Direction.TO_SERVER and not e.is_audio]
    return CallReport(
        duration=duration,
        opened_latency=opened[0] if opened else None,
        closed_latency=closed[0] if closed else None,
        pongs=_summary(_latencies(entries, "pong")),
        text_from_server=traffic(Direction.FROM_SERVER, False, ServerRule.TEXT_RATE),
        audio_from_server=traffic(Direction.FROM_SERVER, True, ServerRule.BINARY_RATE),
        text_to_server=traffic(Direction.TO_SERVER, False, None),
        audio_to_server=traffic(Direction.TO_SERVER, True, None),
        violations=violations,
        warnings=tuple(e for e in events if isinstance(e, ProtocolWarning)),
        server_seq_ok=not any(v.rule is ServerRule.SEQUENCE for v in violations),
        client_seq_ok=sent == list(range(1, len(sent) + 1)),
        heard=session.playback.heard(now) / WIRE_SAMPLE_RATE,
        received=received / WIRE_SAMPLE_RATE,
        dropped_by_barge_in=(dropped - session.unheard_at_end) / WIRE_SAMPLE_RATE,
        unheard_at_end=session.unheard_at_end / WIRE_SAMPLE_RATE,
        underruns=tuple(session.playback.underruns()),
        ending=_ending(session),
        script_error=script_error,
    )


def _ending(session: GenesysClientSession) -> Ending:
    disconnected, closed, lost = session.disconnected, session.closed, session.socket_closed
    return Ending(
        close_reason=session.close_reason,
        closed_received=closed is not None,
        disconnect_reason=disconnected.reason if disconnected else None,
        disconnect_info=disconnected.info if disconnected else None,
        output_variables=disconnected.output_variables if disconnected else {},
        closed_output_variables=closed.output_variables if closed else {},
        socket_closed_by=lost.by if lost else None,
        socket_code=lost.code if lost else None,
    )


def _latencies(entries: Sequence[CaptureEntry], kind: str) -> list[float]:
    return [e.latency for e in entries if e.type == kind and e.latency is not None]


def _summary(values: Sequence[float]) -> Latency:
    if not values:
        return Latency(0, None, None)
    return Latency(len(values), sum(values) / len(values), max(values))


def _traffic(entries: Sequence[CaptureEntry], duration: float, lowest: float | None) -> Traffic:
    return Traffic(
        messages=len(entries),
        size=sum(entry.size for entry in entries),
        per_second=len(entries) / duration if duration > 0 else 0.0,
        burst=_burst([entry.at for entry in entries]),
        lowest_bucket=lowest,
    )


def _burst(times: Sequence[float], window: float = 1.0) -> int:
    """Return the maximum number of times that are within one period of the given duration.

    Args:
        times: Times in seconds, in ascending order.
        window: Duration of the period in seconds. The end of the period is not included.
    """
    most = first = 0
    for last, moment in enumerate(times):
        while moment - times[first] >= window:
            first += 1
        most = max(most, last - first + 1)
    return most
