"""A signer of upgrade requests, written with `hmac` only, according to RFC 9421, 2.5."""

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import dataclass, field, replace
from typing import Any

KEY = "SGVsbG8sIEkgYW0gdGhlIEFQSSBrZXkh"
SECRET = "TXlTdXBlclNlY3JldEtleVRlbGxOby0xITJAMyM0JDU="
NONCE = "VGhpc0lzQVVuaXF1ZU5vbmNl"
ORGANIZATION = "d7934305-0972-4844-938e-9060eef73d05"
SESSION = "30b0e395-84d3-4570-ac13-9a62d8f514c0"
CORRELATION = "e160e428-53e2-487c-977d-96989bf5c99d"
AUTHORITY = "audiohook.example.com"
TARGET = "/api/v1/voicebiometrics/ws"
NOW = 1_641_013_200
COMPONENTS = (
    "@request-target",
    "@authority",
    "audiohook-organization-id",
    "audiohook-session-id",
    "audiohook-correlation-id",
    "x-api-key",
)
Pairs = list[tuple[bytes, bytes]]


def sf_string(text: str) -> str:
    """Serialise a structured field string (RFC 9651, 4.1.6)."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def identifier(component: str) -> str:
    """Return the identifier of a component from its name and parameters, such as `date;bs`."""
    name, semicolon, parameters = component.partition(";")
    return sf_string(name) + semicolon + parameters


@dataclass(frozen=True)
class RequestToSign:
    """An upgrade request to sign.

    Attributes:
        key: API key of the request.
        secret: Client secret in base64.
        target: Path and query.
        authority: Public host.
        organization: Organisation ID.
        session: Session ID.
        correlation: Correlation ID.
        components: Covered components, in order.
        parameters: Signature parameters, in order. None omits a parameter; an int is not quoted.
        extra: Further headers as pairs of name and value.
        values: Values to sign for components that are not headers, as pairs of name and value.
        label: Label of the signature.
    """

    key: str = KEY
    secret: str = SECRET
    target: str = TARGET
    authority: str = AUTHORITY
    organization: str = ORGANIZATION
    session: str = SESSION
    correlation: str = CORRELATION
    components: tuple[str, ...] = COMPONENTS
    parameters: dict[str, Any] = field(
        default_factory=lambda: {
            "keyid": KEY,
            "nonce": NONCE,
            "alg": "hmac-sha256",
            "created": NOW,
            "expires": NOW + 30,
        }
    )
    extra: tuple[tuple[str, str], ...] = ()
    values: tuple[tuple[str, str], ...] = ()
    label: str = "sig1"

    def having(self, **parameters: Any) -> RequestToSign:
        """Return a copy of this request with different values for some signature parameters."""
        return replace(self, parameters={**self.parameters, **parameters})

    @property
    def fields(self) -> dict[str, str]:
        """Return the header fields that Genesys signs."""
        return {
            "audiohook-organization-id": self.organization,
            "audiohook-session-id": self.session,
            "audiohook-correlation-id": self.correlation,
            "x-api-key": self.key,
        }

    @property
    def input(self) -> str:
        """Return the covered components and parameters: Signature-Input without the label."""
        names = " ".join(map(identifier, self.components))
        parameters = "".join(
            f";{name}={value if isinstance(value, int) else sf_string(value)}"
            for name, value in self.parameters.items()
            if value is not None
        )
        return f"({names}){parameters}"

    @property
    def base(self) -> bytes:
        """Return the signature base as bytes."""
        values = {
            "@request-target": self.target,
            "@authority": self.authority.lower().removesuffix(":443"),
            "@method": "GET",
            "host": self.authority,
            **self.fields,
            **dict(self.extra),
            **dict(self.values),
        }
        lines = [f"{identifier(name)}: {values[name]}" for name in self.components]
        return "\n".join([*lines, f'"@signature-params": {self.input}']).encode()

    @property
    def signature(self) -> str:
        """Return the signature in base64."""
        secret = base64.b64decode(self.secret + "=" * (-len(self.secret) % 4))
        return base64.b64encode(hmac.digest(secret, self.base, hashlib.sha256)).decode()

    def headers(self, **changed: str | None) -> dict[str, str]:
        """Return the signed headers with changes: a value replaces a header, and None removes it.

        An underscore in a keyword argument means a hyphen.
        """
        headers = {
            "host": self.authority,
            **self.fields,
            **dict(self.extra),
            "signature-input": f"{self.label}={self.input}",
            "signature": f"{self.label}=:{self.signature}:",
        }
        for name, value in changed.items():
            headers.pop(name.replace("_", "-"), None)
            if value is not None:
                headers[name.replace("_", "-")] = value
        return headers


def pairs(headers: dict[str, str]) -> Pairs:
    """Convert headers to the pairs of bytes that ASGI uses."""
    return [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
