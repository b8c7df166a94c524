"""Does an AudioHook server keep the protocol? Checks that can be put to any, in any language.

* `catalogue`: what a check is, and the list of all; `of_*` are the checks, by subject.
* `line`: one connection to the server, on which a check can say anything, right or wrong.
* `target`: the server, and how patient a check is with it.
* `runner`: puts checks to a server, several at a time.
* `report`: what they found, for people and for machines.
* `plugin`: the same for pytest.

A check opens connections of its own, so they do not depend on each other. What it says when it
fails names what was expected and what came. Never imports pipecat; it needs the extra `cli`.
"""

from .catalogue import CATALOGUE, BrokenRule, Check, NotApplicable, Severity
from .report import as_json, as_junit, failures
from .runner import Outcome, Result, run
from .target import Patience, Target

__all__ = [
    "CATALOGUE",
    "BrokenRule",
    "Check",
    "NotApplicable",
    "Outcome",
    "Patience",
    "Result",
    "Severity",
    "Target",
    "as_json",
    "as_junit",
    "failures",
    "run",
]
