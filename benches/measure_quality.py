"""What the 16-bit output is worth, ours beside everyone else's.

Prints JSON. Nothing here depends on how fast the machine is. Fails if ours breaks its contract.
"""

from __future__ import annotations

import argparse
import json
import sys
import wave
from pathlib import Path
from typing import Any

import numpy as np
import quality
import signals
import soxr
from pipecat_genesys.audio import InboundAudio, OutboundAudio
from quality import BAND, COMPETITORS, MINUS_1_DBFS, decibels
from signals import WIRE_RATE, Samples

RATES = (16000, 24000, 48000)
PAIRS = [(WIRE_RATE, rate) for rate in RATES] + [(rate, WIRE_RATE) for rate in RATES]
OTHER_RATES = (11025, 12000, 22050, 32000, 44100)
OTHER_PAIRS = [(WIRE_RATE, r) for r in OTHER_RATES] + [(r, WIRE_RATE) for r in OTHER_RATES]
# Whose frequency response is drawn.
CURVES = ("ours", "soxr VHQ", "soxr QQ")
# The contract's.
RIPPLE_DB = 0.01
SPURIOUS_DBC = -95.0
SINAD_DB = {True: 95.0, False: 93.0}
NOISE_DBC = -95.0
# Less than this cannot be told from the rounding it is measured beside.
NOISE_FLOOR_DBC = -115.0
# Above the band's images, which the filter is not made to remove.
EDGE_HZ = 4600
SPEECH = Path(__file__).parents[1] / "examples" / "audio" / "caller-question.wav"
_ROUNDING = 1 / 12
_NOISE_TONES = (317, 997, 2203, 3389)


def band(step: int) -> list[float]:
    """Tones of the band, no harmonics of each other, its edges among them."""
    return [float(BAND[0]), *np.arange(BAND[0] + 17, BAND[1], step, dtype=float), float(BAND[1])]


def pair(who: str, in_rate: int, out_rate: int, tones: list[float]) -> dict[str, Any]:
    """The figures everyone has."""
    make = COMPETITORS[who]
    gains = [quality.response(make, hz, in_rate, out_rate).gain_db for hz in tones]
    worst, at = max(quality.spurious(make, hz, in_rate, out_rate) for hz in tones)
    ripple = max(map(abs, gains))
    mean, most = quality.delay(make, in_rate, out_rate)
    return {
        "who": who,
        "pair": (in_rate, out_rate),
        "ripple_db": ripple,
        "spurious_dbc": worst,
        "spurious_hz": at,
        "sinad_1000_db": quality.sinad(make, 1000, in_rate, out_rate),
        "sinad_997_db": quality.sinad(make, 997, in_rate, out_rate),
        "delay_mean_ms": mean,
        "delay_max_ms": most,
        "good_enough": ripple <= RIPPLE_DB and worst <= SPURIOUS_DBC,
    }


