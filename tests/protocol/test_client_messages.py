"""Tests of the parsing and the validation of client messages."""

import json
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pipecat_genesys.protocol import RemoteProtocolError, Rule, parse_duration
from pipecat_genesys.protocol.client_messages import (
    MAX_TEXT_LENGTH,
    PARAMETERS,
    TYPES,
    CloseParameters,
    DtmfParameters,
    Envelope,
    ErrorParameters,
    GapParameters,
    OpenParameters,
    PingParameters,
    UpdateParameters,
    decode,
    parse_strict,
    validate,
)

from .client import EXTERNAL, OMIT, SESSION, offer, unhurried, without
from .client import PARAMETERS as FAULTLESS

SECRET = "s3cr3t-4711"


def envelope(**overrides: Any) -> dict[str, Any]:
    return without(
        {
            "version": "2",
            "id": SESSION,
            "type": "ping",
            "seq": 1,
            "serverseq": 0,
            "position": "PT0S",
            "parameters": {},
            **overrides,
        }
    )


def named(fault: RemoteProtocolError) -> str:
    """Return the names of the fields in the text of a fault, sorted."""
    names = str(fault).partition(": ")[2].split(", ")
    return ", ".join(sorted(name.strip("'\"`") for name in names))


def refusal(text: str) -> RemoteProtocolError:
    """Return the error that `decode` raises for a text."""
    with pytest.raises(RemoteProtocolError) as caught:
        decode(text)
    return caught.value


class TestDecode:
    def test_reads_a_json_object(self) -> None:
        assert decode(' {"a": [1, "ü", null]}\n') == {"a": [1, "ü", None]}

    @pytest.mark.parametrize(
        "text",
        [
            "",
            " ",
            "{",
            '{"a": 1',
            '{"a": 1}}',
            '{"a": 1} {"b": 2}',
            "{'a': 1}",
            '{"a": 1,}',
            "{a: 1}",
            '{"a": "\n"}',
            '{"a": "\\x41"}',
            '{"a": 01}',
            '{"a": +1}',
            '{"a": .5}',
            "\ufeff{}",
            "\x00",
            "\ud800",
            '{"a": NaN}',
            '{"a": Infinity}',
            '{"a": -Infinity}',
            "NaN",
            "undefined",
        ],
    )
    def test_refuses_text_that_is_not_json(self, text: str) -> None:
        assert refusal(text).rule is Rule.JSON

    @pytest.mark.parametrize("text", ["null", "true", "5", "-0.5", '"open"', "[]", '[{"a": 1}]'])
    def test_refuses_json_that_is_not_an_object(self, text: str) -> None:
        assert refusal(text).rule is Rule.NOT_AN_OBJECT

    def test_accepts_text_of_65535_characters(self) -> None:
        text = '{"a": "' + "x" * (MAX_TEXT_LENGTH - 9) + '"}'
        assert len(text) == 65_535
        assert len(decode(text)["a"]) == MAX_TEXT_LENGTH - 9

    def test_refuses_text_of_65536_characters(self) -> None:
        text = '{"a": "' + "x" * (MAX_TEXT_LENGTH - 8) + '"}'
        assert len(text) == 65_536
        assert refusal(text).rule is Rule.TEXT_SIZE

    @pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
    def test_refuses_nesting_that_is_too_deep(self, opening: str, closing: str) -> None:
        depth = 10_000
        text = '{"a":' + opening * depth + "1" + closing * depth + "}"
        assert refusal(text).rule is (Rule.TEXT_SIZE if len(text) > 65_535 else Rule.JSON)
        assert refusal(opening * depth).rule in (Rule.JSON, Rule.TEXT_SIZE)

    def test_accepts_moderate_nesting(self) -> None:
        assert decode('{"a":' + "[" * 100 + "]" * 100 + "}")["a"]

    def test_refuses_an_integer_too_long_to_convert(self) -> None:
        digits = sys.get_int_max_str_digits()
        assert refusal('{"seq": ' + "9" * (digits + 1) + "}").rule is Rule.JSON

    def test_keeps_large_integers_exact(self) -> None:
        assert decode('{"seq": 123456789012345678901234567890}') == {
            "seq": 123456789012345678901234567890
        }

    def test_keeps_lone_surrogates(self) -> None:
        assert decode('{"id": "\\ud800"}') == {"id": "\ud800"}

    @pytest.mark.parametrize(
        "text", [f'{{"ani": {SECRET}}}', f'{{"ani": "{SECRET}"', f'["{SECRET}"]', f'"{SECRET}"']
    )
    def test_faults_do_not_contain_values_of_the_message(self, text: str) -> None:
        error = refusal(text)
        assert SECRET not in str(error)
        assert error.__cause__ is None

    @given(st.text())
    @unhurried
    def test_arbitrary_text_is_decoded_or_refused(self, text: str) -> None:
        try:
            expected = json.loads(text)
        except ValueError:
            expected = None
        if isinstance(expected, dict):
            assert decode(text) == expected
        else:
            error = refusal(text)
            assert error.rule in (Rule.JSON, Rule.NOT_AN_OBJECT)
            assert len(str(error)) < 300


