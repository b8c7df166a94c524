"""Tests of the functions that build server messages, and of output variables as strings."""

import enum
import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pipecat_genesys.protocol import AudioHookMessageType as Type
from pipecat_genesys.protocol import server_messages

from .client import EXTERNAL, unhurried

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
).filter(lambda value: "Infinity" not in json.dumps(value))


class Colour(enum.StrEnum):
    RED = "red"


class OldColour(str, enum.Enum):  # noqa: UP042 - what many applications still have
    RED = "red"


class TestStringMap:
    @pytest.mark.parametrize(
        ("value", "text"),
        [
            ("", ""),
            ("plain", "plain"),
            ("true", "true"),
            ('"quoted"', '"quoted"'),
            ("Grüße 漢字 🎧", "Grüße 漢字 🎧"),
            (True, "true"),
            (False, "false"),
            (None, "null"),
            (0, "0"),
            (-3, "-3"),
            (0.95, "0.95"),
            ([], "[]"),
            ({}, "{}"),
            ([1, "a", None], '[1,"a",null]'),
            ((1, 2), "[1,2]"),
            ({"a": {"b": [True]}, "c": 1}, '{"a":{"b":[true]},"c":1}'),
            (["ü"], '["ü"]'),
            (Colour.RED, "red"),
            (OldColour.RED, "red"),
        ],
    )
    def test_values_become_strings(self, value: Any, text: str) -> None:
        written = server_messages.to_string_map({"name": value})
        assert written == {"name": text}
        assert type(written["name"]) is str

    @pytest.mark.parametrize(
        ("name", "text"), [("a", "a"), (1, "1"), (True, "true"), (None, "null"), (1.5, "1.5")]
    )
    def test_names_become_strings(self, name: Any, text: str) -> None:
        assert server_messages.to_string_map({name: "x"}) == {text: "x"}

    @given(st.dictionaries(st.text(), JSON, max_size=5))
    @unhurried
    def test_strings_stay_and_other_values_become_json(self, variables: dict[str, Any]) -> None:
        written = server_messages.to_string_map(variables)
        assert written.keys() == variables.keys()
        for name, value in variables.items():
            assert isinstance(written[name], str)
            if isinstance(value, str):
                assert written[name] == value
            else:
                assert json.loads(written[name]) == value

    @pytest.mark.parametrize(
        "value",
        [
            ...,
            b"bytes",
            {1, 2},
            math.nan,
            math.inf,
            -math.inf,
            [math.nan],
            {"deep": [...]},
            {(1, 2): "tuple as key"},
            1j,
        ],
        ids=repr,
    )
    def test_value_that_is_not_json_raises_with_the_name(self, value: Any) -> None:
        with pytest.raises(ValueError, match="'my_variable'"):
            server_messages.to_string_map({"fine": 1, "my_variable": value})

    def test_value_that_contains_itself_raises(self) -> None:
        circle: list[Any] = []
        circle.append(circle)
        with pytest.raises(ValueError, match="'circle'"):
            server_messages.to_string_map({"circle": circle})

    def test_value_nested_too_deeply_raises(self) -> None:
        deep: list[Any] = []
        for _ in range(100_000):
            deep = [deep]
        with pytest.raises(ValueError, match="'deep'"):
            server_messages.to_string_map({"deep": deep})

    def test_argument_is_not_changed(self) -> None:
        variables = {"a": "1"}
        assert server_messages.to_string_map(variables) is not variables


class TestDrafts:
    def test_opened_holds_a_copy_of_the_medium(self) -> None:
        draft = server_messages.opened([EXTERNAL])
        assert draft.type is Type.OPENED
        assert draft.parameters == {"startPaused": False, "media": [EXTERNAL]}

    def test_opened_may_have_no_medium(self) -> None:
        assert server_messages.opened([]).parameters["media"] == []

    def test_opened_may_start_paused(self) -> None:
        assert (
            server_messages.opened([EXTERNAL], start_paused=True).parameters["startPaused"] is True
        )

    @pytest.mark.parametrize("languages", [[], ["en-US", "de-DE"]])
    def test_opened_has_supported_languages_only_if_given(self, languages: list[str]) -> None:
        draft = server_messages.opened([EXTERNAL], supported_languages=languages)
        assert draft.parameters["supportedLanguages"] == languages

    def test_opened_has_documented_fields_only(self) -> None:
        draft = server_messages.opened([EXTERNAL], supported_languages=["en-US"])
        assert draft.parameters.keys() <= {
            "media",
            "discardTo",
            "startPaused",
            "supportedLanguages",
        }

    @pytest.mark.parametrize(
        ("draft", "type"),
        [
            (server_messages.pong(7), "pong"),
            (server_messages.closed(), "closed"),
            (server_messages.closed({}), "closed"),
            (server_messages.updated(), "updated"),
            (server_messages.resume(), "resume"),
        ],
    )
    def test_empty_parameters_are_written(self, draft: server_messages.Draft, type: str) -> None:
        assert draft.type == type
        assert draft.parameters == {}

    def test_pong_has_the_seq_of_its_ping(self) -> None:
        assert server_messages.pong(7).answers == 7

    def test_closed_may_carry_output_variables(self) -> None:
        assert server_messages.closed({"a": "b"}).parameters == {"outputVariables": {"a": "b"}}

    def test_disconnect_has_reason_info_and_output_variables(self) -> None:
        assert server_messages.disconnect().parameters == {"reason": "completed"}
        draft = server_messages.disconnect("error", info="no media", output_variables={"a": "b"})
        assert draft.type is Type.DISCONNECT
        assert draft.parameters == {
            "reason": "error",
            "info": "no media",
            "outputVariables": {"a": "b"},
        }

    def test_barge_in_is_an_event_with_one_entity_and_empty_data(self) -> None:
        draft = server_messages.barge_in()
        assert draft.type is Type.EVENT
        assert draft.parameters == {"entities": [{"type": "barge_in", "data": {}}]}

    @given(st.text(min_size=1), JSON)
    @unhurried
    def test_event_holds_one_entity(self, type: str, data: Any) -> None:
        assert server_messages.event(type, data).parameters == {
            "entities": [{"type": type, "data": data}]
        }
