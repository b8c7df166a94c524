"""Quality of the 16-bit output of our resampler and of other libraries' resamplers.

Prints JSON. No value depends on the speed of the machine. A value of our resampler outside its
specification is reported as a problem.
"""

from __future__ import annotations

import argparse
import json
import sys
import wave
from pathlib import Path
from typing import Any

import numpy as np
import resampler_metrics as metrics
import signals
import soxr
from pipecat_genesys.audio import InboundAudio, OutboundAudio
from resampler_metrics import BAND, MINUS_1_DBFS, RESAMPLERS, decibels
from signals import WIRE_RATE, Samples

RATES = (16000, 24000, 48000)
PAIRS = [(WIRE_RATE, rate) for rate in RATES] + [(rate, WIRE_RATE) for rate in RATES]
OTHER_RATES = (11025, 12000, 22050, 32000, 44100)
OTHER_PAIRS = [(WIRE_RATE, r) for r in OTHER_RATES] + [(r, WIRE_RATE) for r in OTHER_RATES]
# Resamplers whose frequency response is plotted.
PLOTTED = ("ours", "soxr VHQ", "soxr QQ")
# The specification of our resampler. The first limit of SINAD is for `PAIRS`, and the second limit
# is for all other pairs of rates.
RIPPLE_DB = 0.01
SPURIOUS_DBC = -95.0
SINAD_DB = {True: 95.0, False: 93.0}
NOISE_DBC = -95.0
# Lowest noise level that can be measured. The rounding of the output hides lower noise levels.
NOISE_FLOOR_DBC = -115.0
# Frequency of the lowest image (8000 Hz minus a tone) of the band up to 3400 Hz. Images below this
# frequency belong to tones between 3400 and 4000 Hz, and the filter does not remove them.
LOWEST_IMAGE_HZ = 4600
SPEECH = Path(__file__).parents[1] / "examples" / "audio" / "caller-question.wav"
_ROUNDING_POWER = 1 / 12
_NOISE_TONES = (317, 997, 2203, 3389)


def band_tones(step: int) -> list[float]:
    """Return tones from one edge of the band to the other that are not harmonics of each other."""
    return [float(BAND[0]), *np.arange(BAND[0] + 17, BAND[1], step, dtype=float), float(BAND[1])]


def measure_pair(name: str, in_rate: int, out_rate: int, tones: list[float]) -> dict[str, Any]:
    """Measure a resampler at one pair of rates."""
    make_stream = RESAMPLERS[name]
    gains = [metrics.response(make_stream, hz, in_rate, out_rate).gain_db for hz in tones]
    spurious_dbc, spurious_hz = max(
        metrics.spurious(make_stream, hz, in_rate, out_rate) for hz in tones
    )
    ripple = max(map(abs, gains))
    delay_mean, delay_max = metrics.delay(make_stream, in_rate, out_rate)
    return {
        "resampler": name,
        "pair": (in_rate, out_rate),
        "ripple_db": ripple,
        "spurious_dbc": spurious_dbc,
        "spurious_hz": spurious_hz,
        "sinad_1000_db": metrics.sinad(make_stream, 1000, in_rate, out_rate),
        "sinad_997_db": metrics.sinad(make_stream, 997, in_rate, out_rate),
        "delay_mean_ms": delay_mean,
        "delay_max_ms": delay_max,
        "meets_limits": ripple <= RIPPLE_DB and spurious_dbc <= SPURIOUS_DBC,
    }


