"""The tables of a load run, from its figures alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from report import Table

from .figures import MOST_GROWTH_MS, MOST_UNDERRUNS, memory_growth

Row = Mapping[str, Any]
_BASELINE = "tuned"
_CPU = "cpu_ms_per_call_second"


def tables(parts: Mapping[str, Any]) -> dict[str, Table]:
    """All tables there are figures for, by name."""
    made = {}
    for mode, title in (("real", "in real time"), ("virtual", "on a virtual clock")):
        rows = parts.get(mode)
        if rows:
            made[f"load-{mode}"] = capacity(rows, title)
            made[f"load-{mode}-steps"] = steps(rows, title)
    if parts.get("profile"):
        made["load-profile"] = profile(parts["profile"])
        made["load-functions"] = functions(parts["profile"][-1])
    return made


def profile(rows: Sequence[Row]) -> Table:
    """Whose the CPU time is."""
    layers = list(dict.fromkeys(layer for row in rows for layer in row["layers_percent"]))
    return Table(
        f"Where the CPU goes, {rows[0]['calls']} calls",
        "ms per call and second, and whose functions it is spent in, what they call of C "
        "included: py-spy, from outside.",
        ("server", "CPU", *layers),
        [
            (
                row["kind"],
                f"{row[_CPU]:.2f}",
                *(f"{row['layers_percent'].get(of, 0) / 100 * row[_CPU]:.2f}" for of in layers),
            )
            for row in rows
        ],
    )


def functions(row: Row) -> Table:
    """The functions in which most of it is spent."""
    return Table(
        f"The busiest functions of `{row['kind']}`",
        "In % of the server's CPU.",
        ("function", "%"),
        [(name, f"{share:.1f}") for name, share in row["functions_percent"].items()],
    )


def held(rows: Sequence[Row], kind: str, run: int) -> Row | None:
    """The largest step without a failure, before the first with one."""
    best = None
    for row in rows:
        if row["kind"] == kind and row["run"] == run:
            if row["failures"]:
                return best
            best = row
    return best


def capacity(rows: Sequence[Row], title: str) -> Table:
    """How many calls each server holds, run by run."""
    lines = []
    for run in dict.fromkeys(row["run"] for row in rows):
        mine = [row for row in rows if row["run"] == run]
        baseline = held(mine, _BASELINE, run)
        for kind in dict.fromkeys(row["kind"] for row in mine):
            best = held(mine, kind, run)
            of_kind = [row for row in mine if row["kind"] == kind]
            failed = next((row for row in of_kind if row["failures"]), None)
            at = baseline["calls"] if baseline else 0
            same = next((row for row in of_kind if row["calls"] == at), None)
            lines.append(
                (
                    f"{run + 1}",
                    kind,
                    f"{best['calls']}" if best else "0",
                    _ratio(best, baseline, "calls"),
                    f"{best[_CPU]:.1f}" if best else "",
                    f"{same[_CPU]:.1f}" if same else "",
                    _ratio(same, baseline, _CPU),
                    f"{failed['calls']}: {'; '.join(failed['failures'])}" if failed else "",
                )
            )
    return Table(
        f"Calls held by one core, {title}",
        f"The largest number of calls at once with: echo p99 less than {MOST_GROWTH_MS:g} ms above "
        f"that of the smallest step, no `opened` later than 5 s, fewer than {MOST_UNDERRUNS:g} "
        "underruns per call-minute, no error 429, and none lost. CPU in ms per call and second, "
        f"with that many calls and with as many as `{_BASELINE}`, the baseline, holds.",
        ("run", "server", "calls", "ratio", "CPU", "at baseline's", "ratio", "first failure"),
        lines,
    )


def _ratio(row: Row | None, baseline: Row | None, of: str) -> str:
    return f"{row[of] / baseline[of]:.2f}x" if row and baseline else ""


def steps(rows: Sequence[Row], title: str) -> Table:
    """All that was measured."""
    lines = [
        (
            row["kind"],
            f"{row['calls']}",
            f"{row['held']}",
            f"{row['cpu_ms_per_call_second']:.1f}",
            f"{row['cpu_percent']:.0f}",
            f"{row['memory_mb_per_call']:.2f}" if "memory_mb_per_call" in row else "",
            _spread(row["opened_ms"]),
            _spread(row["pong_ms"]),
            _spread(row["barge_in_ms"]),
            _spread(row["echo_ms"]),
            f"{row['echo_drift_ms']:.0f}",
            f"{row['delivered_percent']:.1f}",
            f"{row['underruns_per_minute']:.2f}",
            f"{row['early_underruns_per_call']:.1f}",
            f"{row['rate_limited']}",
            f"{row['gc_longest_ms']:.0f}",
            _spread(row["loop_late_ms"]),
            _spread(row.get("generator_lag_ms", {})),
            f"{row['stolen_percent']:.1f}" if "stolen_percent" in row else "",
            "; ".join(row["failures"]),
        )
        for row in rows
    ]
    return Table(
        f"Every step, {title}",
        "p50/p99 in ms. CPU in ms per call and second, and of the core in %. Memory in MB per "
        "call. Delivered: caller audio that its bot has heard, in %. Underruns: holes of 20 ms and "
        "more, per call-minute once an echo has gone on for 5 s, and per call before. Drift: by "
        "how much the echo is later at a call's end than at its beginning. GC: the longest "
        "collection. Lag: how late the generator was itself. Stolen: what the host took of the "
        "server's core, in %.",
        (
            *("server", "calls", "held", "CPU", "core %", "MB", "opened", "pong", "barge-in"),
            *("echo", "drift", "delivered", "underruns", "early", "429", "GC", "loop late"),
            *("lag", "stolen", "fails"),
        ),
        lines,
    )


def _spread(of: Mapping[str, float]) -> str:
    return f"{of['p50']:.0f}/{of['p99']:.0f}" if of else ""


def soak(parts: Mapping[str, Any]) -> dict[str, Table]:
    """The tables of a soak, by name."""
    rows = parts["soak"]
    return {"soak": soak_total(rows), "soak-minutes": soak_minutes(rows)}


def soak_total(rows: Sequence[Row]) -> Table:
    """What it was like as a whole."""
    calls = max(row["active"] for row in rows)
    holes = [hole for row in rows for hole in row["holes_ms"]]
    growth = memory_growth(rows)
    pongs = [row["pong_ms"]["p99"] for row in rows if row["pong_ms"]]
    return Table(
        f"{calls} calls at once, for {len(rows) - 1} minutes",
        "Calls that came and went, those held to the end, hours of what the bots said, holes of "
        "20 ms and more in what callers heard, errors 429, how much more memory the server took in "
        "the last ten minutes than in the second ten, CPU in % of its core, and the p99 of `pong` "
        "in ms, the worst minute's.",
        ("calls", "held", "speech h", "holes", "longest ms", "429", "memory", "CPU", "pong p99"),
        [
            (
                f"{sum(row['calls'] for row in rows)}",
                f"{sum(row['held'] for row in rows)}",
                f"{sum(row['bot_seconds'] for row in rows) / 3600:.1f}",
                f"{len(holes)}",
                f"{max(holes, default=0)}",
                f"{max(row['rate_limited'] for row in rows):.0f}",
                "" if growth is None else f"{100 * growth:+.1f} %",
                f"{sum(row['cpu_percent'] for row in rows) / len(rows):.0f}",
                f"{max(pongs, default=0):.0f}",
            )
        ],
    )


def soak_minutes(rows: Sequence[Row]) -> Table:
    """Every minute of it."""
    return Table(
        "Minute by minute",
        "Times are p50/p99 in ms. Memory in MB, the median of the minute. CPU and stolen time in % "
        "of the server's core. GC: the longest collection; spare: by how much bots were further "
        "ahead, at least. Lag: how late the callers were themselves.",
        (
            *("minute", "calls", "held", "active", "MB", "descriptors", "tasks", "CPU", "stolen"),
            *("GC", "spare", "holes", "429", "opened", "pong", "barge-in", "lag"),
        ),
        [
            (
                f"{number + 1}",
                f"{row['calls']}",
                f"{row['held']}",
                f"{row['active']}",
                f"{row['rss_mb']:.1f}",
                f"{row['descriptors']:.0f}",
                f"{row['tasks']:.0f}",
                f"{row['cpu_percent']:.0f}",
                f"{row['stolen_percent']:.1f}",
                f"{row['gc_longest_ms']:.0f}" if "gc_longest_ms" in row else "",
                f"{row['gc_spare_ms']:.0f}" if "gc_spare_ms" in row else "",
                f"{len(row['holes_ms'])}",
                f"{row['rate_limited']:.0f}",
                _spread(row["opened_ms"]),
                _spread(row["pong_ms"]),
                _spread(row["barge_in_ms"]),
                _spread(row["lag_ms"]),
            )
            for number, row in enumerate(rows)
        ],
    )
