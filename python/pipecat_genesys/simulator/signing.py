"""The HTTP message signature of an upgrade request, as Genesys signs it.

http-message-signatures makes it (RFC 9421); here is what Genesys signs and with what: the client
secret is base64 whose bytes are the key of an HMAC-SHA256. Source: the signature builder of
Genesys's AudioHook reference implementation, and the security page of its documentation.
"""

from __future__ import annotations

import base64
import binascii
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

REFERENCE_COMPONENTS = (
    "@request-target",
    "@authority",
    "audiohook-organization-id",
    "audiohook-session-id",
    "audiohook-correlation-id",
    "x-api-key",
)
"""What is signed, in the order of Genesys's reference client."""

PRODUCTION_COMPONENTS = (
    "@request-target",
    "audiohook-session-id",
    "audiohook-organization-id",
    "audiohook-correlation-id",
    "x-api-key",
    "@authority",
)
"""The same in the order that an integrator (Rasa) found production to use."""

LIFETIME = 30
"""Seconds from ``created`` to ``expires``, as in the reference client."""

_SECRET = re.compile(r"[A-Za-z0-9+/]+={0,2}")
_DEFAULT_PORTS = {"ws": 80, "wss": 443, "http": 80, "https": 443}


def decode_secret(text: str) -> bytes:
    """Read a client secret as Genesys's administration takes it: base64, padding optional.

    Raises:
        ValueError: If it is no base64. The message does not show it.
    """
    try:
        if not _SECRET.fullmatch(text):
            raise binascii.Error
        return base64.b64decode(text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4))
    except binascii.Error:
        raise ValueError(
            f"the client secret ({len(text)} characters) is not base64; "
            "give it as Genesys's integration page shows it"
        ) from None


@dataclass(frozen=True, slots=True)
class _Request:
    """A request as http-message-signatures reads and changes it."""

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
        url: Where to, ``ws://`` or ``wss://``.
        headers: The request's, ``X-API-KEY`` among them; it becomes the ``keyid``.
        client_secret: The integration's, in base64.
        created: When it was signed, in seconds of the Unix epoch; now by default.
        nonce: Used once; 128 random bits in base64 by default.
        lifetime: Seconds until it expires.
        components: What to sign, in order.

    Returns:
        The two headers to add, ``Signature-Input`` and ``Signature``.

    Raises:
        ValueError: If the secret is no base64.
        ImportError: If the extra ``cli`` or ``auth`` is not installed.
    """
    # Only those who sign need the library.
    from http_message_signatures import HTTPMessageSigner, HTTPSignatureKeyResolver, algorithms

    key = decode_secret(client_secret)

    class _Key(HTTPSignatureKeyResolver):
        def resolve_private_key(self, key_id: str) -> bytes:
            return key

    parts = urlsplit(url)
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