class TestEnvelope:
    def test_valid_envelope_has_no_fault(self) -> None:
        typed, faults = validate(Envelope, envelope(), Rule.ENVELOPE)
        assert isinstance(typed, Envelope)
        assert (typed.seq, typed.serverseq, typed.position) == (1, 0, "PT0S")
        assert faults == []

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("version", "1"),
            ("version", 2),
            ("version", None),
            ("id", None),
            ("id", 5),
            ("id", ["x"]),
            ("type", 5),
            ("seq", -1),
            ("seq", "1"),
            ("seq", 1.5),
            ("seq", True),
            ("seq", None),
            ("serverseq", -1),
            ("serverseq", "0"),
            ("serverseq", False),
            ("position", "0"),
            ("position", 0),
            ("position", "PT-1S"),
            ("position", None),
            ("parameters", None),
            ("parameters", []),
            ("parameters", "x"),
            *((name, OMIT) for name in envelope()),
        ],
    )
    def test_fault_names_the_missing_or_invalid_field(self, field: str, value: Any) -> None:
        typed, faults = validate(Envelope, envelope(**{field: value}), Rule.ENVELOPE)
        assert typed is None
        assert [fault.rule for fault in faults] == [Rule.ENVELOPE]
        assert named(faults[0]) == field

    def test_fault_names_all_invalid_fields(self) -> None:
        _, faults = validate(Envelope, envelope(seq="x", position=1, id=OMIT), Rule.ENVELOPE)
        assert named(faults[0]) == "id, position, seq"

    def test_unknown_fields_are_accepted_and_named(self) -> None:
        typed, faults = validate(
            Envelope, envelope(zeta=SECRET, alpha={"x": SECRET}), Rule.ENVELOPE
        )
        assert typed is not None
        assert [fault.rule for fault in faults] == [Rule.UNKNOWN_FIELD]
        assert named(faults[0]) == "alpha, zeta"

    @pytest.mark.parametrize("data", [None, 5, "x", [], [envelope()], True])
    def test_message_that_is_not_an_object_is_a_fault(self, data: object) -> None:
        typed, faults = validate(Envelope, data, Rule.ENVELOPE)
        assert typed is None
        assert [fault.rule for fault in faults] == [Rule.ENVELOPE]


