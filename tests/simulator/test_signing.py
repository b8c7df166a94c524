"""Tests of signed upgrade requests. The tests compute signature base and MAC from RFC 9421."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import pytest
from pipecat_genesys.auth import AuthenticationError, SignatureVerifier, VerifiedRequest
from pipecat_genesys.simulator import (
    PRODUCTION_COMPONENTS,
    REFERENCE_COMPONENTS,
    CallOptions,
    ConnectFailedError,
    SimulatedCall,
    audiohook_headers,
    new_call,
    sign_request,
)
from scripted import scripted
from virtual_loop import virtual_time
from websockets.asyncio.server import ServerConnection
from websockets.http11 import Request, Response

KEY = "SGVsbG8sIEkgYW0gdGhlIEFQSSBrZXkh"
SECRET = "TXlTdXBlclNlY3JldEtleVRlbGxOby0xITJAMyM0JDU="
RAW = b"MySuperSecretKeyTellNo-1!2@3#4$5"
CALL = new_call()
HEADERS = audiohook_headers(CALL, KEY)


def mac(url_authority: str, target: str, signed: dict[str, str]) -> str:
    """Return the signature for a `Signature-Input`, computed as in section 2.5 of RFC 9421."""
    line = signed["Signature-Input"]
    match = re.fullmatch(r"sig1=(\(([^)]*)\);.*)", line)
    assert match is not None, line
    values = {name.lower(): value for name, value in HEADERS.items()} | {
        "@request-target": target,
        "@authority": url_authority,
    }
    names = [name.strip('"') for name in match[2].split()]
    lines = [f'"{name}": {values[name]}' for name in names]
    base = "\n".join([*lines, f'"@signature-params": {match[1]}'])
    digest = hmac.digest(RAW, base.encode(), hashlib.sha256)
    return f"sig1=:{base64.b64encode(digest).decode()}:"


@pytest.mark.parametrize(
    ("url", "authority", "target"),
    [
        ("wss://AudioHook.example.com/api/v1?x=1&y=", "audiohook.example.com", "/api/v1?x=1&y="),
        ("wss://audiohook.example.com:443", "audiohook.example.com", "/"),
        ("ws://127.0.0.1:8765/a", "127.0.0.1:8765", "/a"),
        ("ws://[::1]:8765/a", "[::1]:8765", "/a"),
    ],
)
def test_signature_is_computed_as_in_rfc_9421(url: str, authority: str, target: str) -> None:
    signed = sign_request(url, HEADERS, SECRET)
    assert signed["Signature"] == mac(authority, target, signed)


@pytest.mark.parametrize("components", [REFERENCE_COMPONENTS, PRODUCTION_COMPONENTS])
def test_signature_input_has_the_components_and_all_parameters(components: tuple[str, ...]) -> None:
    signed = sign_request(
        "wss://a.example/x", HEADERS, SECRET, created=1641013200.9, components=components
    )
    line = signed["Signature-Input"]
    assert line.startswith("sig1=(" + " ".join(f'"{name}"' for name in components) + ");")
    assert ";created=1641013200" in line
    assert ";expires=1641013230" in line
    assert f';keyid="{KEY}"' in line
    assert ';alg="hmac-sha256"' in line
    nonce = re.search(r';nonce="([^"]*)"', line)
    assert nonce is not None
    assert len(nonce[1]) >= 22
    assert signed["Signature"] == mac("a.example", "/x", signed)


def test_each_signature_has_another_nonce() -> None:
    lines = {
        sign_request("wss://a.example/", HEADERS, SECRET, created=0)["Signature-Input"]
        for _ in range(20)
    }
    assert len(lines) == 20


def test_verifier_accepts_the_signature_of_the_right_secret_only() -> None:
    url = "wss://bot.example.com/audiohook?connector=1"
    headers = HEADERS | sign_request(url, HEADERS, SECRET.rstrip("="), created=1000)
    verified = SignatureVerifier({KEY: SECRET}).verify("GET", url, headers, now=1001)
    assert verified.signed
    assert verified.session_id == CALL.session_id
    other = base64.b64encode(b"x" * 32).decode()
    forged = HEADERS | sign_request(url, HEADERS, other, created=1000)
    with pytest.raises(AuthenticationError, match="signature is not genuine"):
        SignatureVerifier({KEY: SECRET}).verify("GET", url, forged, now=1001)


@pytest.mark.parametrize("secret", ["not base64!", "", "QUJDREU"[:5]])
def test_error_for_a_secret_that_is_not_base64_does_not_contain_it(secret: str) -> None:
    with pytest.raises(ValueError, match="not base64") as raised:
        sign_request("wss://a.example/", HEADERS, secret)
    assert secret == "" or secret not in str(raised.value)


def test_repr_of_the_options_does_not_contain_the_secret() -> None:
    assert SECRET not in repr(CallOptions(api_key=KEY, client_secret=SECRET))


def authentication(
    verifier: SignatureVerifier, admitted: list[VerifiedRequest]
) -> Callable[..., Any]:
    """Return a check of upgrade requests that uses the authentication of this package."""

    def process_request(connection: ServerConnection, request: Request) -> Response | None:
        try:
            admitted.append(verifier.verify("GET", request.path, request.headers.raw_items()))
        except AuthenticationError:
            return connection.respond(HTTPStatus.UNAUTHORIZED, "")
        return None

    return process_request


@pytest.mark.parametrize("components", [REFERENCE_COMPONENTS, PRODUCTION_COMPONENTS])
@virtual_time
async def test_server_accepts_a_signed_call(components: tuple[str, ...]) -> None:
    admitted: list[VerifiedRequest] = []
    options = CallOptions(api_key=KEY, client_secret=SECRET, signed_components=components)
    check = authentication(SignatureVerifier({KEY: SECRET}), admitted)
    async with scripted(process_request=check) as server:
        async with SimulatedCall(server.url, CALL, options=options) as call:
            await call.opened()
        assert call.report().clean
    (request,) = admitted
    assert request.signed
    assert request.session_id == CALL.session_id
    assert request.request_target == "/bot?x=1"


@pytest.mark.parametrize(
    "options",
    [
        CallOptions(),
        CallOptions(api_key=KEY),
        CallOptions(api_key=KEY, client_secret=base64.b64encode(b"x" * 32).decode()),
        CallOptions(
            api_key=KEY, client_secret=SECRET, headers={"Audiohook-Session-Id": CALL.participant_id}
        ),
        CallOptions(api_key=KEY, client_secret=SECRET, headers={"Signature": None}),
    ],
    ids=["unknown key", "unsigned", "other secret", "changed after signing", "signature removed"],
)
@virtual_time
async def test_server_rejects_an_unsigned_or_wrongly_signed_call(options: CallOptions) -> None:
    check = authentication(SignatureVerifier({KEY: SECRET}), [])
    async with scripted(process_request=check) as server:
        with pytest.raises(ConnectFailedError, match="401"):
            await SimulatedCall(server.url, CALL, options=options).__aenter__()
    assert server.peers == []


@virtual_time
async def test_each_connection_attempt_has_its_own_signature() -> None:
    admitted: list[VerifiedRequest] = []
    options = CallOptions(api_key=KEY, client_secret=SECRET, lost_attempts=1)
    check = authentication(SignatureVerifier({KEY: SECRET}), admitted)
    async with (
        scripted(process_request=check) as server,
        SimulatedCall(server.url, CALL, options=options) as call,
    ):
        await call.opened()
    assert len({request.nonce for request in admitted}) == 2
