"""Tests of the signature: covered components, parameters, times, and the two headers."""

from __future__ import annotations

import base64
from dataclasses import replace
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pipecat_genesys.auth import AuthenticationError, Refusal, SignatureVerifier, VerifiedRequest
from pipecat_genesys.auth.signature import MAX_COMPONENTS

from .signing import AUTHORITY, COMPONENTS, KEY, NOW, SECRET, TARGET, RequestToSign

VERIFIER = SignatureVerifier({KEY: SECRET})
OTHER_KEY, OTHER_SECRET = "another-api-key", base64.b64encode(bytes(range(32))).decode()


def verify(call: RequestToSign, now: float = NOW, **headers: str | None) -> VerifiedRequest:
    return VERIFIER.verify("GET", call.target, call.headers(**headers), now=now)


def refusal(call: RequestToSign, now: float = NOW, **headers: str | None) -> Refusal:
    with pytest.raises(AuthenticationError) as caught:
        verify(call, now, **headers)
    return caught.value.reason


# Components


def test_the_components_can_have_any_order() -> None:
    for order in permutations(COMPONENTS):
        assert verify(RequestToSign(components=order)).signed, order


@pytest.mark.parametrize("missing", COMPONENTS)
def test_every_component_is_required(missing: str) -> None:
    rest = tuple(name for name in COMPONENTS if name != missing)
    with pytest.raises(AuthenticationError, match=f"does not cover {missing}$") as caught:
        verify(RequestToSign(components=rest))
    assert caught.value.reason is Refusal.INCOMPLETE


def test_a_signature_without_components_is_refused() -> None:
    assert refusal(RequestToSign(components=())) is Refusal.INCOMPLETE


@pytest.mark.parametrize("name", ["host", "@method", "audiohook-retry-attempt"])
def test_further_components_can_be_covered(name: str) -> None:
    call = RequestToSign(components=(name, *COMPONENTS), extra=(("audiohook-retry-attempt", "0"),))
    assert verify(call).signed
    if name != "@method":
        with pytest.raises(AuthenticationError):
            verify(call, **{name: "1"})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("not-there", ""),
        ("", ""),
        ("@unknown", ""),
        ("X-API-KEY", KEY),
        # RFC 9421, 2.2 defines these components; Genesys does not use them.
        ("@path", "/"),
        ("@path", TARGET),
        ("@query", "?"),
        ("@scheme", "https"),
        ("@target-uri", f"https://{AUTHORITY}/"),
        ("@target-uri", f"https://{AUTHORITY}{TARGET}"),
        ("@status", "101"),
    ],
)
def test_a_component_that_cannot_be_resolved_is_refused(name: str, value: str) -> None:
    call = RequestToSign(components=(*COMPONENTS, name), values=((name, value),))
    assert refusal(call) is Refusal.SIGNATURE


@pytest.mark.parametrize("name", COMPONENTS)
def test_a_component_covered_twice_is_refused(name: str) -> None:
    assert refusal(RequestToSign(components=(*COMPONENTS, name))) is Refusal.SIGNATURE


def test_the_number_of_components_is_limited() -> None:
    names = [f"x{n}" for n in range(MAX_COMPONENTS)]
    extra = tuple((name, "value") for name in names)
    most = (*COMPONENTS, *names[: MAX_COMPONENTS - len(COMPONENTS)])
    assert verify(RequestToSign(components=most, extra=extra)).signed
    assert refusal(RequestToSign(components=(*most, names[-1]), extra=extra)) is Refusal.SIGNATURE


WRAPPED = f":{base64.b64encode(KEY.encode()).decode()}:"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x-api-key;bs", WRAPPED),
        ("x-dictionary;sf", "a=1"),
        ('x-dictionary;key="a"', "1"),
        ("x-api-key;req", KEY),
        ("x-api-key;tr", KEY),
        ("x-api-key;unknown", KEY),
        ("@authority;req", AUTHORITY),
    ],
)
def test_component_parameters_are_refused(name: str, value: str) -> None:
    # RFC 9421, 2.1: a parameter changes the signed value. Genesys does not use parameters.
    call = RequestToSign(extra=(("x-dictionary", "a=1"),), values=((name, value),))
    beside = replace(call, components=(*COMPONENTS, name))
    assert refusal(beside) is Refusal.SIGNATURE
    instead = replace(call, components=(*COMPONENTS[:-1], name))
    assert refusal(instead) is Refusal.SIGNATURE


# Parameters


