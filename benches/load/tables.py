"""The tables of the results of load tests, profiles and soaks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from report import Table

from .aggregate import CRITERIA, MOST_DELAY_GROWTH_MS, memory_growth

Row = Mapping[str, Any]
_BASELINES = ("tuned", "tuned-200ms")
_CPU = "cpu_ms_per_call_second"


def make_load_tables(results: Mapping[str, Any]) -> dict[str, Table]:
    """Return the tables of a load test and of a profile, by name."""
    tables = {}
    if results.get("load"):
        tables["load"] = capacity(results["load"])
        tables["load-steps"] = steps(results["load"])
    if results.get("profile"):
        tables["load-profile"] = layers(results["profile"])
        tables["load-functions"] = functions(results["profile"][-1])
    return tables


def layers(rows: Sequence[Row]) -> Table:
    """Return the table of the CPU time of each server by layer."""
    names = list(dict.fromkeys(layer for row in rows for layer in row["layers_percent"]))
    return Table(
        f"CPU time by layer, {rows[0]['calls']} calls",
        "CPU time in ms per call and second, and the part of it that is spent in functions of each "
        "layer, with the C code that they call. Sampled from outside by py-spy.",
        ("server", "CPU", *names),
        [
            (
                row["server"],
                f"{row[_CPU]:.2f}",
                *(f"{row['layers_percent'].get(n, 0) / 100 * row[_CPU]:.2f}" for n in names),
            )
            for row in rows
        ],
    )


def functions(row: Row) -> Table:
    """Return the table of a server's functions with the most CPU time."""
    return Table(
        f"The busiest functions of `{row['server']}`",
        f"CPU time of the functions themselves, in % of the CPU time of `{row['server']}`.",
        ("function", "%"),
        [(name, f"{percent:.1f}") for name, percent in row["functions_percent"].items()],
    )


def largest_passed_step(rows: Sequence[Row]) -> Row | None:
    """Return the largest passed step with fewer calls than the smallest failed step, if any."""
    failed = smallest_failed_step(rows)
    passed = [
        row
        for row in rows
        if not row["failures"] and (failed is None or row["calls"] < failed["calls"])
    ]
    return max(passed, key=lambda row: int(row["calls"]), default=None)


def smallest_failed_step(rows: Sequence[Row]) -> Row | None:
    """Return the failed step with the fewest calls, or None if no step failed."""
    failed = [row for row in rows if row["failures"]]
    return min(failed, key=lambda row: int(row["calls"]), default=None)


def capacity(rows: Sequence[Row]) -> Table:
    """Return the table of the largest number of calls that each server holds."""
    lines = []
    groups: dict[tuple[str, str], dict[str, list[Row]]] = {}
    for row in rows:
        # Results before 2026-11-30 have the echo bot on asyncio only.
        group = groups.setdefault((row.get("bot", "echo"), row.get("loop", "asyncio")), {})
        group.setdefault(row["server"], []).append(row)
    for (bot, loop), servers in groups.items():
        held = {server: largest_passed_step(steps) for server, steps in servers.items()}
        for server, of_server in servers.items():
            largest, failed = held[server], smallest_failed_step(of_server)
            lines.append(
                (
                    bot,
                    loop,
                    server,
                    f"{largest['calls']}" if largest else "0",
                    *(_ratio(largest, held.get(baseline)) for baseline in _BASELINES),
                    f"{largest[_CPU]:.2f}" if largest else "",
                    f"{largest['cpu_percent']:.0f}" if largest else "",
                    f"{largest['gc_longest_ms']:.0f}" if largest else "",
                    f"{failed['calls']}: {'; '.join(failed['failures'])}" if failed else "",
                )
            )
    return Table(
        "Calls held by one core",
        "The largest number of calls at once for which all of these hold: the 99th percentile of "
        f"the delay of the echo or the answer is less than {MOST_DELAY_GROWTH_MS:g} ms above that "
        "of the smallest step; every `opened` arrives within "
        f"{CRITERIA.max_opened_seconds:g} s; there are fewer than "
        f"{CRITERIA.max_underruns_per_minute:g} underruns per call-minute; there is "
        "no error 429; every call is completed. The two ratios are to `tuned` and `tuned-200ms` "
        "with the same bot and event loop. With that number of calls: CPU time in ms per call and "
        "second, and in % of the core; the longest garbage collection in ms.",
        (
            *("bot", "loop", "server", "calls", "to tuned", "to tuned-200ms", "CPU", "core %"),
            *("GC", "smallest failed step"),
        ),
        lines,
    )


def _ratio(row: Row | None, baseline: Row | None) -> str:
    return f"{row['calls'] / baseline['calls']:.2f}x" if row and baseline else ""


