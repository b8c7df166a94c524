"""Tests of `InboundAudio` and `OutboundAudio`: output, flush, properties, invalid arguments."""

from enum import StrEnum

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pipecat_genesys.audio import (
    AudioError,
    InboundAudio,
    OutboundAudio,
    Resampler,
    merge_stereo,
    split_stereo,
    ulaw_decode,
    ulaw_encode,
)

RATES = [8000, 11025, 16000, 22050, 24000, 44100, 48000]


class Format(StrEnum):
    PCMU = "PCMU"
    L16 = "L16"


WIDTH = {Format.PCMU: 1, Format.L16: 2}


def noise(count: int, seed: int = 0) -> bytes:
    return np.random.default_rng(seed).bytes(count)


def swapped(pcm: bytes) -> bytes:
    return np.frombuffer(pcm, "<i2").byteswap().tobytes()


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("format", Format)
def test_inbound_equals_splitting_decoding_and_resampling(format, channels, rate):
    wire = noise(4000)
    parts = split_stereo(wire, WIDTH[format]) if channels == 2 else (wire,)
    pcm = [ulaw_decode(part) if format == "PCMU" else part for part in parts]
    expected = tuple(Resampler(8000, rate).process(part) for part in pcm)
    stream = InboundAudio(format, channels, rate)
    assert stream.process(wire) == expected
    stream.reset()
    assert stream.process(wire) == expected


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("format", Format)
def test_outbound_equals_resampling_and_encoding(format, rate):
    pcm = noise(6000)
    mono = Resampler(rate, 8000).process(pcm)
    expected = ulaw_encode(mono) if format == "PCMU" else mono
    stream = OutboundAudio(format, rate)
    assert stream.process(pcm) == expected
    stream.reset()
    assert stream.process(pcm) == expected


@pytest.mark.parametrize("rate", RATES)
def test_l16_can_be_big_endian(rate):
    pcm = noise(4000)
    little = InboundAudio("L16", 2, rate).process(pcm)
    assert InboundAudio("L16", 2, rate, byteorder="big").process(swapped(pcm)) == little
    wire = OutboundAudio("L16", rate).process(pcm)
    assert swapped(OutboundAudio("L16", rate, byteorder="big").process(pcm)) == wire


def test_byte_order_is_ignored_for_mu_law():
    wire = noise(1600)
    assert InboundAudio("PCMU", 1, 16000, byteorder="big").process(wire) == InboundAudio(
        "PCMU", 1, 16000
    ).process(wire)


