"""The accepted API keys and their client secrets."""

from __future__ import annotations

import base64
import hmac
import re
import secrets
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

# The characters that need no escaping in a header and in a structured field string. Genesys allows
# fewer characters: letters, digits, `+`, `/`, `_`, `-` and `=`.
API_KEY = re.compile(r"[!#-\[\]-~]{1,256}")
_SECRET = re.compile(r"[A-Za-z0-9+/]+={0,2}")

Credentials = Mapping[str, str | Sequence[str]]


class ClientSecrets(NamedTuple):
    """The client secrets of an API key.

    Attributes:
        values: The decoded secrets.
        known: False if the API key is unknown. `values` then has one random secret, which must
            not be accepted.
    """

    values: tuple[bytes, ...]
    known: bool


class Keyring:
    """API keys and their client secrets. The time of a lookup does not depend on the key.

    Args:
        credentials: Client secrets in base64 by API key. A key can have several secrets while one
            replaces another.
        unsigned: API keys whose requests need no signature.

    Raises:
        ValueError: If a key or a secret is invalid, or if there is no key at all. The message
            contains no secret and at most the first four characters of a key.
    """

    def __init__(self, credentials: Credentials, unsigned: Collection[str] = ()) -> None:
        if isinstance(unsigned, str):
            raise ValueError("unsigned_keys is a string; pass a collection, such as [key]")
        if not credentials and not unsigned:
            raise ValueError(
                "credentials is empty, so every connection would be refused; "
                "pass {API key: client secret} of the Genesys integration"
            )
        # API keys are stored as HMACs with a random secret, so that the time of a lookup reveals
        # nothing about them.
        self._hmac_key = secrets.token_bytes(32)
        self._signed = {
            self._digest(_validated_key(key)): ClientSecrets(_decoded(key, given), known=True)
            for key, given in credentials.items()
        }
        self._unsigned = frozenset(self._digest(_validated_key(key)) for key in unsigned)
        for key in unsigned:
            if key in credentials:
                raise ValueError(
                    f"API key {_shown(key)} has a client secret and is in unsigned_keys; "
                    "remove the key from credentials or from unsigned_keys"
                )
        self._unknown = ClientSecrets((secrets.token_bytes(32),), known=False)

    def secrets(self, api_key: str) -> ClientSecrets:
        """Return the secrets of a key. An unknown key gets a random secret with `known=False`."""
        return self._signed.get(self._digest(api_key), self._unknown)

    def may_be_unsigned(self, api_key: str) -> bool:
        """Return whether requests with this key need no signature."""
        return self._digest(api_key) in self._unsigned

    def _digest(self, api_key: str) -> bytes:
        return hmac.digest(self._hmac_key, api_key.encode(), "sha256")


def _shown(key: str) -> str:
    return repr(f"{key[:4]}...") if len(key) >= 16 else "'...'"


def _validated_key(key: str) -> str:
    if not isinstance(key, str) or not API_KEY.fullmatch(key):
        raise ValueError(
            f"API key {_shown(str(key))} of {len(str(key))} characters is invalid; "
            "an API key has 1 to 256 printable ASCII characters without spaces and quotes"
        )
    return key


def _decoded(key: str, given: str | Sequence[str]) -> tuple[bytes, ...]:
    several = (given,) if isinstance(given, str) else tuple(given or ())
    if not several:
        raise ValueError(
            f"API key {_shown(key)} has no client secret; if the integration has no secret, "
            "add the key to unsigned_keys"
        )
    return tuple(_decoded_secret(key, secret) for secret in several)


def _decoded_secret(key: str, secret: str) -> bytes:
    # In Genesys, administrators can enter a secret with or without padding.
    unpadded = secret.rstrip("=") if isinstance(secret, str) else ""
    if not unpadded or not _SECRET.fullmatch(secret) or len(unpadded) % 4 == 1:
        raise ValueError(
            f"the client secret of API key {_shown(key)} is not base64 text of at least one byte; "
            "copy it from the integration's settings, without white space"
        )
    return base64.b64decode(unpadded + "=" * (-len(unpadded) % 4), validate=True)
