"""Tests that a request is refused if a single bit is changed after the request was signed."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pipecat_genesys.auth import AuthenticationError, SignatureVerifier

from .signing import KEY, NOW, SECRET, TARGET, RequestToSign, pairs

HEADERS = RequestToSign().headers()
VERIFIER = SignatureVerifier({KEY: SECRET})


def flipped(text: str, bit: int) -> str:
    data = bytearray(text, "latin-1")
    data[bit // 8] ^= 1 << bit % 8
    return data.decode("latin-1")


def accepted(
    verifier: SignatureVerifier,
    headers: dict[str, str],
    target: str = TARGET,
    method: str = "GET",
) -> bool:
    try:
        verifier.verify(method, target, pairs(headers), now=NOW)
    except AuthenticationError:
        return False
    return True


def test_the_unchanged_request_is_accepted() -> None:
    assert accepted(VERIFIER, HEADERS)


@pytest.mark.parametrize("name", [name for name in HEADERS if name != "host"])
def test_a_changed_bit_of_a_header_is_refused(name: str) -> None:
    for bit in range(8 * len(HEADERS[name])):
        changed = flipped(HEADERS[name], bit)
        assert not accepted(VERIFIER, HEADERS | {name: changed}), changed


def test_a_changed_bit_of_the_host_is_refused_unless_it_changes_only_the_case() -> None:
    for bit in range(8 * len(HEADERS["host"])):
        changed = flipped(HEADERS["host"], bit)
        # RFC 9421, 2.2.3: the host is signed in lower case, because host names ignore case.
        same_host = changed.lower() == HEADERS["host"]
        assert accepted(VERIFIER, HEADERS | {"host": changed}) is same_host, changed


def test_a_changed_bit_of_the_request_target_is_refused() -> None:
    for bit in range(8 * len(TARGET)):
        assert not accepted(VERIFIER, HEADERS, flipped(TARGET, bit))


def test_a_changed_bit_of_the_unsigned_method_is_refused() -> None:
    for bit in range(8 * 3):
        assert not accepted(VERIFIER, HEADERS, method=flipped("GET", bit))


def test_a_secret_that_differs_in_one_bit_is_refused() -> None:
    secret = base64.b64decode(SECRET)
    for bit in range(8 * len(secret)):
        changed = bytearray(secret)
        changed[bit // 8] ^= 1 << bit % 8
        other = SignatureVerifier({KEY: base64.b64encode(changed).decode()})
        assert not accepted(other, HEADERS)


@given(st.data())
def test_a_changed_bit_of_an_arbitrary_request_is_refused(data: st.DataObject) -> None:
    path = data.draw(st.text("abcXYZ019-._~%!$&'()*+,;=:@/", max_size=30))
    key = data.draw(st.text(st.characters(min_codepoint=35, max_codepoint=91), min_size=1))
    call = RequestToSign(target=f"/{path}", key=key).having(keyid=key)
    verifier = SignatureVerifier({key: SECRET})
    headers = call.headers()
    assert accepted(verifier, headers, call.target)

    name = data.draw(st.sampled_from(["target", *(set(headers) - {"host"})]))
    text = call.target if name == "target" else headers[name]
    changed = flipped(text, data.draw(st.integers(0, 8 * len(text) - 1)))
    if name == "target":
        assert not accepted(verifier, headers, changed)
    else:
        assert not accepted(verifier, headers | {name: changed}, call.target)
