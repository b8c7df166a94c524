"""The exceptions of the simulator."""

from __future__ import annotations

from pipecat_genesys.errors import PipecatGenesysError


class SimulatorError(PipecatGenesysError):
    """Base class of the errors that end a script: the call did not do what the script requires."""


class ConnectFailedError(SimulatorError):
    """The WebSocket could not be established.

    Attributes:
        status: HTTP status with which the server refused the upgrade request; None if the client
            received no HTTP response.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class AwaitTimeoutError(SimulatorError, TimeoutError):
    """The event that the script waited for did not happen in time."""


class CallEndedError(SimulatorError):
    """The call ended before the event that the script waited for."""


class CallStateError(PipecatGenesysError, RuntimeError):
    """The script requested an action that is not possible in the current state of the call."""
