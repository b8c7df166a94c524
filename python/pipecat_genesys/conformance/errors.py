"""The exceptions with which a check reports its result."""

from __future__ import annotations

from pipecat_genesys.errors import PipecatGenesysError


class CheckFailedError(PipecatGenesysError):
    """The server broke the rule of a check; the message states what the server did."""


class ConnectionLostError(CheckFailedError):
    """The connection ended without a close frame, as it does when the server crashes."""


class CheckSkippedError(PipecatGenesysError):
    """A check cannot find out whether the server keeps the rule; the message states why."""
