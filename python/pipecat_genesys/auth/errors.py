"""The exceptions of authentication, and the reasons for a refusal.

The messages are for the operator's log. The peer should get only an HTTP status, because details
would help an attacker. No message contains a secret, an API key, a signature or a request target.
"""

from __future__ import annotations

from enum import StrEnum

from pipecat_genesys.errors import PipecatGenesysError


class Refusal(StrEnum):
    """The reasons for refusing a connection.

    The list is fixed, so that metrics can use a reason as a label.
    """

    REQUEST = "request"
    """The upgrade request is invalid: its method, URL, size or one of its headers."""
    UNSIGNED = "unsigned"
    """The request has no signature, and its API key requires one."""
    SIGNATURE = "signature"
    """The signature is not genuine: it is malformed, was made with another secret or for other
    values, or its API key is unknown."""
    INCOMPLETE = "incomplete"
    """The signature is genuine, but lacks a required component or parameter."""
    TIME = "time"
    """The signature is genuine, but too old, expired, or created in the future."""
    REPLAY = "replay"
    """The signature is genuine, but its nonce has been used before."""
    ORGANIZATION = "organization"
    """The signature is genuine, but its organisation is not accepted."""
    REPLAY_STORE = "replay-store"
    """The signature is genuine, but the replay store failed, is full, or did not answer in time,
    so the nonce could not be checked."""


class AuthenticationError(PipecatGenesysError):
    """The connection must not be accepted.

    Attributes:
        reason: Reason for the refusal. An unknown API key and a wrong secret have the same reason
            and the same message.
    """

    def __init__(self, reason: Refusal, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


class ReplayStoreError(PipecatGenesysError):
    """A replay store could not check a nonce. The connection is refused."""