def added_noise(in_rate: int, out_rate: int) -> dict[str, Any]:
    """Return the noise in dBc that a filter adds, apart from the rounding of the output."""
    ours, vhq = [], []
    for hz in _NOISE_TONES:
        samples = metrics.sine(hz, in_rate)
        exact = signals.resampled(samples, in_rate, out_rate)
        error = metrics.resample_in_packets(RESAMPLERS["ours"], samples, in_rate, out_rate) - exact
        if out_rate > in_rate:
            # The output samples of the first phase are input samples without an error. These
            # samples are left out, because they would lower the mean error.
            error = error[np.arange(len(error)) % (out_rate // in_rate) != 0]
        ours.append(_noise_dbc(error[len(error) // 10 :]))
        rounded = soxr.resample(samples.astype(np.int16), in_rate, out_rate, "VHQ")
        error = rounded - soxr.resample(samples, in_rate, out_rate, "VHQ")
        vhq.append(_noise_dbc(error[len(error) // 10 : -len(error) // 10]))
    return {"pair": (in_rate, out_rate), "ours": max(ours), "soxr VHQ": max(vhq)}


def _noise_dbc(error: Samples) -> float:
    power = max(np.mean(error**2) - _ROUNDING_POWER, 0)
    return max(decibels(np.sqrt(2 * power) / MINUS_1_DBFS), NOISE_FLOOR_DBC)


def power_above_lowest_image(out_rate: int, tones: list[float]) -> dict[str, Any]:
    """Measure the power above 4.6 kHz for tones of the band.

    Returns:
        The worst level of each resampler, and as `difference` the largest amount by which the level
        of our resampler exceeds the level of soxr VHQ for the same tone.
    """
    levels = {
        name: [
            metrics.power_above(RESAMPLERS[name], hz, WIRE_RATE, out_rate, LOWEST_IMAGE_HZ)
            for hz in tones
        ]
        for name in ("ours", "soxr VHQ")
    }
    difference = max(ours - vhq for ours, vhq in zip(*levels.values(), strict=True))
    return {
        "rate": out_rate,
        **{name: max(values) for name, values in levels.items()},
        "difference": difference,
    }


def roll_off(name: str, hz: int, rate: int) -> dict[str, float]:
    """Measure a tone between the band and 4 kHz, converted to a rate and from this rate.

    Returns:
        Gain and image of the tone after conversion to `rate`; gain and alias after conversion to
        8000 Hz.
    """
    make_stream = RESAMPLERS[name]
    up = metrics.response(make_stream, hz, WIRE_RATE, rate)
    return {
        "up_db": up.gain_db,
        "image_dbc": up.images[WIRE_RATE - hz],
        "down_db": metrics.response(make_stream, hz, rate, WIRE_RATE).gain_db,
        "alias_dbc": metrics.aliases(make_stream, hz, rate, WIRE_RATE)[WIRE_RATE - hz],
    }


def frequency_response(name: str, step: int) -> list[tuple[float, float]]:
    """Return pairs of frequency in Hz and level in dB at 16 kHz, of tones and their images."""
    points = []
    for hz in range(step, WIRE_RATE // 2, step):
        measured = metrics.response(RESAMPLERS[name], hz, WIRE_RATE, RATES[0])
        points.append((hz, measured.gain_db))
        points += measured.images.items()
    return [(float(hz), round(level, 3)) for hz, level in sorted(points)]


def speech() -> Samples:
    """Return a sentence at 8000 Hz."""
    with wave.open(str(SPEECH)) as wav:
        assert (wav.getframerate(), wav.getnchannels(), wav.getsampwidth()) == (WIRE_RATE, 1, 2)
        return signals.pcm_samples(wav.readframes(wav.getnframes()))


def round_trip(rate: int) -> dict[str, Any]:
    """Convert mu-law to the pipeline's rate and back; count the codes that are unchanged."""
    row: dict[str, Any] = {"rate": rate}
    delay_samples = round(2 * signals.delay_ms(WIRE_RATE, rate) * WIRE_RATE / 1000)
    sources = {"speech": speech()}
    for dbfs in (-1, -20, -40):
        sources[f"{dbfs} dBFS"] = metrics.sine(997, WIRE_RATE, 32767 * 10 ** (dbfs / 20))
    for name, samples in sources.items():
        codes = signals.ulaw_codes(samples)
        inbound, outbound = InboundAudio("PCMU", 1, rate), OutboundAudio("PCMU", rate)
        ours = outbound.process(inbound.process(codes.tobytes())[0])[delay_samples:]
        decoded = signals.ulaw_samples(codes).astype(np.int16)
        at_rate = soxr.resample(decoded, WIRE_RATE, rate, "VHQ")
        vhq = signals.ulaw_codes(soxr.resample(at_rate, rate, WIRE_RATE, "VHQ").astype(float))
        row[name] = {
            "once_db": _sinad_of_codes(codes, samples),
            "ours_db": _sinad_of_codes(ours, samples),
            "soxr_db": _sinad_of_codes(vhq, samples),
            "ours_same": _unchanged_percent(codes, ours),
            "soxr_same": _unchanged_percent(codes, vhq),
        }
    return row


def _sinad_of_codes(codes: bytes | signals.Codes, expected: Samples) -> float:
    """Return signal over error in dB, without the first and the last 50 ms."""
    actual = signals.ulaw_samples(codes)
    length = min(len(actual), len(expected))
    middle = slice(WIRE_RATE // 20, length - WIRE_RATE // 20)
    signal = expected[:length][middle]
    return decibels(float(np.std(signal) / np.std(actual[:length][middle] - signal)))


def _unchanged_percent(before: signals.Codes, after: bytes | signals.Codes) -> float:
    levels = signals.ulaw_levels(before)[: len(after)]
    return float(100 * np.mean(levels == signals.ulaw_levels(after)[: len(levels)]))


def nonzero_percent_of_silence(name: str, in_rate: int, out_rate: int) -> float:
    """Return the percentage of output samples that are not zero for an input of zeros."""
    out = metrics.resample_in_packets(RESAMPLERS[name], np.zeros(in_rate), in_rate, out_rate)
    return float(100 * np.mean(out != 0))


def saturation() -> list[dict[str, Any]]:
    """Compare our two-stage 48 kHz path with the same filters in double precision.

    Our path also clips the samples between the two filters; the reference clips only its output.
    """
    rng = np.random.default_rng(1)
    loud_speech = speech()
    loud_speech *= 32767 / np.abs(loud_speech).max()
    rows = []
    for in_rate, out_rate in ((WIRE_RATE, 48000), (48000, WIRE_RATE)):
        if in_rate == WIRE_RATE:
            at_rate = loud_speech
        else:
            at_rate = soxr.resample(loud_speech, WIRE_RATE, in_rate, "VHQ")
        time = np.arange(in_rate) / in_rate
        sources = {
            "sines of 300 to 3400 Hz, full scale": _sweep(in_rate),
            "speech, peak at full scale": at_rate,
            "the same 12 dB louder, clipped": np.clip(4 * at_rate, -32768, 32767),
            "1 kHz square wave, full scale": 32767 * np.sign(np.sin(2 * np.pi * 1000 * time + 0.1)),
            "white noise of full-scale steps": rng.choice([-32768.0, 32767.0], in_rate),
        }
        for name, samples in sources.items():
            clipped = np.rint(np.clip(samples, -32768, 32767))
            clipped = clipped[: len(clipped) // 6 * 6]
            unclipped = signals.resampled(clipped, in_rate, out_rate)
            expected = np.clip(unclipped, -32768, 32767)
            stream = RESAMPLERS["ours"](in_rate, out_rate)
            error = np.abs(signals.pcm_samples(stream(signals.pcm_bytes(clipped))) - expected)
            rows.append(
                {
                    "pair": (in_rate, out_rate),
                    "signal": name,
                    "clipped_percent": float(100 * np.mean(np.abs(unclipped) > 32768)),
                    "differ_percent": float(100 * np.mean(error > 2)),
                    "error_db": decibels(float(np.std(error) / np.std(expected))),
                }
            )
    return rows


def _sweep(rate: int) -> Samples:
    """Return a ten-second sweep through the band at full scale."""
    time = np.arange(10 * rate) / rate
    slope = (BAND[1] - BAND[0]) / 10
    return 32767 * np.sin(2 * np.pi * (BAND[0] * time + slope * time**2 / 2))


def violations(measured: dict[str, Any]) -> list[str]:
    """Return the violations of our resampler's specification, as messages."""
    problems = []
    for row in measured["pairs"]:
        if row["resampler"] == "ours":
            sinad_met = row["sinad_1000_db"] >= SINAD_DB[row["pair"] in PAIRS]
            problems += [] if row["meets_limits"] and sinad_met else [f"quality: {row}"]
    problems += [f"noise: {row}" for row in measured["noise"] if row["ours"] > NOISE_DBC]
    problems += [f"above 4.6 kHz: {row}" for row in measured["above"] if row["difference"] > 0]
    silent = [row["resampler"] for row in measured["silence"] if row["percent"] == 0]
    if silent.count("ours") != len(PAIRS):
        problems.append("silence: the output of our resampler is not silent")
    return problems


def measure(step: int) -> dict[str, Any]:
    """Measure everything, with tones `step` Hz apart."""
    tones = band_tones(step)
    measured: dict[str, Any] = {
        "tones": len(tones),
        "pairs": [measure_pair(name, *pair, tones) for pair in PAIRS for name in RESAMPLERS]
        + [
            measure_pair(name, *pair, tones)
            for pair in OTHER_PAIRS
            for name in ("ours", "soxr VHQ")
        ],
        "noise": [added_noise(*pair) for pair in PAIRS],
        "above": [power_above_lowest_image(rate, tones) for rate in RATES],
        "curves": {name: frequency_response(name, max(step // 4, 25)) for name in PLOTTED},
        "roll_off": [
            {"hz": hz, **{name: roll_off(name, hz, RATES[0]) for name in ("ours", "soxr VHQ")}}
            for hz in range(3400, WIRE_RATE // 2, 100)
        ],
        "round_trip": [round_trip(rate) for rate in RATES],
        "silence": [
            {
                "resampler": name,
                "pair": pair,
                "percent": nonzero_percent_of_silence(name, *pair),
            }
            for pair in PAIRS
            for name in RESAMPLERS
        ],
        "saturation": saturation(),
    }
    measured["problems"] = violations(measured)
    return measured


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--step", type=int, default=100, help="distance of the tones in Hz")
    json.dump(measure(parser.parse_args().step), sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
