"""Why a connection was refused, and what a replay store says when it cannot tell.

What these say is for the operator's log. The peer gets HTTP 401 and nothing else: every detail
helps whoever is guessing. No message holds a secret, an API key, a signature or a request target.
"""

from __future__ import annotations

from enum import StrEnum

from pipecat_genesys.errors import PipecatGenesysError


class Refusal(StrEnum):
    """The reasons, a closed list, so that counters keyed by it stay small."""

    REQUEST = "request"
    """Not an upgrade request that can be judged: its method, URL, size, or a header is wrong."""
    UNSIGNED = "unsigned"
    """No signature, and the API key is none that may come without."""
    SIGNATURE = "signature"
    """Not genuine: malformed, made with another secret, over other values, or an unknown key."""
    INCOMPLETE = "incomplete"
    """Genuine, but without a component or a parameter that it must have."""
    TIME = "time"
    """Genuine, but too old, expired, or from the future."""
    REPLAY = "replay"
    """Genuine, but its nonce was used before."""
    ORGANIZATION = "organization"
    """Genuine, but of an organisation that is not served here."""
    REPLAY_STORE = "replay-store"
    """Genuine, but the replay store is gone, slow or full and cannot say whether it is new."""


class AuthenticationError(PipecatGenesysError):
    """The connection must not be accepted.

    Attributes:
        reason: Why. An unknown API key and a wrong secret are the same reason and the same message.
    """

    def __init__(self, reason: Refusal, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


class ReplayStoreError(PipecatGenesysError):
    """A replay store cannot say whether a nonce is new; the connection is refused."""
