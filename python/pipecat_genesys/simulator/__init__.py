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

It calls voice bots (Audio Connector) and servers that listen (Monitor, Transcription Connector),
signs its requests, continues a conversation in a new session, and acts up on request: ``FAULTS``
are what a server must survive.

It needs the ``simulator`` extra (``websockets``) for :class:`SimulatedCall`, ``auth`` or ``cli``
to sign, and never imports pipecat.
"""

from pipecat_genesys.simulator.acting import (
    Act,
    ActingSession,
    Moment,
)
from pipecat_genesys.simulator.caller import (
    Spoken,
)
from pipecat_genesys.simulator.capture import (
    Capture,
    CaptureEntry,
    Direction,
)
from pipecat_genesys.simulator.capture_file import CaptureFile, RecordedCall, read_capture
from pipecat_genesys.simulator.client import (
    SimulatedCall,
)
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
from pipecat_genesys.simulator.faults import (
    FAULTS,
    Fault,
    find_fault,
)
from pipecat_genesys.simulator.limits import (
    ClientLimits,
    ClientTimeouts,
    Rate,
    TokenBucket,
)
from pipecat_genesys.simulator.options import (
    CallOptions,
    audiohook_headers,
)
from pipecat_genesys.simulator.parameters import (
    MONITOR_OFFER,
    PCMU_EXTERNAL,
    CallMode,
    CallParameters,
    ContinuedSession,
    as_probe,
    medium,
    new_call,
    new_monitor_call,
)
from pipecat_genesys.simulator.playback import (
    Playback,
    Span,
    Underrun,
)
from pipecat_genesys.simulator.reconnect import (
    continuation,
)
from pipecat_genesys.simulator.replay import ReplayReport, ServerSide, replay_call
from pipecat_genesys.simulator.report import (
    CallReport,
    Ending,
    Latency,
    Traffic,
    build_report,
)
from pipecat_genesys.simulator.rules import (
    REACTIONS,
    Reaction,
    Rule,
    Severity,
)
from pipecat_genesys.simulator.script import VERBS, Step, Verb, parse_script, play
from pipecat_genesys.simulator.session import (
    DTMF_KEYS,
    FRAME_SAMPLES,
    CallStateError,
    GenesysClientSession,
    SessionState,
)
from pipecat_genesys.simulator.signing import (
    PRODUCTION_COMPONENTS,
    REFERENCE_COMPONENTS,
    sign_request,
)
from pipecat_genesys.simulator.sounds import (
    silence,
    speech_like,
    tone,
)
from pipecat_genesys.simulator.wav import (
    read_stereo_wav,
    read_wav,
    write_wav,
)

__all__ = [
    "DTMF_KEYS",
    "FAULTS",
    "FRAME_SAMPLES",
    "MONITOR_OFFER",
    "PCMU_EXTERNAL",
    "PRODUCTION_COMPONENTS",
    "REACTIONS",
    "REFERENCE_COMPONENTS",
    "VERBS",
    "Act",
    "ActingSession",
    "AudioReceived",
    "AwaitTimeoutError",
    "BargedIn",
    "CallEndedError",
    "CallMode",
    "CallOptions",
    "CallParameters",
    "CallReport",
    "CallStateError",
    "Capture",
    "CaptureEntry",
    "CaptureFile",
    "ClientLimits",
    "ClientTimeouts",
    "CloseSent",
    "Closed",
    "ConnectFailedError",
    "ContinuedSession",
    "Direction",
    "Disconnected",
    "Ending",
    "Event",
    "Fault",
    "GenesysClientSession",
    "Latency",
    "MessageIgnored",
    "Moment",
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
    "RecordedCall",
    "ReplayReport",
    "Resumed",
    "Rule",
    "ServerEvent",
    "ServerSide",
    "SessionState",
    "Severity",
    "SimulatedCall",
    "SimulatorError",
    "SocketClosed",
    "Span",
    "Spoken",
    "Step",
    "TokenBucket",
    "Traffic",
    "Underrun",
    "Updated",
    "Verb",
    "Violation",
    "as_probe",
    "audiohook_headers",
    "build_report",
    "continuation",
    "find_fault",
    "medium",
    "new_call",
    "new_monitor_call",
    "parse_script",
    "play",
    "read_capture",
    "read_stereo_wav",
    "read_wav",
    "replay_call",
    "sign_request",
    "silence",
    "speech_like",
    "tone",
    "write_wav",
]
