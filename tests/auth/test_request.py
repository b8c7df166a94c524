"""Tests of the validation of upgrade requests: headers, sizes, URL, authority, ASGI scope."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pipecat_genesys.auth import (
    AuthenticationError,
    Refusal,
    SignatureVerifier,
    VerifiedRequest,
    upgrade_request,
)
from pipecat_genesys.auth.request import (
    MAX_HEADER_LINES,
    MAX_HEADERS_LENGTH,
    MAX_SIGNATURE_INPUT_LENGTH,
    MAX_TARGET_LENGTH,
)

from .signing import AUTHORITY, COMPONENTS, KEY, NOW, SECRET, TARGET, RequestToSign, pairs

VERIFIER = SignatureVerifier({KEY: SECRET})


def verify(headers: Any, url: str = TARGET, method: str = "GET", **options: Any) -> VerifiedRequest:
    verifier = SignatureVerifier({KEY: SECRET}, **options) if options else VERIFIER
    return verifier.verify(method, url, headers, now=NOW)


def refusal(headers: Any, url: str = TARGET, method: str = "GET", **options: Any) -> Refusal:
    with pytest.raises(AuthenticationError) as caught:
        verify(headers, url, method, **options)
    return caught.value.reason


# Headers


@pytest.mark.parametrize("case", [str.lower, str.upper, str.title], ids=["lower", "upper", "title"])
def test_header_names_ignore_case(case: Callable[[str], str]) -> None:
    assert verify({case(name): value for name, value in RequestToSign().headers().items()}).signed


def test_headers_can_be_a_mapping_or_pairs_of_bytes_or_text() -> None:
    headers = RequestToSign().headers()
    assert verify(pairs(headers)) == verify(list(headers.items())) == verify(headers)


def test_white_space_around_a_header_value_is_ignored() -> None:
    headers = {name: f" \t{value}\t " for name, value in RequestToSign().headers().items()}
    assert verify(headers).session_id == RequestToSign().session


@pytest.mark.parametrize("name", RequestToSign().headers())
def test_a_repeated_header_is_refused(name: str) -> None:
    headers = pairs(RequestToSign().headers())
    twice = [*headers, (name.title().encode(), RequestToSign().headers()[name].encode())]
    assert refusal(twice) is Refusal.REQUEST


def test_other_headers_can_be_repeated_and_are_joined_for_the_signature() -> None:
    call = RequestToSign(components=(*COMPONENTS, "via"), extra=(("via", "1.1 a, 1.1 b"),))
    headers = [line for line in pairs(call.headers()) if line[0] != b"via"]
    assert verify([*headers, (b"via", b"1.1 a"), (b"cookie", b"x"), (b"Via", b" 1.1 b ")]).signed
    assert refusal([*headers, (b"via", b"1.1 b"), (b"via", b"1.1 a")]) is Refusal.SIGNATURE


@pytest.mark.parametrize("fold", ["\r\n ", "\r\n\t", "\n ", "\r"])
@pytest.mark.parametrize("name", ["audiohook-session-id", "signature-input", "user-agent"])
def test_folded_headers_are_refused(name: str, fold: str) -> None:
    headers = RequestToSign().headers(user_agent="GenesysCloud-AudioHook-Client")
    value = headers[name]
    assert refusal(headers | {name: value[:4] + fold + value[4:]}) is Refusal.REQUEST


@pytest.mark.parametrize(
    "name", ["audiohook-organization-id", "audiohook-session-id", "audiohook-correlation-id"]
)
@pytest.mark.parametrize(
    "value", [None, "", "x", "{}", "0" * 36, "urn:uuid:" + RequestToSign().session]
)
def test_the_ids_must_be_uuids(name: str, value: str | None) -> None:
    assert refusal(RequestToSign().headers(**{name: value})) is Refusal.REQUEST


@pytest.mark.parametrize(
    "session",
    [
        "30B0E395-84D3-4570-AC13-9A62D8F514C0",
        "00000000-0000-0000-0000-000000000000",
        "0192f0c1-7a4e-7cc1-8f00-5a7b8c9d0e1f",  # this is a UUID of version 7
    ],
)
def test_uuids_of_any_version_are_accepted(session: str) -> None:
    assert verify(RequestToSign(session=session).headers()).session_id == session


@pytest.mark.parametrize("value", [None, "", "two words", 'quo"te', "é", "k" * 257])
def test_an_invalid_api_key_is_refused(value: str | None) -> None:
    assert refusal(RequestToSign().headers(x_api_key=value)) is Refusal.REQUEST


@pytest.mark.parametrize("name", ["host", "x-api-key", "signature", "signature-input"])
def test_non_ascii_characters_are_refused_in_headers_of_the_authentication(name: str) -> None:
    headers = RequestToSign().headers()
    assert refusal(headers | {name: headers[name] + "é"}) is Refusal.REQUEST
    assert refusal(headers | {name: headers[name] + "\ud800"}) is Refusal.REQUEST


def test_non_ascii_characters_are_accepted_in_other_headers() -> None:
    assert verify([*pairs(RequestToSign().headers()), (b"x-name", b"\xe9\xff")]).signed


def test_non_ascii_characters_are_refused_in_signed_headers() -> None:
    call = RequestToSign(components=(*COMPONENTS, "x-name"), extra=(("x-name", "é"),))
    assert refusal(call.headers()) is Refusal.SIGNATURE


# Tests of the limits on the work for one request


def endless() -> Iterator[tuple[str, str]]:
    yield from RequestToSign().headers().items()
    while True:
        yield "x", "y"


def test_endless_headers_are_refused() -> None:
    assert refusal(endless()) is Refusal.REQUEST


def test_the_number_of_header_lines_is_limited() -> None:
    lines = pairs(RequestToSign().headers())
    lines += [(b"x", b"y")] * (MAX_HEADER_LINES - len(lines))
    assert verify(lines).signed
    assert refusal([*lines, (b"x", b"y")]) is Refusal.REQUEST


def test_the_length_of_the_headers_is_limited() -> None:
    headers = RequestToSign().headers(x="")
    room = MAX_HEADERS_LENGTH - sum(len(name) + len(value) for name, value in headers.items())
    assert verify(headers | {"x": "y" * room}).signed
    assert refusal(headers | {"x": "y" * (room + 1)}) is Refusal.REQUEST


def test_the_length_of_signature_input_is_limited() -> None:
    spare = MAX_SIGNATURE_INPUT_LENGTH - len(
        RequestToSign().having(nonce="").headers()["signature-input"]
    )
    assert verify(RequestToSign().having(nonce="n" * spare).headers()).signed
    assert refusal(RequestToSign().having(nonce="n" * (spare + 1)).headers()) is Refusal.REQUEST


def test_the_length_of_the_target_is_limited() -> None:
    longest = RequestToSign(target="/" + "x" * (MAX_TARGET_LENGTH - 1))
    assert verify(longest.headers(), longest.target).signed
    longer = RequestToSign(target=longest.target + "x")
    assert refusal(longer.headers(), longer.target) is Refusal.REQUEST


# URL


@pytest.mark.parametrize("scheme", ["wss", "ws", "https", "http", "WSS"])
@pytest.mark.parametrize("port", ["", ":443"])
def test_an_absolute_url_gives_authority_and_target(scheme: str, port: str) -> None:
    request = verify(RequestToSign().headers(), f"{scheme}://{AUTHORITY}{port}{TARGET}")
    assert (request.authority, request.request_target) == (AUTHORITY, TARGET)


def test_the_host_of_an_absolute_url_replaces_the_host_header() -> None:
    headers = RequestToSign().headers(host="10.0.0.7:8080")
    assert verify(headers, f"wss://{AUTHORITY}{TARGET}").authority == AUTHORITY
    assert refusal(headers) is Refusal.SIGNATURE


@pytest.mark.parametrize(
    ("url", "target"),
    [("wss://{}", "/"), ("wss://{}/", "/"), ("wss://{}?id=1", "/?id=1"), ("wss://{}/?", "/?")],
)
def test_an_empty_path_is_a_slash(url: str, target: str) -> None:
    call = RequestToSign(target=target)
    assert verify(call.headers(), url.format(AUTHORITY)).request_target == target


@pytest.mark.parametrize(
    "target",
    [
        "/ws?connector=1&lang=de",
        "/ws?",
        "/ws?a[]=1|2&b={x}^`",
        "/a%2Fb%2fc/%20?q=%C3%A9%",
        "/a/../b//c;v=1",
        "//host/x",
        "/?q=http://x/y@z:80",
    ],
)
def test_the_target_keeps_its_encoding(target: str) -> None:
    call = RequestToSign(target=target)
    assert verify(call.headers(), target).request_target == target
    assert verify(call.headers(), f"wss://{AUTHORITY}{target}").request_target == target


@pytest.mark.parametrize(
    ("signed", "received"),
    [
        ("/a%2Fb", "/a/b"),
        ("/a%2Fb", "/a%2fb"),
        ("/a%20b", "/a+b"),
        ("/ws?", "/ws"),
        ("/ws?a=1&b=2", "/ws?b=2&a=1"),
        ("/ws/", "/ws"),
        ("/ws", "/WS"),
        ("/a/../ws", "/ws"),
        ("/public/ws", "/ws"),
    ],
)
def test_a_target_with_another_spelling_than_the_signed_one_is_refused(
    signed: str, received: str
) -> None:
    assert refusal(RequestToSign(target=signed).headers(), received) is Refusal.SIGNATURE


@pytest.mark.parametrize(
    "url",
    [
        "",
        "ws",
        "*",
        "?a=1",
        "/a b",
        "/é",
        "/a\r\nb",
        "/a\0",
        "/ws#part",
        f"wss://{AUTHORITY}/ws#part",
        f"ftp://{AUTHORITY}/ws",
        f"wss:{AUTHORITY}/ws",
        f"wss://user@{AUTHORITY}/ws",
        "wss:///ws",
    ],
)
def test_an_invalid_url_is_refused(url: str) -> None:
    assert refusal(RequestToSign().headers(), url) is Refusal.REQUEST


@pytest.mark.parametrize("method", ["get", "POST", "CONNECT", "OPTIONS", "", "GET " * 100])
def test_methods_other_than_get_are_refused(method: str) -> None:
    assert refusal(RequestToSign().headers(), method=method) is Refusal.REQUEST


# Authority


@pytest.mark.parametrize(
    "authority",
    ["bot.example.com", "bot.example.com:8443", "127.0.0.1:80", "[2001:db8::1]", "[::1]:8443"],
)
def test_the_authority_is_the_host_header(authority: str) -> None:
    call = RequestToSign(authority=authority)
    assert verify(call.headers()).authority == authority


@pytest.mark.parametrize("host", ["Bot.Example.COM", "bot.example.com:443", "BOT.example.com:443"])
def test_the_authority_is_signed_in_lower_case_and_without_port_443(host: str) -> None:
    headers = RequestToSign(authority="bot.example.com").headers(host=host)
    assert verify(headers).authority == "bot.example.com"
    # The configured authority may also have upper-case letters and port 443.
    assert verify(headers | {"host": "inside:8080"}, authority=host).authority == "bot.example.com"


def test_port_80_is_part_of_the_authority() -> None:
    headers = RequestToSign(authority="bot.example.com").headers(host="bot.example.com:80")
    assert refusal(headers) is Refusal.SIGNATURE
    assert refusal(headers, f"ws://bot.example.com:80{TARGET}") is Refusal.SIGNATURE


@pytest.mark.parametrize("host", ["10.0.0.7:8080", "evil.example.com", None])
def test_the_configured_authority_replaces_the_host_header(host: str | None) -> None:
    headers = RequestToSign().headers(host=host)
    assert verify(headers, authority=AUTHORITY).authority == AUTHORITY


def test_a_signature_for_another_host_is_refused_if_the_authority_is_configured() -> None:
    elsewhere = RequestToSign(authority="other.example.com").headers()
    assert verify(elsewhere).authority == "other.example.com"
    assert refusal(elsewhere, authority=AUTHORITY) is Refusal.SIGNATURE
    url = f"wss://other.example.com{TARGET}"
    assert refusal(elsewhere, url, authority=AUTHORITY) is Refusal.SIGNATURE


def test_forwarded_headers_are_not_used() -> None:
    headers = RequestToSign().headers(
        host="10.0.0.7", x_forwarded_host=AUTHORITY, forwarded=AUTHORITY
    )
    assert refusal(headers) is Refusal.SIGNATURE


@pytest.mark.parametrize("host", [None, "", "a b", "a/b", "a@b", "a:b", "a:123456", "[x]", "a,b"])
def test_a_missing_or_invalid_host_is_refused(host: str | None) -> None:
    assert refusal(RequestToSign().headers(host=host)) is Refusal.REQUEST


# ASGI scopes


def scope(**changed: Any) -> dict[str, Any]:
    return {
        "type": "websocket",
        "path": "/a b/é",
        "raw_path": b"/a%20b/%c3%a9",
        "query_string": b"x=%2F",
        "headers": pairs(RequestToSign().headers()),
    } | changed


def test_the_target_of_an_asgi_scope_keeps_its_encoding() -> None:
    method, target, headers = upgrade_request(scope())
    assert (method, target) == ("GET", "/a%20b/%c3%a9?x=%2F")
    call = RequestToSign(target=target)
    assert verify(pairs(call.headers()), target).request_target == target
    assert headers == pairs(RequestToSign().headers())


def test_query_and_raw_path_are_optional_in_an_asgi_scope() -> None:
    assert upgrade_request(scope(query_string=b""))[1] == "/a%20b/%c3%a9"
    assert upgrade_request(scope(raw_path=None, query_string=b""))[1] == "/a%20b/%C3%A9"
    assert upgrade_request(scope(raw_path=None, path="/~a:b@c/$&'()*+,;=!"))[1].startswith(
        "/~a:b@c/$&'()*+,;=!?"
    )


def test_the_method_of_an_asgi_scope_is_checked() -> None:
    assert refusal(RequestToSign().headers(), method=upgrade_request(scope(method="POST"))[0]) is (
        Refusal.REQUEST
    )


NAMES = st.sampled_from(list(RequestToSign().headers())) | st.text(max_size=12)
VALUES = st.sampled_from(list(RequestToSign().headers().values())) | st.text(max_size=60)


@given(
    st.lists(st.tuples(NAMES, VALUES), max_size=12),
    st.text(max_size=40) | st.just(TARGET),
    st.sampled_from(["GET", "POST", ""]),
)
@example([("signature-input", "=")], "/", "GET")
def test_an_arbitrary_request_raises_only_authentication_error(
    lines: list[tuple[str, str]], url: str, method: str
) -> None:
    with pytest.raises(AuthenticationError):
        verify(lines, url, method)


@given(st.text(), st.text())
@example('sig1=("a";bs);created=1', "")
@example('sig1=("@method");keyid=:AA==:', "")
@example("sig1=();created=1.5", "")
@example("sig1=1", "")
@example("sig1=(1 2)", "")
@example('sig1=("")', "")
def test_arbitrary_signature_headers_raise_only_authentication_error(
    signature_input: str, signature: str
) -> None:
    headers = RequestToSign().headers(signature_input=signature_input)
    with pytest.raises(AuthenticationError):
        verify(headers)
    with pytest.raises(AuthenticationError):
        verify(headers | {"signature": signature})
