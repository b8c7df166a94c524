"""The pictures of the documents, from a run's figures and from one recorded sentence.

The same figures give the same files: nothing here is timed, random or dated. Only the package
and arithmetic are used on the sentence; of soxr only how many samples it gives when, as it dithers.
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
from signals import WIRE_RATE, Samples, cut, pcm_samples, ulaw_codes, ulaw_samples

SENTENCE = Path(__file__).parents[1] / "examples" / "audio" / "caller-question.wav"
_PACKET_MS = 20
# Okabe and Ito's colours, which everyone can tell apart.
_OURS, _THEIRS, _THIRD = "#0072b2", "#d55e00", "#009e73"
_OTHERS = ("#d55e00", "#e69f00", "#cc79a7", "#999999", "#009e73", "#56b4e9", "#661100", "#000000")
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
    """A caller's words at 8000 Hz."""
    with wave.open(str(SENTENCE)) as wav:
        return pcm_samples(wav.readframes(wav.getnframes()))


def response(parts: Mapping[str, Any]) -> Figure:
    """What a tone of up to 4 kHz leaves at 16 kHz."""
    figure, axes = plt.subplots(1, 2, figsize=(10, 3.6))
    colours = {"ours": _OURS, "soxr VHQ": _THIRD, "soxr QQ": _THEIRS}
    for axis in axes:
        for who, curve in parts["quality"]["curves"].items():
            hz, level = np.array(curve).T
            axis.plot(hz / 1000, level, label=who, color=colours[who], linewidth=1.2)
        axis.axvspan(0.3, 3.4, color="#000000", alpha=0.05, linewidth=0)
        axis.set(xlabel="kHz", ylabel="dB")
    axes[0].set(title="8 to 16 kHz: a tone below 4, its image above", ylim=(-150, 5), xlim=(0, 8))
    axes[0].axvline(4, color="black", linewidth=0.6, linestyle=":")
    axes[0].legend(loc="lower left")
    axes[1].set(title="around the edge", ylim=(-70, 3), xlim=(3, 5))
    axes[1].axvline(4, color="black", linewidth=0.6, linestyle=":")
    return figure