@given(st.sampled_from(RATES), st.lists(st.integers(0, 400), min_size=1, max_size=8))
def test_output_does_not_depend_on_the_division_of_the_input(rate, cuts):
    frames = sum(cuts)
    wire, pcm = noise(2 * frames), noise(2 * frames, seed=1)
    inbound, outbound = InboundAudio("PCMU", 2, rate), OutboundAudio("PCMU", rate)
    left, right, out, read = b"", b"", b"", 0
    for count in cuts:
        piece = slice(2 * read, 2 * (read + count))
        read += count
        first, second = inbound.process(wire[piece])
        left, right = left + first, right + second
        out += outbound.process(pcm[piece])
        assert len(left) == len(right) == 2 * (read * rate // 8000)
        assert len(out) == read * 8000 // rate
    assert InboundAudio("PCMU", 2, rate).process(wire) == (left, right)
    assert OutboundAudio("PCMU", rate).process(pcm) == out


@pytest.mark.parametrize("rate", RATES)
def test_flush_returns_what_silence_would_and_starts_a_new_stream(rate):
    wire, pcm = noise(2000), noise(2 * (rate // 8))
    inbound, outbound = InboundAudio("PCMU", 2, rate), OutboundAudio("PCMU", rate)
    first, out = inbound.process(wire), outbound.process(pcm)
    tails, tail = inbound.flush(), outbound.flush()
    assert [len(part) for part in tails] == [2 * round(inbound.delay_seconds * rate)] * 2
    assert len(tail) == round(outbound.delay_seconds * 8000)
    assert (inbound.process(wire), outbound.process(pcm)) == (first, out)
    more = inbound.process(b"\xff" * 100)
    assert tuple(part[: len(tails[0])] for part in more) == tails
    assert outbound.process(bytes(100 * (rate // 8000 + 1)))[: len(tail)] == tail


@pytest.mark.parametrize("rate", RATES)
def test_channels_are_independent(rate):
    voice = noise(1600)
    silence = b"\xff" * 1600
    loud, quiet = InboundAudio("PCMU", 2, rate).process(merge_stereo(voice, silence, 1))
    assert (loud,) == InboundAudio("PCMU", 1, rate).process(voice)
    assert quiet == bytes(len(quiet))


@pytest.mark.parametrize("rate", RATES)
def test_silence_is_converted_to_silence_in_both_directions(rate):
    out = OutboundAudio("PCMU", rate)
    wire = out.process(bytes(2 * rate)) + out.flush()
    assert wire == b"\xff" * len(wire)
    (pcm,) = InboundAudio("PCMU", 1, rate).process(b"\xff" * 8000)
    assert pcm == bytes(2 * rate)


def test_properties_and_repr_return_the_arguments():
    inbound = InboundAudio(Format.PCMU, 2, 24000)
    assert (inbound.format, inbound.channels, inbound.out_rate) == ("PCMU", 2, 24000)
    assert inbound.delay_seconds == 0.003
    outbound = OutboundAudio(format=Format.L16, in_rate=44100)
    assert (outbound.format, outbound.in_rate) == ("L16", 44100)
    assert outbound.delay_seconds == 0.003
    assert (
        InboundAudio("L16", 1, 8000).delay_seconds == OutboundAudio("L16", 8000).delay_seconds == 0
    )
    assert repr(inbound) == "InboundAudio(format='PCMU', channels=2, out_rate=24000)"
    assert repr(outbound) == "OutboundAudio(format='L16', in_rate=44100)"


@pytest.mark.parametrize("kind", [bytearray, memoryview])
def test_any_bytes_like_object_is_accepted(kind):
    data = noise(1600)
    assert InboundAudio("PCMU", 2, 16000).process(kind(data)) == InboundAudio(
        "PCMU", 2, 16000
    ).process(data)
    assert OutboundAudio("PCMU", 16000).process(kind(data)) == OutboundAudio("PCMU", 16000).process(
        data
    )


@pytest.mark.parametrize(
    ("format", "channels", "length", "frame"),
    [("PCMU", 2, 3, 2), ("L16", 1, 3, 2), ("L16", 2, 6, 4), ("L16", 2, 1, 4)],
)
def test_a_rejected_partial_frame_does_not_change_the_stream(format, channels, length, frame):
    wire = noise(800)
    stream, untouched = (InboundAudio(format, channels, 24000) for _ in range(2))
    assert stream.process(wire) == untouched.process(wire)
    with pytest.raises(AudioError, match=f"^{length} bytes .* multiple of {frame} bytes$"):
        stream.process(wire[:length])
    assert stream.process(wire) == untouched.process(wire)


def test_rejected_odd_pcm_does_not_change_the_stream():
    pcm = noise(800)
    stream, untouched = OutboundAudio("PCMU", 48000), OutboundAudio("PCMU", 48000)
    assert stream.process(pcm) == untouched.process(pcm)
    with pytest.raises(AudioError, match=r"^5 bytes .* multiple of 2 bytes$"):
        stream.process(pcm[:5])
    assert stream.process(pcm) == untouched.process(pcm)


@pytest.mark.parametrize("name", ["PCMA", "pcmu", "", "L24"])
def test_the_error_names_an_unknown_format(name):
    for make in (lambda: InboundAudio(name, 1, 16000), lambda: OutboundAudio(name, 16000)):
        with pytest.raises(AudioError, match=f'"{name}"; use "PCMU" or "L16"'):
            make()


@pytest.mark.parametrize("channels", [0, 3, -1, 2**70])
def test_channel_counts_other_than_1_and_2_are_rejected(channels):
    with pytest.raises(AudioError, match=r"^channels "):
        InboundAudio("PCMU", channels, 16000)


def test_unknown_byte_orders_are_rejected():
    with pytest.raises(AudioError, match='"network"; use "little" or "big"'):
        InboundAudio("L16", 1, 16000, byteorder="network")


@pytest.mark.parametrize("rate", [0, -1, 2**32, 8001])
def test_unsupported_rates_are_rejected(rate):
    with pytest.raises(AudioError):
        InboundAudio("PCMU", 1, rate)
    with pytest.raises(AudioError):
        OutboundAudio("PCMU", rate)


def test_arguments_of_a_wrong_type_are_type_errors():
    for make in (
        lambda: InboundAudio("PCMU", True, 16000),
        lambda: InboundAudio("PCMU", 1, 16000.0),
        lambda: InboundAudio(5, 1, 16000),
        lambda: OutboundAudio("PCMU", None),
        lambda: InboundAudio("PCMU", 1, 16000).process("text"),
    ):
        with pytest.raises(TypeError):
            make()