def test_the_parameters_can_have_any_order() -> None:
    """Every order of `keyid`, `nonce`, `alg`, `created` and `expires` is accepted."""
    for order in permutations(RequestToSign().parameters.items()):
        assert verify(RequestToSign(parameters=dict(order))).signed, order


@pytest.mark.parametrize("name", ["alg", "expires"])
def test_alg_and_expires_are_optional(name: str) -> None:
    assert verify(RequestToSign().having(**{name: None})).signed


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("keyid", Refusal.SIGNATURE),
        ("nonce", Refusal.INCOMPLETE),
        ("created", Refusal.INCOMPLETE),
    ],
)
def test_keyid_nonce_and_created_are_required(name: str, reason: Refusal) -> None:
    assert refusal(RequestToSign().having(**{name: None})) is reason


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tag", "audiohook"),
        ("x", 1),
        ("alg", "hmac-sha512"),
        ("alg", "HMAC-SHA256"),
        ("alg", "rsa-v1_5-sha256"),
        ("alg", "none"),
        ("alg", ""),
        ("alg", 1),
        ("keyid", 1),
        ("nonce", 1234567890123456789012),
        ("created", str(NOW)),
        ("expires", str(NOW + 30)),
    ],
)
def test_unknown_parameters_other_algorithms_and_wrong_types_are_refused(
    name: str, value: Any
) -> None:
    assert refusal(RequestToSign().having(**{name: value})) is Refusal.SIGNATURE


@pytest.mark.parametrize("created", ["?1", "@1641013200", "1641013200.0", ":AAAA:", "token"])
def test_created_must_be_an_integer(created: str) -> None:
    changed = (
        RequestToSign().headers()["signature-input"].replace(f"created={NOW}", f"created={created}")
    )
    assert refusal(RequestToSign(), signature_input=changed) is Refusal.SIGNATURE


def test_the_nonce_must_have_22_characters() -> None:
    assert verify(RequestToSign().having(nonce="n" * 22)).nonce == "n" * 22
    assert refusal(RequestToSign().having(nonce="n" * 21)) is Refusal.INCOMPLETE
    assert refusal(RequestToSign().having(nonce="")) is Refusal.INCOMPLETE


def test_a_nonce_can_contain_escaped_characters() -> None:
    nonce = 'a "quoted" \\ nonce of enough length'
    assert verify(RequestToSign().having(nonce=nonce)).nonce == nonce


def test_the_keyid_must_be_the_api_key_of_the_request() -> None:
    """A request with one API key is refused if its signature names another API key."""
    verifier = SignatureVerifier({KEY: SECRET, OTHER_KEY: OTHER_SECRET})
    call = RequestToSign(key=KEY, secret=OTHER_SECRET).having(keyid=OTHER_KEY)
    with pytest.raises(AuthenticationError, match="keyid is not the API key") as caught:
        verifier.verify("GET", call.target, call.headers(), now=NOW)
    assert caught.value.reason is Refusal.INCOMPLETE
    with pytest.raises(AuthenticationError) as caught:
        verifier.verify("GET", call.target, RequestToSign(key=OTHER_KEY).headers(), now=NOW)
    assert caught.value.reason is Refusal.INCOMPLETE


# Tests of the times in a signature


@pytest.mark.parametrize("late", [-3, -2.9, 0, 6.9, 7, 10, 12.9, 13])
def test_ages_within_the_window_are_accepted(late: float) -> None:
    assert verify(RequestToSign(), NOW + late).created == NOW


@pytest.mark.parametrize("late", [-1e9, -3600, -3.1, 13.1, 60, 1e9, float("nan"), float("inf")])
def test_ages_outside_the_window_are_refused(late: float) -> None:
    assert refusal(RequestToSign().having(expires=None), NOW + late) is Refusal.TIME


@pytest.mark.parametrize("created", [0, -1, 10**15 - 1, 1 - 10**15])
def test_extreme_values_of_created_are_refused(created: int) -> None:
    assert refusal(RequestToSign().having(created=created, expires=None)) is Refusal.TIME
    assert refusal(RequestToSign().having(created=created)) is Refusal.TIME


@pytest.mark.parametrize(
    ("expires", "late", "accepted"),
    [(5, 8, True), (5, 8.1, False), (0, 3, True), (0, 3.1, False), (-1, 0, False), (1e9, 13, True)],
)
def test_expires_is_checked_with_the_clock_skew(expires: int, late: float, accepted: bool) -> None:
    call = RequestToSign().having(expires=NOW + int(expires))
    if accepted:
        assert verify(call, NOW + late).signed
    else:
        assert refusal(call, NOW + late) is Refusal.TIME


