"""What the checks found, for people and for machines."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from xml.etree import ElementTree

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from .checking import Severity
from .runner import Outcome, Result
from .target import Target


def failures(results: Iterable[Result], *, strict: bool = False) -> list[Result]:
    """The failed checks that count.

    Args:
        results: Of all checks.
        strict: Whether warnings count.
    """
    return [
        result
        for result in results
        if result.outcome is Outcome.FAILED and (strict or result.check.severity is Severity.ERROR)
    ]


def as_table(results: Sequence[Result], *, everything: bool = False) -> RenderableType:
    """What is to be read on a screen: the failures with their rules, and a count.

    Args:
        results: Of all checks.
        everything: Whether to list the checks that passed, too.
    """
    table = Table(box=None, pad_edge=False, show_header=False)
    for result in results:
        if result.outcome is Outcome.FAILED:
            warning = result.check.severity is Severity.WARNING
            about = Text(result.check.rule)
            about.append(f"\n{result.detail}", style="bold")
            about.append(f"\n{result.check.source}", style="dim")
            mark = Text(result.check.severity.value, style="yellow" if warning else "red")
            table.add_row(mark, result.check.id, about)
        elif result.outcome is Outcome.PASSED and everything:
            table.add_row(Text("passed", style="green"), result.check.id, result.check.rule)
    skipped: dict[str, list[str]] = {}
    for result in results:
        if result.outcome is Outcome.SKIPPED:
            skipped.setdefault(result.detail, []).append(result.check.id)
    for reason, names in skipped.items():
        about = Text(f"{reason}: {', '.join(names)}", style="dim")
        table.add_row(Text("skipped", style="dim"), f"{len(names)} checks", about)
    return Group(table, Text(summary(results)))


def summary(results: Sequence[Result]) -> str:
    """The count, in a line."""
    counts = Counter(result.outcome for result in results)
    severities = Counter(r.check.severity for r in results if r.outcome is Outcome.FAILED)
    failed = ", ".join(f"{severities[one]} {one}s" for one in Severity if severities[one])
    return (
        f"{counts[Outcome.PASSED]} passed, {counts[Outcome.FAILED]} failed"
        + (f" ({failed})" if failed else "")
        + f", {counts[Outcome.SKIPPED]} skipped"
    )


def show(console: Console, results: Sequence[Result], *, everything: bool) -> None:
    """Print it."""
    console.print(as_table(results, everything=everything), highlight=False)


def as_json(target: Target, results: Sequence[Result]) -> str:
    """The results as JSON: one object, its ``checks`` in the order of the catalogue."""
    return json.dumps(
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


def as_junit(target: Target, results: Sequence[Result], *, strict: bool = False) -> str:
    """The results as JUnit's XML, as continuous integration systems read it.

    Warnings are failures only if ``strict``; else their text is in ``system-out``.
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
            broken = ElementTree.SubElement(case, "failure", message=_plain(result.detail))
            broken.text = f"{result.check.rule}\n{result.check.source}"
        elif result.outcome is Outcome.FAILED:
            out = ElementTree.SubElement(case, "system-out")
            out.text = _plain(f"warning: {result.check.rule}: {result.detail}")
        elif result.outcome is Outcome.SKIPPED:
            ElementTree.SubElement(case, "skipped", message=_plain(result.detail))
    ElementTree.indent(suite)
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


def _plain(text: str) -> str:
    """Without the control characters that XML cannot hold; a server may have sent them."""
    return "".join(
        c if c in "\n\t" or c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text
    )
