"""Verifies HTTP message signatures of Genesys with the library http-message-signatures.

The library parses the headers, builds the signature base and computes the MACs (RFC 9421). This
module restricts the library to the signatures of Genesys: HMAC-SHA256, whole header fields, and
the five signature parameters of Genesys's protocol.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, ClassVar, Protocol

from http_message_signatures import (
    HTTPMessageSignaturesException,
    HTTPMessageVerifier,
    HTTPSignatureAlgorithm,
    HTTPSignatureComponentResolver,
    HTTPSignatureKeyResolver,
    InvalidSignature,
    VerifyResult,
)
from http_message_signatures.algorithms import HMAC_SHA256

from .credentials import ClientSecrets, Keyring
from .request import HeaderLines

# The header must contain exactly one signature, which has 32 bytes in canonical base64. The unused
# bits of the last digit must be zero. A decoder ignores these bits, so without this rule several
# texts would be the same signature.
_SIGNATURE = re.compile(r"[a-z*][a-z0-9_.*-]*=:[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=:")


class SignedMessage(Protocol):
    """The interface of a message that http-message-signatures reads."""

    @property
    def method(self) -> str:
        """HTTP method."""

    @property
    def url(self) -> str:
        """The URL of the request. Its host is the component `@authority`."""

    @property
    def request_target(self) -> str:
        """Path and query, encoded as on the wire."""

    @property
    def headers(self) -> HeaderLines | Mapping[str, str]:
        """Header names and values."""


def verify_mac(message: SignedMessage, signature: str, keyring: Keyring) -> VerifyResult:
    """Check that a message has exactly one signature and that the signature is genuine.

    The caller must check the age, the covered components and the nonce.

    Args:
        message: Message with its Signature-Input header.
        signature: Value of the message's Signature header.
        keyring: Keyring that has the secrets of the signature's `keyid`.

    Returns:
        The covered components and the parameters of the signature.

    Raises:
        InvalidSignature: If the MAC does not match or the `keyid` is unknown. The message is the
            same in both cases.
        HTTPMessageSignaturesException: If the signature is malformed. `InvalidSignature` is a
            subclass.
    """
    if not _SIGNATURE.fullmatch(signature):
        raise InvalidSignature(
            "the header does not have exactly one signature of 32 bytes in base64"
        )

    verifier = _Verifier(
        signature_algorithm=_HmacWithAnySecret,
        key_resolver=_KeyResolver(keyring),
        component_resolver_class=_ComponentResolver,
    )
    (result,) = verifier.verify(message, max_age=None)
    return result


# Genesys covers six components. The library resolves all components before it computes the MAC,
# so this limit bounds the processor time of a hostile request.
MAX_COMPONENTS = 16

# The constructor of the library's class has no type annotations.
_hmac_sha256: Callable[..., Any] = HMAC_SHA256


class _Verifier(HTTPMessageVerifier):
    # `tag` is not in this list, as in Genesys's verifier, because a signature with a tag belongs to
    # another application.
    signature_metadata_parameters: ClassVar[set[str]] = {
        "alg",
        "created",
        "expires",
        "keyid",
        "nonce",
    }

    def validate_created_and_expires(
        self, sig_input: Any, max_age: timedelta | None = None
    ) -> None:
        """Check nothing. `SignatureVerifier` checks `created` and `expires` with its own clock."""


class _ComponentResolver(HTTPSignatureComponentResolver):
    derived_component_resolvers: ClassVar[dict[str, Callable[..., str]]] = {
        name: HTTPSignatureComponentResolver.derived_component_resolvers[name]
        for name in ("@request-target", "@authority", "@method")
    }

    _resolved = 0

    def resolve(self, component_node: Any) -> Any:
        """Return the value of a header field, `@request-target`, `@authority` or `@method`."""
        self._resolved += 1
        if self._resolved > MAX_COMPONENTS:
            raise HTTPMessageSignaturesException(f"more than {MAX_COMPONENTS} covered components")
        if component_node.params:
            raise HTTPMessageSignaturesException("component parameters are not supported")
        return super().resolve(component_node)


class _KeyResolver(HTTPSignatureKeyResolver):
    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring

    def resolve_public_key(self, key_id: str) -> ClientSecrets:
        return self._keyring.secrets(key_id)


class _HmacWithAnySecret(HTTPSignatureAlgorithm):
    """Verifies an HMAC-SHA256 with several secrets, in a time that does not depend on the match."""

    algorithm_id = HMAC_SHA256.algorithm_id

    def __init__(self, public_key: ClientSecrets | None = None, private_key: None = None) -> None:
        assert public_key is not None
        self._secrets = public_key

    def verify(self, signature: bytes, message: bytes) -> None:
        genuine = False
        for secret in self._secrets.values:
            mac = _hmac_sha256(shared_secret=secret).sign(message)
            genuine |= hmac.compare_digest(mac, signature)
        if not genuine & self._secrets.known:
            raise InvalidSignature("the signature does not match")
