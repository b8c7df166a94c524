"""How long a packet takes."""

from __future__ import annotations

from collections.abc import Sequence

from report import Table

from .common import WIRE_HZ, Part, Parts, good_enough

_PEERS = (
    *("soxr VHQ", "soxr HQ", "soxr MQ", "soxr QQ", "libsamplerate medium"),
    *("scipy upfirdn", "scipy resample_poly", "audioop ratecv"),
)


def _by_case(infos: Sequence[Part]) -> list[Part]:
    return sorted(infos, key=lambda info: (info["direction"], info["packet_ms"], info["rate"]))


def _case(info: Part) -> tuple[str, str, str]:
    return info["direction"], f"{info['packet_ms']}", f"{info['rate'] // 1000}"


def _how_timed(infos: Sequence[Part]) -> str:
    turns = min((info["rounds"] for info in infos), default=0)
    seconds = max((info["batch"] * info["packet_ms"] // 1000 for info in infos), default=0)
    return (
        f"Processor time, medians over {turns} turns or more; in a turn every competitor handles "
        f"the same batch of {seconds} s of audio once, and every result is checked."
    )


def whole(parts: Parts) -> Table:
    """Time per packet through the serializers."""
    infos = _by_case(parts["times"])
    rows = []
    for info in infos:
        ours, pipecat = (info["microseconds"][who] for who in ("ours", "pipecat"))
        rows.append((*_case(info), f"{ours:.2f}", f"{pipecat:.2f}", f"{pipecat / ours:.1f}x"))
    return Table(
        "A packet through the serializer",
        "`deserialize` (in, to a frame) and `serialize` (out, from a frame), the coroutine "
        f"driven directly, logging off, pipecat's resampler never cleared. {_how_timed(infos)}",
        ("", "packet ms", "pipeline kHz", "ours us", "pipecat us", "ratio"),
        rows,
    )


def control(parts: Parts) -> Table:
    """Time per control message through the serializers."""
    infos = parts["control"]
    rows = []
    for info in infos:
        ours, pipecat = (info["microseconds"][who] for who in ("ours", "pipecat"))
        ratio = f"{pipecat / ours:.1f}x"
        what = (info["control"], info["reply"] or "", info.get("log", "no log"))
        rows.append((*what, f"{ours:.2f}", f"{pipecat:.2f}", ratio))
    return Table(
        "A control message through the serializer",
        "`deserialize`, and `serialize` of the reply where there is one, as above; medians over "
        f"{min((info['rounds'] for info in infos), default=0)} turns. Ours validates what comes "
        "and numbers what goes; pipecat's does neither, leaves `update` unanswered, and tells the "
        "pipeline nothing of playback. With a log, lines from that level up are made and thrown "
        "away; DEBUG is loguru's default.",
        ("message", "reply", "log", "ours us", "pipecat us", "ratio"),
        rows,
    )


def core(parts: Parts) -> Table:
    """Time per packet of the audio alone, in Python."""
    infos = _by_case(parts["times"])
    good = good_enough(parts)
    rows = []
    for info in infos:
        us = info["microseconds"]
        pair = (WIRE_HZ, info["rate"]) if info["direction"] == "in" else (info["rate"], WIRE_HZ)
        cells = [_ratio(us, peer, good.get((peer, *pair), True)) for peer in ("audioop", *_PEERS)]
        rows.append((*_case(info), f"{us['core']:.2f}", *cells))
    return Table(
        "The audio alone, beside other libraries in Python",
        "Our core's one call (`InboundAudio`, `OutboundAudio`) beside the least Python that does "
        "the same with audioop and, where the rates differ, a library's stream: microseconds, and "
        "times ours. In the same turns as the table above. In parentheses: does not keep "
        "300-3400 Hz within 0.01 dB and its images and aliases below -95 dBc, as measured below.",
        ("", "packet ms", "pipeline kHz", "core us", "audioop", *_PEERS),
        rows,
    )


def _ratio(times: Part, peer: str, good: bool, own: str = "core") -> str:
    if peer not in times:
        return ""
    cell = f"{times[peer]:.2f} {times[peer] / times[own]:.1f}x"
    return cell if good else f"({cell})"


def rust_peers(parts: Parts) -> Table:
    """Time per packet of the audio alone, in Rust."""
    rows = []
    measured = parts["peers"]["rows"]
    names = [name for name, _ in measured[0]["verdicts"] if name != "ours"]
    for row in sorted(measured, key=lambda row: (row["direction"], row["packet_ms"], row["rate"])):
        ns, verdicts = dict(row["ns"]), dict(row["verdicts"])
        us = {name: time / 1000 for name, time in ns.items()}
        cells = [_ratio(us, name, verdicts[name]["good_enough"], "ours") for name in names]
        rows.append((*_case(row), f"{us['ours']:.2f}", *cells))
    turns = min(row["turns"] for row in measured)
    return Table(
        "The audio alone, beside other crates in Rust",
        "The same jobs without Python: microseconds, and times ours. The others are lent our "
        f"mu-law codec. In turns, medians over {turns} turns or more. In parentheses: not the "
        "quality, as above.",
        ("", "packet ms", "pipeline kHz", "ours us", *names),
        rows,
    )


def fastest(parts: Parts) -> Table:
    """Ours over the fastest of those that are good enough."""
    good = good_enough(parts)
    rows = []
    crates = {_case(row): row for row in parts["peers"]["rows"]} if "peers" in parts else {}
    for info in _by_case(parts["times"]):
        if info["rate"] == WIRE_HZ or info["packet_ms"] == 100:
            continue
        pair = (WIRE_HZ, info["rate"]) if info["direction"] == "in" else (info["rate"], WIRE_HZ)
        us = info["microseconds"]
        able = [peer for peer in _PEERS if peer in us and good.get((peer, *pair))]
        first = min(able, key=us.__getitem__)
        cells = [f"{us['soxr VHQ'] / us['core']:.1f}x", first, f"{us[first] / us['core']:.1f}x"]
        if row := crates.get(_case(info)):
            ns = dict(row["ns"])
            able = [n for n, v in row["verdicts"] if v["good_enough"] and n != "ours"]
            first = min(able, key=ns.__getitem__)
            late = dict(row["verdicts"])[first]["delay_mean_ms"]
            cells += [f"{first} ({late:.0f} ms late)", f"{ns[first] / ns['ours']:.1f}x"]
        rows.append((*_case(info), *cells))
    return Table(
        "The fastest peer that is good enough",
        "Times that our core takes, from the tables of Python libraries and of crates.",
        (
            *("", "packet ms", "pipeline kHz", "soxr VHQ"),
            *("fastest in Python", "ratio", "fastest in Rust", "ratio"),
        ),
        rows,
    )


def peak(parts: Parts) -> Table:
    """Percent of the CPU's own peak."""
    whole_us = {_case(info): info["microseconds"]["ours"] for info in parts["times"]}
    rows = []
    measured = [row for row in parts["peers"]["rows"] if row["packet_ms"] == 200 and row["peak"]]
    for row in sorted(measured, key=lambda row: (row["direction"], row["rate"])):
        ns = dict(row["ns"])
        times = [ns["filter"], ns["ours"], 1000 * whole_us[_case(row)]]
        percents = [f"{100 * row['products'] / time / row['peak']:.0f}" for time in times]
        factor = f"x{row['rate'] // WIRE_HZ}" if row["direction"] == "in" else ""
        factor = factor or f"/{row['rate'] // WIRE_HZ}"
        codec = f"{100 * ns['codec'] / ns['ours']:.0f}"
        cells = (f"{row['products']}", f"{row['peak']:.0f}", *percents, codec)
        rows.append((row["direction"], factor, *cells))
    return Table(
        "Percent of peak",
        "A 200 ms packet. Peak: products per nanosecond of a loop of the CPU's multiply-and-add "
        f"of pairs alone ({parts['peers']['instruction_set']}), in the same turns. Products: those "
        "that the filter needs (48 for an output; 48 and then 16 for six times; none where the "
        "output is the input). Filter: PCM to PCM. Fused: with mu-law, `InboundAudio` and "
        "`OutboundAudio` in Rust. Whole: `deserialize` and `serialize`, frames and all, from the "
        "Python run. Codec: mu-law's share of the fused time, measured alone.",
        ("", "", "products", "peak per ns", "filter %", "fused %", "whole %", "codec %"),
        rows,
    )


def criterion(parts: Parts) -> Table:
    """Nanoseconds of the Rust core alone."""
    columns = ("20 ms", "100 ms", "200 ms")
    rows = [
        (name, *(f"{times[column]:.0f}" if column in times else "" for column in columns))
        for name, times in sorted(parts["rust"].items())
    ]
    how = (
        "criterion, median nanoseconds per call, no Python. Each benchmark checks its result "
        "before it is timed. For `g711` the length is in samples at 8 kHz."
    )
    return Table("The Rust core", how, ["", *columns], rows)
