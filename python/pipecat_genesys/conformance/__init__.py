"""Conformance checks for AudioHook servers in any language.

* `catalogue`: all checks, by id; `checks/` has one module for each subject.
* `check`: the class `Check`, and the decorator that makes a `Check` from a function.
* `errors`: the exceptions with which a check reports its result.
* `connection`: one connection to the server, on which a check can send valid and invalid data.
* `target`: the server, and how to reach it.
* `runner`: runs checks, several at a time.
* `report`: results as a table, as JSON, as JUnit XML and as an HTML page.
* `plugin`: the checks as pytest tests.

Checks do not depend on each other. Most checks open their own connections; the other checks examine
the messages of one recorded call. The package needs the extra `cli` and does not import pipecat.
"""

from .catalogue import CATALOGUE
from .check import Check, CheckSeverity
from .connection import Timeouts
from .errors import CheckFailedError, CheckSkippedError
from .report import as_html, as_json, as_junit, as_table, failures
from .runner import CheckResult, Outcome, run_checks
from .target import Target

__all__ = [
    "CATALOGUE",
    "Check",
    "CheckFailedError",
    "CheckResult",
    "CheckSeverity",
    "CheckSkippedError",
    "Outcome",
    "Target",
    "Timeouts",
    "as_html",
    "as_json",
    "as_junit",
    "as_table",
    "failures",
    "run_checks",
]
