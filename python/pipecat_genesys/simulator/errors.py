"""What a script on a simulated call can run into."""

from __future__ import annotations

from pipecat_genesys.errors import PipecatGenesysError


class SimulatorError(PipecatGenesysError):
    """Base of the errors below: the call did not go the way the script needs."""


class ConnectFailedError(SimulatorError):
    """The WebSocket could not be established."""


class AwaitTimeoutError(SimulatorError, TimeoutError):
    """What the script waited for did not happen in time."""


class CallEndedError(SimulatorError):
    """The call was over before what the script waited for happened."""
