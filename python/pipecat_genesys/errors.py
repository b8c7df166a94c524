"""The root of the package's exceptions.

Every exception class that this package defines derives from `PipecatGenesysError`. The right
column names the module or subpackage that raises the class::

    PipecatGenesysError
        AudioError (ValueError)                 pipecat_genesys.audio
        AudioHookError                          pipecat_genesys.protocol
            LocalProtocolError                  pipecat_genesys.protocol
            RemoteProtocolError                 pipecat_genesys.protocol
        AuthenticationError                     pipecat_genesys.auth
        BotExitError                            pipecat_genesys.call
        BrokenRuleError                         pipecat_genesys.simulator
        CallStateError (RuntimeError)           pipecat_genesys.simulator
        CheckFailedError                        pipecat_genesys.conformance
            ConnectionLostError                 pipecat_genesys.conformance
        CheckSkippedError                       pipecat_genesys.conformance
        InspectorStartError                     pipecat_genesys.inspector
        NoRoomError                             pipecat_genesys.endpoint
        NoSpeechError (ValueError)              pipecat_genesys.simulator
        ProxyStartError                         pipecat_genesys.inspector
        ReplayStoreError                        pipecat_genesys.auth
        SimulatorError                          pipecat_genesys.simulator
            AwaitTimeoutError (TimeoutError)    pipecat_genesys.simulator
            CallEndedError                      pipecat_genesys.simulator
            ConnectFailedError                  pipecat_genesys.simulator
        UnreadableCaptureError (ValueError)     pipecat_genesys.inspector
        VADModelError                           pipecat_genesys.vad
            UnusableModelError                  pipecat_genesys.vad

The class in parentheses is a built-in exception that the class derives from as well.

A wrong argument can also raise a plain `TypeError` or `ValueError`, as in any Python library.
Exceptions of other libraries (pipecat, websockets, redis) are not wrapped unless the function's
documentation says so.

This module imports nothing.
"""

__all__ = ["AudioError", "PipecatGenesysError"]


class PipecatGenesysError(Exception):
    """Base class of every exception that this package defines."""


class AudioError(PipecatGenesysError, ValueError):
    """The audio core does not support a value, such as a sample rate.

    The message names the value, the reason and the remedy. A call that raises this exception does
    not change the stream.
    """
