"""What Prometheus sees. Names and meanings are in ``docs/endpoint.md``, for alerts to rely on."""

from __future__ import annotations

import os
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
"""The variable with which prometheus-client adds up what several processes count."""

_FAST = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
_REPLIES = frozenset({"opened", "pong", "updated", "closed", "disconnect"})
_ENDS = frozenset({*(reason.value for reason in CloseReason), "lost"})


class Metrics:
    """The endpoint's metrics, in one registry.

    With several processes (`MULTIPROCESS_DIRECTORY` is set) each counts, and whichever is asked
    answers for all.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        """Create the metrics.

        Args:
            registry: Where they are registered; it must not have them.
        """
        self._registry = registry

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"audiohook_{name}", text, labels, registry=registry)

        def gauge(name: str, text: str) -> Gauge:
            return Gauge(f"audiohook_{name}", text, registry=registry, multiprocess_mode="livesum")

        def histogram(name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
            return Histogram(f"audiohook_{name}", text, labels, buckets=buckets, registry=registry)

        self.active = gauge("active_calls", "Calls that run.")
        self.limit = gauge("call_limit", "Most calls at once.")
        self.draining = gauge("draining", "Processes that take no more calls.")
        self.connections = counter("connections", "Upgrade requests.")
        self.refusals = counter("refusals", "Connections without a call.", "reason")
        self.opens = counter("opens", "Sessions opened: by a bot, or as a probe.", "kind")
        self.ends = counter("ends", "Sessions ended, by the reason Genesys gave.", "reason")
        self.bot_failures = counter("bot_failures", "Bots that raised; their calls ended.")
        self.late_bots = counter("late_bots", "Sessions opened paused, as the bot was not ready.")
        self.call_seconds = histogram(
            "call_seconds", "Length of calls.", (1, 5, 15, 30, 60, 120, 300, 600, 1800, 3600)
        )
        self.reply_seconds = histogram(
            "reply_seconds", "From a message's arrival to its answer.", _FAST, "type"
        )
        self.audio_lag = histogram(
            "caller_audio_lag_seconds", "How late caller audio came, by its own clock.", _FAST
        )
        self.audio_seconds = counter("bot_audio_seconds", "Bot audio sent.")
        self.audio_wait = histogram(
            "bot_audio_wait_seconds", "How long a message of bot audio waited for a token.", _FAST
        )
        self.tokens = histogram(
            "bot_audio_tokens",
            "Messages of bot audio that could follow at once, after each.",
            (0, 1, 2, 4, 8, 12, 16, 20),
        )
        self.underruns = counter("underruns", "Gaps in what the bot says.")
        self.underrun_seconds = counter("underrun_seconds", "Length of those gaps.")
        self.rate_limited = counter("rate_limited", "Errors 429 from Genesys.")
        self.interruptions = counter("interruptions", "Times a caller talked over the bot.")
        self.throttled = counter("throttled_seconds", "Not reading from clients that flood.")
        self.faults = counter("faults", "Breaches of the protocol by clients.", "rule")
        self.drains = counter("drains", "Times the server began to drain.")
        self.cut = counter("drain_cut_calls", "Calls that a drain's deadline ended.")
        self.loop_lag = histogram(
            "event_loop_lag_seconds", "How much later than asked the event loop woke.", _FAST
        )
        self._replies = {name: self.reply_seconds.labels(name) for name in _REPLIES}

    def replied(self, message_type: str, seconds: float) -> None:
        """Take note of a reply."""
        reply = self._replies.get(message_type)
        if reply is not None:
            reply.observe(seconds)

    def ended(self, reason: str) -> None:
        """Take note of an end."""
        self.ends.labels(reason if reason in _ENDS else "other").inc()

    def faulted(self, faults: Mapping[str, int]) -> None:
        """Take note of a call's faults, by rule."""
        for rule, count in faults.items():
            self.faults.labels(rule).inc(count)

    def text(self) -> tuple[bytes, str]:
        """Write it down.

        Returns:
            The text that Prometheus reads, and its content type.
        """
        registry = self._registry
        if MULTIPROCESS_DIRECTORY in os.environ:
            registry = CollectorRegistry()
            multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry), CONTENT_TYPE_LATEST


@cache
def default_metrics() -> Metrics:
    """The metrics in the process's own registry, which every endpoint there shares."""
    return Metrics(REGISTRY)


def forget_the_dead() -> None:
    """With several processes: no longer count the calls of those that are gone."""
    directory = os.environ.get(MULTIPROCESS_DIRECTORY)
    if directory is None:
        return
    for file in Path(directory).glob("gauge_live*_*.db"):
        process = file.stem.rpartition("_")[2]
        if process.isdigit() and not _is_alive(int(process)):
            multiprocess.mark_process_dead(int(process))  # type: ignore[no-untyped-call]


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


class CallObserver(TransportObserver):
    """Counts what happens in a call."""

    def __init__(self, metrics: Metrics) -> None:
        """Create it.

        Args:
            metrics: Where it counts.
        """
        self._metrics = metrics

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
        self._metrics.underruns.inc()
        self._metrics.underrun_seconds.inc(seconds)

    def rate_limited(self, retry_after: float) -> None:
        """See `TransportObserver`."""
        self._metrics.rate_limited.inc()

    def interrupted(self, heard_seconds: float) -> None:
        """See `TransportObserver`."""
        self._metrics.interruptions.inc()

    def throttled(self, seconds: float) -> None:
        """See `TransportObserver`."""
        self._metrics.throttled.inc(seconds)

    def ended(self, reason: str) -> None:
        """See `TransportObserver`."""
        self._metrics.ended(reason)