def noise(in_rate: int, out_rate: int) -> dict[str, Any]:
    """Noise that the filter adds, without that of rounding what comes out, in dBc."""
    ours, theirs = [], []
    for hz in _NOISE_TONES:
        pcm = quality.sine(hz, in_rate)
        exact = signals.resampled(pcm, in_rate, out_rate)
        error = quality.streamed(COMPETITORS["ours"], pcm, in_rate, out_rate) - exact
        if out_rate > in_rate:
            # The first phase is the input itself and would flatter.
            error = error[np.arange(len(error)) % (out_rate // in_rate) != 0]
        ours.append(_added(error[len(error) // 10 :]))
        made = soxr.resample(pcm.astype(np.int16), in_rate, out_rate, "VHQ")
        error = made - soxr.resample(pcm, in_rate, out_rate, "VHQ")
        theirs.append(_added(error[len(error) // 10 : -len(error) // 10]))
    return {"pair": (in_rate, out_rate), "ours": max(ours), "soxr VHQ": max(theirs)}


def _added(error: Samples) -> float:
    added = max(np.mean(error**2) - _ROUNDING, 0)
    return max(decibels(np.sqrt(2 * added) / MINUS_1_DBFS), NOISE_FLOOR_DBC)


def above(out_rate: int, tones: list[float]) -> dict[str, Any]:
    """All that is above 4.6 kHz, the worst of the tones; and of them that where ours is worse."""
    rows = {
        who: [quality.above(COMPETITORS[who], hz, WIRE_RATE, out_rate, EDGE_HZ) for hz in tones]
        for who in ("ours", "soxr VHQ")
    }
    more = max(ours - soxr for ours, soxr in zip(*rows.values(), strict=True))
    return {"rate": out_rate, **{who: max(row) for who, row in rows.items()}, "difference": more}


def roll_off(who: str, hz: int, rate: int) -> dict[str, float]:
    """A tone between the band and half the lower rate: its gain and its image, both ways."""
    make = COMPETITORS[who]
    up = quality.response(make, hz, WIRE_RATE, rate)
    return {
        "up_db": up.gain_db,
        "image_dbc": up.images[WIRE_RATE - hz],
        "down_db": quality.response(make, hz, rate, WIRE_RATE).gain_db,
        "alias_dbc": quality.aliases(make, hz, rate, WIRE_RATE)[WIRE_RATE - hz],
    }


def curve(who: str, step: int) -> list[tuple[float, float]]:
    """What tones up to 4 kHz leave at 16 kHz: frequency and level, images included, in dB."""
    points = []
    for hz in range(step, WIRE_RATE // 2, step):
        came = quality.response(COMPETITORS[who], hz, WIRE_RATE, RATES[0])
        points.append((hz, came.gain_db))
        points += came.images.items()
    return [(float(hz), round(level, 3)) for hz, level in sorted(points)]


def white(who: str, rate: int) -> float:
    """Power above 4 kHz, relative to all, of white noise up to 4 kHz, in dB."""
    pcm = np.rint(np.random.default_rng(1).normal(0, 4000, WIRE_RATE))
    out = quality.settled(quality.streamed(COMPETITORS[who], pcm, WIRE_RATE, rate), rate)
    power = np.abs(np.fft.rfft(out * np.blackman(len(out)))) ** 2
    beyond = power[np.fft.rfftfreq(len(out), 1 / rate) > WIRE_RATE / 2].sum()
    return decibels(float(np.sqrt(beyond / power.sum())))


def speech() -> Samples:
    """A sentence at 8000 Hz."""
    with wave.open(str(SPEECH)) as wav:
        assert (wav.getframerate(), wav.getnchannels(), wav.getsampwidth()) == (WIRE_RATE, 1, 2)
        return signals.pcm_samples(wav.readframes(wav.getnframes()))


def round_trip(rate: int) -> dict[str, Any]:
    """Mu-law to the pipeline's rate and back: how many codes stay what they were."""
    row: dict[str, Any] = {"rate": rate}
    late = round(2 * signals.delay_ms(WIRE_RATE, rate) * WIRE_RATE / 1000)
    sources = {"speech": speech()}
    for dbfs in (-1, -20, -40):
        sources[f"{dbfs} dBFS"] = quality.sine(997, WIRE_RATE, 32767 * 10 ** (dbfs / 20))
    for name, pcm in sources.items():
        codes = signals.ulaw_codes(pcm)
        inbound, outbound = InboundAudio("PCMU", 1, rate), OutboundAudio("PCMU", rate)
        ours = outbound.process(inbound.process(codes.tobytes())[0])[late:]
        decoded = signals.ulaw_samples(codes).astype(np.int16)
        there = soxr.resample(decoded, WIRE_RATE, rate, "VHQ")
        soxrs = signals.ulaw_codes(soxr.resample(there, rate, WIRE_RATE, "VHQ").astype(float))
        row[name] = {
            "once_db": _sinad_of_codes(codes, pcm),
            "ours_db": _sinad_of_codes(ours, pcm),
            "soxr_db": _sinad_of_codes(soxrs, pcm),
            "ours_same": _same(codes, ours),
            "soxr_same": _same(codes, soxrs),
        }
    return row


def _sinad_of_codes(codes: bytes | signals.Codes, pcm: Samples) -> float:
    """Signal over error, in dB, without the first and last 50 ms."""
    got = signals.ulaw_samples(codes)
    length = min(len(got), len(pcm))
    middle = slice(WIRE_RATE // 20, length - WIRE_RATE // 20)
    wanted = pcm[:length][middle]
    return decibels(float(np.std(wanted) / np.std(got[:length][middle] - wanted)))


def _same(codes: signals.Codes, after: bytes | signals.Codes) -> float:
    """Percent of the codes that came back as they were."""
    steps = signals.ulaw_steps(codes)[: len(after)]
    return float(100 * np.mean(steps == signals.ulaw_steps(after)[: len(steps)]))


def silence(who: str, in_rate: int, out_rate: int) -> float:
    """Percent of the samples that are not zero when all that go in are."""
    out = quality.streamed(COMPETITORS[who], np.zeros(in_rate), in_rate, out_rate)
    return float(100 * np.mean(out != 0))


def saturation() -> list[dict[str, Any]]:
    """What clipping between the two filters of the 48 kHz path changes in what is clipped anyway.

    Against the same two filters in double precision that are clipped at the end alone.
    """
    rng = np.random.default_rng(1)
    loud = speech()
    loud *= 32767 / np.abs(loud).max()
    rows = []
    for in_rate, out_rate in ((WIRE_RATE, 48000), (48000, WIRE_RATE)):
        at_rate = loud if in_rate == WIRE_RATE else soxr.resample(loud, WIRE_RATE, 48000, "VHQ")
        time = np.arange(in_rate) / in_rate
        sources = {
            "sines of 300 to 3400 Hz, full scale": _sweep(in_rate),
            "speech, peak at full scale": at_rate,
            "the same 12 dB louder, clipped": np.clip(4 * at_rate, -32768, 32767),
            "1 kHz square wave, full scale": 32767 * np.sign(np.sin(2 * np.pi * 1000 * time + 0.1)),
            "white noise of full-scale steps": rng.choice([-32768.0, 32767.0], in_rate),
        }
        for name, pcm in sources.items():
            pcm = np.rint(np.clip(pcm, -32768, 32767))
            pcm = pcm[: len(pcm) // 6 * 6]
            exact = signals.resampled(pcm, in_rate, out_rate)
            got = signals.pcm_samples(
                COMPETITORS["ours"](in_rate, out_rate)(signals.pcm_bytes(pcm))
            )
            exactly = np.clip(exact, -32768, 32767)
            off = np.abs(got - exactly)
            rows.append(
                {
                    "pair": (in_rate, out_rate),
                    "signal": name,
                    "clipped_percent": float(100 * np.mean(np.abs(exact) > 32768)),
                    "differ_percent": float(100 * np.mean(off > 2)),
                    "error_db": decibels(float(np.std(off) / np.std(exactly))),
                }
            )
    return rows


def _sweep(rate: int) -> Samples:
    """The band in ten seconds."""
    time = np.arange(10 * rate) / rate
    slope = (BAND[1] - BAND[0]) / 10
    return 32767 * np.sin(2 * np.pi * (BAND[0] * time + slope * time**2 / 2))


def wrong(measured: dict[str, Any]) -> list[str]:
    """Where ours is not what it promises."""
    problems = []
    for row in measured["pairs"]:
        if row["who"] == "ours":
            sinad = SINAD_DB[row["pair"] in PAIRS]
            good = row["good_enough"] and row["sinad_1000_db"] >= sinad
            problems += [] if good else [f"quality: {row}"]
    problems += [f"noise: {row}" for row in measured["noise"] if row["ours"] > NOISE_DBC]
    problems += [f"above 4.6 kHz: {row}" for row in measured["above"] if row["difference"] > 0]
    quiet = [row["who"] for row in measured["silence"] if row["percent"] == 0]
    if quiet.count("ours") != len(PAIRS):
        problems.append("silence: ours is not silent")
    return problems


def measure(step: int) -> dict[str, Any]:
    """Everything, with a tone every so many Hz."""
    tones = band(step)
    measured: dict[str, Any] = {
        "tones": len(tones),
        "pairs": [pair(who, *rates, tones) for rates in PAIRS for who in COMPETITORS]
        + [pair(who, *rates, tones) for rates in OTHER_PAIRS for who in ("ours", "soxr VHQ")],
        "noise": [noise(*rates) for rates in PAIRS],
        "above": [above(rate, tones) for rate in RATES],
        "curves": {who: curve(who, max(step // 4, 25)) for who in CURVES},
        "roll_off": [
            {"hz": hz, **{who: roll_off(who, hz, RATES[0]) for who in ("ours", "soxr VHQ")}}
            for hz in range(3400, WIRE_RATE // 2, 100)
        ],
        "white": {who: white(who, RATES[0]) for who in COMPETITORS},
        "round_trip": [round_trip(rate) for rate in RATES],
        "silence": [
            {"who": who, "pair": rates, "percent": silence(who, *rates)}
            for rates in PAIRS
            for who in COMPETITORS
        ],
        "saturation": saturation(),
    }
    measured["problems"] = wrong(measured)
    return measured


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--step", type=int, default=100, help="Hz between tones (default 100)")
    json.dump(measure(parser.parse_args().step), sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
