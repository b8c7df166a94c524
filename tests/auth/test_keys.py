"""Tests of API keys, client secrets and the configuration of `SignatureVerifier`."""

from __future__ import annotations

import base64
import traceback
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pipecat_genesys.auth import (
    AuthenticationError,
    Refusal,
    SignatureVerifier,
    VerifiedRequest,
    signature,
)

from .signing import KEY, NOW, ORGANIZATION, SECRET, RequestToSign

OLD, NEW, OTHER = (base64.b64encode(bytes([n]) * 32).decode() for n in (1, 2, 3))


def verify(
    verifier: SignatureVerifier, call: RequestToSign, **headers: str | None
) -> VerifiedRequest:
    return verifier.verify("GET", call.target, call.headers(**headers), now=NOW)


def refused(
    verifier: SignatureVerifier, call: RequestToSign, **headers: str | None
) -> AuthenticationError:
    with pytest.raises(AuthenticationError) as caught:
        verify(verifier, call, **headers)
    return caught.value


def call_with_key(key: str, secret: str) -> RequestToSign:
    return RequestToSign(key=key, secret=secret).having(keyid=key)


# Client secrets


@given(st.binary(min_size=1, max_size=100), st.booleans())
def test_a_secret_in_base64_is_accepted_with_and_without_padding(
    secret: bytes, padded: bool
) -> None:
    text = base64.b64encode(secret).decode()
    verifier = SignatureVerifier({KEY: text if padded else text.rstrip("=")})
    assert verify(verifier, RequestToSign(secret=text)).signed


def test_a_signature_made_with_the_undecoded_secret_is_refused() -> None:
    as_text = base64.b64encode(SECRET.encode()).decode()
    verifier = SignatureVerifier({KEY: SECRET})
    assert refused(verifier, RequestToSign(secret=as_text)).reason is Refusal.SIGNATURE


def test_each_of_several_keys_is_accepted_only_with_its_own_secret() -> None:
    verifier = SignatureVerifier({KEY: SECRET, "second-key": OTHER})
    assert verify(verifier, RequestToSign()).api_key == KEY
    assert verify(verifier, call_with_key("second-key", OTHER)).api_key == "second-key"
    assert refused(verifier, call_with_key("second-key", SECRET)).reason is Refusal.SIGNATURE
    assert refused(verifier, RequestToSign(secret=OTHER)).reason is Refusal.SIGNATURE


@pytest.mark.parametrize("order", [(OLD, NEW), (NEW, OLD), [NEW, OTHER, OLD]])
def test_each_of_several_secrets_of_a_key_is_accepted(order: Any) -> None:
    verifier = SignatureVerifier({KEY: order})
    assert verify(verifier, RequestToSign(secret=OLD)).signed
    assert verify(verifier, RequestToSign(secret=NEW)).signed
    assert refused(verifier, RequestToSign(secret=SECRET)).reason is Refusal.SIGNATURE


def test_replaced_keys_apply_from_the_next_request_on() -> None:
    verifier = SignatureVerifier({KEY: OLD})
    verifier.replace_credentials({KEY: [OLD, NEW]})
    assert verify(verifier, RequestToSign(secret=OLD)).signed
    assert verify(verifier, RequestToSign(secret=NEW)).signed
    verifier.replace_credentials({KEY: NEW})
    assert refused(verifier, RequestToSign(secret=OLD)).reason is Refusal.SIGNATURE
    assert verify(verifier, RequestToSign(secret=NEW)).signed
    verifier.replace_credentials({"second-key": OTHER})
    assert refused(verifier, RequestToSign(secret=NEW)).reason is Refusal.SIGNATURE


def test_replacing_keys_by_invalid_ones_keeps_the_old_keys() -> None:
    verifier = SignatureVerifier({KEY: SECRET})
    with pytest.raises(ValueError, match="base64"):
        verifier.replace_credentials({KEY: "not base64!"})
    assert verify(verifier, RequestToSign()).signed


# Unknown keys


def test_an_unknown_key_gives_the_same_error_as_a_wrong_secret() -> None:
    verifier = SignatureVerifier({KEY: SECRET})
    wrong = refused(verifier, RequestToSign(secret=OTHER))
    unknown = refused(verifier, call_with_key("an-unknown-key", OTHER))
    assert (unknown.reason, str(unknown)) == (wrong.reason, str(wrong))
    assert unknown.reason is Refusal.SIGNATURE
    # A logged traceback must not distinguish an unknown key from a wrong secret either.
    shown = [traceback.format_exception_only(error) for error in (wrong, unknown)]
    assert shown[0] == shown[1]
    assert wrong.__cause__ is unknown.__cause__ is None
    assert wrong.__suppress_context__
    assert unknown.__suppress_context__


