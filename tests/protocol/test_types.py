"""Tests of constants, durations and media entries of the protocol."""

import copy
import re
from fractions import Fraction
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pipecat_genesys.protocol import (
    MAX_MESSAGE_BYTES,
    NULL_UUID,
    PROTOCOL_VERSION,
    WIRE_SAMPLE_RATE,
    AudioHookMessageType,
    CloseReason,
    DisconnectReason,
    format_duration,
    parse_duration,
    samples_to_duration,
)
from pipecat_genesys.protocol.types import duration_to_samples, parse_media

from .client import EXTERNAL, INVERTED, L16, L16_STEREO, STEREO, medium, unhurried

# Genesys's reference implementation validates durations with this pattern. The parser of that
# implementation also accepts `PT5.S`, so this pattern accepts `PT5.S` too.
LEGAL = re.compile(r"PT(?:(?:\d*\.)?\d+|\d+\.)S", re.ASCII)


class TestConstants:
    def test_version_is_a_string(self) -> None:
        assert PROTOCOL_VERSION == "2"

    def test_limits_are_those_of_genesys(self) -> None:
        assert (WIRE_SAMPLE_RATE, MAX_MESSAGE_BYTES) == (8000, 64_000)

    def test_null_uuid_is_all_zeros(self) -> None:
        assert NULL_UUID == "00000000-0000-0000-0000-000000000000"

    def test_message_types_are_those_of_the_protocol(self) -> None:
        client = {"open", "close", "ping", "update", "paused", "resumed", "discarded", "dtmf"}
        client |= {"playback_started", "playback_completed", "error"}
        server = {"opened", "closed", "pong", "updated", "pause", "resume", "event"}
        server |= {"reconnect", "disconnect"}
        assert {t.value for t in AudioHookMessageType} == client | server

    def test_reasons_are_those_that_genesys_accepts(self) -> None:
        assert {r.value for r in CloseReason} == {"end", "error", "disconnect", "reconnect"}
        # The published client refuses the reason `rejected`.
        assert {r.value for r in DisconnectReason} == {"completed", "unauthorized", "error"}


class TestFormatDuration:
    @pytest.mark.parametrize(
        ("seconds", "text"),
        [
            (Fraction(0), "PT0S"),
            (Fraction(1), "PT1S"),
            (Fraction(3, 5), "PT0.6S"),
            (Fraction(1, 8000), "PT0.000125S"),
            (Fraction(7999, 8000), "PT0.999875S"),
            (Fraction(3600 * 24), "PT86400S"),
            (Fraction(28693737, 10**9), "PT0.028693737S"),
            (Fraction(1, 10**9), "PT0.000000001S"),
            (Fraction(10**10 - 1, 10**10), "PT1S"),
        ],
    )
    def test_format_is_the_shortest_one(self, seconds: Fraction, text: str) -> None:
        assert format_duration(seconds) == text

    @pytest.mark.parametrize("seconds", [Fraction(-1), Fraction(-1, 10**12)])
    def test_negative_duration_raises(self, seconds: Fraction) -> None:
        with pytest.raises(ValueError, match="negative"):
            format_duration(seconds)

    @given(st.fractions(min_value=0, max_value=10**9))
    @unhurried
    def test_format_is_valid_and_rounds_to_nanoseconds(self, seconds: Fraction) -> None:
        text = format_duration(seconds)
        assert LEGAL.fullmatch(text)
        assert not re.search(r"\.\d*0S|\.S", text)
        assert abs(parse_duration(text) - seconds) <= Fraction(1, 2 * 10**9)