@given(st.floats(-30, 30), st.integers(1, 20), st.integers(0, 10))
def test_the_window_is_the_configured_one(age: float, max_age: int, skew: int) -> None:
    verifier = SignatureVerifier({KEY: SECRET}, max_age_seconds=max_age, clock_skew_seconds=skew)
    now = NOW + age
    call = RequestToSign().having(expires=None)
    if NOW - skew <= now <= NOW + max_age + skew:
        assert verifier.verify("GET", call.target, call.headers(), now=now).signed
        return
    with pytest.raises(AuthenticationError) as caught:
        verifier.verify("GET", call.target, call.headers(), now=now)
    assert caught.value.reason is Refusal.TIME


def test_the_given_clock_is_used() -> None:
    times = iter([NOW, NOW + 3600])
    verifier = SignatureVerifier({KEY: SECRET}, clock=lambda: float(next(times)))
    call = RequestToSign()
    assert verifier.verify("GET", call.target, call.headers()).signed
    with pytest.raises(AuthenticationError, match=r"3600\.0 s old"):
        verifier.verify("GET", call.target, call.headers())


def test_the_default_clock_is_the_time_of_day() -> None:
    with pytest.raises(AuthenticationError) as caught:
        VERIFIER.verify("GET", RequestToSign().target, RequestToSign().headers())
    assert caught.value.reason is Refusal.TIME


# Tests of the headers Signature and Signature-Input


@pytest.mark.parametrize("name", ["signature", "signature-input"])
@pytest.mark.parametrize("value", [None, "", "x", "sig1", "sig1=", "sig1=?1", 'sig1="x"', ",", "é"])
def test_a_missing_or_malformed_signature_header_is_refused(name: str, value: str | None) -> None:
    assert refusal(RequestToSign(), **{name: value}) in {Refusal.SIGNATURE, Refusal.REQUEST}


@pytest.mark.parametrize("label", ["sig1", "*", "a-b_c.d*9"])
def test_any_valid_label_is_accepted(label: str) -> None:
    assert verify(RequestToSign(label=label)).signed


@pytest.mark.parametrize("label", ["Sig1", "sIg1", "1sig", "-a"])
def test_an_invalid_label_is_refused(label: str) -> None:
    assert refusal(RequestToSign(label=label)) is Refusal.SIGNATURE


def test_two_signatures_are_refused_even_if_both_are_genuine() -> None:
    first, second = RequestToSign().headers(), RequestToSign(label="sig2").headers()
    assert (
        refusal(
            RequestToSign(),
            signature=f"{first['signature']}, {second['signature']}",
            signature_input=f"{first['signature-input']}, {second['signature-input']}",
        )
        is Refusal.SIGNATURE
    )


def test_two_inputs_for_one_signature_are_refused() -> None:
    first, second = RequestToSign().headers(), RequestToSign(label="sig2").headers()
    both = f"{first['signature-input']}, {second['signature-input']}"
    assert refusal(RequestToSign(), signature_input=both) is Refusal.SIGNATURE
    same = f"{first['signature-input']}, {first['signature-input']}"
    assert refusal(RequestToSign(), signature_input=same) is Refusal.SIGNATURE


def test_the_labels_of_both_headers_must_be_the_same() -> None:
    assert (
        refusal(RequestToSign(), signature=RequestToSign(label="sig2").headers()["signature"])
        is Refusal.SIGNATURE
    )


def test_a_signature_in_non_canonical_base64_is_refused() -> None:
    """A decoder ignores the unused bits of the last digit, so several texts decode to one value."""
    signature = RequestToSign().headers()["signature"]
    digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    last = digits.index(signature[-3])
    for spare in range(1, 4):
        other = signature[:-3] + digits[last + spare] + "=:"
        assert base64.b64decode(other[6:-1]) == base64.b64decode(signature[6:-1])
        assert refusal(RequestToSign(), signature=other) is Refusal.SIGNATURE
    unpadded = signature.removesuffix("=:") + ":"
    for other in (unpadded, f"{signature};a=1"):
        assert refusal(RequestToSign(), signature=other) is Refusal.SIGNATURE


@pytest.mark.parametrize("length", [0, 16, 31, 33, 64])
def test_a_signature_that_does_not_have_32_bytes_is_refused(length: int) -> None:
    value = base64.b64encode((2 * base64.b64decode(RequestToSign().signature))[:length]).decode()
    assert refusal(RequestToSign(), signature=f"sig1=:{value}:") is Refusal.SIGNATURE
