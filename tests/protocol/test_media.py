"""Tests of the choice of a medium from the offer of the client."""

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pipecat_genesys.protocol import (
    AudioHookChannel,
    AudioHookMediaFormat,
    MediaPreference,
    select_media,
)
from pipecat_genesys.protocol.media import preferred_entry

from .client import EXTERNAL, INTERNAL, INVERTED, L16, L16_STEREO, STEREO, medium, unhurried

WRONG_RATE = medium(rate=16000)
PREFERENCES = [MediaPreference(c, f) for c in AudioHookChannel for f in AudioHookMediaFormat]
L16_INTERNAL = medium(("internal",), "L16")
ENTRIES: list[Any] = [EXTERNAL, INTERNAL, STEREO, INVERTED, L16, L16_INTERNAL, L16_STEREO]
USELESS: list[Any] = [WRONG_RATE, medium(format="OPUS"), {}, None, 5, "PCMU", [], [EXTERNAL]]

external = MediaPreference()
internal = MediaPreference(AudioHookChannel.INTERNAL)
both = MediaPreference(AudioHookChannel.BOTH)
external_l16 = MediaPreference(format=AudioHookMediaFormat.L16)
both_l16 = MediaPreference(AudioHookChannel.BOTH, AudioHookMediaFormat.L16)


def chosen(offer: list[Any], preference: MediaPreference) -> Any:
    media = select_media(offer, preference)
    return None if media is None else media.raw


@pytest.mark.parametrize(
    ("preference", "offer", "expected"),
    [
        # The session chooses the matching entry, at any index of the offer.
        (external, [STEREO, EXTERNAL, INTERNAL], EXTERNAL),
        (internal, [STEREO, EXTERNAL, INTERNAL], INTERNAL),
        (both, [EXTERNAL, STEREO], STEREO),
        (both, [EXTERNAL, INVERTED], INVERTED),
        (external_l16, [EXTERNAL, L16], L16),
        (both_l16, [STEREO, L16, L16_STEREO], L16_STEREO),
        # If several entries match, the session chooses the first matching entry.
        (both, [INVERTED, STEREO], INVERTED),
        (both, [STEREO, INVERTED], STEREO),
        # If no entry matches, the session chooses the first supported entry.
        (external, [STEREO, INTERNAL], STEREO),
        (external, [L16, INTERNAL], L16),
        (external_l16, [INTERNAL, EXTERNAL], INTERNAL),
        (both, [L16_STEREO, EXTERNAL], L16_STEREO),
        (external, [WRONG_RATE, None, L16], L16),
        # If no entry is supported, the session chooses no entry.
        (external, [], None),
        (external, USELESS, None),
    ],
)
def test_first_entry_that_matches_the_preference_is_chosen_else_the_first_supported(
    preference: MediaPreference, offer: list[Any], expected: Any
) -> None:
    assert chosen(offer, preference) == expected


def test_default_preference_is_mu_law_of_the_external_channel() -> None:
    assert external == MediaPreference(AudioHookChannel.EXTERNAL, AudioHookMediaFormat.PCMU)


@given(st.lists(st.sampled_from(ENTRIES + USELESS)), st.sampled_from(PREFERENCES))
@unhurried
def test_arbitrary_offer_gives_one_of_its_entries_verbatim_or_none(
    offer: list[Any], preference: MediaPreference
) -> None:
    before = copy.deepcopy(offer)
    found = chosen(offer, preference)
    usable = [entry for entry in offer if entry in ENTRIES]
    assert offer == before
    if usable:
        assert found in usable
    else:
        assert found is None


@given(st.permutations(ENTRIES), st.sampled_from(PREFERENCES))
@unhurried
def test_each_preference_is_met_if_all_media_are_offered(
    offer: list[Any], preference: MediaPreference
) -> None:
    media = select_media(offer, preference)
    assert media is not None
    assert preference.matches(media)
    assert media.format is preference.format
    if preference.channel is AudioHookChannel.BOTH:
        assert sorted(media.channels) == ["external", "internal"]
    else:
        assert media.channels == (preference.channel,)


def test_unknown_keys_of_the_chosen_entry_are_copied() -> None:
    entry = {**EXTERNAL, "future": [1, {"a": None}]}
    assert chosen([entry], external) == entry


@pytest.mark.parametrize("preference", PREFERENCES)
def test_each_preference_matches_its_own_entry(preference: MediaPreference) -> None:
    entry = preferred_entry(preference)
    assert entry.keys() == {"type", "format", "channels", "rate"}
    media = select_media([entry], preference)
    assert media is not None
    assert preference.matches(media)
