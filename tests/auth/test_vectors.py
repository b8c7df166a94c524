"""Tests with published signatures, which are written out here and not computed.

The first two signatures are from Genesys's AudioHook reference implementation
(`signature-verifier.test.ts`, `signature-builder.test.ts`); the first signature is also the example
in Genesys's documentation. The third signature is from RFC 9421, appendix B.2.5.
"""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from http_message_signatures import InvalidSignature
from pipecat_genesys.auth import AuthenticationError, Refusal, SignatureVerifier, VerifiedRequest
from pipecat_genesys.auth.credentials import Keyring
from pipecat_genesys.auth.signature import verify_mac

from .signing import RequestToSign

KEY = "SGVsbG8sIEkgYW0gdGhlIEFQSSBrZXkh"
SECRET = "TXlTdXBlclNlY3JldEtleVRlbGxOby0xITJAMyM0JDU="
SIGNED_AT = 1641013200
GENESYS = {
    "Host": "audiohook.example.com",
    "Audiohook-Organization-Id": "d7934305-0972-4844-938e-9060eef73d05",
    "Audiohook-Session-Id": "30b0e395-84d3-4570-ac13-9a62d8f514c0",
    "Audiohook-Correlation-Id": "e160e428-53e2-487c-977d-96989bf5c99d",
    "X-API-KEY": KEY,
    "Signature": "sig1=:NZBwyBHRRyRoeLqy1IzOa9VYBuI8TgMFt2GRDkDuJh4=:",
    "Signature-Input": (
        'sig1=("@request-target" "@authority" "audiohook-organization-id" '
        '"audiohook-session-id" "audiohook-correlation-id" "x-api-key");'
        'keyid="SGVsbG8sIEkgYW0gdGhlIEFQSSBrZXkh";nonce="VGhpc0lzQVVuaXF1ZU5vbmNl";'
        'alg="hmac-sha256";created=1641013200;expires=3282026430'
    ),
}
TARGET = "/api/v1/voicebiometrics/ws"


def test_the_example_of_the_genesys_documentation_is_accepted() -> None:
    verifier = SignatureVerifier({KEY: SECRET})
    assert verifier.verify("GET", TARGET, GENESYS, now=SIGNED_AT) == VerifiedRequest(
        organization_id="d7934305-0972-4844-938e-9060eef73d05",
        session_id="30b0e395-84d3-4570-ac13-9a62d8f514c0",
        correlation_id="e160e428-53e2-487c-977d-96989bf5c99d",
        authority="audiohook.example.com",
        request_target=TARGET,
        api_key=KEY,
        signed=True,
        created=SIGNED_AT,
        nonce="VGhpc0lzQVVuaXF1ZU5vbmNl",
    )


def test_the_order_of_the_headers_does_not_matter() -> None:
    verifier = SignatureVerifier({KEY: SECRET})
    reordered = dict(reversed(GENESYS.items()))
    assert verifier.verify("GET", TARGET, reordered, now=SIGNED_AT).signed


def test_the_vector_of_the_genesys_builder_is_genuine_but_does_not_cover_the_authority() -> None:
    headers = GENESYS | {
        "Signature": "sig1=:zupMJUMfd/kMuvKc5zhRyfJPE3jTROuz1S1hn8SCTpE=:",
        "Signature-Input": GENESYS["Signature-Input"].replace('"@authority"', '"host"'),
    }
    with pytest.raises(AuthenticationError, match="genuine, but it does not cover @authority") as e:
        SignatureVerifier({KEY: SECRET}).verify("GET", TARGET, headers, now=SIGNED_AT)
    assert e.value.reason is Refusal.INCOMPLETE


RFC_SECRET = (
    "uzvJfB4u3N0Jy4T7NZ75MDVcr8zSTInedJtkgcu46YW4XByzNJjxBdtjUkdJPBtbmHhIDi6pcl8jsasjlTMtDQ=="
)
RFC_SIGNATURE = "sig-b25=:pxcQw6G3AjtMBQjwo8XzkZf/bws5LelbaMk5rGIGtE8=:"


def rfc_message(**changed: str) -> SimpleNamespace:
    headers = {
        "date": "Tue, 20 Apr 2021 02:07:55 GMT",
        "content-type": "application/json",
        "signature-input": (
            'sig-b25=("date" "@authority" "content-type");'
            'created=1618884473;keyid="test-shared-secret"'
        ),
        "signature": RFC_SIGNATURE,
    }
    return SimpleNamespace(
        method="POST",
        url="https://example.com/",
        request_target="/foo?param=Value&Pet=dog",
        headers=headers | changed,
    )


def test_the_example_of_rfc_9421_b_2_5_is_genuine() -> None:
    result = verify_mac(rfc_message(), RFC_SIGNATURE, Keyring({"test-shared-secret": RFC_SECRET}))
    assert result.parameters == {"created": 1618884473, "keyid": "test-shared-secret"}


@pytest.mark.parametrize("field", ["date", "content-type"])
def test_the_example_of_rfc_9421_b_2_5_is_not_genuine_with_a_changed_field(field: str) -> None:
    keyring = Keyring({"test-shared-secret": RFC_SECRET})
    message = rfc_message(**{field: "Tue, 20 Apr 2021 02:07:56 GMT"})
    with pytest.raises(InvalidSignature):
        verify_mac(message, RFC_SIGNATURE, keyring)


def test_the_signer_of_the_tests_creates_the_example_of_the_genesys_documentation() -> None:
    call = RequestToSign().having(expires=3282026430)
    assert call.headers() == {name.lower(): value for name, value in GENESYS.items()}
