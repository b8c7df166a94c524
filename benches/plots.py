"""The plots of the documents, from the results of a run and from one recorded sentence.

The same results give the same files, because no plot depends on time, date or random numbers. soxr
adds random dither, so the plots show the number of soxr's samples and not their values.
"""

from __future__ import annotations

import wave
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import soxr
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pipecat_genesys.audio import InboundAudio
from signals import WIRE_RATE, Samples, pcm_samples, split, ulaw_codes, ulaw_samples

SENTENCE = Path(__file__).parents[1] / "examples" / "audio" / "caller-question.wav"
_PACKET_MS = 20
# Okabe and Ito's palette, which is safe for colour blindness.
_OURS_COLOUR, _PIPECAT_COLOUR, _THIRD_COLOUR = "#0072b2", "#d55e00", "#009e73"
_OTHER_COLOURS = (
    "#d55e00",
    "#e69f00",
    "#cc79a7",
    "#999999",
    "#009e73",
    "#56b4e9",
    "#661100",
    "#000000",
)
_STYLE = {
    "svg.hashsalt": "pipecat-genesys",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
    "figure.facecolor": "white",
}


def sentence() -> Samples:
    """Return the recorded sentence at 8000 Hz."""
    with wave.open(str(SENTENCE)) as wav:
        return pcm_samples(wav.readframes(wav.getnframes()))


def frequency_response(results: Mapping[str, Any]) -> Figure:
    """Plot the levels of tones below 4 kHz and of their images, resampled from 8 to 16 kHz."""
    figure, axes = plt.subplots(1, 2, figsize=(10, 3.6))
    colours = {"ours": _OURS_COLOUR, "soxr VHQ": _THIRD_COLOUR, "soxr QQ": _PIPECAT_COLOUR}
    for axis in axes:
        for name, curve in results["quality"]["curves"].items():
            hz, level = np.array(curve).T
            axis.plot(hz / 1000, level, label=name, color=colours[name], linewidth=1.2)
        axis.axvspan(0.3, 3.4, color="#000000", alpha=0.05, linewidth=0)
        axis.set(xlabel="kHz", ylabel="dB")
    axes[0].set(title="8 to 16 kHz: tones below 4 kHz, images above", ylim=(-150, 5), xlim=(0, 8))
    axes[0].axvline(4, color="black", linewidth=0.6, linestyle=":")
    axes[0].legend(loc="lower left")
    axes[1].set(title="around 4 kHz", ylim=(-70, 3), xlim=(3, 5))
    axes[1].axvline(4, color="black", linewidth=0.6, linestyle=":")
    return figure


