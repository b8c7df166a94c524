"""Tables of times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from report import Table

from .common import WIRE_HZ, Results, Row, kilohertz, libraries_within_limits, rate_pair

_LIBRARIES = (
    *("soxr VHQ", "soxr HQ", "soxr MQ", "soxr QQ", "libsamplerate medium"),
    *("scipy upfirdn", "scipy resample_poly", "audioop ratecv"),
)
_LIMITS = (
    "A value in parentheses is of a resampler outside the quality limits: 300-3400 Hz within "
    "0.01 dB, images and aliases below -95 dBc."
)
_CASE = ("", "packet ms", "pipeline kHz")


def _sorted(rows: Sequence[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: (row["direction"], row["packet_ms"], row["rate"]))


def _case(row: Row) -> tuple[str, str, str]:
    return row["direction"], f"{row['packet_ms']}", f"{row['rate'] // 1000}"


def _fewest_rounds(rows: Sequence[Row]) -> int:
    return min((row["rounds"] for row in rows), default=0)


def serializer(results: Results) -> Table:
    """Return the table of the time per audio packet through the serializers."""
    rows = _sorted(results["times"])
    cells = []
    for row in rows:
        ours, pipecat = (row["microseconds"][name] for name in ("ours", "pipecat"))
        cells.append((*_case(row), f"{ours:.2f}", f"{pipecat:.2f}", f"{pipecat / ours:.1f}x"))
    seconds = max((row["batch"] * row["packet_ms"] // 1000 for row in rows), default=0)
    return Table(
        "An audio packet through the serializer",
        "`deserialize` (in, returns a frame) and `serialize` (out, takes a frame), without an "
        "event loop and without a log; pipecat's resampler is never cleared. CPU time in "
        f"microseconds, the median of at least {_fewest_rounds(rows)} rounds. In a round every "
        f"competitor converts the same {seconds} s of audio once. Every result is checked.",
        (*_CASE, "ours us", "pipecat us", "ratio"),
        cells,
    )


def control(results: Results) -> Table:
    """Return the table of the time per control message through the serializers."""
    rows = results["control"]
    cells = []
    for row in rows:
        ours, pipecat = (row["microseconds"][name] for name in ("ours", "pipecat"))
        case = (row["control"], row["reply"] or "", row["log"])
        cells.append((*case, f"{ours:.2f}", f"{pipecat:.2f}", f"{pipecat / ours:.1f}x"))
    return Table(
        "A control message through the serializer",
        "`deserialize`, and `serialize` of the reply where there is one. CPU time in microseconds, "
        f"the median of {_fewest_rounds(rows)} rounds. A log formats the lines of its level and "
        "above, and discards them; DEBUG is loguru's default. Ours validates each message and "
        "numbers each reply. pipecat's does neither, does not answer `update`, and does not tell "
        "the pipeline of `playback_started`.",
        ("message", "reply", "log", "ours us", "pipecat us", "ratio"),
        cells,
    )


def libraries(results: Results) -> Table:
    """Return the table of the time per packet of the audio conversion in Python libraries."""
    rows = _sorted(results["times"])
    within_limits = libraries_within_limits(results)
    cells = []
    for row in rows:
        us, pair = row["microseconds"], rate_pair(row)
        cells.append(
            (
                *_case(row),
                f"{us['core']:.2f}",
                *(
                    _time_and_ratio(us, name, "core", within_limits.get((name, *pair), True))
                    for name in ("audioop", *_LIBRARIES)
                ),
            )
        )
    return Table(
        "The audio conversion alone, beside other Python libraries",
        "Our core (`InboundAudio`, `OutboundAudio`) beside audioop's codec and, where the rates "
        "differ, the stream of a library, with the least possible Python between the two. Time in "
        "microseconds, and as a multiple of ours, from the same rounds as the table above. "
        f"{_LIMITS}",
        (*_CASE, "core us", "audioop", *_LIBRARIES),
        cells,
    )


def _time_and_ratio(us: Mapping[str, float], name: str, ours: str, within_limits: bool) -> str:
    if name not in us:
        return ""
    cell = f"{us[name]:.2f} {us[name] / us[ours]:.1f}x"
    return cell if within_limits else f"({cell})"


def crates(results: Results) -> Table:
    """Return the table of the time per packet of the audio conversion in Rust crates."""
    rows = _sorted(results["crates"]["rows"])
    names = [name for name, _ in rows[0]["quality"] if name != "ours"]
    cells = []
    for row in rows:
        us = {name: ns / 1000 for name, ns in row["ns"]}
        quality = dict(row["quality"])
        times = [_time_and_ratio(us, n, "ours", quality[n]["meets_limits"]) for n in names]
        cells.append((*_case(row), f"{us['ours']:.2f}", *times))
    return Table(
        "The audio conversion alone, beside other Rust crates",
        "The same conversions without Python. The other crates are combined with our mu-law codec. "
        "Time in microseconds, and as a multiple of ours, the median of at least "
        f"{_fewest_rounds(rows)} rounds. {_LIMITS}",
        (*_CASE, "ours us", *names),
        cells,
    )


def fastest(results: Results) -> Table:
    """Return the table of the fastest library and crate within the quality limits, and of ours."""
    within_limits = libraries_within_limits(results)
    crate_rows = {_case(row): row for row in results["crates"]["rows"]}
    cells = []
    for row in _sorted(results["times"]):
        if row["rate"] == WIRE_HZ or row["packet_ms"] == 100:
            continue
        us, pair = row["microseconds"], rate_pair(row)
        good = [name for name in _LIBRARIES if name in us and within_limits.get((name, *pair))]
        library = min(good, key=us.__getitem__)
        line = [f"{us['soxr VHQ'] / us['core']:.1f}x", library, f"{us[library] / us['core']:.1f}x"]
        if crate_row := crate_rows.get(_case(row)):
            ns, quality = dict(crate_row["ns"]), dict(crate_row["quality"])
            good = [name for name in quality if quality[name]["meets_limits"] and name != "ours"]
            crate = min(good, key=ns.__getitem__)
            delay = quality[crate]["delay_mean_ms"]
            line += [crate, f"{delay:.0f}", f"{ns[crate] / ns['ours']:.1f}x"]
        cells.append((*_case(row), *line))
    return Table(
        "The fastest competitor within the quality limits",
        "Times as multiples of our core's, from the tables of Python libraries and of Rust crates.",
        (
            *(*_CASE, "soxr VHQ", "fastest library", "ratio"),
            *("fastest crate", "its delay ms", "ratio"),
        ),
        cells,
    )


def peak(results: Results) -> Table:
    """Return the table of the share of the CPU's peak multiplication rate that we reach."""
    serializer_us = {_case(row): row["microseconds"]["ours"] for row in results["times"]}
    cells = []
    rows = [row for row in results["crates"]["rows"] if row["packet_ms"] == 200 and row["peak"]]
    for row in _sorted(rows):
        ns = dict(row["ns"])
        times = [ns["filter"], ns["ours"], 1000 * serializer_us[_case(row)]]
        percents = [f"{100 * row['products'] / time / row['peak']:.0f}" for time in times]
        codec = f"{100 * ns['codec'] / ns['ours']:.0f}"
        line = (
            kilohertz(rate_pair(row)),
            f"{row['products']}",
            f"{row['peak']:.0f}",
            *percents,
            codec,
        )
        cells.append(line)
    return Table(
        "Percent of the CPU's peak",
        "A 200 ms packet. Products: multiplications that the filter needs. Peak: products per "
        "nanosecond of a loop that contains only the CPU's multiply-and-add instruction "
        f"({results['crates']['instruction_set']}), in the same rounds. Filter: PCM to PCM. Fused: "
        "with mu-law, `InboundAudio` and `OutboundAudio` in Rust. Serializer: `deserialize` and "
        "`serialize` in Python. Codec: mu-law alone, as a share of the fused time.",
        ("kHz", "products", "peak per ns", "filter %", "fused %", "serializer %", "codec %"),
        cells,
    )
