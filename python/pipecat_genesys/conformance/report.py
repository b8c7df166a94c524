"""Results of checks as a table, as JSON, as JUnit XML and as an HTML page."""

from __future__ import annotations

import base64
import hashlib
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
    """Make a table of the failed checks with their rules, the skipped checks, and a summary.

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


_STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; }
td, th { border-bottom: 1px solid #8886; padding: 0.5rem; text-align: left; vertical-align: top; }
.error { color: light-dark(#b3001b, #ff8591); font-weight: 600; }
.warning { color: light-dark(#8a5a00, #ffc35c); font-weight: 600; }
.passed { color: light-dark(#1a6b2d, #7bd88f); }
.source { opacity: 0.7; font-size: 0.85rem; }
"""


def as_html(target: Target, results: Sequence[CheckResult]) -> str:
    """Format the results as one HTML page that needs no network.

    Args:
        target: The server.
        results: Results of all checks.
    """
    root = ElementTree.Element("html", lang="en")
    head = ElementTree.SubElement(root, "head")
    ElementTree.SubElement(head, "meta", charset="utf-8")
    digest = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
    policy = {
        "http-equiv": "Content-Security-Policy",
        "content": f"default-src 'none'; style-src 'sha256-{digest}'",
    }
    ElementTree.SubElement(head, "meta", policy)
    ElementTree.SubElement(head, "title").text = "AudioHook conformance"
    ElementTree.SubElement(head, "style").text = _STYLE
    body = ElementTree.SubElement(root, "body")
    ElementTree.SubElement(body, "h1").text = "AudioHook conformance"
    ElementTree.SubElement(body, "p").text = _printable(f"{target.url}, {target.mode}")
    ElementTree.SubElement(body, "p").text = summary(results)
    table = ElementTree.SubElement(body, "table")
    order = (Outcome.FAILED, Outcome.SKIPPED, Outcome.PASSED)
    for result in sorted(results, key=lambda one: order.index(one.outcome)):
        row = ElementTree.SubElement(table, "tr")
        is_failed = result.outcome is Outcome.FAILED
        mark = result.check.severity.value if is_failed else result.outcome.value
        ElementTree.SubElement(row, "td", {"class": mark}).text = mark
        ElementTree.SubElement(row, "td").text = result.check.id
        cell = ElementTree.SubElement(row, "td")
        ElementTree.SubElement(cell, "div").text = result.check.rule
        if result.detail:
            ElementTree.SubElement(cell, "div").text = _printable(result.detail)
        ElementTree.SubElement(cell, "div", {"class": "source"}).text = result.check.source
    page: str = ElementTree.tostring(root, encoding="unicode", method="html")
    return f"<!doctype html>\n{page}\n"


def _printable(text: str) -> str:
    """Replace unprintable characters in text from the server; XML does not allow all of them."""
    return "".join(
        c if c in "\n\t" or c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text
    )