def test_the_random_secret_of_an_unknown_key_is_not_accepted() -> None:
    verifier = SignatureVerifier({KEY: SECRET})
    (random_secret,) = verifier._keyring.secrets("an-unknown-key").values
    call = call_with_key("an-unknown-key", base64.b64encode(random_secret).decode())
    assert refused(verifier, call).reason is Refusal.SIGNATURE


def macs_made(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Return a list to which the secret of every MAC is added when the MAC is computed."""
    made: list[bytes] = []
    real = signature._hmac_sha256

    def counting(*, shared_secret: bytes) -> Any:
        made.append(shared_secret)
        return real(shared_secret=shared_secret)

    monkeypatch.setattr(signature, "_hmac_sha256", counting)
    return made


def test_one_mac_is_computed_for_an_unknown_key_as_for_a_known_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = macs_made(monkeypatch)
    verifier = SignatureVerifier({KEY: SECRET})
    refused(verifier, RequestToSign(secret=OTHER))
    assert len(made) == 1
    refused(verifier, call_with_key("an-unknown-key", OTHER))
    assert [len(secret) for secret in made] == [32, 32]


def test_all_secrets_of_a_key_are_tried_even_if_the_first_matches(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = macs_made(monkeypatch)
    verifier = SignatureVerifier({KEY: [OLD, NEW]})
    for secret in (OLD, NEW):
        made.clear()
        assert verify(verifier, RequestToSign(secret=secret)).signed
        assert len(made) == 2


# Tests of requests without a signature


def test_a_request_without_a_signature_is_refused() -> None:
    verifier = SignatureVerifier({KEY: SECRET})
    error = refused(verifier, RequestToSign(), signature=None, signature_input=None)
    assert error.reason is Refusal.UNSIGNED


def test_an_api_key_in_unsigned_keys_is_accepted_without_a_signature() -> None:
    verifier = SignatureVerifier({KEY: SECRET}, unsigned_keys=["bare-key"])
    request = verify(verifier, RequestToSign(key="bare-key"), signature=None, signature_input=None)
    assert (request.api_key, request.signed, request.created, request.nonce) == (
        "bare-key",
        False,
        None,
        None,
    )
    for key in (KEY, "unknown", "bare-key2", "bare-ke"):
        error = refused(verifier, RequestToSign(key=key), signature=None, signature_input=None)
        assert error.reason is Refusal.UNSIGNED


def test_credentials_can_be_empty_if_there_are_unsigned_keys() -> None:
    verifier = SignatureVerifier({}, unsigned_keys={"bare-key"})
    assert not verify(
        verifier, RequestToSign(key="bare-key"), signature=None, signature_input=None
    ).signed
    assert refused(verifier, RequestToSign()).reason is Refusal.SIGNATURE


@pytest.mark.parametrize("left_out", ["signature", "signature_input", None])
def test_a_signature_with_a_key_in_unsigned_keys_is_refused(left_out: str | None) -> None:
    """The signature is made with an empty secret."""
    verifier = SignatureVerifier({KEY: SECRET}, unsigned_keys=["bare-key"])
    call = call_with_key("bare-key", "")
    headers = {} if left_out is None else {left_out: None}
    assert refused(verifier, call, **headers).reason is Refusal.SIGNATURE


def test_all_other_checks_apply_to_unsigned_requests() -> None:
    verifier = SignatureVerifier({}, unsigned_keys=["bare-key"], organizations=[ORGANIZATION])
    bare = {"signature": None, "signature_input": None}
    assert not verify(verifier, RequestToSign(key="bare-key"), **bare).signed
    other = RequestToSign(key="bare-key", organization=RequestToSign().session)
    assert refused(verifier, other, **bare).reason is Refusal.ORGANIZATION
    error = refused(verifier, RequestToSign(key="bare-key"), audiohook_session_id=None, **bare)
    assert error.reason is Refusal.REQUEST


# Organisations


@pytest.mark.parametrize("spelling", [ORGANIZATION, ORGANIZATION.upper()])
def test_only_the_configured_organisations_are_accepted(spelling: str) -> None:
    verifier = SignatureVerifier({KEY: SECRET}, organizations=[RequestToSign().session, spelling])
    assert verify(verifier, RequestToSign()).organization_id == ORGANIZATION
    assert verify(verifier, RequestToSign(organization=ORGANIZATION.upper())).signed
    assert (
        refused(verifier, RequestToSign(organization=RequestToSign().correlation)).reason
        is Refusal.ORGANIZATION
    )


def test_an_empty_list_of_organisations_accepts_none() -> None:
    verifier = SignatureVerifier({KEY: SECRET}, organizations=[])
    assert refused(verifier, RequestToSign()).reason is Refusal.ORGANIZATION


# Configuration


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"credentials": {}}, "credentials is empty"),
        ({"credentials": {"": SECRET}}, "API key"),
        ({"credentials": {"two words": SECRET}}, "API key"),
        ({"credentials": {"k" * 257: SECRET}}, "257 characters"),
        ({"credentials": {KEY: None}}, "no client secret.*unsigned_keys"),
        ({"credentials": {KEY: []}}, "no client secret.*unsigned_keys"),
        ({"credentials": {KEY: ""}}, "base64"),
        ({"credentials": {KEY: "===="}}, "base64"),
        ({"credentials": {KEY: [SECRET, ""]}}, "base64"),
        ({"credentials": {KEY: [SECRET, None]}}, "base64"),
        ({"credentials": {KEY: b"QUJD"}}, "base64"),
        ({"credentials": {KEY: "MySuperSecretKeyTellNo-1!2@3#4$5"}}, "base64"),
        ({"credentials": {KEY: SECRET + "\n"}}, "without white space"),
        ({"credentials": {KEY: "QUJDR"}}, "base64"),
        ({"credentials": {KEY: "QUJD-_=="}}, "base64"),
        ({"credentials": {KEY: SECRET}, "unsigned_keys": [KEY]}, "remove the key from credentials"),
        ({"credentials": {KEY: SECRET}, "unsigned_keys": "key"}, "is a string"),
        ({"credentials": {KEY: SECRET}, "unsigned_keys": [""]}, "API key"),
        ({"credentials": {KEY: SECRET}, "authority": "https://bot.example.com"}, "authority"),
        ({"credentials": {KEY: SECRET}, "authority": "bot.example.com/ws"}, "authority"),
        ({"credentials": {KEY: SECRET}, "authority": ""}, "authority"),
        ({"credentials": {KEY: SECRET}, "organizations": ["acme"]}, "'acme'"),
        ({"credentials": {KEY: SECRET}, "organizations": ORGANIZATION}, "not a UUID"),
        ({"credentials": {KEY: SECRET}, "max_age_seconds": 0}, "max_age_seconds is 0"),
        ({"credentials": {KEY: SECRET}, "max_age_seconds": float("inf")}, "max_age_seconds"),
        ({"credentials": {KEY: SECRET}, "clock_skew_seconds": -1}, "clock_skew_seconds is -1"),
        ({"credentials": {KEY: SECRET}, "clock_skew_seconds": float("nan")}, "clock_skew_seconds"),
        ({"credentials": {KEY: SECRET}, "refusal_seconds": 0}, "refusal_seconds is 0"),
    ],
)
def test_an_invalid_configuration_raises_value_error(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        SignatureVerifier(**arguments)


@pytest.mark.parametrize("secret", ["MySuperSecretKeyTellNo-1!2@3#4$5", SECRET + "\n", "QUJDR"])
def test_a_configuration_error_contains_neither_secret_nor_key(secret: str) -> None:
    with pytest.raises(ValueError, match=r"'SGVs\.\.\.'") as caught:
        SignatureVerifier({KEY: secret})
    shown = "".join(traceback.format_exception(caught.value))
    assert secret.strip() not in shown
    assert KEY[4:] not in shown


def test_a_configuration_error_contains_nothing_of_a_short_key() -> None:
    with pytest.raises(ValueError, match=r"API key '\.\.\.' ") as caught:
        SignatureVerifier({"hunter2": ""})
    assert "hunt" not in str(caught.value)


def test_errors_and_reprs_contain_nothing_private() -> None:
    verifier = SignatureVerifier({KEY: SECRET}, unsigned_keys=["bare-key"])
    call = RequestToSign(target="/ws?customer=4711")
    request = verify(verifier, call)
    errors = [
        refused(verifier, RequestToSign(secret=OTHER, target="/ws?customer=4711")),
        refused(verifier, call, signature=None, signature_input=None),
        refused(verifier, call.having(created=1)),
        refused(verifier, call.having(nonce="4711")),
        refused(verifier, call, x_api_key=KEY + '"'),
        refused(verifier, call, audiohook_session_id="4711"),
    ]
    private = [KEY, SECRET, call.signature, "4711", call.parameters["nonce"], "MySuperSecret"]
    for text in (repr(request), repr(verifier), *map(repr, errors), *map(str, errors)):
        assert not [part for part in private if part in text], text
