"""Reads and validates the upgrade request.

The size of a request is limited. A header that authentication uses must not be repeated. The
request target is not decoded.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any
from urllib.parse import quote

from .credentials import API_KEY
from .errors import AuthenticationError, Refusal

Headers = Mapping[str, str] | Iterable[tuple[str | bytes, str | bytes]]

# A request of Genesys has 12 header lines with about 900 bytes, 330 of them in Signature-Input. The
# limits leave room for the headers of proxies, and ensure that a hostile request does not take much
# more processor time than a genuine request.
MAX_HEADER_LINES = 64
MAX_HEADERS_LENGTH = 16_384
MAX_TARGET_LENGTH = 4_096
MAX_SIGNATURE_INPUT_LENGTH = 640

API_KEY_HEADER = "x-api-key"
ORGANIZATION_HEADER = "audiohook-organization-id"
SESSION_HEADER = "audiohook-session-id"
CORRELATION_HEADER = "audiohook-correlation-id"
SIGNATURE_HEADER = "signature"
SIGNATURE_INPUT_HEADER = "signature-input"

# Headers that must not be repeated, because two programs could use different lines of a repeated
# header.
_SINGLE = (
    "host",
    API_KEY_HEADER,
    ORGANIZATION_HEADER,
    SESSION_HEADER,
    CORRELATION_HEADER,
    SIGNATURE_HEADER,
    SIGNATURE_INPUT_HEADER,
)
_PRINTABLE = re.compile(r"[ -~]*")
_URL = re.compile(r"(?:(?i:wss?|https?)://(?P<authority>[^/?#]*))?(?P<target>[!-~]*)")
_AUTHORITY = re.compile(r"(?:\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,255})(?::[0-9]{1,5})?")
# UUIDs of any version. Genesys's reference code accepts only versions 1 to 5.
_UUID = re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")


class HeaderLines:
    """All header lines in order, with the interface that http-message-signatures needs."""

    def __init__(self, lines: tuple[tuple[str, str], ...]) -> None:
        self._lines = lines

    def items(self) -> Iterable[tuple[str, str]]:
        """Return names in lower case and values. Repeated lines are separate items."""
        return self._lines


@dataclass(frozen=True, slots=True)
class UpgradeRequest:
    """A valid upgrade request, in the form that http-message-signatures reads.

    Attributes:
        method: Always `GET`.
        authority: Public host that the client must have signed, with the port if it is not 443.
        request_target: Path and query, encoded as on the wire.
        headers: All header lines.
        single: Values of the headers that authentication uses, by name. A header that the request
            does not have is not in this dict.
    """

    method: str
    authority: str
    request_target: str
    headers: HeaderLines
    single: Mapping[str, str]

    @property
    def url(self) -> str:
        """URL that contains only the authority; http-message-signatures reads the host from it.

        The scheme is `https`, because Genesys connects with TLS and `@authority` then omits port
        443. The target is not part of the URL: the library accepts fewer URLs than WebSocket
        clients send, and would refuse for example `?a[]=1`.
        """
        return f"https://{self.authority}/"


def read_request(
    method: str, url: str, headers: Headers, authority: str | None = None
) -> UpgradeRequest:
    """Validate an upgrade request.

    Args:
        method: HTTP method.
        url: Absolute URL (`ws`, `wss`, `http` or `https`) or a target that starts with a slash,
            encoded as on the wire.
        headers: Mapping, or pairs of name and value as in ASGI.
        authority: Public host and port. By default the host and port of an absolute URL or, if the
            URL is a path, of the Host header.

    Raises:
        AuthenticationError: If the request is invalid; the `reason` of the exception is
            `Refusal.REQUEST`.
    """
    # The signature of Genesys does not cover the method, so the method is checked here.
    if method != "GET":
        raise _refused(f"the method is {str(method)[:16]!r}; a WebSocket is opened with GET")
    lines = _lines(headers)
    single = _single(lines)
    in_url, target = _split(url)
    named = authority or (single.get("host") if in_url is None else in_url)
    if named is None:
        raise _refused("the request has no Host header; configure the public authority")
    if not is_authority(named):
        raise _refused("the Host header or the URL's host is not a host name with an optional port")
    # RFC 9421, section 2.2.3, requires the host in lower case, without the default port of TLS.
    named = named.lower().removesuffix(":443")
    return UpgradeRequest(method, named, target, HeaderLines(lines), single)


def is_authority(text: str) -> bool:
    """Return whether the text is a host with an optional port."""
    return _AUTHORITY.fullmatch(text) is not None


def is_uuid(text: str) -> bool:
    """Return whether the text is a UUID with hyphens, in upper or lower case."""
    return _UUID.fullmatch(text) is not None


def upgrade_request(scope: Mapping[str, Any]) -> tuple[str, str, list[tuple[bytes, bytes]]]:
    """Return the arguments for `SignatureVerifier.authenticate` and `verify` from an ASGI scope.

    A `WebSocket` of Starlette or FastAPI has the scope in its attribute `scope`. Do not use its
    attribute `url`, which has the decoded path; the signature covers the encoded path.

    Args:
        scope: ASGI scope of type `websocket`, or of type `http` in a middleware that handles the
            upgrade request.

    Returns:
        The method (`GET` if the scope has none), the request target, and the header lines as pairs
        of bytes.
    """
    raw = scope.get("raw_path")
    # `raw_path` is optional in ASGI. RFC 3986, section 3.3, defines the characters that a path does
    # not encode.
    path = quote(scope["path"], "/!$&'()*+,;=:@~") if raw is None else raw.decode("latin-1")
    query = scope.get("query_string", b"").decode("latin-1")
    return scope.get("method", "GET"), f"{path}?{query}" if query else path, list(scope["headers"])


def _lines(headers: Headers) -> tuple[tuple[str, str], ...]:
    pairs = headers.items() if hasattr(headers, "items") else headers
    lines = tuple((_text(n).lower(), _text(v)) for n, v in islice(pairs, MAX_HEADER_LINES + 1))
    if len(lines) > MAX_HEADER_LINES:
        raise _refused(f"the request has more than {MAX_HEADER_LINES} header lines")
    if sum(len(name) + len(value) for name, value in lines) > MAX_HEADERS_LENGTH:
        raise _refused(f"the headers have more than {MAX_HEADERS_LENGTH} characters")
    for _, value in lines:
        # RFC 9112, 5.2 allows servers to refuse folded lines.
        if "\r" in value or "\n" in value:
            raise _refused("a header is folded over several lines")
    return lines


def _text(part: str | bytes) -> str:
    # Latin-1 maps every byte to its own character. The headers that are checked must be ASCII.
    return part.decode("latin-1") if isinstance(part, bytes) else part


def _single(lines: Iterable[tuple[str, str]]) -> dict[str, str]:
    single: dict[str, str] = {}
    for name, value in lines:
        if name not in _SINGLE:
            continue
        if name in single:
            raise _refused(f"header {name!r} is repeated")
        if not _PRINTABLE.fullmatch(value := value.strip(" \t")):
            raise _refused(f"header {name!r} is not printable ASCII")
        single[name] = value
    for name in (ORGANIZATION_HEADER, SESSION_HEADER, CORRELATION_HEADER):
        if not is_uuid(single.get(name, "")):
            raise _refused(f"header {name!r} is missing or is not a UUID")
    if not API_KEY.fullmatch(single.get(API_KEY_HEADER, "")):
        raise _refused(f"header {API_KEY_HEADER!r} is missing or is not a valid API key")
    if len(single.get(SIGNATURE_INPUT_HEADER, "")) > MAX_SIGNATURE_INPUT_LENGTH:
        raise _refused(
            f"header {SIGNATURE_INPUT_HEADER!r} has more than {MAX_SIGNATURE_INPUT_LENGTH} "
            "characters"
        )
    return single


def _split(url: str) -> tuple[str | None, str]:
    if len(url) > MAX_TARGET_LENGTH:
        raise _refused(f"the URL has more than {MAX_TARGET_LENGTH} characters")
    parts = _URL.fullmatch(url)
    if parts is None:
        raise _refused("the URL contains characters that must be percent-encoded")
    authority, target = parts["authority"], parts["target"]
    if authority is not None and not target.startswith("/"):
        target = f"/{target}"
    if not target.startswith("/") or "#" in target:
        raise _refused("the URL is neither a wss:// URL nor a path, or it has a fragment")
    return authority, target


def _refused(detail: str) -> AuthenticationError:
    return AuthenticationError(Refusal.REQUEST, detail)
