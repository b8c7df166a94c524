"""The Prometheus metrics of an endpoint; ``docs/endpoint.md`` lists their names and meanings."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
    multiprocess,
)

from pipecat_genesys.protocol import CloseReason
from pipecat_genesys.transport import TransportObserver

MULTIPROCESS_DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"
"""If this variable has a value, prometheus-client adds the counts of several processes."""

_FAST = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
# Maximum number of response times that are kept for a call. This number is enough for hours of
# conversation.
_MAX_ANSWERS = 10_000
# The fields of /proc/PID/stat after the name of the program begin with the third. Field 22 is the
# start of the process in clock ticks since the boot.
_FIELDS_BEFORE_START = 22 - 3
_REPLIES = frozenset({"opened", "pong", "updated", "closed", "disconnect"})
_ENDS = frozenset({*(reason.value for reason in CloseReason), "lost", "flood"})


class Metrics:
    """The endpoint's metrics, in one registry.

    With several processes (`MULTIPROCESS_DIRECTORY` is set), each process reports the sums of all
    processes.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        """Create the metrics.

        Args:
            registry: The registry for the metrics. It must not contain these metrics.
        """
        self._registry = registry

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"audiohook_{name}", text, labels, registry=registry)

        def gauge(name: str, text: str) -> Gauge:
            return Gauge(f"audiohook_{name}", text, registry=registry, multiprocess_mode="livesum")

        def histogram(name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
            return Histogram(f"audiohook_{name}", text, labels, buckets=buckets, registry=registry)

        self.active = gauge("active_calls", "Calls that run now.")
        self.limit = gauge("call_limit", "Maximum number of simultaneous calls.")
        self.draining = gauge("draining", "Processes that drain and refuse new calls.")
        self.connections = counter("connections", "Upgrade requests received.")
        self.refusals = counter("refusals", "Connections refused, by reason.", "reason")
        self.opens = counter("opens", "Sessions opened, by kind: call or probe.", "kind")
        self.ends = counter("ends", "Sessions ended, by the reason that Genesys gave.", "reason")
        self.bot_failures = counter(
            "bot_failures", "Calls ended because the bot raised an exception."
        )
        self.stuck_bots = counter(
            "stuck_bots", "Calls whose bot ignored its cancellation and still runs."
        )
        self.late_bots = counter(
            "late_bots", "Sessions opened paused because the bot was not ready."
        )
        self.call_seconds = histogram(
            "call_seconds", "Length of calls.", (1, 5, 15, 30, 60, 120, 300, 600, 1800, 3600)
        )
        self.reply_seconds = histogram(
            "reply_seconds", "Time from the arrival of a message to its answer.", _FAST, "type"
        )
        self.audio_lag = histogram(
            "caller_audio_lag_seconds", "Delay of caller audio behind the caller's clock.", _FAST
        )
        self.audio_seconds = counter("bot_audio_seconds", "Bot audio sent.")
        self.audio_wait = histogram(
            "bot_audio_wait_seconds", "Time that a bot audio message waited for a token.", _FAST
        )
        self.tokens = histogram(
            "bot_audio_tokens",
            "Tokens left after each bot audio message.",
            (0, 1, 2, 4, 8, 12, 16, 20),
        )
        self.underruns = counter("underruns", "Gaps in the bot's audio in mid-turn.")
        self.underrun_seconds = counter("underrun_seconds", "Total length of the gaps.")
        self.rate_limited = counter("rate_limited", "Errors 429 received from Genesys.")
        self.interruptions = counter("interruptions", "Interruptions of the bot by the caller.")
        self.throttled = counter(
            "throttled_seconds", "Time without reading from clients that send too much."
        )
        self.recordings_active = gauge("recordings_active", "Calls that are recorded now.")
        self.recording_stopped = gauge(
            "recording_stopped", "Folders of recordings that cannot be written now."
        )
        self.recording_bytes = counter("recording_bytes", "Bytes of recordings written.")
        self.recording_dropped = counter(
            "recording_dropped_messages", "Messages missing in recordings."
        )
        self.flight_recordings = counter(
            "flight_recordings", "Calls that the flight recorder wrote, by reason.", "reason"
        )
        self.faults = counter("faults", "Protocol faults of clients, by rule.", "rule")
        self.drains = counter("drains", "Drains begun.")
        self.cut = counter("drain_cut_calls", "Calls disconnected at the deadline of a drain.")
        self.loop_lag = histogram(
            "event_loop_lag_seconds", "Delay of a timer of the event loop.", _FAST
        )
        self._replies = {name: self.reply_seconds.labels(name) for name in _REPLIES}
        if os.getpid() not in _initialized:
            _initialized.add(os.getpid())
            # Set the gauges to 0, because the file of an earlier process with this PID may contain
            # values.
            for one in (self.active, self.limit, self.draining):
                one.set(0)
            # Set the modification time of the files, because some file systems do not update it
            # when a mapped file is written.
            for file in _live_gauges(str(os.getpid())):
                file.touch()

    def replied(self, message_type: str, seconds: float) -> None:
        """Count a reply; see `TransportObserver.replied`."""
        reply = self._replies.get(message_type)
        if reply is not None:
            reply.observe(seconds)

    def ended(self, reason: str) -> None:
        """Count the end of a session; see `TransportObserver.ended`."""
        self.ends.labels(reason if reason in _ENDS else "other").inc()

    def faulted(self, faults: Mapping[str, int]) -> None:
        """Add the protocol faults of a call, by rule."""
        for rule, count in faults.items():
            self.faults.labels(rule).inc(count)

    def text(self) -> tuple[bytes, str]:
        """Return the metrics in Prometheus's text format.

        Returns:
            The text and its content type.
        """
        registry = self._registry
        if os.environ.get(MULTIPROCESS_DIRECTORY):
            registry = CollectorRegistry()
            multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry), CONTENT_TYPE_LATEST