class TestExactness:
    @given(st.integers(0, 10**15))
    @unhurried
    def test_samples_survive_formatting(self, samples: int) -> None:
        text = samples_to_duration(samples)
        assert parse_duration(text) == Fraction(samples, 8000)
        assert duration_to_samples(text) == samples

    @given(st.integers(0, 10**20))
    @unhurried
    def test_nanoseconds_survive_formatting(self, nanos: int) -> None:
        assert parse_duration(format_duration(Fraction(nanos, 10**9))) == Fraction(nanos, 10**9)

    def test_every_sample_of_a_second_survives_formatting(self) -> None:
        written = {samples_to_duration(n) for n in range(8000)}
        assert len(written) == 8000
        assert sorted(map(duration_to_samples, written)) == list(range(8000))

    def test_seconds_become_the_nearest_sample(self) -> None:
        assert duration_to_samples("PT0.000187499S") == 1
        assert duration_to_samples("PT0.000187501S") == 2

    @given(st.integers(0, 10**9) | st.integers(10**11, 10**13), st.integers(-2, 2))
    @example(511, 0)
    @example(2016, 0)
    @unhurried
    def test_half_samples_are_rounded_as_fractions(self, samples: int, offset: int) -> None:
        # Half a sample is 62.5 us; the offset is in tenths of a nanosecond.
        tenths = (2 * samples + 1) * 625_000 + offset
        text = f"PT{tenths // 10**10}.{tenths % 10**10:010d}S"
        assert duration_to_samples(text) == round(Fraction(tenths, 10**10) * 8000)


class TestParseDuration:
    @pytest.mark.parametrize(
        ("text", "seconds"),
        [
            ("PT0S", Fraction(0)),
            ("PT1S", Fraction(1)),
            ("PT01.50S", Fraction(3, 2)),
            ("PT.5S", Fraction(1, 2)),
            ("PT5.S", Fraction(5)),
            ("PT0.000125S", Fraction(1, 8000)),
            ("PT0.028693737S", Fraction(28693737, 10**9)),
            ("PT900.123456789012S", Fraction(900123456789012, 10**12)),
        ],
    )
    def test_valid_duration_is_parsed(self, text: str, seconds: Fraction) -> None:
        assert parse_duration(text) == seconds

    @given(
        st.text("0123456789", min_size=1, max_size=12),
        st.text("0123456789", min_size=1, max_size=18),
    )
    @unhurried
    def test_decimals_are_parsed_exactly(self, whole: str, fraction: str) -> None:
        expected = Fraction(int(whole + fraction), 10 ** len(fraction))
        assert parse_duration(f"PT{whole}.{fraction}S") == expected

    @pytest.mark.parametrize("digits", [19, 30, 100])
    def test_any_number_of_fraction_digits_is_accepted(self, digits: int) -> None:
        text = "PT0." + "3" * digits + "S"
        assert parse_duration(text) == Fraction(int("3" * digits), 10**digits)

    @pytest.mark.parametrize(
        "value",
        [
            "",
            "PT",
            "PTS",
            "PT.S",
            "PT..5S",
            "PT1.2.3S",
            "PT-1S",
            "PT+1S",
            "PT1e3S",
            "PT1E3S",
            "PT1_0S",
            "PT1,5S",
            "PT0x1S",
            "PT1/2S",
            "PTNaNS",
            "PTInfinityS",
            "PT1M",
            "PT1H",
            "PT1M1S",
            "P1D",
            "1",
            "1S",
            "pt1s",
            "PT1s",
            " PT1S",
            "PT1S ",
            "PT 1S",
            "PT1S\n",
            "PT1S\x00",
            "PT1SPT1S",
            "PT\N{ARABIC-INDIC DIGIT ONE}S",
            "PT\N{FULLWIDTH DIGIT ONE}.5S",
            "PT\N{SUPERSCRIPT TWO}S",
            "\ud800",
            None,
            True,
            1,
            1.0,
            b"PT1S",
            [],
            ["PT1S"],
            {},
        ],
    )
    def test_invalid_duration_raises(self, value: Any) -> None:
        with pytest.raises(ValueError, match="not a duration"):
            parse_duration(value)

    @given(st.text("PTS.01-+eE \n٣", max_size=8).map(lambda t: t if "P" in t else f"PT{t}S"))
    @settings(unhurried, max_examples=400)
    def test_accepts_exactly_what_the_reference_implementation_accepts(self, text: str) -> None:
        if LEGAL.fullmatch(text):
            assert parse_duration(text) >= 0
        else:
            with pytest.raises(ValueError, match="not a duration"):
                parse_duration(text)

    @pytest.mark.parametrize("digits", [100, 5_000, 60_000])
    @pytest.mark.parametrize("shape", ["PT{}S", "PT0.{}S", "PT.{}S", "PT{0}.{0}S"])
    def test_huge_numbers_are_parsed_exactly_or_raise(self, shape: str, digits: int) -> None:
        try:
            seconds = parse_duration(shape.format("9" * digits))
        except ValueError as error:
            refusal = str(error)
        else:
            refusal = ""
            assert isinstance(seconds, Fraction)
            assert (seconds >= 10**digits - 1) == (not shape.startswith(("PT0", "PT.")))
        assert len(refusal) < 200


