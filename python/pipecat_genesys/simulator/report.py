"""How a call went, computed from its capture, its playback and its end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipecat_genesys.protocol.types import WIRE_SAMPLE_RATE, CloseReason, DisconnectReason
from pipecat_genesys.simulator.capture import CaptureEntry, Direction
from pipecat_genesys.simulator.events import Event, Party, ProtocolWarning, Violation
from pipecat_genesys.simulator.playback import Underrun
from pipecat_genesys.simulator.rules import Rule
from pipecat_genesys.simulator.session import GenesysClientSession, SessionState


@dataclass(frozen=True, slots=True)
class Traffic:
    """One kind of message in one direction.

    Attributes:
        messages: How many.
        size: Bytes in all.
        per_second: Messages per second, averaged over the call.
        burst: The most messages within any one second.
        lowest_bucket: The lowest level of the client's token bucket, in tokens; None where no
            limit applies. Below zero means a message was refused.
    """

    messages: int
    size: int
    per_second: float
    burst: int
    lowest_bucket: float | None


@dataclass(frozen=True, slots=True)
class Latency:
    """Reply times, in seconds; all None if there was no reply.

    Attributes:
        count: How many replies.
        mean: Their mean.
        longest: The longest.
    """

    count: int
    mean: float | None
    longest: float | None


@dataclass(frozen=True, slots=True)
class Ending:
    """How the call ended.

    Attributes:
        close_reason: Of the client's ``close``, None if it never sent one.
        closed_received: Whether ``closed`` answered it.
        disconnect_reason: Of the server's ``disconnect``, None if it sent none.
        disconnect_info: Its words.
        output_variables: Those of ``disconnect``.
        closed_output_variables: Those of ``closed``, where the protocol has none.
        socket_closed_by: Who closed the socket, None while it is open. It should be the client.
        socket_code: The close code received.
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
    """How a call went. Times in seconds.

    Attributes:
        duration: From ``open`` to the end of the socket, or to now.
        opened_latency: From ``open`` to ``opened``, None if that never came.
        closed_latency: From ``close`` to ``closed``, None if that never came.
        pongs: Reply times to pings.
        text_from_server: The server's text messages.
        audio_from_server: Its audio.
        text_to_server: The client's text messages.
        audio_to_server: Its audio.
        violations: Rules the server broke.
        warnings: What it did that is merely tolerated.
        server_seq_ok: Whether the server's ``seq`` ran 1, 2, 3 ... without a gap.
        client_seq_ok: The same of the simulator's own.
        heard: Bot audio the caller heard.
        received: Bot audio received.
        dropped_by_barge_in: Bot audio cleared by ``barge_in``.
        unheard_at_end: Bot audio still queued when the session began to close.
        underruns: Holes inside the bot's utterances.
        ending: How it ended.
        script_error: Why the script gave up, None if it did not.
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
        """Whether the server kept every rule from ``open`` to the end of the socket.

        Warnings, underruns and unheard audio are about quality and do not count; a script that
        gave up does.
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
    """Compute the report of a call, which may still be running.

    Args:
        session: The call.
        events: All its events.
        now: Seconds on the monotonic clock.
        script_error: Why the script gave up.
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
    buckets = session.buckets

    def traffic(direction: Direction, audio: bool, lowest: float | None) -> Traffic:
        chosen = [e for e in entries if e.direction is direction and e.is_audio is audio]
        return _traffic(chosen, duration, lowest)

    binary, text = buckets[Rule.BINARY_RATE].lowest, buckets[Rule.TEXT_RATE].lowest
    sent = [e.seq for e in entries if e.direction is Direction.TO_SERVER and not e.is_audio]
    return CallReport(
        duration=duration,
        opened_latency=opened[0] if opened else None,
        closed_latency=closed[0] if closed else None,
        pongs=_summary(_latencies(entries, "pong")),
        text_from_server=traffic(Direction.FROM_SERVER, False, text),
        audio_from_server=traffic(Direction.FROM_SERVER, True, binary),
        text_to_server=traffic(Direction.TO_SERVER, False, None),
        audio_to_server=traffic(Direction.TO_SERVER, True, None),
        violations=violations,
        warnings=tuple(e for e in events if isinstance(e, ProtocolWarning)),
        server_seq_ok=not any(v.rule is Rule.SEQUENCE for v in violations),
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
    """The most of ``times``, in order, within any half-open window of that many seconds."""
    most = first = 0
    for last, moment in enumerate(times):
        while moment - times[first] >= window:
            first += 1
        most = max(most, last - first + 1)
    return most
