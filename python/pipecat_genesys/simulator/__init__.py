"""The Genesys side of an AudioHook call, to test and develop voice bots against.

Two layers. :class:`GenesysClientSession` is one call without a socket or a clock: server messages
and time go in, client messages and events come out. :class:`SimulatedCall` puts it on a real
WebSocket with a caller whose voice arrives in 200 ms frames, and lets a script speak, press keys,
wait for the bot and hang up. Both yield a :class:`CallReport`.

What it does is what Genesys's reference client was measured to do, with the limits production
adds: the timeouts, the ping rhythm, the checks of every server message and the error code of each
fault, pause and resume, exact stream positions, playback of bot audio in real time with
``playback_started`` and ``playback_completed``, barge-in, and the rate and size limits. ``rules``
lists every rule and the reaction to breaking it.

It covers calls to a voice bot (Audio Connector) over an unsigned connection. It does not sign its
requests, retry or reconnect, ask for catch-up of history, act up as a faulty client, or judge the
transcripts of a monitoring server.

It needs the ``simulator`` extra (``websockets``) for :class:`SimulatedCall`, and never imports
pipecat.
"""

from pipecat_genesys.simulator.caller import Spoken
from pipecat_genesys.simulator.capture import Capture, CaptureEntry, Direction
from pipecat_genesys.simulator.client import SimulatedCall
from pipecat_genesys.simulator.errors import (
    AwaitTimeoutError,
    CallEndedError,
    ConnectFailedError,
    SimulatorError,
)
from pipecat_genesys.simulator.events import (
    AudioReceived,
    BargedIn,
    Closed,
    CloseSent,
    Disconnected,
    Event,
    MessageIgnored,
    Opened,
    Party,
    Paused,
    PlaybackCompleted,
    PlaybackStarted,
    Ponged,
    ProtocolWarning,
    ReconnectRequested,
    Resumed,
    ServerEvent,
    SocketClosed,
    Updated,
    Violation,
)
from pipecat_genesys.simulator.limits import ClientLimits, ClientTimeouts, Rate, TokenBucket
from pipecat_genesys.simulator.options import CallOptions, audiohook_headers
from pipecat_genesys.simulator.parameters import PCMU_EXTERNAL, CallParameters, new_call
from pipecat_genesys.simulator.playback import Playback, Span, Underrun
from pipecat_genesys.simulator.report import CallReport, Ending, Latency, Traffic, build_report
from pipecat_genesys.simulator.rules import REACTIONS, Reaction, Rule, Severity
from pipecat_genesys.simulator.session import (
    DTMF_KEYS,
    FRAME_SAMPLES,
    CallStateError,
    GenesysClientSession,
    SessionState,
)
from pipecat_genesys.simulator.wav import read_wav, write_wav

__all__ = [
    "DTMF_KEYS",
    "FRAME_SAMPLES",
    "PCMU_EXTERNAL",
    "REACTIONS",
    "AudioReceived",
    "AwaitTimeoutError",
    "BargedIn",
    "CallEndedError",
    "CallOptions",
    "CallParameters",
    "CallReport",
    "CallStateError",
    "Capture",
    "CaptureEntry",
    "ClientLimits",
    "ClientTimeouts",
    "CloseSent",
    "Closed",
    "ConnectFailedError",
    "Direction",
    "Disconnected",
    "Ending",
    "Event",
    "GenesysClientSession",
    "Latency",
    "MessageIgnored",
    "Opened",
    "Party",
    "Paused",
    "Playback",
    "PlaybackCompleted",
    "PlaybackStarted",
    "Ponged",
    "ProtocolWarning",
    "Rate",
    "Reaction",
    "ReconnectRequested",
    "Resumed",
    "Rule",
    "ServerEvent",
    "SessionState",
    "Severity",
    "SimulatedCall",
    "SimulatorError",
    "SocketClosed",
    "Span",
    "Spoken",
    "TokenBucket",
    "Traffic",
    "Underrun",
    "Updated",
    "Violation",
    "audiohook_headers",
    "build_report",
    "new_call",
    "read_wav",
    "write_wav",
]
