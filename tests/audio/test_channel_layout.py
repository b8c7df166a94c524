"""Tests of splitting, merging and mixing interleaved stereo against numpy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pipecat_genesys.audio import AudioError, merge_stereo, mix_stereo, split_stereo

WIDTHS = [1, 2, 3, 4]


def frames(count: int, width: int) -> bytes:
    return np.random.default_rng(count).bytes(2 * count * width)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("count", [0, 1, 7, 16, 17, 160, 50_000])
def test_split_and_merge_agree_with_numpy(width, count):
    stereo = frames(count, width)
    grid = np.frombuffer(stereo, np.uint8).reshape(count, 2, width)
    left, right = split_stereo(stereo, width)
    assert left == grid[:, 0].tobytes()
    assert right == grid[:, 1].tobytes()
    assert merge_stereo(left, right, width) == stereo


@given(st.binary(max_size=400), st.sampled_from(WIDTHS))
def test_splitting_merged_channels_returns_the_channels(data, width):
    left = data[: len(data) // width * width]
    right = left[::-1]
    assert split_stereo(merge_stereo(left, right, width), width) == (left, right)


@pytest.mark.parametrize("kind", [bytearray, memoryview])
def test_any_bytes_like_object_is_accepted(kind):
    assert split_stereo(kind(b"LRlr"), 1) == (b"Ll", b"Rr")
    assert merge_stereo(kind(b"Ll"), kind(b"Rr"), sample_width=1) == b"LRlr"


@pytest.mark.parametrize(("length", "width", "frame"), [(3, 1, 2), (6, 2, 4), (2, 2, 4)])
def test_split_rejects_a_partial_frame(length, width, frame):
    with pytest.raises(AudioError, match=f"^{length} bytes .* multiple of {frame} bytes$"):
        split_stereo(bytes(length), width)


def test_merge_rejects_a_partial_sample():
    with pytest.raises(AudioError, match=r"^3 bytes .* multiple of 2 bytes$"):
        merge_stereo(bytes(3), bytes(3), 2)


def test_merge_rejects_channels_of_different_lengths():
    with pytest.raises(AudioError, match="left channel has 4 bytes, the right channel has 2"):
        merge_stereo(bytes(4), bytes(2), 2)


@pytest.mark.parametrize("width", [0, -1, 5, 2**40])
def test_sample_widths_outside_1_to_4_are_rejected(width):
    with pytest.raises(AudioError, match=f"sample_width must be 1, 2, 3 or 4 bytes, got {width}"):
        split_stereo(b"", width)
    with pytest.raises(AudioError, match="sample_width"):
        merge_stereo(b"", b"", width)


@pytest.mark.parametrize("width", [True, 2.0, "2", None])
def test_a_sample_width_that_is_not_an_int_is_a_type_error(width):
    with pytest.raises(TypeError, match="sample_width must be an int"):
        split_stereo(b"", width)


@given(st.binary(max_size=400).map(lambda data: data[: len(data) // 4 * 4]))
def test_mixing_averages_the_channels(stereo: bytes) -> None:
    left, right = np.frombuffer(stereo, "<i2").reshape(-1, 2).T.astype(np.int32)
    assert mix_stereo(stereo) == ((left + right) // 2).astype("<i2").tobytes()


@pytest.mark.parametrize("length", [1, 2, 3, 6])
def test_mixing_rejects_a_partial_frame(length: int) -> None:
    with pytest.raises(AudioError, match=str(length)):
        mix_stereo(bytes(length))
