"""The tables of the benchmarks of voice activity detection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from report import Table

from . import FRAME_NAMES, JUDGED_NAMES, NAMES, OURS_8, OURS_16, OURS_SOONER, PIPECAT_16

Row = Mapping[str, Any]


def make_vad_tables(results: Mapping[str, Any]) -> dict[str, Table]:
    """Return a map from name to table. A table is included only if its step has results."""
    tables = {}
    if results.get("calls"):
        tables["vad-cpu"] = cpu(results["calls"])
        tables["vad-latency"] = latency(results["calls"])
    if results.get("model"):
        tables["vad-model"] = model(results["model"]["rows"])
    if results.get("stages"):
        tables["vad-stages"] = stages(results["stages"])
    if results.get("memory"):
        tables["vad-memory"] = memory(results["memory"])
    if results.get("accuracy"):
        rows = results["accuracy"]["rows"]
        source = results["accuracy"]["source"]
        tables["vad-auc"] = frames(rows, source)
        tables["vad-delays"] = delays(rows, source)
        tables["vad-pairs"] = pairs(rows, source)
        tables["vad-halves"] = halves(results["accuracy"]["halves"], source)
    if results.get("turns"):
        tables["vad-turns"] = turns(results["turns"])
    return tables


def cpu(rows: Sequence[Row]) -> Table:
    """Return the table of the CPU time of many simultaneous calls."""
    return Table(
        "CPU time of voice activity detection",
        "CPU time of the process in ms per call and second, in real time, less the CPU time of the "
        "same run without an analyzer (`driver`). Ratio: pipecat at 16 kHz, which is its default, "
        "to ours at 16 kHz. `late`: the analyzers did not keep up with the audio.",
        ("calls", "packets", *NAMES, "ratio", "driver"),
        [
            (
                str(calls),
                _packets(ms, at_once),
                *(_cpu_cell(by_name[name]) for name in NAMES),
                f"{by_name[PIPECAT_16]['cpu_ms'] / by_name[OURS_16]['cpu_ms']:.1f}x",
                f"{by_name[OURS_8]['driver_cpu_ms']:.2f}",
            )
            for (calls, ms, at_once), by_name in _by_case(rows).items()
        ],
    )


def latency(rows: Sequence[Row]) -> Table:
    """Return the table of the latency of the analysis in many simultaneous calls."""
    return Table(
        "Latency of voice activity detection",
        "Time from passing a packet to its result in ms: median / 99th percentile / longest. "
        "`at once`: all calls pass their packets at the same moment.",
        ("calls", "packets", *NAMES),
        [
            (
                str(calls),
                _packets(ms, at_once),
                *(
                    " / ".join(
                        f"{by_name[name][key]:.1f}" for key in ("p50_ms", "p99_ms", "worst_ms")
                    )
                    for name in NAMES
                ),
            )
            for (calls, ms, at_once), by_name in _by_case(rows).items()
        ],
    )


def model(rows: Sequence[Row]) -> Table:
    """Return the table of the time and the results of the model without an analyzer."""
    return Table(
        "The model alone, by the number of windows in a packet",
        "CPU time per window of 32 ms in us, and per call-second in ms. Ours includes "
        "the conversion to floats and the measurement of the volume. Difference: the largest "
        "difference of a probability from that of the model at 8 kHz in onnxruntime.",
        ("model", "windows", "us per window", "ms per second", "difference"),
        [
            (
                row["model"],
                str(row["windows"]),
                f"{row['us']:.1f}",
                f"{row['us'] / 32:.2f}",
                f"{row['difference']:.1g}",
            )
            for row in rows
        ],
    )


def stages(rows: Sequence[Row]) -> Table:
    """Return the table of the CPU time of each stage of the analysis."""
    lines = []
    for row in rows:
        pipecat, ours = row["pipecat"], row["ours"]
        parts = {
            "pipecat": (
                pipecat["model"],
                pipecat["floats"] - pipecat["model"],
                pipecat["volume"],
                pipecat["all"] - pipecat["floats"] - pipecat["volume"],
            ),
            "ours": (
                ours["native"],
                None,
                None,
                ours["all"] - ours["native"],
            ),
        }
        for name, stage in parts.items():
            whole = row[name]
            values = (
                *stage,
                whole["loop_200"] - whole["all"],
                whole["loop_200"],
                whole["loop_20"],
            )
            cells = ("" if value is None else f"{max(0.0, value):.2f}" for value in values)
            lines.append((name, f"{row['rate'] // 1000}", *cells))
    return Table(
        "CPU time of one call by stage",
        "CPU time in ms per second of audio, one packet after the other without waiting: runs of "
        "the model (ours: with resampling, floats and volume in native code); conversion to floats "
        "and state of the model; volume; states; the event loop, and for pipecat the thread, with "
        "packets of 200 ms; the sum of these with packets of 200 ms and of 20 ms.",
        ("analyzer", "kHz", "model", "floats", "volume", "states", "loop", "200 ms", "20 ms"),
        lines,
    )


def memory(rows: Sequence[Row]) -> Table:
    """Return the table of the memory of one more analyzer."""
    return Table(
        "Memory per analyzer in KB",
        "Growth of the resident memory for each further analyzer, after three packets of 200 ms. "
        "Linux only.",
        tuple(row["name"] for row in rows),
        [tuple("not measured" if row["kb"] is None else f"{row['kb']:.0f}" for row in rows)],
    )


def frames(rows: Sequence[Row], source: str) -> Table:
    """Return the table of the accuracy of the speech probability in frames of 10 ms."""
    return Table(
        "Frames of 10 ms against the labels",
        f"{source} Area under the ROC curve / best F1 (threshold of the best F1).",
        ("coding", "noise", *FRAME_NAMES),
        [
            (
                *case,
                *(
                    f"{by_name[name]['auc']:.3f} / {by_name[name]['f1']:.3f} "
                    f"({by_name[name]['threshold']:.2f})"
                    for name in FRAME_NAMES
                ),
            )
            for case, by_name in _by_condition(rows).items()
        ],
    )


def delays(rows: Sequence[Row], source: str) -> Table:
    """Return the table of the delays with which the start and the end of a turn are detected."""
    return Table(
        "Onset and end of turn",
        f"{source} With pipecat's default parameters (`{OURS_SOONER}`: with `stop_secs=0.16`) and "
        "packets of 20 ms: median delay of the start of speech in ms (% of "
        f"{rows[0]['sentences']} sentences without a start), median delay of its stop in ms (% "
        "without a stop), false starts per minute, number of stops.",
        ("coding", "noise", *JUDGED_NAMES),
        [
            (*case, *(_delay_cell(by_name[name]) for name in JUDGED_NAMES))
            for case, by_name in _by_condition(rows).items()
        ],
    )


def pairs(rows: Sequence[Row], source: str) -> Table:
    """Return the table of mean differences from pipecat's analyzer at 16 kHz.

    The table has one row for each coding and noise. Both analyzers are compared on the same
    sentences.
    """
    names = (OURS_8, OURS_SOONER)
    return Table(
        "Onset and end of turn, sentence by sentence",
        f"{source} Compared with pipecat at 16 kHz: mean difference of the delay in ms (p value of "
        "the Wilcoxon test); sentences without a start or stop only with ours : only with "
        "pipecat's (p value of the sign test). A difference with p above 0.05 can be chance.",
        (
            "coding",
            "noise",
            "start",
            "no start",
            *(column for name in names for column in (f"stop, {name}", "no stop")),
        ),
        [
            (
                *case,
                *_pair_cells(by_name[OURS_8]["onset_pairs"]),
                *(cell for name in names for cell in _pair_cells(by_name[name]["end_pairs"])),
            )
            for case, by_name in _by_condition(rows).items()
        ],
    )


def halves(rows: Sequence[Row], source: str) -> Table:
    """Return the table of turn starts and ends in each half of the recordings."""
    return Table(
        "Onset and end of turn, by half of the recordings",
        f"{source} All conditions of the tables above together. The value of `{OURS_SOONER}` was "
        "chosen with the first half of TEN VAD's test set. Results of the second half had been "
        "seen before, so the second half is not an independent test.",
        ("recordings", "analyzer", "start, ms", "missed", "stop, ms", "missed", "false", "stops"),
        [
            (
                row["half"],
                row["name"],
                f"{row['onset_ms']:.0f}",
                f"{row['onset_missed']} of {row['sentences']}",
                f"{row['end_ms']:.0f}",
                f"{row['end_missed']} of {row['sentences']}",
                f"{row['false_starts_per_minute']:.2f} /min",
                str(row["stops"]),
            )
            for row in rows
        ],
    )


def turns(rows: Sequence[Row]) -> Table:
    """Return the table of the CPU time of Smart Turn, and of voice activity detection."""
    return Table(
        "CPU time of a turn",
        "CPU time in ms: one prediction of pipecat's `LocalSmartTurnAnalyzerV3`, which runs after "
        "each stop of speech, and voice activity detection during a turn of 4 s, in packets of "
        "200 ms.",
        ("kHz", "Smart Turn", "detection, ours", "detection, pipecat"),
        [
            (
                f"{row['rate'] // 1000}",
                f"{row['ms']:.0f}",
                *(
                    f"{row[key]:.1f}" if key in row else "not measured"
                    for key in ("ours_ms", "pipecat_ms")
                ),
            )
            for row in rows
        ],
    )


def _by_case(rows: Sequence[Row]) -> dict[tuple[int, int, bool], dict[str, Row]]:
    cases: dict[tuple[int, int, bool], dict[str, Row]] = {}
    for row in rows:
        case = (row["calls"], row["packet_ms"], row["at_once"])
        cases.setdefault(case, {})[row["name"]] = row
    return cases


def _by_condition(rows: Sequence[Row]) -> dict[tuple[str, str], dict[str, Row]]:
    conditions: dict[tuple[str, str], dict[str, Row]] = {}
    for row in rows:
        noise = f"{row['noise']}, {row['snr']} dB" if row["noise"] else "none"
        conditions.setdefault((row["coding"], noise), {})[row["name"]] = row
    return conditions


def _packets(milliseconds: int, at_once: bool) -> str:
    return f"{milliseconds} ms" + (" at once" if at_once else "")


def _cpu_cell(row: Row) -> str:
    return f"{row['cpu_ms']:.2f}" + ("" if row["kept_up"] else " late")


def _pair_cells(pairs: Mapping[str, Any]) -> tuple[str, str]:
    mean = "-" if pairs["mean_ms"] is None else f"{pairs['mean_ms']:+.0f}"
    return (
        f"{mean} ({pairs['p']:.2g})",
        f"{pairs['only_ours_missed']} : {pairs['only_other_missed']} ({pairs['p_missed']:.2f})",
    )


def _delay_cell(row: Row) -> str:
    def with_missed(key: str) -> str:
        delay = row[f"{key}_ms"]
        shown = "-" if delay is None else f"{delay:.0f}"
        return f"{shown} ({row[f'{key}_missed_percent']:.0f} %)"

    return (
        f"{with_missed('onset')}, {with_missed('end')}, "
        f"{row['false_starts_per_minute']:.1f}, {row['stops']}"
    )
