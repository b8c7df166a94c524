"""Tests of G.711 mu-law against `audioop`, with every mu-law code and every 16-bit sample."""

import warnings

import numpy as np
import pytest
from pipecat_genesys.audio import AudioError, ulaw_decode, ulaw_encode

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    import audioop

ALL_CODES = bytes(range(256))
ALL_SAMPLES = np.arange(-32768, 32768, dtype="<i2").tobytes()


def test_every_code_is_decoded_as_by_audioop():
    assert ulaw_decode(ALL_CODES) == audioop.ulaw2lin(ALL_CODES, 2)


def test_every_sample_is_encoded_as_by_audioop():
    assert ulaw_encode(ALL_SAMPLES) == audioop.lin2ulaw(ALL_SAMPLES, 2)


@pytest.mark.parametrize("length", [1, 2, 15, 16, 17, 31, 33, 160])
def test_lengths_around_the_vector_sizes_are_converted_as_by_audioop(length):
    codes = ALL_CODES[:length]
    pcm = ALL_SAMPLES[4000 : 4000 + 2 * length]
    assert ulaw_decode(codes) == audioop.ulaw2lin(codes, 2)
    assert ulaw_encode(pcm) == audioop.lin2ulaw(pcm, 2)


def test_silence_is_0xff():
    assert ulaw_encode(bytes(320)) == b"\xff" * 160
    assert ulaw_decode(b"\xff" * 160) == bytes(320)


def test_empty_input_gives_empty_output():
    assert ulaw_decode(b"") == b""
    assert ulaw_encode(b"") == b""


@pytest.mark.parametrize("kind", [bytearray, memoryview])
def test_any_bytes_like_object_is_accepted(kind):
    assert ulaw_decode(kind(ALL_CODES)) == ulaw_decode(ALL_CODES)
    assert ulaw_encode(kind(ALL_SAMPLES)) == ulaw_encode(ALL_SAMPLES)


def test_a_strided_memoryview_is_read_in_its_own_order():
    assert ulaw_decode(memoryview(ALL_CODES)[::-2]) == ulaw_decode(ALL_CODES[::-2])


def test_pcm_of_odd_length_is_rejected():
    with pytest.raises(AudioError, match=r"^3 bytes .* multiple of 2 bytes$"):
        ulaw_encode(b"abc")


@pytest.mark.parametrize("data", ["text", 5, None, [1, 2]])
def test_an_argument_that_is_not_a_buffer_is_a_type_error(data):
    with pytest.raises(TypeError, match="must be a buffer of bytes, not"):
        ulaw_decode(data)
    with pytest.raises(TypeError, match="must be a buffer of bytes, not"):
        ulaw_encode(data)


def test_large_inputs_which_release_the_gil_are_converted_as_by_audioop():
    codes = ALL_CODES * 4096
    assert ulaw_decode(codes) == audioop.ulaw2lin(codes, 2)