# IDs of the processes whose gauges were set to 0. A forked process inherits the set without its own
# ID.
_initialized: set[int] = set()


@cache
def default_metrics() -> Metrics:
    """Return the metrics in the process's default registry, shared by all its endpoints."""
    return Metrics(REGISTRY)


def remove_dead_processes() -> None:
    """Remove the gauges of ended processes, if `MULTIPROCESS_DIRECTORY` is set.

    Process IDs repeat after the restart of a container, so a file may have the ID of a running
    process although another process has written the file.
    """
    for file in _live_gauges():
        process = file.stem.rpartition("_")[2]
        try:
            if process.isdigit() and not _is_writer(
                int(process), time.time() - file.stat().st_mtime
            ):
                multiprocess.mark_process_dead(int(process))  # type: ignore[no-untyped-call]
        except FileNotFoundError:
            continue  # another process has removed the file


def _live_gauges(process: str = "*") -> list[Path]:
    """Return the metrics files that contain gauges of one process, or of any process."""
    directory = os.environ.get(MULTIPROCESS_DIRECTORY)
    return list(Path(directory).glob(f"gauge_live*_{process}.db")) if directory else []


def _is_writer(process: int, seconds: float) -> bool:
    """Return whether a process runs, and has run for at least the given time in seconds."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    age = _process_age(process)
    return age is None or age >= seconds


def _process_age(process: int) -> float | None:
    """Return the seconds since a process started, or None if the start is not known."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2]
        started = int(fields.split()[_FIELDS_BEFORE_START]) / os.sysconf("SC_CLK_TCK")
        return time.clock_gettime(time.CLOCK_BOOTTIME) - started
    except (OSError, AttributeError, ValueError, IndexError):
        return None  # not on Linux


class CallObserver(TransportObserver):
    """Counts the events of a call, in the metrics and for the log line at the end of the call.

    Attributes:
        underruns: Number of gaps in the bot's audio.
        rate_limits: Number of errors 429.
        interruptions: Number of times that the caller interrupted the bot.
        pauses: Number of times that Genesys paused the audio.
        answers: For each turn of the caller that the bot answered, the seconds from the end of the
            turn to the bot's first audio.
    """

    def __init__(self, metrics: Metrics) -> None:
        """Create the observer of one call.

        Args:
            metrics: The metrics in which events are counted.
        """
        self._metrics = metrics
        self.underruns = 0
        self.rate_limits = 0
        self.interruptions = 0
        self.pauses = 0
        self.answers: list[float] = []

    def replied(self, message_type: str, seconds: float) -> None:
        """See `TransportObserver`."""
        self._metrics.replied(message_type, seconds)

    def audio_received(self, lag: float) -> None:
        """See `TransportObserver`."""
        self._metrics.audio_lag.observe(lag)

    def audio_sent(self, seconds: float, tokens: float, waited: float) -> None:
        """See `TransportObserver`."""
        self._metrics.audio_seconds.inc(seconds)
        self._metrics.tokens.observe(tokens)
        self._metrics.audio_wait.observe(waited)

    def underrun(self, seconds: float) -> None:
        """See `TransportObserver`."""
        self.underruns += 1
        self._metrics.underruns.inc()
        self._metrics.underrun_seconds.inc(seconds)

    def rate_limited(self, retry_after: float) -> None:
        """See `TransportObserver`."""
        self.rate_limits += 1
        self._metrics.rate_limited.inc()

    def interrupted(self, heard_seconds: float) -> None:
        """See `TransportObserver`."""
        self.interruptions += 1
        self._metrics.interruptions.inc()

    def paused(self) -> None:
        """See `TransportObserver`."""
        self.pauses += 1

    def answered(self, seconds: float) -> None:
        """See `TransportObserver`."""
        if len(self.answers) < _MAX_ANSWERS:
            self.answers.append(seconds)

    def ignored_cancellation(self) -> None:
        """See `TransportObserver`."""
        self._metrics.stuck_bots.inc()

    def throttled(self, seconds: float) -> None:
        """See `TransportObserver`."""
        self._metrics.throttled.inc(seconds)

    def ended(self, reason: str) -> None:
        """See `TransportObserver`."""
        self._metrics.ended(reason)
