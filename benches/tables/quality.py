"""Tables of audio quality."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean

from report import Table

from .common import Results, Row, kilohertz, rate_pair

_COLUMNS = ("ripple dB", "spurious dBc", "delay mean ms", "delay worst ms", "within limits")
# Images and aliases below this level count as absent.
_NONE_DBC = -150
_NOISE_FLOOR_DBC = -115


def _spurious(dbc: float) -> str:
    return "none" if dbc < _NONE_DBC else f"{dbc + 0:.1f}"


def _cells(row: Row) -> tuple[str, ...]:
    return (
        f"{row['ripple_db']:.4f}",
        _spurious(row["spurious_dbc"]),
        f"{row['delay_mean_ms'] + 0:.1f}",
        f"{row['delay_max_ms'] + 0:.1f}",
        "yes" if row["meets_limits"] else "no",
    )


def _is_pipeline_pair(pair: Sequence[int]) -> bool:
    return max(pair) in (16000, 24000, 48000)


def libraries(results: Results) -> Table:
    """Return the table of the quality and the delay of the Python libraries."""
    rows = [
        (kilohertz(row["pair"]), row["resampler"], *_cells(row))
        for row in results["quality"]["pairs"]
        if _is_pipeline_pair(row["pair"])
    ]
    return Table(
        "Quality and delay of Python libraries",
        f"{results['quality']['tones']} tones from 300 to 3400 Hz at -1 dBFS, as a stream of 20 ms "
        "packets; measured on the 16-bit output. Ripple: the largest deviation of the gain. "
        "Spurious: the loudest image of a tone or alias at a tone. Delay: lag of the content plus "
        "audio held back. Within limits: ripple at most 0.01 dB and spurious at most -95 dBc.",
        ("kHz", "resampler", *_COLUMNS),
        rows,
    )


def crates(results: Results) -> Table:
    """Return the table of the quality and the delay of the Rust crates."""
    rows = []
    measured = [row for row in results["crates"]["rows"] if row["packet_ms"] == 20]
    for row in sorted(measured, key=lambda row: (row["direction"], row["rate"])):
        rows += [
            (kilohertz(rate_pair(row)), name, *_cells(quality)) for name, quality in row["quality"]
        ]
    return Table(
        "Quality and delay of Rust crates",
        "Columns as in the table of Python libraries; six tones, packets of 20 ms.",
        ("kHz", "resampler", *_COLUMNS),
        rows,
    )


def pairs(results: Results) -> Table:
    """Return the table of the quality of our resampler and of soxr VHQ at every pair of rates."""
    noise = {tuple(row["pair"]): row for row in results["quality"]["noise"]}
    rows = []
    for row in results["quality"]["pairs"]:
        name = row["resampler"]
        if name not in ("ours", "soxr VHQ"):
            continue
        added = noise.get(tuple(row["pair"]), {}).get(name)
        if added is None:
            added_cell = ""
        else:
            added_cell = f"{added:.1f}" if added > _NOISE_FLOOR_DBC else f"< {_NOISE_FLOOR_DBC}"
        rows.append(
            (
                kilohertz(row["pair"]),
                name,
                *_cells(row)[:2],
                f"{row['spurious_hz']:.0f}" if row["spurious_dbc"] > _NONE_DBC else "",
                added_cell,
                f"{row['sinad_1000_db']:.1f}",
                f"{row['sinad_997_db']:.1f}",
            )
        )
    return Table(
        "Ours and soxr VHQ at every pair of rates",
        "Spurious: the loudest image or alias, and its frequency. Added noise: noise without the "
        "rounding noise of the output, for the worst of four tones. SINAD: of 1000 Hz, whose "
        "period is a whole number of samples at 8 kHz, and of 997 Hz, whose period is not.",
        (
            *("kHz", "resampler", "ripple dB", "spurious dBc", "at Hz", "added noise dBc"),
            *("SINAD 1000 Hz dB", "SINAD 997 Hz dB"),
        ),
        rows,
    )


def above(results: Results) -> Table:
    """Return the table of the power above 4.6 kHz, where the images of the band are."""
    rows = [
        (f"{row['rate'] // 1000}", f"{row['ours']:.1f}", f"{row['soxr VHQ']:.1f}")
        for row in results["quality"]["above"]
    ]
    return Table(
        "Power above 4.6 kHz",
        "All power above 4.6 kHz in dBc, relative to the tone in the 8 kHz input, for the worst "
        "tone from 300 to 3400 Hz.",
        ("out kHz", "ours", "soxr VHQ"),
        rows,
    )


def roll_off(results: Results) -> Table:
    """Return the table of gains and images of tones between the band and 4 kHz."""
    values = ("up_db", "image_dbc", "down_db", "alias_dbc")
    rows = []
    for row in results["quality"]["roll_off"]:
        cells = [
            f"{row[name][value]:.2f}" if value.endswith("_db") else f"{row[name][value]:.1f}"
            for name in ("ours", "soxr VHQ")
            for value in values
        ]
        rows.append((f"{row['hz']}", *cells))
    headings = ("gain up dB", "image dBc", "gain down dB", "alias dBc")
    return Table(
        "Between the band and 4 kHz",
        "Up: a tone from 8 to 16 kHz, and its image above 4 kHz. Down: the same tone from 16 to "
        "8 kHz, and the level at which a tone at the image's frequency appears as this tone.",
        ("Hz", *(f"{name} {heading}" for name in ("ours", "soxr") for heading in headings)),
        rows,
    )


def silence(results: Results) -> Table:
    """Return the table of the share of output samples that are not zero for an input of zeros."""
    shares: dict[str, list[float]] = {}
    for row in results["quality"]["silence"]:
        shares.setdefault(row["resampler"], []).append(row["percent"])
    return Table(
        "Digital silence",
        "Output samples that are not zero for an input of zeros, in %: the mean of 8 kHz to and "
        "from 16, 24 and 48 kHz. soxr adds dither to 16-bit output.",
        ("resampler", "not zero %"),
        [(name, f"{mean(percents):.1f}") for name, percents in shares.items()],
    )


def round_trip(results: Results) -> Table:
    """Return the table of the errors of mu-law audio after conversion to a rate and back."""
    rows = []
    for row in results["quality"]["round_trip"]:
        for signal in row:
            if signal == "rate":
                continue
            values = row[signal]
            cells = [
                f"{values[key]:.2f}"
                for key in ("once_db", "ours_db", "soxr_db", "ours_same", "soxr_same")
            ]
            rows.append((f"{row['rate'] // 1000}", signal, *cells))
    return Table(
        "Mu-law to the pipeline's rate and back",
        "Signal-to-error ratio in dB: of mu-law encoding alone, and of the round trip from mu-law "
        "to the rate and back to mu-law. Unchanged: codes that are the same after the round trip.",
        (
            *("kHz", "signal", "mu-law alone dB", "ours dB", "soxr VHQ dB"),
            *("ours unchanged %", "soxr VHQ unchanged %"),
        ),
        rows,
    )


def clipping(results: Results) -> Table:
    """Return the table of the clipping between the two filters, for 8 to 48 kHz and 48 to 8 kHz."""
    rows = [
        (
            kilohertz(row["pair"]),
            row["signal"],
            f"{row['clipped_percent']:.2f}",
            f"{row['differ_percent']:.2f}",
            f"{row['error_db']:.1f}",
        )
        for row in results["quality"]["saturation"]
    ]
    return Table(
        "Clipping between the two filters of the 48 kHz path",
        "Ours against the same two filters in double precision, which clip only their output. "
        "Clipped: output samples of the reference that exceed 16 bits. Differ: samples that are "
        "off by more than 2 LSB.",
        ("kHz", "signal", "clipped %", "differ %", "error dB"),
        rows,
    )
