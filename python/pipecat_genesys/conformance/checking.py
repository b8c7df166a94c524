"""What a check is, and how it gets into the catalogue."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from pipecat_genesys.errors import PipecatGenesysError
from pipecat_genesys.simulator import CallMode

if TYPE_CHECKING:
    from .target import Target


class Severity(StrEnum):
    """How bad it is to fail a check."""

    ERROR = "error"
    """Genesys rejects it, ends the call, or loses audio; or nobody may rely on the server."""
    WARNING = "warning"
    """Genesys's reference client puts up with it. Production is known to be stricter."""


class BrokenRule(PipecatGenesysError):
    """The server does not do what the rule says; the message says what it did."""


class NotApplicable(PipecatGenesysError):
    """The check has nothing to judge here; the message says why."""


@dataclass(frozen=True, slots=True)
class Check:
    """One rule, put to the test.

    Attributes:
        id: A name that reports and exclusions can rely on.
        rule: The rule, in a sentence.
        source: Where it is from.
        severity: How bad it is to break it.
        modes: The modes it applies to.
        signed: Whether it needs a client secret.
        run: The check itself; raises `BrokenRule`, or `NotApplicable`.
    """

    id: str
    rule: str
    source: str
    severity: Severity
    modes: frozenset[CallMode]
    signed: bool
    run: Callable[[Target], Awaitable[None]]


REGISTERED: dict[str, Check] = {}
BOTH = frozenset(CallMode)
BOT, MONITOR = frozenset({CallMode.BOT}), frozenset({CallMode.MONITOR})
WARNING = Severity.WARNING

# The sources, as the catalogue names them.
REFERENCE = "Genesys AudioHook reference implementation"
CONNECTOR = "Genesys Audio Connector reference implementation"
MEASURED = "measured with Genesys's reference client and server"
DOCUMENTED = "Genesys developer centre, AudioHook protocol reference"
LIMITS = "Genesys developer centre, limits of AudioHook"
FIELD = "reported by integrators from production"


def check(
    name: str,
    rule: str,
    source: str,
    *,
    severity: Severity = Severity.ERROR,
    modes: frozenset[CallMode] = BOTH,
    signed: bool = False,
) -> Callable[[Callable[[Target], Awaitable[None]]], Callable[[Target], Awaitable[None]]]:
    """Put a coroutine function into the catalogue.

    Raises:
        ValueError: If the name is taken.
    """

    def register(
        function: Callable[[Target], Awaitable[None]],
    ) -> Callable[[Target], Awaitable[None]]:
        if name in REGISTERED:
            raise ValueError(f"two checks are named {name!r}")
        REGISTERED[name] = Check(name, rule, source, severity, modes, signed, function)
        return function

    return register