class TestParseMedia:
    @pytest.mark.parametrize(
        ("entry", "channels", "frame_bytes"),
        [
            (EXTERNAL, ("external",), 1),
            (medium(("internal",)), ("internal",), 1),
            (STEREO, ("external", "internal"), 2),
            (INVERTED, ("internal", "external"), 2),
            (L16, ("external",), 2),
            (L16_STEREO, ("external", "internal"), 4),
        ],
    )
    def test_valid_entry_is_parsed(
        self, entry: Any, channels: tuple[str, ...], frame_bytes: int
    ) -> None:
        media = parse_media(entry)
        assert media is not None
        assert media.format == entry["format"]
        assert media.channels == channels
        assert media.frame_bytes == frame_bytes
        assert media.raw == entry

    def test_mappings_and_tuples_are_accepted(self) -> None:
        entry = MappingProxyType({**STEREO, "channels": ("external", "internal")})
        media = parse_media(entry)
        assert media is not None
        assert media.channels == ("external", "internal")

    def test_unknown_keys_are_kept_in_raw(self) -> None:
        entry = {**EXTERNAL, "codecHint": {"a": [1]}}
        media = parse_media(entry)
        assert media is not None
        assert media.raw == entry

    @pytest.mark.parametrize("entry", [EXTERNAL, {**STEREO, "codecHint": {"a": [1]}}])
    def test_raw_is_a_copy(self, entry: dict[str, Any]) -> None:
        offered = copy.deepcopy(entry)
        media, others = parse_media(offered), parse_media(copy.deepcopy(entry))
        assert media is not None
        assert others is not None
        for theirs in (offered, media.raw):
            theirs["channels"].append("a third party")
            theirs.get("codecHint", {}).setdefault("a", []).append(2)
            theirs["rate"] = 16000
        assert media.raw == others.raw == entry

    @pytest.mark.parametrize("field", ["type", "format", "channels", "rate"])
    def test_entry_without_a_field_is_not_supported(self, field: str) -> None:
        assert parse_media({k: v for k, v in EXTERNAL.items() if k != field}) is None

    @pytest.mark.parametrize(
        "changed",
        [
            {"type": "video"},
            {"type": "Audio"},
            {"type": None},
            {"type": ["audio"]},
            {"format": "PCMA"},
            {"format": "pcmu"},
            {"format": None},
            {"format": ["PCMU"]},
            {"format": {}},
            {"rate": 16000},
            {"rate": 0},
            {"rate": -8000},
            {"rate": True},
            {"rate": "8000"},
            {"rate": None},
            {"rate": [8000]},
            {"rate": 10**400},
            {"channels": []},
            {"channels": "external"},
            {"channels": "ex"},
            {"channels": None},
            {"channels": 1},
            {"channels": {"external": 1}},
            {"channels": ["both"]},
            {"channels": ["External"]},
            {"channels": ["external", "external"]},
            {"channels": ["internal", "internal"]},
            {"channels": ["external", "other"]},
            {"channels": ["external", None]},
            {"channels": [["external"]]},
            {"channels": ["external", "internal", "external"]},
        ],
        ids=repr,
    )
    def test_invalid_field_is_not_supported(self, changed: dict[str, Any]) -> None:
        assert parse_media({**EXTERNAL, **changed}) is None

    @pytest.mark.parametrize("entry", [None, True, 1, "audio", [], [EXTERNAL], {}])
    def test_value_that_is_no_object_is_not_supported(self, entry: object) -> None:
        assert parse_media(entry) is None

    @pytest.mark.parametrize(
        ("entry", "listen_only"),
        [(EXTERNAL, False), (L16, False), (medium(("internal",)), True), (STEREO, True)],
    )
    def test_stereo_and_internal_media_only_listen(self, entry: Any, listen_only: bool) -> None:
        media = parse_media(entry)
        assert media is not None
        assert media.is_listen_only is listen_only
