"""Authenticates Genesys Cloud by the API key and the HTTP message signature of the upgrade request.

`SignatureVerifier` checks a request before the WebSocket is accepted::

    verifier = SignatureVerifier({api_key: client_secret}, authority="bot.example.com")
    caller = await verifier.authenticate(*upgrade_request(websocket.scope))

`docs/security.md` describes the checks, their limits, and the use behind a proxy.
This package needs the extra `auth` (`http-message-signatures`) and does not import pipecat.
`pipecat_genesys.auth.redis_store` has a replay store for several processes; it needs the extra
`redis`.

The modules, each of which imports only modules above it::

    errors       exceptions and the reasons for a refusal
    credentials  API keys and client secrets
    request      reading and validating the upgrade request
    signature    the HTTP message signature, with http-message-signatures
    replay       two replay stores, which record the used nonces; `redis_store` has a third
    refusal_delay  the delay of refusals
    verifier     all checks in order
"""

from .errors import AuthenticationError, Refusal, ReplayStoreError
from .replay import IgnoreReplays, MemoryReplayStore, ReplayStore
from .request import upgrade_request
from .verifier import SignatureVerifier, VerifiedRequest

__all__ = [
    "AuthenticationError",
    "IgnoreReplays",
    "MemoryReplayStore",
    "Refusal",
    "ReplayStore",
    "ReplayStoreError",
    "SignatureVerifier",
    "VerifiedRequest",
    "upgrade_request",
]
