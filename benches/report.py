"""The results as tables, on the screen and in Markdown, from the JSON the measurements print."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table as RichTable

_PACKAGES = ("pipecat-genesys", "pipecat-ai", "soxr", "numpy", "audioop-lts")
_CPU_FLAGS = ("avx2", "fma", "avx512f", "avx512bw", "avx512_vnni", "avx_vnni", "asimd", "neon")
_SOXR = ("soxr VHQ", "soxr HQ", "soxr QQ")


@dataclass(frozen=True)
class Table:
    """A table, and a line on how its numbers came about."""

    title: str
    how: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]

    def show(self, console: Console) -> None:
        """Print it."""
        table = RichTable(title=self.title, title_justify="left", caption_justify="left")
        for column in self.columns:
            table.add_column(column, justify="right")
        for row in self.rows:
            table.add_row(*row)
        console.print(table)

    def markdown(self) -> str:
        """The same as Markdown."""
        lines = [self.columns, ["---:"] * len(self.columns), *self.rows]
        table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        return f"## {self.title}\n\n{self.how}\n\n{table}\n"


def times(records: Iterable[Mapping[str, Any]]) -> list[Table]:
    """Time per packet, from pytest-benchmark's records."""
    infos = [record["extra_info"] for record in records]
    infos = sorted(
        (info for info in infos if info["correct"] and "direction" in info),
        key=lambda info: (info["direction"], info["packet_ms"], info["rate"]),
    )
    whole, core = [], []
    for info in infos:
        us = info["microseconds"]
        case = (info["direction"], f"{info['packet_ms']}", f"{info['rate'] // 1000}")
        whole.append((*case, *_cells(us, "ours", ["pipecat"])))
        core.append((*case, *_cells(us, "core", ["audioop", *_SOXR])))
    turns = min((info["rounds"] for info in infos), default=0)
    seconds = max((info["batch"] * info["packet_ms"] // 1000 for info in infos), default=0)
    how = (
        f"Processor time, medians over {turns} turns or more; in a turn every competitor handles "
        f"the same batch of {seconds} s of audio once, and every result is checked."
    )
    return [
        Table(
            "A packet through the serializer",
            "`deserialize` (in, to a frame) and `serialize` (out, from a frame), the coroutine "
            f"driven directly, logging off, pipecat's resampler never cleared. {how}",
            ("", "packet ms", "pipeline kHz", "ours us", "pipecat us", "ratio"),
            whole,
        ),
        Table(
            "The audio alone",
            "Our core's one call (`InboundAudio`, `OutboundAudio`) beside the least Python that "
            "does the same with audioop and, where the rates differ, a soxr stream. In the same "
            "turns as the table above.",
            (
                *("", "packet ms", "pipeline kHz", "core us"),
                *("audioop us", "ratio", "+ soxr VHQ us", "ratio"),
                *("+ soxr HQ us", "ratio", "+ soxr QQ us", "ratio"),
            ),
            core,
        ),
    ]


def control(records: Iterable[Mapping[str, Any]]) -> Table:
    """Time per control message, from pytest-benchmark's records."""
    infos = [record["extra_info"] for record in records]
    infos = [info for info in infos if info["correct"] and "control" in info]
    rows = [
        (info["control"], info["reply"] or "", *_cells(info["microseconds"], "ours", ["pipecat"]))
        for info in infos
    ]
    return Table(
        "A control message through the serializer",
        "`deserialize`, and `serialize` of the reply where there is one, as above; medians over "
        f"{min((info['rounds'] for info in infos), default=0)} turns. Ours validates what comes "
        "and numbers what goes; pipecat's does neither, leaves `update` unanswered, and tells the "
        "pipeline nothing of playback.",
        ("message", "reply", "ours us", "pipecat us", "ratio"),
        rows,
    )


def _cells(us: Mapping[str, float], own: str, peers: Sequence[str]) -> list[str]:
    cells = [f"{us[own]:.2f}"]
    for peer in peers:
        cells += [f"{us[peer]:.2f}", f"{us[peer] / us[own]:.1f}x"] if peer in us else ["", ""]
    return cells


def delay(measured: Mapping[str, Any]) -> Table:
    """How late the audio is."""
    parts = ("content", "held_mean", "held_max", "total_mean", "total_max")
    rows = []
    for row in measured["rows"]:
        direction, rate, packet_ms = row["case"]
        delays = [f"{row[who][part]:.2f}" for who in ("ours", "pipecat") for part in parts]
        rows.append((direction, f"{packet_ms}", f"{rate // 1000}", *delays))
    headings = ("content", "held mean", "held max", "total mean", "total max")
    return Table(
        "Delay in ms",
        "Content: the lag of the best cross-correlation with the signal computed for the output's "
        "rate. Held: what has gone in less what has come out, after each packet. Total: their sum. "
        "Through the serializers, pipecat's resampler never cleared. Not a matter of speed.",
        (
            *("", "packet ms", "pipeline kHz"),
            *(f"{who} {heading}" for who in ("ours", "pipecat") for heading in headings),
        ),
        rows,
    )


def delivery(measured: Mapping[str, Any]) -> Table:
    """How much of the caller's audio arrives."""
    rows = [
        (
            f"{row['rate'] // 1000}",
            *(_percents(row.get(who)) for who in ("ours", "pipecat", "pipecat_tuned")),
        )
        for row in measured["rows"]
    ]
    return Table(
        "Caller audio delivered in %",
        "Samples that came out of those due, mean (and range) of five calls of 200 ms packets at "
        "default parameters, under a virtual clock. Packets are sent on time and take a random "
        f"while, 5 ms on average, so {measured['late_percent']:.0f} % of the gaps exceed 200 ms. "
        "Tuned: `resampler_clear_after_secs=None`; what is missing then is still in the resampler.",
        ("pipeline kHz", "ours", "pipecat", "pipecat tuned"),
        rows,
    )


def _percents(values: Sequence[float] | None) -> str:
    if not values:
        return ""
    mean, low, high = sum(values) / len(values), min(values), max(values)
    return f"{mean:.1f}" if high - low < 0.05 else f"{mean:.1f} ({low:.1f}-{high:.1f})"


def memory(ours: Mapping[str, Any], pipecat: Mapping[str, Any]) -> Table:
    """What one more call costs."""
    known = ours["kb"] and pipecat["kb"]
    row = [f"{who['kb']:.1f}" if known else "not measured" for who in (ours, pipecat)]
    ratio = f"{pipecat['kb'] / ours['kb']:.0f}x" if known else ""
    return Table(
        "Memory per call in KB",
        f"Growth of the resident set over {ours.get('count', 0)} serializers, opened and kept "
        "alive after three 200 ms packets each way, 16 kHz in and 24 kHz out; a process of its own "
        "for each, collected before and after. Base class and session included. Linux only.",
        ("ours", "pipecat", "ratio"),
        [(*row, ratio)],
    )


def rust(home: Path) -> Table:
    """Nanoseconds of the Rust core alone, from the files criterion leaves."""
    lengths = {"160": "20 ms", "800": "100 ms", "1600": "200 ms"}
    columns = list(lengths.values())
    found: dict[str, dict[str, float]] = {}
    for estimates in home.glob("**/new/estimates.json"):
        case = json.loads((estimates.parent / "benchmark.json").read_text(encoding="utf-8"))
        median = json.loads(estimates.read_text(encoding="utf-8"))["median"]["point_estimate"]
        length = lengths.get(case["value_str"], case["value_str"])
        found.setdefault(f"{case['group_id']} {case['function_id']}", {})[length] = median
    rows = [
        (name, *(f"{times[column]:.0f}" if column in times else "" for column in columns))
        for name, times in sorted(found.items())
    ]
    how = (
        "criterion, median nanoseconds per call, no Python. Each benchmark checks its result "
        "before it is timed. For `g711` the length is in samples at 8 kHz."
    )
    return Table("The Rust core", how, ["", *columns], rows)


def environment(records: Mapping[str, Any], command: str, load: str) -> list[tuple[str, str]]:
    """What the numbers depend on."""
    machine, commit = records.get("machine_info", {}), records.get("commit_info", {})
    cpu = machine.get("cpu", {})
    flags = [flag for flag in _CPU_FLAGS if flag in cpu.get("flags", ())]
    known = commit.get("id") not in (None, "unknown")
    changed = " with uncommitted changes" if commit.get("dirty") else ""
    return [
        ("Command", f"`{command}`"),
        ("Commit", f"{commit['id'][:12]}{changed}" if known else "unknown"),
        ("CPU", f"{cpu.get('brand_raw') or platform.processor()} ({' '.join(flags)})"),
        ("Cores", f"{os.cpu_count()}, load average at the start {load}"),
        ("System", f"{platform.system()} {platform.machine()}"),
        ("Python", f"{platform.python_implementation()} {platform.python_version()}"),
        *((package, version) for package in _PACKAGES if (version := _version(package))),
    ]


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def document(
    title: str,
    facts: Sequence[tuple[str, str]],
    problems: Sequence[str],
    tables: Sequence[Table],
) -> str:
    """The Markdown file."""
    return "\n".join(
        [
            f"# {title}\n",
            *(f"- {name}: {value}" for name, value in facts),
            "",
            *(f"- **Failed: {problem}**" for problem in problems),
            "" if problems else "Every result was checked and correct.\n",
            *(table.markdown() for table in tables),
        ]
    )
