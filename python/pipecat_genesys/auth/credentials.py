"""The API keys that are known here, and their client secrets."""

from __future__ import annotations

import base64
import hmac
import re
import secrets
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

# What fits unescaped into a header and into a structured field string. Genesys itself allows less:
# letters, digits and +/_- with padding.
API_KEY = re.compile(r"[!#-\[\]-~]{1,256}")
_SECRET = re.compile(r"[A-Za-z0-9+/]+={0,2}")

Credentials = Mapping[str, str | Sequence[str]]


class Secrets(NamedTuple):
    """The secrets to try for an API key."""

    values: tuple[bytes, ...]
    known: bool
    """False for the random secret that stands in for an unknown key's: never accepted."""


class Keyring:
    """API keys with their secrets, looked up in a time that says nothing about them.

    Args:
        credentials: Client secrets in base64 by API key; several while one replaces another.
        unsigned: API keys that may come without a signature.

    Raises:
        ValueError: If a key or a secret cannot be one, or if there are none. The message never
            holds a secret, and no more than the first characters of a key.
    """

    def __init__(self, credentials: Credentials, unsigned: Collection[str] = ()) -> None:
        if isinstance(unsigned, str):
            raise ValueError("unsigned_keys is one string; give a collection, such as [key]")
        if not credentials and not unsigned:
            raise ValueError(
                "credentials is empty, so every connection would be refused; "
                "give {API key: client secret} of the Genesys integration"
            )
        # Keys are found by their digest under a key of this process: what a peer sends then
        # decides nothing about how the table is walked.
        self._blind = secrets.token_bytes(32)
        self._signed = {
            self._digest(_key(key)): Secrets(_secrets(key, given), known=True)
            for key, given in credentials.items()
        }
        self._unsigned = frozenset(self._digest(_key(key)) for key in unsigned)
        for key in unsigned:
            if key in credentials:
                raise ValueError(
                    f"API key {_shown(key)} has a client secret and is in unsigned_keys; "
                    "take it out of one of them"
                )
        self._unknown = Secrets((secrets.token_bytes(32),), known=False)

    def secrets(self, api_key: str) -> Secrets:
        """The secrets of a key, or a random one that is never accepted."""
        return self._signed.get(self._digest(api_key), self._unknown)

    def may_be_unsigned(self, api_key: str) -> bool:
        """Whether a key is accepted without a signature."""
        return self._digest(api_key) in self._unsigned

    def _digest(self, api_key: str) -> bytes:
        return hmac.digest(self._blind, api_key.encode(), "sha256")


def _shown(key: str) -> str:
    return repr(f"{key[:4]}...") if len(key) >= 16 else "'...'"


def _key(key: str) -> str:
    if not isinstance(key, str) or not API_KEY.fullmatch(key):
        raise ValueError(
            f"an API key is 1 to 256 printable ASCII characters without spaces and quotes, "
            f"which {_shown(str(key))} of {len(str(key))} characters is not"
        )
    return key


def _secrets(key: str, given: str | Sequence[str]) -> tuple[bytes, ...]:
    several = (given,) if isinstance(given, str) else tuple(given or ())
    if not several:
        raise ValueError(
            f"API key {_shown(key)} has no client secret; if the integration has none, "
            "name the key in unsigned_keys"
        )
    return tuple(_secret(key, secret) for secret in several)


def _secret(key: str, secret: str) -> bytes:
    # Genesys leaves the padding to the administrator.
    bare = secret.rstrip("=") if isinstance(secret, str) else ""
    if not bare or not _SECRET.fullmatch(secret) or len(bare) % 4 == 1:
        raise ValueError(
            f"the client secret of API key {_shown(key)} is not base64 text of at least one byte; "
            "give it as it is in the integration's settings, without white space"
        )
    return base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True)