class TestParameters:
    @pytest.mark.parametrize("type", sorted(FAULTLESS))
    def test_valid_parameters_have_no_fault(self, type: str) -> None:
        model = {t.value: m for t, m in PARAMETERS.items()}[type]
        typed, faults = validate(model, FAULTLESS[type], Rule.PARAMETERS)
        assert typed is not None
        assert faults == []

    def test_each_client_message_has_a_model(self) -> None:
        assert {t.value for t in PARAMETERS} == set(FAULTLESS)

    @pytest.mark.parametrize("type", sorted(FAULTLESS))
    def test_unknown_fields_are_accepted_and_named(self, type: str) -> None:
        model = {t.value: m for t, m in PARAMETERS.items()}[type]
        typed, faults = validate(model, {**FAULTLESS[type], "new": SECRET}, Rule.PARAMETERS)
        assert typed is not None
        assert [(f.rule, named(f)) for f in faults] == [(Rule.UNKNOWN_FIELD, "new")]

    @pytest.mark.parametrize(
        ("overrides", "wrong"),
        [
            ({"organizationId": OMIT}, "organizationId"),
            ({"organizationId": 5}, "organizationId"),
            ({"conversationId": OMIT}, "conversationId"),
            ({"participant": OMIT}, "participant"),
            ({"participant": "Erika"}, "participant"),
            ({"media": OMIT}, "media"),
            ({"media": EXTERNAL}, "media"),
            ({"media": [5]}, "media.0"),
            ({"language": 5}, "language"),
            ({"supportedLanguages": "true"}, "supportedLanguages"),
            ({"supportedLanguages": 1}, "supportedLanguages"),
            ({"customConfig": "x"}, "customConfig"),
            ({"inputVariables": []}, "inputVariables"),
            ({"inputVariables": {"k": 5}}, "inputVariables"),
            ({"continuedSessions": [{"id": "x", "serverseq": 1}]}, "continuedSessions.0.clientseq"),
        ],
    )
    def test_fault_names_the_invalid_parameter_of_open(
        self, overrides: dict[str, Any], wrong: str
    ) -> None:
        typed, faults = validate(OpenParameters, offer(**overrides), Rule.PARAMETERS)
        assert typed is None
        assert [named(fault) for fault in faults] == [wrong]

    @pytest.mark.parametrize("field", ["id", "ani", "aniName", "dnis"])
    def test_open_needs_all_fields_of_the_participant(self, field: str) -> None:
        participant = dict(offer()["participant"])
        del participant[field]
        _, faults = validate(OpenParameters, offer(participant=participant), Rule.PARAMETERS)
        assert [named(fault) for fault in faults] == [f"participant.{field}"]

    @pytest.mark.parametrize("language", ["en", "en-us", "pt-BR", "es-419", "yue-Hant-HK", ""])
    def test_open_accepts_any_language(self, language: str) -> None:
        typed, faults = validate(OpenParameters, offer(language=language), Rule.PARAMETERS)
        assert isinstance(typed, OpenParameters)
        assert typed.language == language
        assert faults == []

    @pytest.mark.parametrize("number", ["tel:+491604697810", "+1-555-555-1234", "sip:x@y", ""])
    def test_open_accepts_any_phone_number(self, number: str) -> None:
        participant = {**offer()["participant"], "ani": number, "dnis": number}
        typed, faults = validate(OpenParameters, offer(participant=participant), Rule.PARAMETERS)
        assert isinstance(typed, OpenParameters)
        assert (typed.participant.ani, typed.participant.dnis) == (number, number)
        assert faults == []

    def test_open_is_parsed_into_types(self) -> None:
        parameters = offer(
            customConfig={"a": [1]},
            inputVariables={" key ": "value"},
            supportedLanguages=True,
            continuedSessions=[{"id": SESSION, "serverseq": 7, "clientseq": 9}],
        )
        typed, faults = validate(OpenParameters, parameters, Rule.PARAMETERS)
        assert isinstance(typed, OpenParameters)
        assert faults == []
        assert typed.participant.ani_name == "Erika Mustermann"
        assert typed.media == [EXTERNAL]
        assert typed.input_variables == {" key ": "value"}
        assert typed.custom_config == {"a": [1]}
        assert typed.supported_languages is True
        assert typed.continued_sessions is not None
        assert typed.continued_sessions[0].clientseq == 9

    @pytest.mark.parametrize(
        ("model", "data", "wrong"),
        [
            (CloseParameters, {}, "reason"),
            (CloseParameters, {"reason": 5}, "reason"),
            (PingParameters, {"rtt": 0.02}, "rtt"),
            (PingParameters, {"rtt": "20ms"}, "rtt"),
            (UpdateParameters, {"language": ["de"]}, "language"),
            (GapParameters, {"start": "PT0S"}, "discarded"),
            (GapParameters, {"discarded": "PT0S"}, "start"),
            (GapParameters, {"start": 0, "discarded": "-PT1S"}, "discarded, start"),
            (DtmfParameters, {}, "digit"),
            (DtmfParameters, {"digit": 5}, "digit"),
            (DtmfParameters, {"digit": ""}, "digit"),
            (ErrorParameters, {"message": "x"}, "code"),
            (ErrorParameters, {"code": "429", "message": "x"}, "code"),
            (ErrorParameters, {"code": True, "message": "x"}, "code"),
            (ErrorParameters, {"code": 429, "message": "x", "retryAfter": 3}, "retryAfter"),
        ],
    )
    def test_fault_names_the_invalid_parameter(
        self, model: Any, data: dict[str, Any], wrong: str
    ) -> None:
        typed, faults = validate(model, data, Rule.PARAMETERS)
        assert typed is None
        assert [(f.rule, named(f)) for f in faults] == [(Rule.PARAMETERS, wrong)]

    @pytest.mark.parametrize("code", [400, 405, 408, 409, 413, 415, 429, 500, 503, 9999])
    def test_error_accepts_any_code(self, code: int) -> None:
        typed, faults = validate(ErrorParameters, {"code": code, "message": "x"}, Rule.PARAMETERS)
        assert isinstance(typed, ErrorParameters)
        assert typed.code == code
        assert faults == []