def steps(rows: Sequence[Row]) -> Table:
    """Return the table of all steps of a load test."""
    lines = [
        (
            row.get("bot", "echo"),
            row.get("loop", "asyncio"),
            row["server"],
            f"{row['calls']}",
            f"{row['completed']}",
            f"{row[_CPU]:.1f}",
            f"{row['cpu_percent']:.0f}",
            f"{row['memory_mb_per_call']:.2f}",
            _percentiles(row["opened_ms"]),
            _percentiles(row["pong_ms"]),
            _percentiles(row["barge_in_ms"]),
            _percentiles(row["echo_ms"]),
            f"{row['echo_drift_ms']:.0f}",
            f"{row['delivered_percent']:.1f}",
            f"{row['underruns_per_minute']:.2f}",
            f"{row['early_underruns_per_call']:.1f}",
            f"{row['rate_limited']}",
            f"{row['gc_longest_ms']:.0f}",
            _percentiles(row["loop_late_ms"]),
            _percentiles(row["generator_lag_ms"]),
            f"{row['stolen_percent']:.1f}",
            "; ".join(row["failures"]),
        )
        for row in rows
    ]
    return Table(
        "Every step",
        "Times are p50/p99 in ms. CPU: ms per call and second. Core: CPU time in % of the core. "
        "MB: memory per call. Delay: of the echo or the answer. Drift: its growth from the "
        "beginning to the end of a call. Delivered: caller audio that the bots received, in %. "
        "Underruns: gaps of 20 ms and more, per call-minute. Early: underruns while the echo "
        "settles, per call. GC: the longest "
        "collection. Loop late: delay of a timer in the server. Lag: delay of the timers in the "
        "load generator. Stolen: share of the server's core that other guests used, in %.",
        (
            *("bot", "loop", "server", "calls", "completed", "CPU", "core %", "MB", "opened"),
            *(
                "pong",
                "barge-in",
                "delay",
                "drift",
                "delivered",
                "underruns",
                "early",
                "429",
                "GC",
                "loop late",
            ),
            *("lag", "stolen", "failures"),
        ),
        lines,
    )


def _percentiles(values: Mapping[str, float]) -> str:
    return f"{values['p50']:.0f}/{values['p99']:.0f}" if values else ""


def make_soak_tables(results: Mapping[str, Any]) -> dict[str, Table]:
    """Return the tables of a soak, by name."""
    return {"soak": soak(results["soak"]), "soak-minutes": soak_minutes(results["soak"])}


def soak(rows: Sequence[Row]) -> Table:
    """Return the table of the results of a whole soak."""
    calls = max(row["active"] for row in rows)
    gaps = [gap for row in rows for gap in row["gaps_ms"]]
    growth = memory_growth(rows)
    pongs = [row["pong_ms"]["p99"] for row in rows if row["pong_ms"]]
    return Table(
        f"{calls} calls at once, for {len(rows) - 1} minutes",
        "Calls: all calls, one after the other and at once. Gaps: those of 20 ms and more in the "
        "audio that callers heard. Memory: growth from the second ten minutes to the last ten. "
        "CPU: in % of the server's core. Pong: p99 in the slowest minute, in ms.",
        (
            *("calls", "completed", "bot speech h", "gaps", "longest gap ms", "429", "memory"),
            *("CPU", "pong"),
        ),
        [
            (
                f"{sum(row['calls'] for row in rows)}",
                f"{sum(row['completed'] for row in rows)}",
                f"{sum(row['bot_seconds'] for row in rows) / 3600:.1f}",
                f"{len(gaps)}",
                f"{max(gaps, default=0)}",
                f"{max(row['rate_limited'] for row in rows):.0f}",
                "" if growth is None else f"{100 * growth:+.1f} %",
                f"{sum(row['cpu_percent'] for row in rows) / len(rows):.0f}",
                f"{max(pongs, default=0):.0f}",
            )
        ],
    )


def soak_minutes(rows: Sequence[Row]) -> Table:
    """Return the table of the results of each minute of a soak."""
    return Table(
        "Minute by minute",
        "Times are p50/p99 in ms. MB: memory, the median of the minute. CPU and stolen: in % of "
        "the server's core. GC: the longest collection in ms. Margin: the least playout lead of "
        "the bots during a collection, minus the duration of the collection, in ms. Lag: delay of "
        "the timers of the callers' process.",
        (
            *("minute", "calls", "completed", "active", "MB", "descriptors", "tasks", "CPU"),
            *("stolen", "GC", "margin", "gaps", "429", "opened", "pong", "barge-in", "lag"),
        ),
        [
            (
                f"{number + 1}",
                f"{row['calls']}",
                f"{row['completed']}",
                f"{row['active']}",
                f"{row['rss_mb']:.1f}",
                f"{row['descriptors']:.0f}",
                f"{row['tasks']:.0f}",
                f"{row['cpu_percent']:.0f}",
                f"{row['stolen_percent']:.1f}",
                f"{row['gc_longest_ms']:.0f}",
                f"{row['gc_margin_ms']:.0f}",
                f"{len(row['gaps_ms'])}",
                f"{row['rate_limited']:.0f}",
                _percentiles(row["opened_ms"]),
                _percentiles(row["pong_ms"]),
                _percentiles(row["barge_in_ms"]),
                _percentiles(row["lag_ms"]),
            )
            for number, row in enumerate(rows)
        ],
    )