def utterance(_: Mapping[str, Any]) -> Figure:
    """Plot the amount of output for each packet of the sentence, and the delay of the output."""
    rate = 24000
    wire = ulaw_codes(sentence()).tobytes()
    packets = split(wire, WIRE_RATE * _PACKET_MS // 1000)[: 1200 // _PACKET_MS]
    ours = InboundAudio("PCMU", 1, rate)
    vhq = soxr.ResampleStream(WIRE_RATE, rate, 1, dtype="int16", quality="VHQ")
    streams: dict[str, tuple[str, Callable[[bytes], int]]] = {
        "ours": (_OURS_COLOUR, lambda packet: len(ours.process(packet)[0]) // 2),
        "soxr VHQ, as in pipecat": (
            _PIPECAT_COLOUR,
            lambda packet: len(vhq.resample_chunk(ulaw_samples(packet).astype(np.int16))),
        ),
    }
    figure, axes = plt.subplots(3, 1, figsize=(10, 5.6), sharex=True)
    for axis, (name, (colour, stream)) in zip(axes, streams.items(), strict=False):
        out_ms = np.array([stream(packet) for packet in packets]) * 1000 / rate
        times = _PACKET_MS * np.arange(1, len(packets) + 1)
        axis.bar(times, out_ms, width=_PACKET_MS * 0.8, color=colour)
        axis.set(title=f"{name}: ms of output for each 20 ms packet", ylim=(0, 150))
        # The delay is the duration of the audio held back, plus the lag of our filter, which is 3
        # ms.
        delay = times - np.cumsum(out_ms) + (3 if name == "ours" else 0)
        axes[2].step(times, delay, where="post", color=colour, label=name)
    axes[2].set(title="ms of delay", xlabel="ms since the call began")
    axes[2].set_ylim(0, 200)
    axes[2].legend(loc="upper right", ncols=2)
    return figure


def spectrogram(_: Mapping[str, Any]) -> Figure:
    """Plot the spectrograms of the sentence that Genesys sends and that the pipeline receives."""
    wire = ulaw_codes(sentence()).tobytes()
    before = ulaw_samples(wire)
    after = pcm_samples(InboundAudio("PCMU", 1, 16000).process(wire)[0])
    interpolated = np.interp(np.arange(2 * len(before)) / 2, np.arange(len(before)), before)
    figure, axes = plt.subplots(1, 3, figsize=(10, 3.4), sharey=True)
    views = [
        ("mu-law at 8 kHz", before, WIRE_RATE),
        ("ours at 16 kHz", after, 16000),
        ("linear interpolation at 16 kHz", interpolated, 16000),
    ]
    for axis, (title, signal, rate) in zip(axes, views, strict=True):
        image = axis.specgram(
            # The small offset is necessary, because zeros have no level in dB.
            signal / 32768 + 1e-9,
            NFFT=rate // 50,
            Fs=rate,
            noverlap=rate // 80,
            vmin=-140,
            vmax=-40,
            cmap="magma",
            scale="dB",
        )[3]
        image.set_rasterized(True)
        axis.set(title=title, xlabel="s", ylim=(0, 8000))
        axis.set_facecolor("#000004")
        axis.grid(visible=False)
        axis.axhline(4000, color="white", linewidth=0.5, linestyle=":")
    axes[0].set(ylabel="Hz")
    return figure


def _plot_lines(
    axis: Axes, rows: Sequence[tuple[int, Mapping[str, float]]], names: Sequence[str]
) -> None:
    """Plot time against packet length, with a line for each name; the first name is our package."""
    for name, colour in zip(names, (_OURS_COLOUR, *_OTHER_COLOURS), strict=False):
        points = sorted((ms, times[name]) for ms, times in rows if name in times)
        if points:
            ours = colour == _OURS_COLOUR
            style = {"linewidth": 2.2, "zorder": 3} if ours else {"linewidth": 1.2}
            axis.plot(*zip(*points, strict=True), "o-", color=colour, label=name, ms=3, **style)
    ticks = sorted({ms for ms, _ in rows})
    axis.set(xscale="log", yscale="log", xticks=ticks, xticklabels=map(str, ticks))
    axis.minorticks_off()


def _plot_grid(
    rows: Sequence[tuple[str, int, int, Mapping[str, float]]], names: list[str]
) -> Figure:
    """Plot nanoseconds against packet length: a row for each direction, a column for each rate.

    Args:
        rows: Direction, rate in Hz, packet length in ms, and nanoseconds by name.
        names: Names to plot; the first name is our package.
    """
    figure, axes = plt.subplots(2, 3, figsize=(10, 6.4), sharex=True, sharey=True)
    for axes_row, direction in zip(axes, ("in", "out"), strict=True):
        for axis, rate in zip(axes_row, (16000, 24000, 48000), strict=True):
            case = (direction, rate)
            _plot_lines(axis, [(ms, times) for d, hz, ms, times in rows if (d, hz) == case], names)
            pair = (8, rate // 1000) if direction == "in" else (rate // 1000, 8)
            axis.set(title=f"{direction}: {pair[0]} to {pair[1]} kHz")
    for axis in axes[-1]:
        axis.set(xlabel="ms of audio in a packet")
    for axis in axes[:, 0]:
        axis.set(ylabel="ns per packet")
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=5)
    return figure


def library_times(results: Mapping[str, Any]) -> Figure:
    """Plot the time of the audio conversion by our core and by other Python libraries."""
    rows = [
        (
            info["direction"],
            info["rate"],
            info["packet_ms"],
            {name: 1000 * us for name, us in info["microseconds"].items()},
        )
        for info in results["times"]
    ]
    names = [name for name in rows[-1][3] if name not in ("ours", "pipecat", "core")]
    return _plot_grid(rows, ["core", *names])


def serializer_times(results: Mapping[str, Any]) -> Figure:
    """Plot the time of a 200 ms packet in our serializer and in pipecat's serializer."""
    figure, axes = plt.subplots(1, 2, figsize=(10, 3), sharey=True)
    for axis, direction in zip(axes, ("in", "out"), strict=True):
        infos = [
            info
            for info in sorted(results["times"], key=lambda info: info["rate"])
            if (info["direction"], info["packet_ms"]) == (direction, 200)
        ]
        place = np.arange(len(infos))
        for offset, name, colour in (
            (-0.2, "ours", _OURS_COLOUR),
            (0.2, "pipecat", _PIPECAT_COLOUR),
        ):
            values = [info["microseconds"][name] for info in infos]
            bars = axis.bar(place + offset, values, 0.4, color=colour, label=name)
            axis.bar_label(bars, fmt="%.1f", fontsize=7)
        labels = [f"{info['rate'] // 1000} kHz" for info in infos]
        title = "deserialize" if direction == "in" else "serialize"
        axis.set(title=f"{title}, 200 ms packet", xticks=place, xticklabels=labels)
    axes[0].set(ylabel="us")
    axes[0].legend()
    return figure


def crate_times(results: Mapping[str, Any]) -> Figure:
    """Plot the time of the audio conversion by our core and by other Rust crates."""
    rows = [
        (row["direction"], row["rate"], row["packet_ms"], dict(row["ns"]))
        for row in results["crates"]["rows"]
    ]
    names = [name for name in rows[0][3] if name not in ("ours", "filter", "codec")]
    return _plot_grid(rows, ["ours", *names])


def memory(results: Mapping[str, Any]) -> Figure:
    """Plot the memory of one more call with each serializer."""
    figure, axis = plt.subplots(figsize=(6, 1.6))
    values = [results["memory"][name]["kb"] or 0 for name in ("pipecat", "ours")]
    bars = axis.barh(["pipecat", "ours"], values, color=[_PIPECAT_COLOUR, _OURS_COLOUR])
    axis.bar_label(bars, fmt=" %.1f KB")
    axis.set(xlabel="KB of resident memory per call")
    axis.margins(x=0.15)
    return figure


def echo(results: Mapping[str, Any]) -> Figure:
    """Plot the delay from the caller's speech to its echo, over WebSockets."""
    figure, axis = plt.subplots(figsize=(7, 2.4))
    rows = sorted(
        results["echo"]["rows"], key=lambda row: (row["serializer"], row["rate"]), reverse=True
    )
    labels = [f"{row['serializer']}, {row['rate'] // 1000} kHz" for row in rows]
    for place, row in enumerate(rows):
        colour = _OURS_COLOUR if row["serializer"] == "ours" else _PIPECAT_COLOUR
        axis.barh(place, row["echo"]["p50"], color=colour)
        axis.plot([row["echo"]["p99"]] * 2, [place - 0.4, place + 0.4], color="black")
    axis.set(yticks=range(len(rows)), yticklabels=labels)
    axis.set(xlabel="echo delay in ms, 200 ms packet included (bar: median, line: p99)")
    return figure


PLOTS: dict[str, tuple[Sequence[str], Callable[[Mapping[str, Any]], Figure]]] = {
    "frequency-response.svg": (["quality"], frequency_response),
    "utterance.svg": ([], utterance),
    "spectrogram.png": ([], spectrogram),
    "serializer.svg": (["times"], serializer_times),
    "libraries.svg": (["times"], library_times),
    "crates.svg": (["crates"], crate_times),
    "memory.svg": (["memory"], memory),
    "echo.svg": (["echo"], echo),
}
"""For each file name, the steps that the plot needs and the function that draws it."""


def draw(results: Mapping[str, Any], folder: Path) -> list[Path]:
    """Draw the plots whose steps have results; return their files."""
    mpl.use("Agg")
    folder.mkdir(parents=True, exist_ok=True)
    drawn = []
    with plt.rc_context(_STYLE):
        for name, (needed, plot) in PLOTS.items():
            if not all(results.get(step) for step in needed):
                continue
            figure = plot(results)
            metadata = {"Date": None} if name.endswith("svg") else {"Software": None}
            figure.savefig(folder / name, dpi=70, metadata=metadata)
            plt.close(figure)
            drawn.append(folder / name)
    return drawn
