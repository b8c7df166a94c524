"""Results of checks as a table, as JSON and as JUnit XML."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from xml.etree import ElementTree

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from .check import CheckSeverity
from .runner import CheckResult, Outcome
from .target import Target


def failures(results: Iterable[CheckResult], *, strict: bool = False) -> list[CheckResult]:
    """Select the failed checks that make the whole run fail.

    Args:
        results: Results of all checks.
        strict: Whether failed checks of severity `warning` count.
    """
    return [
        result
        for result in results
        if result.outcome is Outcome.FAILED
        and (strict or result.check.severity is CheckSeverity.ERROR)
    ]


def as_table(results: Sequence[CheckResult], *, list_passed: bool = False) -> RenderableType:
    """Make a table for the screen: failed checks with their rules, skipped checks, and a summary.

    Args:
        results: Results of all checks.
        list_passed: Whether the table lists the checks that passed.
    """
    table = Table(box=None, pad_edge=False, show_header=False)
    for result in results:
        if result.outcome is Outcome.FAILED:
            is_warning = result.check.severity is CheckSeverity.WARNING
            text = Text(result.check.rule)
            text.append(f"\n{result.detail}", style="bold")
            text.append(f"\n{result.check.source}", style="dim")
            mark = Text(result.check.severity.value, style="yellow" if is_warning else "red")
            table.add_row(mark, result.check.id, text)
        elif result.outcome is Outcome.PASSED and list_passed:
            table.add_row(Text("passed", style="green"), result.check.id, Text(result.check.rule))
    skipped: dict[str, list[str]] = {}
    for result in results:
        if result.outcome is Outcome.SKIPPED:
            skipped.setdefault(result.detail, []).append(result.check.id)
    for reason, ids in skipped.items():
        text = Text(f"{reason}: {', '.join(ids)}", style="dim")
        count = "1 check" if len(ids) == 1 else f"{len(ids)} checks"
        table.add_row(Text("skipped", style="dim"), count, text)
    return Group(table, Text(summary(results)))


def summary(results: Sequence[CheckResult]) -> str:
    """Count the results by outcome, in one line."""
    counts = Counter(result.outcome for result in results)
    severities = Counter(r.check.severity for r in results if r.outcome is Outcome.FAILED)
    failed = ", ".join(
        f"{count} {severity}{'' if count == 1 else 's'}"
        for severity in CheckSeverity
        if (count := severities[severity])
    )
    return (
        f"{counts[Outcome.PASSED]} passed, {counts[Outcome.FAILED]} failed"
        + (f" ({failed})" if failed else "")
        + f", {counts[Outcome.SKIPPED]} skipped"
    )


def as_json(target: Target, results: Sequence[CheckResult]) -> str:
    """Format the results as one JSON object with the fields `url`, `mode`, `summary` and `checks`.

    Args:
        target: The server.
        results: Results of all checks.
    """
    return (
        json.dumps(
            {
                "url": target.url,
                "mode": target.mode,
                "summary": summary(results),
                "checks": [
                    {
                        "id": result.check.id,
                        "rule": result.check.rule,
                        "source": result.check.source,
                        "severity": result.check.severity,
                        "outcome": result.outcome,
                        "detail": result.detail,
                        "seconds": round(result.seconds, 3),
                    }
                    for result in results
                ],
            },
            indent=2,
        )
        + "\n"
    )


def as_junit(target: Target, results: Sequence[CheckResult], *, strict: bool = False) -> str:
    """Format the results as JUnit XML, which continuous integration systems read.

    Args:
        target: The server.
        results: Results of all checks.
        strict: Whether failed checks of severity `warning` are failures. Otherwise they are test
            cases with the finding in `system-out`.
    """
    counted = failures(results, strict=strict)
    suite = ElementTree.Element(
        "testsuite",
        name=f"AudioHook conformance, {target.mode}",
        tests=str(len(results)),
        failures=str(len(counted)),
        errors="0",
        skipped=str(sum(result.outcome is Outcome.SKIPPED for result in results)),
        time=f"{sum(result.seconds for result in results):.3f}",
    )
    for result in results:
        case = ElementTree.SubElement(
            suite,
            "testcase",
            classname=f"audiohook.{target.mode}",
            name=result.check.id,
            time=f"{result.seconds:.3f}",
        )
        if result in counted:
            failure = ElementTree.SubElement(case, "failure", message=_printable(result.detail))
            failure.text = f"{result.check.rule}\n{result.check.source}"
        elif result.outcome is Outcome.FAILED:
            out = ElementTree.SubElement(case, "system-out")
            out.text = _printable(f"warning: {result.check.rule}: {result.detail}")
        elif result.outcome is Outcome.SKIPPED:
            ElementTree.SubElement(case, "skipped", message=_printable(result.detail))
    ElementTree.indent(suite)
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


def _printable(text: str) -> str:
    """Replace control characters, which XML cannot hold; the server may have sent some."""
    return "".join(
        c if c in "\n\t" or c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text
    )
