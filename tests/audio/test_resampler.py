"""Tests of `Resampler`: lengths, division of the input, flush, reset, delay, extreme values."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pipecat_genesys.audio import AudioError, Resampler

from .audio_reference import (
    MINUS_1_DBFS,
    OTHERS,
    TELEPHONY,
    delay,
    delay_outputs,
    phasor,
    resample,
    samples,
    steady,
    tone,
)

NAMED_RATES = [8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000]
RATES = st.one_of(st.sampled_from(NAMED_RATES), st.integers(1, 400), st.integers(1, 200_000))
PAIRS = TELEPHONY + OTHERS


def noise(count: int) -> bytes:
    return np.random.default_rng(count).integers(-32768, 32768, count, "<i2").tobytes()


def supported(in_rate: int, out_rate: int) -> Resampler:
    ratio = Fraction(out_rate, in_rate)
    assume(48 * max(ratio.numerator, ratio.denominator) <= 2**18 and 1 / 64 <= ratio <= 64)
    return Resampler(in_rate, out_rate)


def largest_error(in_rate: int, out_rate: int) -> float:
    """Return the largest allowed error in 16-bit steps for full-scale noise and square waves.

    Rounding the output adds an error of half a step. The remaining error comes from the taps, which
    are rounded to 18 bits or more. If there are two filters, the output of the first filter is
    rounded too.
    """
    return 2.0 if {in_rate, out_rate} == {8000, 48000} else 1.0


@settings(deadline=None)
@given(RATES, RATES, st.lists(st.integers(0, 500), min_size=1, max_size=12))
def test_output_does_not_depend_on_the_division_of_the_input(in_rate, out_rate, cuts):
    resampler = supported(in_rate, out_rate)
    pcm = noise(sum(cuts))
    pieces, read = b"", 0
    for count in cuts:
        pieces += resampler.process(pcm[2 * read : 2 * (read + count)])
        read += count
        assert len(pieces) == 2 * (read * out_rate // in_rate)
    assert pieces == Resampler(in_rate, out_rate).process(pcm)


@pytest.mark.parametrize(("in_rate", "out_rate"), PAIRS)
def test_one_sample_per_call_gives_the_same_output_as_one_call(in_rate, out_rate):
    pcm = noise(1500)
    resampler = Resampler(in_rate, out_rate)
    single = b"".join(resampler.process(pcm[i : i + 2]) for i in range(0, len(pcm), 2))
    assert single == Resampler(in_rate, out_rate).process(pcm)


@settings(deadline=None)
@given(RATES, RATES, st.integers(0, 800))
def test_flush_returns_what_silence_would_and_starts_a_new_stream(in_rate, out_rate, count):
    flushed, fed = supported(in_rate, out_rate), Resampler(in_rate, out_rate)
    pcm = noise(count)
    first = flushed.process(pcm)
    assert fed.process(pcm) == first
    tail = flushed.flush()
    assert len(tail) == 2 * delay_outputs(in_rate, out_rate)
    silence = bytes(2 * 50 * (in_rate // out_rate + 1))
    assert fed.process(silence)[: len(tail)] == tail
    assert flushed.process(pcm) == first


@pytest.mark.parametrize(("out_rate", "count"), [(17000, 26), (19000, 28), (21000, 32)])
def test_a_delay_of_half_an_output_is_rounded_to_even(out_rate, count):
    """The exact delays are 25.5, 28.5 and 31.5 samples."""
    assert len(Resampler(16000, out_rate).flush()) == 2 * count


@pytest.mark.parametrize(("in_rate", "out_rate"), PAIRS)
def test_reset_starts_a_new_stream(in_rate, out_rate):
    resampler = Resampler(in_rate, out_rate)
    first = resampler.process(noise(777))
    resampler.reset()
    assert resampler.process(noise(777)) == first


@pytest.mark.parametrize(("in_rate", "out_rate"), PAIRS)
def test_process_and_flush_together_return_the_whole_signal(in_rate, out_rate):
    pulse = np.hanning(in_rate // 50) * 20000
    # The number of input samples is a multiple of `period`, so the output has exactly the duration
    # of the input.
    period = Fraction(out_rate, in_rate).denominator
    signal = np.zeros((len(pulse) // period + 2) * period)
    signal[-len(pulse) :] = pulse
    resampler = Resampler(in_rate, out_rate)
    pcm = np.rint(signal).astype("<i2").tobytes()
    out = samples(resampler.process(pcm) + resampler.flush())
    assert out.sum() / out_rate == pytest.approx(pulse.sum() / in_rate, rel=1e-4)


@pytest.mark.parametrize("factor", [2, 3, 4, 6, 12])
def test_an_integer_upsampler_contains_its_delayed_input_bit_exactly(factor):
    pcm = noise(2000)
    out = np.frombuffer(Resampler(8000, 8000 * factor).process(pcm), "<i2")
    late = delay_outputs(1, factor)
    assert not out[:late:factor].any()
    assert out[late::factor].tobytes() == pcm[: 2 * (2000 - late // factor)]


@pytest.mark.parametrize(("in_rate", "out_rate"), PAIRS)
@pytest.mark.parametrize("frequency", [300.0, 1004.0, 3400.0])
def test_the_measured_delay_equals_delay_seconds_at_all_frequencies(in_rate, out_rate, frequency):
    resampler = Resampler(in_rate, out_rate)
    due = 0.0035 if {in_rate, out_rate} == {8000, 48000} else 0.003
    assert resampler.delay_seconds == due
    out = samples(resampler.process(tone(frequency, in_rate, 0.5)))
    start = out_rate // 50
    lag = -np.angle(phasor(steady(out, out_rate), frequency, out_rate) * 1j)
    lag += 2 * np.pi * frequency * start / out_rate
    cycles = lag / (2 * np.pi)
    cycles += round(frequency * due - cycles)
    assert cycles / frequency == pytest.approx(due, abs=2e-8)


@pytest.mark.parametrize(("in_rate", "out_rate"), PAIRS)
def test_the_response_to_an_impulse_peaks_after_the_delay(in_rate, out_rate):
    ratio = Fraction(out_rate, in_rate)
    at = 5 * ratio.denominator
    pcm = np.zeros(at + in_rate // 20, "<i2")
    pcm[at] = 30000
    out = samples(Resampler(in_rate, out_rate).process(pcm.tobytes()))
    peak = int(np.argmax(np.abs(out)))
    expected = (Fraction(at, in_rate) + delay(in_rate, out_rate)) * out_rate
    assert abs(peak - expected) <= Fraction(1, 2)


@pytest.mark.parametrize(("in_rate", "out_rate"), PAIRS)
def test_full_scale_square_waves_saturate_and_never_wrap(in_rate, out_rate):
    half = in_rate // 1000
    square = np.tile(np.repeat([32767, -32768], half), 200)
    out = samples(Resampler(in_rate, out_rate).process(square.astype("<i2").tobytes()))
    exact = resample(square, in_rate, out_rate)
    assert exact.max() > 33000
    assert exact.min() < -33000
    assert np.abs(out - np.clip(exact, -32768, 32767)).max() <= largest_error(in_rate, out_rate)


@pytest.mark.parametrize(("in_rate", "out_rate"), PAIRS)
def test_noise_follows_the_model(in_rate, out_rate):
    pcm = noise(20_000)
    out = samples(Resampler(in_rate, out_rate).process(pcm))
    exact = np.clip(resample(samples(pcm), in_rate, out_rate), -32768, 32767)
    assert np.abs(out - exact).max() <= largest_error(in_rate, out_rate)


@pytest.mark.parametrize(("in_rate", "out_rate"), PAIRS)
def test_digital_silence_stays_digital_silence(in_rate, out_rate):
    resampler = Resampler(in_rate, out_rate)
    resampler.process(tone(1000, in_rate, 0.1))
    resampler.process(bytes(2 * (in_rate // 50)))
    out = resampler.process(bytes(2 * (in_rate // 10)))
    assert out == bytes(len(out))
    assert not any(resampler.flush())


@pytest.mark.parametrize("level", [1, 1000, 32767, -32768])
@pytest.mark.parametrize(("in_rate", "out_rate"), PAIRS)
def test_a_constant_input_gives_the_same_constant(in_rate, out_rate, level):
    pcm = np.full(in_rate // 5, level, "<i2").tobytes()
    out = steady(samples(Resampler(in_rate, out_rate).process(pcm)), out_rate)
    assert set(out) == {level}


@pytest.mark.parametrize("rate", [1, 8000, 44100, 2**32 - 1])
def test_equal_rates_pass_audio_through_without_delay(rate):
    resampler = Resampler(rate, rate)
    assert resampler.delay_seconds == 0
    assert resampler.process(noise(5000)) == noise(5000)
    assert resampler.flush() == b""


def test_the_delay_is_24_samples_at_the_lower_rate():
    assert Resampler(4000, 8000).delay_seconds == 24 / 4000
    assert Resampler(48000, 16000).delay_seconds == 24 / 16000


@pytest.mark.parametrize("kind", [bytearray, memoryview])
def test_any_bytes_like_object_is_accepted(kind):
    pcm = noise(300)
    expected = Resampler(8000, 24000).process(pcm)
    assert Resampler(8000, 24000).process(kind(pcm)) == expected


def test_output_is_empty_until_an_output_sample_is_due():
    resampler = Resampler(48000, 8000)
    assert resampler.process(b"") == b""
    assert resampler.process(bytes(10)) == b""
    assert resampler.process(bytes(2)) == bytes(2)


def test_rejected_odd_pcm_does_not_change_the_stream():
    resampler = Resampler(8000, 16000)
    whole = Resampler(8000, 16000).process(noise(400))
    first = resampler.process(noise(400)[:400])
    with pytest.raises(AudioError, match=r"^401 bytes .* multiple of 2 bytes$"):
        resampler.process(bytes(401))
    assert first + resampler.process(noise(400)[400:]) == whole


@pytest.mark.parametrize("rate", [0, -1, -8000, 2**32, 2**63, 2**80])
def test_the_error_names_the_rate_that_is_out_of_range(rate):
    with pytest.raises(AudioError, match=r"^in_rate"):
        Resampler(rate, 8000)
    with pytest.raises(AudioError, match=r"^out_rate"):
        Resampler(8000, rate)


@pytest.mark.parametrize("rate", [True, 8000.0, "8000", None])
def test_a_rate_that_is_not_an_int_is_a_type_error(rate):
    with pytest.raises(TypeError, match="in_rate must be an int"):
        Resampler(rate, 8000)


@pytest.mark.parametrize(("in_rate", "out_rate"), [(8000, 8001), (44101, 8000), (5462, 5461)])
def test_the_error_names_the_limit_of_the_filter_bank(in_rate, out_rate):
    with pytest.raises(AudioError, match="the limit is 262144") as error:
        Resampler(in_rate, out_rate)
    text = str(error.value)
    assert f"{in_rate} Hz to {out_rate} Hz" in text
    assert "multiples of 100 Hz" in text


@pytest.mark.parametrize(("in_rate", "out_rate"), [(1, 65), (125, 8001), (2**32 - 1, 8000)])
def test_the_error_names_the_limit_of_the_quotient_of_the_rates(in_rate, out_rate):
    for pair in [(in_rate, out_rate), (out_rate, in_rate)]:
        with pytest.raises(AudioError, match="more than 64 times") as error:
            Resampler(*pair)
        assert "{} Hz to {} Hz".format(*pair) in str(error.value)


def test_ratios_at_the_limits_are_supported():
    assert len(Resampler(1, 64).process(bytes(20))) == 20 * 64
    assert len(Resampler(64, 1).process(bytes(2 * 64 * 3))) == 6
    assert len(Resampler(5461, 5460).process(bytes(2 * 5461))) == 2 * 5460


def test_stream_classes_name_the_public_module():
    assert Resampler.__module__ == "pipecat_genesys.audio"


def test_a_tone_keeps_its_amplitude_at_1_khz():
    out = samples(Resampler(8000, 48000).process(tone(1000, 8000, 0.5)))
    assert abs(phasor(steady(out, 48000), 1000, 48000)) == pytest.approx(MINUS_1_DBFS, rel=1e-4)
