"""The measurements of one call, and the combined measurements of all calls of a load test."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from pipecat_genesys.protocol.types import WIRE_SAMPLE_RATE
from pipecat_genesys.simulator import BargedIn, Event, GenesysClientSession, ServerRule, Violation

from .delays import ECHO_START_SECONDS, DelayDetector, Delays

AUDIBLE_SECONDS = 0.02
"""Minimum duration of a gap that counts as an underrun. A shorter gap is heard as a click."""

# Gaps are counted separately during this time, in seconds, after the start or an interruption of an
# echo. Each gap makes the delay of the echo longer, until the delay is long enough for playback
# without gaps.
_SETTLING_SECONDS = 5.0
_DRIFT_REPLIES = 3
_RATE_RULES = (
    ServerRule.BINARY_RATE,
    ServerRule.TEXT_RATE,
    ServerRule.PAUSE_RATE,
    ServerRule.RESUME_RATE,
)


@dataclass(slots=True, kw_only=True)
class CallRecord:
    """The measurements of one call, in seconds.

    Attributes:
        completed: Whether the caller hung up, and the server answered with `closed`. For a call
            with a scenario: `Verdict.passed`.
        seconds: Length of the call.
        spoken_samples: Number of samples that the caller sent.
        opened: The time from `open` to `opened`; an empty list without `opened`.
        pong: Times from `ping` to `pong`.
        closed: The time from `close` to `closed`; an empty list without `closed`.
        barge_in: Times from a key press to `barge_in`.
        gaps: Beginning and length of each gap in the bot's speech.
        key_presses: Times of the key presses, from `open`.
        broken_rules: Number of times that the server broke each rule of the protocol.
        script_error: Error that ended the script of the caller, or None.
        heard: Audio that the caller heard, as mu-law; empty after `measure`.
        delays: The delays of the bot's replies.
    """

    completed: bool
    seconds: float
    spoken_samples: int
    opened: list[float]
    pong: list[float]
    closed: list[float]
    barge_in: list[float]
    gaps: list[tuple[float, float]]
    key_presses: list[float]
    broken_rules: dict[str, int]
    script_error: str | None = None
    heard: bytes = field(default=b"", repr=False)
    delays: Delays = field(default_factory=Delays)

    def measure(self, detector: DelayDetector) -> None:
        """Measure the delays of the replies, and free the audio."""
        self.delays = detector.detect(self.heard, self.spoken_samples, self.key_presses)
        self.heard = b""


def record_call(
    session: GenesysClientSession,
    events: Sequence[Event],
    *,
    began: float,
    ended: float,
    key_presses: Sequence[float],
) -> CallRecord:
    """Collect the measurements of a finished call.

    Args:
        session: The session of the call.
        events: All events of the session.
        began: Beginning of the call, on the clock of the session.
        ended: End of the call, on the clock of the session.
        key_presses: Times of the key presses in seconds since `open`.
    """
    latencies: dict[str, list[float]] = {"opened": [], "pong": [], "closed": []}
    for entry in session.capture.entries:
        if entry.latency is not None and entry.type in latencies:
            latencies[entry.type].append(entry.latency)
    barge_ins = [event.at for event in events if isinstance(event, BargedIn)]
    return CallRecord(
        completed=session.close_reason == "end" and session.closed is not None,
        seconds=ended - began,
        spoken_samples=session.position,
        opened=latencies["opened"],
        pong=latencies["pong"],
        closed=latencies["closed"],
        barge_in=[
            min(at - press for at in barge_ins if at > press)
            for press in key_presses
            if any(at > press for at in barge_ins)
        ],
        gaps=[(gap.at, gap.seconds) for gap in session.playback.underruns()],
        key_presses=list(key_presses),
        broken_rules=Counter(event.rule.value for event in events if isinstance(event, Violation)),
        heard=session.playback.render(ended),
    )


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Percentiles of times, in ms; None if there is no value.

    Attributes:
        count: Number of values.
        p50: Median.
        p95: 95th percentile.
        p99: 99th percentile.
        worst: The largest value.
    """

    count: int
    p50: float | None = None
    p95: float | None = None
    p99: float | None = None
    worst: float | None = None

    @classmethod
    def of(cls, seconds: Iterable[float]) -> Percentiles:
        """Return the percentiles of times in seconds."""
        values = list(seconds)
        if not values:
            return cls(0)
        p50, p95, p99 = np.percentile(values, (50, 95, 99))
        return cls(
            len(values), 1000 * float(p50), 1000 * float(p95), 1000 * float(p99), 1000 * max(values)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadResult:
    """The measurements of all calls. Times are in seconds, or in ms if the name ends with `_ms`.

    Attributes:
        calls: Number of calls that were started.
        connected: Number of calls whose WebSocket was established.
        completed: Number of calls that the caller ended, with `closed` from the server; with a
            script, number of calls that passed.
        refusals: Number of failed connections for each reason.
        script_errors: Number of scripts that failed for each reason.
        opened_ms: Times from `open` to `opened`.
        pong_ms: Times from `ping` to `pong`.
        closed_ms: Times from `close` to `closed`.
        barge_in_ms: Times from a key press to `barge_in`.
        delay_ms: Delays of the echo, or times from the end of the caller's speech to the answer.
        delay_drift_ms: Median delay of the last three replies of a call, minus that of its first
            three; the median of all calls with at least six replies, or 0 if there are none.
        replies: Number of measured replies.
        replies_missing: Number of replies that were expected and not found.
        underruns: Number of gaps of 20 ms or more in the bot's speech. If the bot's audio is an
            echo, gaps in the first seconds and in the seconds after a key press are not included.
        underruns_per_minute: `underruns` per minute, without the times that they leave out.
        early_underruns: Number of gaps of 20 ms or more that are not in `underruns`, because they
            follow the start of an echo or a key press.
        clicks_per_minute: Number of gaps of less than 20 ms per minute, in the same times.
        rate_limited: Number of errors 429 that the client sent.
        broken_rules: Number of times that the server broke each rule of the protocol.
        seconds: Sum of the lengths of all calls.
        spoken_seconds: Duration of the caller audio that was sent.
        lag_ms: Delays of the timers of this process. If the delays are long, the callers were too
            slow.
    """

    calls: int
    connected: int
    completed: int
    refusals: dict[str, int]
    script_errors: dict[str, int]
    opened_ms: Percentiles
    pong_ms: Percentiles
    closed_ms: Percentiles
    barge_in_ms: Percentiles
    delay_ms: Percentiles
    delay_drift_ms: float
    replies: int
    replies_missing: int
    underruns: int
    underruns_per_minute: float
    early_underruns: int
    clicks_per_minute: float
    rate_limited: int
    broken_rules: dict[str, int]
    seconds: float
    spoken_seconds: float
    lag_ms: Percentiles


def aggregate(
    calls: int,
    records: Sequence[CallRecord],
    refusals: dict[str, int],
    lags: Sequence[float],
    *,
    settles: bool,
) -> LoadResult:
    """Combine the measurements of all calls.

    Args:
        calls: Number of calls that were started.
        records: Measurements of each call whose connection succeeded.
        refusals: Number of failed connections for each reason.
        lags: Delays of the timers of this process, in seconds.
        settles: Whether the bot's audio is an echo. An echo has gaps at its start, until its delay
            is long enough for playback without gaps.
    """
    broken_rules: Counter[str] = Counter()
    for record in records:
        broken_rules.update(record.broken_rules)
    settled_seconds = underruns = early = clicks = 0.0
    for record in records:
        settling = _settling(record) if settles else []
        settled_seconds += max(0.0, record.seconds - sum(end - begin for begin, end in settling))
        for at, seconds in record.gaps:
            is_early = any(begin <= at < end for begin, end in settling)
            early += is_early and seconds >= AUDIBLE_SECONDS
            underruns += not is_early and seconds >= AUDIBLE_SECONDS
            clicks += not is_early and seconds < AUDIBLE_SECONDS
    minutes = max(settled_seconds / 60, 1e-9)
    delays = [delay for record in records for _, delay in record.delays.found]
    return LoadResult(
        calls=calls,
        connected=len(records),
        completed=sum(record.completed for record in records),
        refusals=refusals,
        script_errors=Counter(
            record.script_error for record in records if record.script_error is not None
        ),
        opened_ms=Percentiles.of(value for record in records for value in record.opened),
        pong_ms=Percentiles.of(value for record in records for value in record.pong),
        closed_ms=Percentiles.of(value for record in records for value in record.closed),
        barge_in_ms=Percentiles.of(value for record in records for value in record.barge_in),
        delay_ms=Percentiles.of(delays),
        delay_drift_ms=_drift_ms(records),
        replies=len(delays),
        replies_missing=sum(record.delays.missing for record in records),
        underruns=int(underruns),
        underruns_per_minute=underruns / minutes,
        early_underruns=int(early),
        clicks_per_minute=clicks / minutes,
        rate_limited=sum(broken_rules[rule.value] for rule in _RATE_RULES),
        broken_rules=dict(broken_rules),
        seconds=sum(record.seconds for record in records),
        spoken_seconds=sum(record.spoken_samples for record in records) / WIRE_SAMPLE_RATE,
        lag_ms=Percentiles.of(lags),
    )


def _settling(record: CallRecord) -> list[tuple[float, float]]:
    """Return the periods, at the start and after key presses, whose gaps are counted separately.

    The periods are pairs of start and end, in seconds since `open`.
    """
    first = (0.0, ECHO_START_SECONDS + _SETTLING_SECONDS)
    return [first, *((press, press + _SETTLING_SECONDS) for press in record.key_presses)]


def _drift_ms(records: Sequence[CallRecord]) -> float:
    drifts = []
    for record in records:
        delays = [delay for _, delay in record.delays.found]
        if len(delays) >= 2 * _DRIFT_REPLIES:
            first, last = delays[:_DRIFT_REPLIES], delays[-_DRIFT_REPLIES:]
            drifts.append(1000 * (statistics.median(last) - statistics.median(first)))
    return statistics.median(drifts) if drifts else 0.0