class TestParseStrict:
    @pytest.mark.parametrize("type", sorted(FAULTLESS))
    def test_reads_valid_messages(self, type: str) -> None:
        message = envelope(type=type, parameters=FAULTLESS[type])
        assert parse_strict(json.dumps(message)) == message

    @pytest.mark.parametrize("type", sorted(FAULTLESS))
    def test_leaves_messages_with_unknown_fields_to_decode(self, type: str) -> None:
        parameters = FAULTLESS[type]
        more = envelope(type=type, parameters={**parameters, "new": 1})
        assert parse_strict(json.dumps(more)) is None
        assert parse_strict(json.dumps(envelope(type=type, parameters=parameters, new=1))) is None

    @given(st.sampled_from(sorted(FAULTLESS)), st.data())
    @unhurried
    def test_agrees_with_the_models(self, type: str, data: st.DataObject) -> None:
        odd = st.sampled_from(
            [OMIT, None, True, -1, 0, 2**70, 1.5, "", "2", "PT1S", "PT١S", [], {}]
        )
        changes = st.dictionaries(st.sampled_from([*envelope(), "new"]), odd, max_size=1)
        fields = [*sorted(FAULTLESS[type]), "rtt", "language", "retryAfter", "inputVariables"]
        inner = st.dictionaries(st.sampled_from(fields), odd, max_size=2)
        parameters = without({**FAULTLESS[type], **data.draw(inner)})
        message = envelope(**{"type": type, "parameters": parameters, **data.draw(changes)})
        _, faults = validate(Envelope, message, Rule.ENVELOPE)
        given = message.get("parameters")
        faults += validate(PARAMETERS[TYPES[type]], given, Rule.PARAMETERS)[1]
        known = message.get("type") == type
        read = parse_strict(json.dumps(message))
        assert read == (message if known and not faults else None)

    @given(st.sampled_from(sorted(FAULTLESS)), st.data())
    @unhurried
    def test_agrees_with_decode(self, type: str, data: st.DataObject) -> None:
        # A JSON key of the message may occur several times, at any position.
        pairs = [*envelope(type=type, parameters=FAULTLESS[type]).items()]
        again = st.tuples(st.sampled_from([*envelope()]), st.sampled_from([0, 1, "2", "ping", {}]))
        pairs = data.draw(st.permutations([*pairs, *data.draw(st.lists(again, max_size=2))]))
        text = "{" + ", ".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in pairs) + "}"
        assert parse_strict(text) in (None, decode(text))

    @pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity"])
    def test_leaves_numbers_that_are_not_json_to_decode(self, value: str) -> None:
        parameters = {**FAULTLESS["open"], "customConfig": {"x": [0]}}
        text = json.dumps(envelope(type="open", parameters=parameters))
        assert parse_strict(text) == json.loads(text)
        assert parse_strict(text.replace("[0]", f"[{value}]")) is None
        named = text.replace("[0]", f'"{value}"')
        assert parse_strict(named) in (None, decode(named))

    def test_leaves_text_that_is_too_long_to_decode(self) -> None:
        parameters = {**FAULTLESS["error"], "message": "x" * MAX_TEXT_LENGTH}
        assert parse_strict(json.dumps(envelope(type="error", parameters=parameters))) is None


