"""The report of a call, as a table for the screen and as JSON."""

from __future__ import annotations

from pydantic_core import to_json
from rich.table import Table

from pipecat_genesys.simulator import CallMode, CallReport, Traffic, Verdict


def summary_table(report: CallReport, mode: CallMode) -> Table:
    """Make a table with one row for each number or time of the report.

    Args:
        report: The report of the call.
        mode: The mode of the server; bot audio is shown for a bot only.
    """
    table = Table(show_header=False, box=None, pad_edge=False)
    for label, value in _rows(report, mode):
        table.add_row(label, value, style=None)
    return table


def verdict_lines(verdict: Verdict) -> list[tuple[str, str]]:
    """Return the judgements and the verdict as lines, each with the name of its colour.

    Args:
        verdict: The verdict of the call.
    """
    lines = [(str(item), "green" if item.is_met else "red") for item in verdict.judgements]
    success = "clean" if verdict.fault is None else f"{verdict.fault.name}: handled"
    lines.append((verdict.problem or success, "red" if verdict.problem else "green"))
    return lines


def report_json(verdict: Verdict) -> str:
    """Format the verdict and the report as a JSON object.

    Args:
        verdict: The verdict of the call.
    """
    values = {
        "clean": verdict.report.clean,
        "fault": verdict.fault and verdict.fault.name,
        "verdict": verdict.problem or "ok",
        "expectations": [
            {"expectation": item.expectation, "met": item.is_met, "detail": item.detail}
            for item in verdict.judgements
        ],
        "report": verdict.report,
    }
    # Read-only mappings are the only type in a report that pydantic cannot serialize.
    return to_json(values, indent=2, fallback=dict).decode() + "\n"


def _rows(report: CallReport, mode: CallMode) -> list[tuple[str, str]]:
    ending = report.ending
    rows = [
        ("duration", f"{report.duration:.3f} s"),
        ("opened after", _milliseconds(report.opened_latency)),
        ("closed after", _milliseconds(report.closed_latency)),
        (
            "pongs",
            f"{report.pongs.count}, mean {_milliseconds(report.pongs.mean)}, "
            f"longest {_milliseconds(report.pongs.longest)}",
        ),
        ("text from the server", _traffic(report.text_from_server)),
    ]
    if mode is CallMode.BOT:
        rows += [
            ("audio from the bot", _traffic(report.audio_from_server)),
            (
                "bot audio played",
                f"{report.heard:.2f} s of {report.received:.2f} s; "
                f"{report.dropped_by_barge_in:.2f} s cleared by barge-in, "
                f"{report.unheard_at_end:.2f} s not played at the end",
            ),
            ("gaps in the bot's speech", str(len(report.underruns))),
        ]
    rows.append(("ended by", _ending(report)))
    variables = ending.output_variables or ending.closed_output_variables
    if variables:
        rows.append(("output variables", ", ".join(f"{k}={v}" for k, v in variables.items())))
    if report.script_error:
        rows.append(("script", report.script_error.splitlines()[0]))
    rows += [("violation", f"{v.at:.3f} s {v.rule}: {v.message}") for v in report.violations]
    rows += [("warning", f"{w.at:.3f} s {w.rule}: {w.message}") for w in report.warnings]
    return rows


def _ending(report: CallReport) -> str:
    ending = report.ending
    parts = []
    if ending.disconnect_reason:
        info = f" ({ending.disconnect_info})" if ending.disconnect_info else ""
        parts.append(f"disconnect {ending.disconnect_reason}{info}")
    if ending.close_reason:
        answer = "closed" if ending.closed_received else "no closed"
        parts.append(f"close {ending.close_reason}, {answer}")
    code = "" if ending.socket_code is None else f" with {ending.socket_code}"
    parts.append(f"socket closed by the {ending.socket_closed_by}{code}")
    return "; ".join(parts)


def _traffic(traffic: Traffic) -> str:
    bucket = (
        "" if traffic.lowest_bucket is None else f", bucket down to {traffic.lowest_bucket:.1f}"
    )
    return (
        f"{traffic.messages} messages, {traffic.per_second:.2f}/s, "
        f"at most {traffic.burst} in a second{bucket}"
    )


def _milliseconds(seconds: float | None) -> str:
    return "never" if seconds is None else f"{seconds * 1000:.1f} ms"
