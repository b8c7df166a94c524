"""The class `Check`, and the decorator that makes a `Check` from a function."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum

from pipecat_genesys.simulator import CallMode

from .target import Target

CheckFunction = Callable[[Target], Awaitable[None]]


class CheckSeverity(StrEnum):
    """Whether a failed check is an error or a warning."""

    ERROR = "error"
    """Genesys rejects the message, ends the call or loses audio, or the server is unreliable."""
    WARNING = "warning"
    """Genesys's reference client tolerates the mistake, but Genesys Cloud may be stricter."""


class Schedule(StrEnum):
    """When a check runs, in relation to the other checks of a run."""

    FIRST = "first"
    """At the beginning, at the same time as other checks, because the check takes a long time."""
    CONCURRENT = "concurrent"
    """At the same time as other checks."""
    ALONE = "alone"
    """At the end and without other checks, because the check may crash the server."""


@dataclass(frozen=True, slots=True)
class Check:
    """One rule of the protocol and the code that checks it.

    Attributes:
        id: Name of the check in reports, on the command line and in exclusions.
        rule: The rule, in one sentence.
        source: Document or measurement that the rule is taken from.
        severity: What a failure means.
        modes: Server modes to which the check applies.
        signed: Whether the check needs a client secret.
        schedule: When the check runs.
        run: Called with the target; checks the server, and raises `CheckFailedError` or
            `CheckSkippedError` if it does not pass.
    """

    id: str
    rule: str
    source: str
    severity: CheckSeverity
    modes: frozenset[CallMode]
    signed: bool
    schedule: Schedule
    run: CheckFunction


BOTH = frozenset(CallMode)
BOT = frozenset({CallMode.BOT})
MONITOR = frozenset({CallMode.MONITOR})
WARNING = CheckSeverity.WARNING

# Sources of rules. Several checks use the same source.
REFERENCE = "Genesys AudioHook reference implementation"
CONNECTOR = "Genesys Audio Connector reference implementation"
MEASURED = "measured with Genesys's reference client and server"
DOCUMENTED = "Genesys developer centre, AudioHook protocol reference"
LIMITS = "Genesys developer centre, AudioHook limits"
FIELD = "reported by integrators from production"


def check(
    source: str,
    *,
    severity: CheckSeverity = CheckSeverity.ERROR,
    modes: frozenset[CallMode] = BOTH,
    signed: bool = False,
    schedule: Schedule = Schedule.CONCURRENT,
) -> Callable[[CheckFunction], Check]:
    """Turn a coroutine function into a `Check`.

    The function's name, with hyphens for underscores, becomes the id. The docstring becomes the
    rule; if Python removes docstrings, the id is used instead.

    Args:
        source: Document or measurement that the rule is taken from.
        severity: What a failure means.
        modes: Server modes to which the check applies.
        signed: Whether the check needs a client secret.
        schedule: When the check runs.
    """

    def make(function: CheckFunction) -> Check:
        name: str = function.__name__.replace("_", "-")
        rule = inspect.getdoc(function) or name
        return Check(name, rule, source, severity, modes, signed, schedule, function)

    return make
