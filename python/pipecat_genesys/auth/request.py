"""The upgrade request as it is judged: bounded, unambiguous, spelled as on the wire."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any
from urllib.parse import quote

from pipecat_genesys.auth.credentials import API_KEY
from pipecat_genesys.auth.errors import AuthenticationError, Refusal

Headers = Mapping[str, str] | Iterable[tuple[str | bytes, str | bytes]]

# Genesys's own request is about 900 bytes in 12 lines, of which Signature-Input has 330. The
# limits leave room for what proxies add, and keep the work for a hostile one about as small as
# for a good one.
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

# A second line of one of these would mean one thing to us and another to the next reader.
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
# Any UUID, whatever its version: Genesys's reference code takes versions 1 to 5 only, and would
# refuse a newer one.
_UUID = re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")


class HeaderLines:
    """All header lines in their order, in the shape http-message-signatures reads."""

    def __init__(self, lines: tuple[tuple[str, str], ...]) -> None:
        self._lines = lines

    def items(self) -> Iterable[tuple[str, str]]:
        """Names in lower case with their values; repeated lines stay apart."""
        return self._lines


@dataclass(frozen=True, slots=True)
class UpgradeRequest:
    """A request that can be judged; also the message http-message-signatures reads.

    Attributes:
        method: Always ``GET``.
        authority: Host, and port if it is not 443, as the client is to have signed them.
        request_target: Path and query, as on the wire.
        headers: Every line.
        single: Values of the headers that the judgement rests on; those that are there.
    """

    method: str
    authority: str
    request_target: str
    headers: HeaderLines
    single: Mapping[str, str]

    @property
    def url(self) -> str:
        """Carries the authority alone.

        Genesys connects with TLS, so that 443 is the port which ``@authority`` leaves out. The
        target travels in `request_target`: the library has a stricter idea of URLs than WebSocket
        clients have, and would refuse such as ``?a[]=1``.
        """
        return f"https://{self.authority}/"


def read_request(
    method: str, url: str, headers: Headers, authority: str | None = None
) -> UpgradeRequest:
    """Read an upgrade request.

    Args:
        method: HTTP method.
        url: Absolute URL (``ws``, ``wss``, ``http`` or ``https``) or a target that begins with
            a slash; encoded as on the wire.
        headers: A mapping, or pairs of name and value as ASGI has them.
        authority: The public host and port; without it that of an absolute URL or, failing that,
            of the Host header.

    Raises:
        AuthenticationError: If it is not a request that can be judged.
    """
    # The signature does not cover the method, so nothing else would stop another one.
    if method != "GET":
        raise _refused(f"the method is {str(method)[:16]!r}; a WebSocket is opened with GET")
    lines = _lines(headers)
    single = _single(lines)
    in_url, target = _split(url)
    named = authority or (single.get("host") if in_url is None else in_url)
    if named is None:
        raise _refused("there is no Host header; give the public authority by configuration")
    if not is_authority(named):
        raise _refused("the Host header or the URL's host is no host name with an optional port")
    # As RFC 9421, 2.2.3 writes it: host names ignore case, and TLS's own port is left out.
    named = named.lower().removesuffix(":443")
    return UpgradeRequest(method, named, target, HeaderLines(lines), single)


def is_authority(text: str) -> bool:
    """Whether a text is a host with an optional port, and nothing else."""
    return _AUTHORITY.fullmatch(text) is not None


def is_uuid(text: str) -> bool:
    """Whether a text is a UUID in its usual spelling, in any case."""
    return _UUID.fullmatch(text) is not None


def upgrade_request(scope: Mapping[str, Any]) -> tuple[str, str, list[tuple[bytes, bytes]]]:
    """What `SignatureVerifier` needs to know of a connection, from its ASGI scope.

    The scope of a Starlette or FastAPI ``WebSocket`` is its ``scope`` attribute. Its ``url``
    attribute will not do: it is made of the decoded path, and the encoded one is signed.

    Args:
        scope: Of type ``websocket``, or ``http`` in middleware that sees the upgrade first.

    Returns:
        Method, request target and header lines.
    """
    raw = scope.get("raw_path")
    # Servers need not give it; what a path may hold unencoded is in RFC 3986, 3.3.
    path = quote(scope["path"], "/!$&'()*+,;=:@~") if raw is None else raw.decode("latin-1")
    query = scope.get("query_string", b"").decode("latin-1")
    return scope.get("method", "GET"), f"{path}?{query}" if query else path, list(scope["headers"])


def _lines(headers: Headers) -> tuple[tuple[str, str], ...]:
    pairs = headers.items() if hasattr(headers, "items") else headers
    lines = tuple((_text(n).lower(), _text(v)) for n, v in islice(pairs, MAX_HEADER_LINES + 1))
    if len(lines) > MAX_HEADER_LINES:
        raise _refused(f"more than {MAX_HEADER_LINES} header lines")
    if sum(len(name) + len(value) for name, value in lines) > MAX_HEADERS_LENGTH:
        raise _refused(f"more than {MAX_HEADERS_LENGTH} characters of headers")
    for _, value in lines:
        # HTTP leaves it to a server to refuse folded lines (RFC 9112, 5.2).
        if "\r" in value or "\n" in value:
            raise _refused("a header is folded over several lines")
    return lines


def _text(part: str | bytes) -> str:
    # Latin-1 keeps every byte apart; what is judged must be ASCII anyway.
    return part.decode("latin-1") if isinstance(part, bytes) else part


def _single(lines: Iterable[tuple[str, str]]) -> dict[str, str]:
    single: dict[str, str] = {}
    for name, value in lines:
        if name not in _SINGLE:
            continue
        if name in single:
            raise _refused(f"header {name!r} is there more than once")
        if not _PRINTABLE.fullmatch(value := value.strip(" \t")):
            raise _refused(f"header {name!r} is not printable ASCII")
        single[name] = value
    for name in (ORGANIZATION_HEADER, SESSION_HEADER, CORRELATION_HEADER):
        if not is_uuid(single.get(name, "")):
            raise _refused(f"header {name!r} is missing or not a UUID")
    if not API_KEY.fullmatch(single.get(API_KEY_HEADER, "")):
        raise _refused(f"header {API_KEY_HEADER!r} is missing or cannot be an API key")
    if len(single.get(SIGNATURE_INPUT_HEADER, "")) > MAX_SIGNATURE_INPUT_LENGTH:
        raise _refused(
            f"header {SIGNATURE_INPUT_HEADER!r} has over {MAX_SIGNATURE_INPUT_LENGTH} characters"
        )
    return single


def _split(url: str) -> tuple[str | None, str]:
    if len(url) > MAX_TARGET_LENGTH:
        raise _refused(f"the URL has over {MAX_TARGET_LENGTH} characters")
    parts = _URL.fullmatch(url)
    if parts is None:
        raise _refused("the URL has characters that cannot be in one; give it encoded")
    authority, target = parts["authority"], parts["target"]
    if authority is not None and not target.startswith("/"):
        target = f"/{target}"
    if not target.startswith("/") or "#" in target:
        raise _refused("the URL is neither wss:// nor a path, or it has a fragment")
    return authority, target


def _refused(detail: str) -> AuthenticationError:
    return AuthenticationError(Refusal.REQUEST, detail)
