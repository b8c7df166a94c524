"""What the output is worth."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean

from report import Table

from .common import WIRE_HZ, Part, Parts, kilohertz

_QUALITY_COLUMNS = (
    *("ripple dB", "worst image or alias dBc", "delay mean ms", "delay worst ms", "good enough"),
)


def _quality_cells(row: Part) -> tuple[str, ...]:
    worst = row["spurious_dbc"]
    return (
        f"{row['ripple_db']:.4f}",
        "none" if worst < -150 else f"{worst + 0:.1f}",
        f"{row['delay_mean_ms'] + 0:.1f}",
        f"{row['delay_max_ms'] + 0:.1f}",
        "yes" if row["good_enough"] else "no",
    )


def _fast_pair(pair: Sequence[int]) -> bool:
    return max(pair) in (16000, 24000, 48000)


def peers_quality(parts: Parts) -> Table:
    """What the Python peers are worth."""
    rows = [
        (kilohertz(row["pair"]), row["who"], *_quality_cells(row))
        for row in parts["quality"]["pairs"]
        if _fast_pair(row["pair"])
    ]
    return Table(
        "Quality and delay of everyone",
        f"{parts['quality']['tones']} tones of 300 to 3400 Hz at -1 dBFS as a stream of 20 ms "
        "packets; the gain of the tone, and the worst image it leaves or alias that is taken for "
        "it, on the 16-bit output. Delay is that of the content plus what is held back. Good "
        "enough: within 0.01 dB and below -95 dBc.",
        ("kHz", "", *_QUALITY_COLUMNS),
        rows,
    )


def rust_quality(parts: Parts) -> Table:
    """What the Rust peers are worth."""
    rows = []
    measured = [row for row in parts["peers"]["rows"] if row["packet_ms"] == 20]
    for row in sorted(measured, key=lambda row: (row["direction"], row["rate"])):
        pair = (WIRE_HZ, row["rate"]) if row["direction"] == "in" else (row["rate"], WIRE_HZ)
        rows += [
            (kilohertz(pair), name, *_quality_cells(verdict)) for name, verdict in row["verdicts"]
        ]
    return Table(
        "Quality and delay of the crates",
        "As in the table of the Python libraries, of six tones, packets of 20 ms.",
        ("kHz", "", *_QUALITY_COLUMNS),
        rows,
    )


def other_pairs(parts: Parts) -> Table:
    """Quality at every pair, with SINAD."""
    noises = {tuple(row["pair"]): row for row in parts["quality"]["noise"]}
    rows = []
    for row in parts["quality"]["pairs"]:
        if row["who"] not in ("ours", "soxr VHQ"):
            continue
        added = noises.get(tuple(row["pair"]), {}).get(row["who"])
        rows.append(
            (
                kilohertz(row["pair"]),
                row["who"],
                *_quality_cells(row)[:2],
                f"{row['spurious_hz']:.0f}" if row["spurious_dbc"] > -150 else "",
                "" if added is None else f"{added:.1f}" if added > -115 else "< -115",
                f"{row['sinad_1000_db']:.1f}",
                f"{row['sinad_997_db']:.1f}",
            )
        )
    return Table(
        "Ours and soxr VHQ at every pair",
        "Noise added: what is left when the output's own rounding is not counted, of the worst of "
        "four tones. SINAD of a sine whose period is whole samples, and of one whose is not.",
        (
            *("kHz", "", "ripple dB", "worst image or alias dBc", "at Hz", "noise added dBc"),
            *("SINAD 1000 Hz dB", "SINAD 997 Hz dB"),
        ),
        rows,
    )


def above(parts: Parts) -> Table:
    """What is above the images' band."""
    rows = [
        (f"{row['rate'] // 1000}", f"{row['ours']:.1f}", f"{row['soxr VHQ']:.1f}")
        for row in parts["quality"]["above"]
    ]
    return Table(
        "Everything above 4.6 kHz",
        "All power there relative to the tone of 300 to 3400 Hz that went in at 8 kHz, dBc.",
        ("out kHz", "ours, worst", "soxr VHQ, worst"),
        rows,
    )


def roll_off(parts: Parts) -> Table:
    """What the filter does not do."""
    rows = []
    for row in parts["quality"]["roll_off"]:
        cells = [
            f"{row[who][part]:.2f}" if part.endswith("_db") else f"{row[who][part]:.1f}"
            for who in ("ours", "soxr VHQ")
            for part in ("up_db", "image_dbc", "down_db", "alias_dbc")
        ]
        rows.append((f"{row['hz']}", *cells))
    parts_of = ("gain up dB", "image dBc", "gain down dB", "alias dBc")
    return Table(
        "Between the band and 4 kHz",
        "A tone at 8 kHz to 16 kHz and the image beyond 4 kHz that it leaves; the same way back, "
        "and how loud its mirror image is taken for it.",
        ("Hz", *(f"{who} {part}" for who in ("ours", "soxr") for part in parts_of)),
        rows,
    )


def silence(parts: Parts) -> Table:
    """What becomes of digital silence."""
    shares: dict[str, list[float]] = {}
    for row in parts["quality"]["silence"]:
        shares.setdefault(row["who"], []).append(row["percent"])
    rows = [(who, f"{mean(percents):.1f}") for who, percents in shares.items()]
    return Table(
        "Digital silence",
        "Percent of the samples that are not zero when all that go in are; the mean of 8 kHz to "
        "and from 16, 24, 48 kHz. soxr dithers 16-bit output.",
        ("", "not zero %"),
        rows,
    )


def round_trip(parts: Parts) -> Table:
    """Mu-law to the pipeline's rate and back."""
    rows = []
    for row in parts["quality"]["round_trip"]:
        for name in row:
            if name == "rate":
                continue
            of = row[name]
            figures = [of[f"{who}_{what}"] for what in ("db", "same") for who in ("ours", "soxr")]
            cells = [f"{of['once_db']:.2f}", *(f"{figure:.2f}" for figure in figures)]
            rows.append((f"{row['rate'] // 1000}", name, *cells))
    return Table(
        "Mu-law there and back",
        "From mu-law to the rate and back to mu-law. Signal over error in dB, of mu-law alone and "
        "of the round trip; and percent of the codes that come back as they were.",
        (
            *("kHz", "signal", "mu-law once", "ours dB", "soxr VHQ dB"),
            *("ours same %", "soxr VHQ same %"),
        ),
        rows,
    )


def clipping(parts: Parts) -> Table:
    """What clipping between the two filters does."""
    rows = [
        (
            kilohertz(row["pair"]),
            row["signal"],
            f"{row['clipped_percent']:.2f}",
            f"{row['differ_percent']:.2f}",
            f"{row['error_db']:.1f}",
        )
        for row in parts["quality"]["saturation"]
    ]
    return Table(
        "Clipping between the two filters of the 48 kHz path",
        "Against the same two filters in double precision, clipped at the end alone. Clipped: "
        "percent of the samples that exceed 16 bits there; differ: percent off by over 2 LSB.",
        ("kHz", "signal", "clipped %", "differ %", "error dB"),
        rows,
    )
