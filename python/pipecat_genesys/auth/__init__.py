"""Is it Genesys Cloud that connects? API key and HTTP message signature of the upgrade request.

:class:`SignatureVerifier` is the door; the rest is what goes in and what comes out::

    verifier = SignatureVerifier({api_key: client_secret}, authority="bot.example.com")
    caller = await verifier.authenticate(*upgrade_request(websocket.scope))

What is checked, what is not, and how it stands behind a proxy is in ``docs/security.md``. It
needs the ``auth`` extra (``http-message-signatures``), and never imports pipecat.
``pipecat_genesys.auth.redis_store`` has a replay store for several processes, and needs the
``redis`` extra.

The parts, each of which imports only those before it::

    errors       why a connection is refused
    credentials  API keys and client secrets
    request      the upgrade request, bounded and unambiguous
    signature    whether the signature is genuine, by http-message-signatures
    replay       which nonces were used; redis_store beside it
    verifier     all of it in order
"""

from pipecat_genesys.auth.errors import AuthenticationError, Refusal, ReplayStoreError
from pipecat_genesys.auth.replay import IgnoreReplays, MemoryReplayStore, ReplayStore
from pipecat_genesys.auth.request import upgrade_request
from pipecat_genesys.auth.verifier import SignatureVerifier, VerifiedRequest

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
