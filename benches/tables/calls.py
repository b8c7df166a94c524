"""What a call is like: delays, losses, memory, threads."""

from __future__ import annotations

from collections.abc import Sequence

from report import Table

from .common import Parts

_PERCENTILES = ("p50", "p99", "worst")


def delay(parts: Parts) -> Table:
    """How late the audio is."""
    measured = parts["delay"]
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


def delivery(parts: Parts) -> Table:
    """How much of the caller's audio arrives."""
    measured = parts["delivery"]
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


def memory(parts: Parts) -> Table:
    """What one more call costs."""
    measured = parts["memory"]
    ours, pipecat = measured["ours"], measured["pipecat"]
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


def gil(parts: Parts) -> Table:
    """What letting go of the GIL costs and brings."""
    measured = parts["gil"]
    rows = [
        (
            row["kernel"],
            f"{row['bytes_in']}",
            f"{row['bytes_moved'] / 1024:.0f}",
            f"{row['alone_us']:.1f}",
            f"{row['beside_ms']:.2f}",
            f"{row['beside_worst_ms']:.2f}",
            f"{row['speedup']:.2f}x",
            "released" if row["installed_releases"] else "kept",
        )
        for row in measured["rows"]
    ]
    return Table(
        "The GIL, by size of a call",
        "Measured on a build that releases it in every call. Alone: how long others wait if it is "
        "kept. Beside: the same call, released, while another thread runs Python. Two threads: "
        "time of one thread for eight streams' calls over that of two threads. A "
        f"release that nobody uses costs {measured['switching_ns']:.0f} ns "
        f"({measured['instruction_set']}, {measured['cores']} cores). Last: what the package does.",
        (
            *("", "bytes in", "KiB in and out", "alone us", "beside ms", "worst ms"),
            *("two threads", "the package"),
        ),
        rows,
    )


def echo(parts: Parts) -> Table:
    """How long a caller waits for an echo."""
    measured = parts["echo"]
    rows = []
    for row in measured["rows"]:
        cells = [f"{row[part].get(p, 0):.1f}" for part in ("echo", "played") for p in _PERCENTILES]
        counts = (f"{row['marks']}", f"{row['missing']}")
        rows.append((row["who"], f"{row['rate'] // 1000}", *counts, *cells))
    by_case = {(row["who"], row["rate"]): row for row in measured["rows"]}
    for who in ("ours", "pipecat"):
        more = [
            f"{by_case[who, 16000][part].get(p, 0) - by_case[who, 8000][part].get(p, 0):+.1f}"
            for part in ("echo", "played")
            for p in _PERCENTILES
        ]
        rows.append((who, "16 less 8", "", "", *more))
    columns = [f"{part} {p}" for part in ("echo", "played") for p in _PERCENTILES]
    return Table(
        "Echo over real sockets, in ms",
        "Loopback WebSocket, uvicorn and pipecat's stock transport with 200 ms of output in a "
        "message, a pipeline that says what it hears; 200 ms packets in, four calls at once, "
        "pipecat's resampler never cleared. From the moment a mark was spoken to its arrival "
        "(echo), or until it is heard when all that came before is heard out (played). The 200 ms "
        "of a packet are in it. Meant for ours: at most "
        f"{measured['limit_ms']} ms more at 16 kHz than without resampling.",
        ("", "pipeline kHz", "marks", "missing", *columns),
        rows,
    )