@given(
    st.text("PT.S0١\n-e_ ", max_size=8)
    | st.decimals(0, 10**13, places=3).map(lambda n: f"PT{n}S")
    | st.from_regex(r"PT\d+\.?\d*S\n?")
)
@unhurried
def test_duration_that_is_accepted_can_be_parsed(text: str) -> None:
    taken = not validate(PingParameters, {"rtt": text}, Rule.PARAMETERS)[1]
    try:
        parse_duration(text)
    except ValueError:
        assert not taken
    else:
        assert taken


class TestTextOfFaults:
    @pytest.mark.parametrize(
        "data",
        [
            offer(participant={"id": 5, "ani": SECRET, "aniName": [SECRET], "dnis": {"x": SECRET}}),
            offer(inputVariables={"k": [SECRET]}),
            offer(inputVariables=SECRET),
            offer(media=SECRET),
            offer(media=[SECRET]),
            offer(language={"a": SECRET}),
            {"participant": SECRET},
            SECRET,
            [SECRET],
        ],
        ids=repr,
    )
    def test_names_fields_and_no_values(self, data: object) -> None:
        _, faults = validate(OpenParameters, data, Rule.PARAMETERS)
        assert faults
        assert not [fault for fault in faults if SECRET in str(fault)]
        assert not [fault for fault in faults if fault.__cause__ or fault.__context__]

    def test_many_invalid_entries_give_one_short_line(self) -> None:
        media = [SECRET] * 6_000
        _, faults = validate(OpenParameters, offer(media=media), Rule.PARAMETERS)
        assert len(faults) == 1
        assert len(str(faults[0])) < 300

    @pytest.mark.parametrize("name", ["two\nlines", "\r", "\x1b[31mred"])
    def test_control_characters_of_field_names_are_escaped(self, name: str) -> None:
        _, faults = validate(PingParameters, {name: 1}, Rule.PARAMETERS)
        assert len(faults) == 1
        assert str(faults[0]).isprintable()

    def test_many_unknown_fields_give_one_short_line(self) -> None:
        data = {f"field{n}": n for n in range(6_000)}
        _, faults = validate(PingParameters, data, Rule.PARAMETERS)
        assert len(faults) == 1
        assert len(str(faults[0])) < 300

    @pytest.mark.parametrize("value", ["\ud800", "a\udfffb", "\x00"])
    @pytest.mark.parametrize(
        "place",
        [
            lambda v: offer(language=v),
            lambda v: offer(**{v: 1}),
            lambda v: offer(inputVariables={v: v}),
            lambda v: offer(customConfig={v: v}),
            lambda v: offer(media=[{v: v}]),
            lambda v: offer(participant={"id": v, "ani": v, "aniName": v, "dnis": v}),
        ],
    )
    def test_surrogates_and_null_characters_do_not_raise(self, place: Any, value: str) -> None:
        typed, faults = validate(OpenParameters, place(value), Rule.PARAMETERS)
        assert typed is not None or faults

    @given(
        st.sampled_from(sorted(PARAMETERS.values(), key=lambda m: m.__name__)),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
            max_leaves=10,
        ),
    )
    @unhurried
    def test_arbitrary_parameters_are_parsed_or_give_a_fault(
        self, model: Any, data: object
    ) -> None:
        typed, faults = validate(model, data, Rule.PARAMETERS)
        assert typed is not None or [fault.rule for fault in faults] == [Rule.PARAMETERS]
