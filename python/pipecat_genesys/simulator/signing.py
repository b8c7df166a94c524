"""The HTTP message signature of an upgrade request, as Genesys signs it.

The library http-message-signatures computes the signature (RFC 9421). This module chooses the
signed components and the key: the client secret is base64, and its bytes are the key of an
HMAC-SHA256. Sources: the signature builder of Genesys's AudioHook reference implementation, and
the security page of Genesys's documentation.
"""

from __future__ import annotations

import base64
import binascii
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from urllib.parse import quote, urlsplit

REFERENCE_COMPONENTS = (
    "@request-target",
    "@authority",
    "audiohook-organization-id",
    "audiohook-session-id",
    "audiohook-correlation-id",
    "x-api-key",
)
"""The signed components, in the order of Genesys's reference client."""

PRODUCTION_COMPONENTS = (
    "@request-target",
    "audiohook-session-id",
    "audiohook-organization-id",
    "audiohook-correlation-id",
    "x-api-key",
    "@authority",
)
"""The signed components, in the order that an integrator (Rasa) observed in production."""

LIFETIME = 30
"""Seconds from `created` to `expires`, as in the reference client."""

_SECRET = re.compile(r"[A-Za-z0-9+/]+={0,2}")
_URL_CHARACTERS = ":/?#[]@!$&'()*+,;=%"
"""Characters of a path or a query that are not percent-encoded: delimiters and the percent sign."""
_DEFAULT_PORTS = {"ws": 80, "wss": 443, "http": 80, "https": 443}


def decode_secret(text: str) -> bytes:
    """Decode a client secret from base64. Padding is optional, as in Genesys's administration.

    Raises:
        ValueError: If the text is not base64. The message does not contain the text.
    """
    try:
        if not _SECRET.fullmatch(text):
            raise binascii.Error
        return base64.b64decode(text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4))
    except binascii.Error:
        raise ValueError(
            f"the client secret ({len(text)} characters) is not base64; "
            "copy it as Genesys's integration page shows it"
        ) from None


def normalized_url(url: str) -> str:
    """Check the URL of a server, and encode the URL in ASCII as it is sent.

    Returns:
        The URL with the host in IDNA and with percent-encoded path and query.

    Raises:
        ValueError: If the URL cannot be that of a WebSocket server. The message says why.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("ws", "wss"):
        raise ValueError("the URL must begin with ws:// or wss://")
    if parts.fragment:
        raise ValueError("the URL must not have a fragment (#...)")
    host = parts.hostname or ""
    port = parts.port
    if not host:
        raise ValueError("the URL has no host")
    if not host.isascii():
        host = host.encode("idna").decode()
    elif ":" not in host and any(not 0 < len(label) < 64 for label in host.rstrip(".").split(".")):
        raise ValueError(f"{host!r} is not a host name")
    host = f"[{host}]" if ":" in host else host
    user = parts.netloc.rpartition("@")[0]
    authority = (f"{user}@" if user else "") + host + ("" if port is None else f":{port}")
    path, query = (quote(text, safe=_URL_CHARACTERS) for text in (parts.path, parts.query))
    return f"{parts.scheme}://{authority}{path}" + (f"?{query}" if query else "")


@dataclass(frozen=True, slots=True)
class _Request:
    """A request in the form that http-message-signatures reads and modifies."""

    method: str
    url: str
    request_target: str
    headers: dict[str, str] = field(repr=False)


def sign_request(
    url: str,
    headers: Mapping[str, str],
    client_secret: str,
    *,
    created: float | None = None,
    nonce: str | None = None,
    lifetime: float = LIFETIME,
    components: Sequence[str] = REFERENCE_COMPONENTS,
) -> dict[str, str]:
    """Sign an upgrade request.

    Args:
        url: URL of the server, `ws://` or `wss://`.
        headers: Headers of the request. `X-API-KEY` among them is also the `keyid`.
        client_secret: Client secret of the integration, in base64.
        created: Time of signing in seconds since the Unix epoch; now by default.
        nonce: A value that is used once; 128 random bits in base64 by default.
        lifetime: Seconds until the signature expires.
        components: The components to sign, in order.

    Returns:
        The two headers to add, `Signature-Input` and `Signature`.

    Raises:
        ValueError: If the client secret is not base64, or the URL is wrong.
        ImportError: If neither the extra `cli` nor the extra `auth` is installed.
    """
    # Imported here, because only signed calls need the library.
    from http_message_signatures import HTTPMessageSigner, HTTPSignatureKeyResolver, algorithms

    key = decode_secret(client_secret)

    class _Key(HTTPSignatureKeyResolver):
        def resolve_private_key(self, key_id: str) -> bytes:
            return key

    parts = urlsplit(normalized_url(url))
    host = (parts.hostname or "").lower()
    host = f"[{host}]" if ":" in host else host
    is_default = parts.port in (None, _DEFAULT_PORTS.get(parts.scheme))
    authority = host if is_default else f"{host}:{parts.port}"
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    request = _Request("GET", f"https://{authority}/", target, {"Host": authority, **headers})
    moment = datetime.now(UTC) if created is None else datetime.fromtimestamp(created, UTC)
    api_key = next((v for name, v in headers.items() if name.lower() == "x-api-key"), "")
    HTTPMessageSigner(signature_algorithm=algorithms.HMAC_SHA256, key_resolver=_Key()).sign(
        request,
        key_id=api_key,
        created=moment,
        expires=moment + timedelta(seconds=lifetime),
        nonce=nonce or base64.b64encode(secrets.token_bytes(16)).decode(),
        label="sig1",
        covered_component_ids=components,
    )
    return {name: request.headers[name] for name in ("Signature-Input", "Signature")}
