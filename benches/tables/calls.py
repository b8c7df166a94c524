"""Tables of delay, delivered audio and memory."""

from __future__ import annotations

from collections.abc import Sequence

from report import Table

from .common import Results

_PERCENTILES = ("p50", "p99", "worst")


def delay(results: Results) -> Table:
    """Return the table of the audio's delay in our serializer and in pipecat's serializer."""
    parts = ("content", "held_mean", "held_max", "total_mean", "total_max")
    rows = []
    for row in results["delay"]["rows"]:
        direction, rate, packet_ms = row["case"]
        delays = [f"{row[name][part]:.2f}" for name in ("ours", "pipecat") for part in parts]
        rows.append((direction, f"{packet_ms}", f"{rate // 1000}", *delays))
    headings = ("content", "held mean", "held max", "total mean", "total max")
    return Table(
        "Delay in ms",
        "Delay in ms through the serializers; pipecat's resampler is never cleared. Content: the "
        "lag at which the output correlates best with the test signal computed for the output's "
        "rate. Held: duration of all input minus duration of all output, after each packet. Total: "
        "the sum of both. The values do not depend on the speed of the machine.",
        (
            *("", "packet ms", "pipeline kHz"),
            *(f"{name} {heading}" for name in ("ours", "pipecat") for heading in headings),
        ),
        rows,
    )


def delivery(results: Results) -> Table:
    """Return the table of the share of the caller's audio that reaches the pipeline."""
    measured = results["delivery"]
    columns = ("ours", "pipecat", "pipecat_tuned")
    rows = [
        (f"{row['rate'] // 1000}", *(_mean_and_range(row[column]) for column in columns))
        for row in measured["rows"]
    ]
    return Table(
        "Caller audio delivered in %",
        "Samples that the serializer returned, in % of the expected samples: mean (and range) of "
        "five calls. Packets of 200 ms are sent on time and arrive after a random delay, 5 ms on "
        f"average, so {measured['late_percent']:.0f} % of the gaps between them exceed 200 ms. The "
        "clock is simulated. `ours` and `pipecat` have default parameters; `pipecat tuned` has "
        "`resampler_clear_after_secs=None`, and its missing audio is still in the resampler.",
        ("pipeline kHz", "ours", "pipecat", "pipecat tuned"),
        rows,
    )


def _mean_and_range(values: Sequence[float]) -> str:
    mean, low, high = sum(values) / len(values), min(values), max(values)
    return f"{mean:.1f}" if high - low < 0.05 else f"{mean:.1f} ({low:.1f}-{high:.1f})"


def memory(results: Results) -> Table:
    """Return the table of the memory of one more call."""
    ours, pipecat = results["memory"]["ours"], results["memory"]["pipecat"]
    measured = ours["kb"] and pipecat["kb"]
    cells = [f"{each['kb']:.1f}" if measured else "not measured" for each in (ours, pipecat)]
    ratio = f"{pipecat['kb'] / ours['kb']:.0f}x" if measured else ""
    return Table(
        "Memory per call in KB",
        f"Growth of the resident memory over {ours.get('count', 0)} serializers, in KB for each. "
        "Each serializer has received `open`, has handled three 200 ms packets in each direction, "
        "16 kHz in and 24 kHz out, and is kept. Ours and pipecat's have a process each; garbage is "
        "collected before and after. Linux only.",
        ("ours", "pipecat", "ratio"),
        [(*cells, ratio)],
    )


def echo(results: Results) -> Table:
    """Return the table of the delay from the caller's speech to its echo, over WebSockets."""
    measured = results["echo"]
    by_case = {(row["serializer"], row["rate"]): row for row in measured["rows"]}
    rows = []
    for row in measured["rows"]:
        cells = [f"{row[part].get(p, 0):.1f}" for part in ("echo", "played") for p in _PERCENTILES]
        counts = (f"{row['markers']}", f"{row['missing']}")
        rows.append((row["serializer"], f"{row['rate'] // 1000}", *counts, *cells))
    for name in ("ours", "pipecat"):
        differences = [
            f"{by_case[name, 16000][part].get(p, 0) - by_case[name, 8000][part].get(p, 0):+.1f}"
            for part in ("echo", "played")
            for p in _PERCENTILES
        ]
        rows.append((name, "16 less 8", "", "", *differences))
    columns = [f"{part} {p}" for part in ("echo", "played") for p in _PERCENTILES]
    return Table(
        "Echo over real sockets, in ms",
        "Delay of an echo in ms: loopback WebSocket, uvicorn, pipecat's stock transport with "
        "200 ms of output in a message, and a bot that repeats the caller's audio. Packets of the "
        "caller are 200 ms; four calls run at once; pipecat's resampler is never cleared. Echo: "
        "from the time at which a marker was spoken until it arrives. Played: until the marker is "
        "played, if each packet is played after the end of the previous one. Both include the "
        "200 ms of a packet. Our aim is "
        f"at most {measured['limit_ms']} ms more at 16 kHz than without resampling.",
        ("", "pipeline kHz", "markers", "missing", *columns),
        rows,
    )