def utterance(_: Mapping[str, Any]) -> Figure:
    """When what was said comes out, packet by packet."""
    rate = 24000
    wire = ulaw_codes(sentence()).tobytes()
    packets = cut(wire, WIRE_RATE * _PACKET_MS // 1000)
    packets = packets[: 1200 // _PACKET_MS]
    ours = InboundAudio("PCMU", 1, rate)
    theirs = soxr.ResampleStream(WIRE_RATE, rate, 1, dtype="int16", quality="VHQ")
    streams: dict[str, tuple[str, Callable[[bytes], int]]] = {
        "ours": (_OURS, lambda packet: len(ours.process(packet)[0]) // 2),
        "soxr VHQ, as in pipecat": (
            _THEIRS,
            lambda packet: len(theirs.resample_chunk(ulaw_samples(packet).astype(np.int16))),
        ),
    }
    figure, axes = plt.subplots(3, 1, figsize=(10, 5.6), sharex=True)
    for axis, (who, (colour, stream)) in zip(axes, streams.items(), strict=False):
        came = np.array([stream(packet) for packet in packets]) * 1000 / rate
        times = _PACKET_MS * np.arange(1, len(packets) + 1)
        axis.bar(times, came, width=_PACKET_MS * 0.8, color=colour)
        axis.set(title=f"{who}: ms of audio that a 20 ms packet brings out", ylim=(0, 150))
        # Of what has been said when a packet arrives, how much has not come out.
        behind = times - np.cumsum(came) + (3 if colour == _OURS else 0)
        axes[2].step(times, behind, where="post", color=colour, label=who)
    axes[2].set(title="ms that the output is behind", xlabel="ms since the call began")
    axes[2].set_ylim(0, 200)
    axes[2].legend(loc="upper right", ncols=2)
    return figure


def spectrogram(_: Mapping[str, Any]) -> Figure:
    """A sentence as Genesys sends it, and as the pipeline gets it."""
    wire = ulaw_codes(sentence()).tobytes()
    before = ulaw_samples(wire)
    after = pcm_samples(InboundAudio("PCMU", 1, 16000).process(wire)[0])
    straight = np.interp(np.arange(2 * len(before)) / 2, np.arange(len(before)), before)
    figure, axes = plt.subplots(1, 3, figsize=(10, 3.4), sharey=True)
    views = [
        ("mu-law at 8 kHz", before, WIRE_RATE),
        ("ours at 16 kHz", after, 16000),
        ("straight lines at 16 kHz", straight, 16000),
    ]
    for axis, (title, signal, rate) in zip(axes, views, strict=True):
        image = axis.specgram(
            # A floor, as silence has no decibels.
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


def _lines(
    axis: Axes, rows: Sequence[tuple[int, Mapping[str, float]]], names: Sequence[str]
) -> None:
    for name, colour in zip(names, (_OURS, *_OTHERS), strict=False):
        points = sorted((ms, times[name]) for ms, times in rows if name in times)
        if points:
            first = {"linewidth": 2.2, "zorder": 3} if colour == _OURS else {"linewidth": 1.2}
            axis.plot(*zip(*points, strict=True), "o-", color=colour, label=name, ms=3, **first)
    ticks = sorted({ms for ms, _ in rows})
    axis.set(xscale="log", yscale="log", xticks=ticks, xticklabels=map(str, ticks))
    axis.minorticks_off()


def _grid(rows: Sequence[tuple[str, int, int, Mapping[str, float]]], names: list[str]) -> Figure:
    """Nanoseconds by packet length: directions below each other, rates side by side."""
    figure, axes = plt.subplots(2, 3, figsize=(10, 6.4), sharex=True, sharey=True)
    for line, direction in zip(axes, ("in", "out"), strict=True):
        for axis, rate in zip(line, (16000, 24000, 48000), strict=True):
            mine = [(ms, times) for way, hz, ms, times in rows if (way, hz) == (direction, rate)]
            _lines(axis, mine, names)
            pair = (8, rate // 1000) if direction == "in" else (rate // 1000, 8)
            axis.set(title=f"{direction}: {pair[0]} to {pair[1]} kHz")
    for axis in axes[-1]:
        axis.set(xlabel="ms of audio in a packet")
    for axis in axes[:, 0]:
        axis.set(ylabel="ns per packet")
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=5)
    return figure


def python_times(parts: Mapping[str, Any]) -> Figure:
    """The audio of a packet, beside everyone in Python."""
    rows = [
        (
            info["direction"],
            info["rate"],
            info["packet_ms"],
            {who: 1000 * us for who, us in info["microseconds"].items()},
        )
        for info in parts["times"]
    ]
    names = [name for name in rows[-1][3] if name not in ("ours", "pipecat", "core")]
    return _grid(rows, ["core", *names])


def serializer_times(parts: Mapping[str, Any]) -> Figure:
    """A packet through both serializers."""
    figure, axes = plt.subplots(1, 2, figsize=(10, 3), sharey=True)
    for axis, direction in zip(axes, ("in", "out"), strict=True):
        mine = [
            info
            for info in sorted(parts["times"], key=lambda info: info["rate"])
            if (info["direction"], info["packet_ms"]) == (direction, 200)
        ]
        place = np.arange(len(mine))
        for shift, who, colour in ((-0.2, "ours", _OURS), (0.2, "pipecat", _THEIRS)):
            values = [info["microseconds"][who] for info in mine]
            bars = axis.bar(place + shift, values, 0.4, color=colour, label=who)
            axis.bar_label(bars, fmt="%.1f", fontsize=7)
        labels = [f"{info['rate'] // 1000} kHz" for info in mine]
        title = "deserialize" if direction == "in" else "serialize"
        axis.set(title=f"{title}, 200 ms packet", xticks=place, xticklabels=labels)
    axes[0].set(ylabel="us")
    axes[0].legend()
    return figure


def rust_times(parts: Mapping[str, Any]) -> Figure:
    """The audio of a packet, beside everyone in Rust."""
    rows = [
        (row["direction"], row["rate"], row["packet_ms"], dict(row["ns"]))
        for row in parts["peers"]["rows"]
    ]
    names = [name for name in rows[0][3] if name not in ("ours", "filter", "codec")]
    return _grid(rows, ["ours", *names])


def memory(parts: Mapping[str, Any]) -> Figure:
    """What one more call costs."""
    figure, axis = plt.subplots(figsize=(6, 1.6))
    figures = [parts["memory"][who]["kb"] or 0 for who in ("pipecat", "ours")]
    bars = axis.barh(["pipecat", "ours"], figures, color=[_THEIRS, _OURS])
    axis.bar_label(bars, fmt=" %.1f KB")
    axis.set(xlabel="KB of resident memory per call")
    axis.margins(x=0.15)
    return figure


def echo(parts: Mapping[str, Any]) -> Figure:
    """How long a caller waits for an echo."""
    figure, axis = plt.subplots(figsize=(7, 2.4))
    rows = sorted(parts["echo"]["rows"], key=lambda row: (row["who"], row["rate"]), reverse=True)
    labels = [f"{row['who']}, {row['rate'] // 1000} kHz" for row in rows]
    for place, row in enumerate(rows):
        colour = _OURS if row["who"] == "ours" else _THEIRS
        axis.barh(place, row["echo"]["p50"], color=colour)
        axis.plot([row["echo"]["p99"]] * 2, [place - 0.4, place + 0.4], color="black")
    axis.set(yticks=range(len(rows)), yticklabels=labels)
    axis.set(xlabel="ms until an echo comes back: bar p50, mark p99; 200 of them are the packet")
    return figure


# By file name: the steps each needs, and what draws it.
PLOTS: dict[str, tuple[Sequence[str], Callable[[Mapping[str, Any]], Figure]]] = {
    "frequency-response.svg": (["quality"], response),
    "utterance.svg": ([], utterance),
    "spectrogram.png": ([], spectrogram),
    "serializer.svg": (["times"], serializer_times),
    "python-peers.svg": (["times"], python_times),
    "rust-peers.svg": (["peers"], rust_times),
    "memory.svg": (["memory"], memory),
    "echo.svg": (["echo"], echo),
}


def draw(parts: Mapping[str, Any], folder: Path) -> list[Path]:
    """Draw whatever there are figures for; returns the files."""
    mpl.use("Agg")
    folder.mkdir(parents=True, exist_ok=True)
    drawn = []
    with plt.rc_context(_STYLE):
        for name, (needed, plot) in PLOTS.items():
            if not all(parts.get(step) for step in needed):
                continue
            figure = plot(parts)
            metadata = {"Date": None} if name.endswith("svg") else {"Software": None}
            figure.savefig(folder / name, dpi=70, metadata=metadata)
            plt.close(figure)
            drawn.append(folder / name)
    return drawn
