"""HTTP message signatures as Genesys makes them, on top of http-message-signatures.

The library parses the headers, builds the signature base and makes the MACs (RFC 9421). What is
here narrows it to what Genesys signs: HMAC-SHA256, whole header fields, and no parameters but the
five that Genesys's protocol has.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any, ClassVar

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

from pipecat_genesys.auth.credentials import Keyring, Secrets

# One signature of 32 bytes in the one way base64 has to write them. The spare bits of the last
# digit must be zero: a decoder would overlook them, and then two texts were the same signature.
_SIGNATURE = re.compile(r"[a-z*][a-z0-9_.*-]*=:[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=:")


def verify_mac(message: Any, signature: str, keyring: Keyring) -> VerifyResult:
    """Check that a message has exactly one signature, and that it is genuine.

    Neither its age, nor its coverage, nor its nonce is looked at.

    Args:
        message: ``method``, ``url``, ``request_target`` and ``headers``.
        signature: Value of the message's Signature header.
        keyring: The secrets, by the signature's ``keyid``.

    Raises:
        InvalidSignature: If it is not; the same for every reason that has to do with the key.
    """
    if not _SIGNATURE.fullmatch(signature):
        raise InvalidSignature("not one signature of 32 bytes in base64")
    verifier = _Verifier(
        signature_algorithm=_HmacOfAny,
        key_resolver=_Keys(keyring),
        component_resolver_class=_Components,
    )
    (result,) = verifier.verify(message, max_age=None)
    return result


# Genesys covers six. The library resolves every component before it makes the MAC, so that the
# number decides what a hostile request costs.
MAX_COMPONENTS = 16

# The library does not annotate its constructors.
_hmac_sha256: Callable[..., Any] = HMAC_SHA256


class _Verifier(HTTPMessageVerifier):
    # Without `tag`, as in Genesys's own verifier: one of another application is not for us.
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
        """Leave the time to our caller, who has a clock that can be set."""


class _Components(HTTPSignatureComponentResolver):
    derived_component_resolvers: ClassVar[dict[str, Callable[..., str]]] = {
        name: HTTPSignatureComponentResolver.derived_component_resolvers[name]
        for name in ("@request-target", "@authority", "@method")
    }

    _resolved = 0

    def resolve(self, component_node: Any) -> Any:
        """Resolve whole header fields and the derived components that Genesys may sign."""
        self._resolved += 1
        if self._resolved > MAX_COMPONENTS:
            raise HTTPMessageSignaturesException(f"more than {MAX_COMPONENTS} components")
        if component_node.params:
            raise HTTPMessageSignaturesException("component parameters are not supported")
        return super().resolve(component_node)


class _Keys(HTTPSignatureKeyResolver):
    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring

    def resolve_public_key(self, key_id: str) -> Secrets:
        return self._keyring.secrets(key_id)


class _HmacOfAny(HTTPSignatureAlgorithm):
    """HMAC-SHA256 with any of several secrets, in a time that does not tell which."""

    algorithm_id = HMAC_SHA256.algorithm_id

    def __init__(self, public_key: Secrets | None = None, private_key: None = None) -> None:
        assert public_key is not None
        self._secrets = public_key

    def verify(self, signature: bytes, message: bytes) -> None:
        genuine = False
        for secret in self._secrets.values:
            mac = _hmac_sha256(shared_secret=secret).sign(message)
            genuine |= hmac.compare_digest(mac, signature)
        if not genuine & self._secrets.known:
            raise InvalidSignature("the signature does not match")
