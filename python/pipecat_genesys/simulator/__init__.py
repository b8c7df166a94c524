"""A simulator of Genesys Cloud, to develop and test AudioHook servers without an organization.

The simulator calls voice bots, as Audio Connector does, and servers that only listen, as AudioHook
Monitor and Transcription Connector do. It behaves as Genesys's reference client was measured to
behave, and adds the limits of production: timeouts, pings, validation of every server message with
the error code of each mistake, pause and resume, exact stream positions, playback of bot audio in
real time, barge-in, and limits on message rate and message size. `REACTIONS` lists every rule with
the client's reaction.

There are two layers. The package `session` simulates one call without I/O: `GenesysClientSession`
takes server messages and the time, and returns client messages and events. The other modules use a
session: `SimulatedCall` connects a session to a WebSocket, sends the caller's speech, and runs a
script. Both layers can make a `CallReport`. A `Scenario` has the steps of the caller and the
expectations for the server. A `Verdict` says whether the server met the expectations. `FAULTS` has
mistakes that the client can make on purpose, and that a server must survive.

`SimulatedCall` needs the extra `simulator` (websockets), and the extra `auth` or `cli` to sign
requests. No module of this package imports pipecat.
"""

from pipecat_genesys.capture import (
    CallMode,
    CaptureEntry,
    Direction,
    Party,
    RecordedCall,
    read_capture,
)

from .call import SimulatedCall, continuation
from .caller_audio import Spoken
from .connection import (
    PRODUCTION_COMPONENTS,
    REFERENCE_COMPONENTS,
    CallOptions,
    ConnectFailedError,
    audiohook_headers,
    sign_request,
)
from .event_log import AwaitTimeoutError, CallEndedError, SimulatorError
from .expectations import (
    EXPECTATIONS,
    Expectation,
    ExpectationKind,
    Judgement,
    parse_expectation,
)
from .faults import FAULTS, Act, Fault, FaultInjector, Moment, find_fault
from .replay import CaptureFile, ReplayReport, ServerSide, replay_call
from .report import CallReport, Ending, Latency, Traffic, build_report
from .scenario import (
    Channels,
    Scenario,
    Verdict,
    make_scenario,
    place_call,
    read_scenario,
    run_scenario,
)
from .script import VERBS, Step, Verb, parse_script, play
from .session import GenesysClientSession
from .session.events import (
    AudioReceived,
    BargedIn,
    BotAudioCompleted,
    BotAudioStarted,
    Closed,
    CloseSent,
    Disconnected,
    Event,
    MessageIgnored,
    Opened,
    PongReceived,
    ProtocolWarning,
    ReconnectRequested,
    ServerEvent,
    SocketClosed,
    StreamPaused,
    StreamResumed,
    Updated,
    Violation,
)
from .session.machine import CallStateError, SessionState
from .session.messages import Capture
from .session.parameters import (
    FRAME_SAMPLES,
    MONITOR_OFFER,
    PCMU_EXTERNAL,
    CallParameters,
    ClientLimits,
    ClientTimeouts,
    MessageBudget,
    PreviousSession,
    Rate,
    as_probe,
    medium,
    new_call,
    new_monitor_call,
)
from .session.playback import Playback, Span, Underrun
from .session.rules import REACTIONS, Reaction, ServerRule
from .session.session import DTMF_KEYS
from .sounds import (
    read_stereo_wav,
    read_wav,
    sample_speech,
    silence,
    synthesize,
    tone,
    write_wav,
)

__all__ = [
    "DTMF_KEYS",
    "EXPECTATIONS",
    "FAULTS",
    "FRAME_SAMPLES",
    "MONITOR_OFFER",
    "PCMU_EXTERNAL",
    "PRODUCTION_COMPONENTS",
    "REACTIONS",
    "REFERENCE_COMPONENTS",
    "VERBS",
    "Act",
    "AudioReceived",
    "AwaitTimeoutError",
    "BargedIn",
    "BotAudioCompleted",
    "BotAudioStarted",
    "CallEndedError",
    "CallMode",
    "CallOptions",
    "CallParameters",
    "CallReport",
    "CallStateError",
    "Capture",
    "CaptureEntry",
    "CaptureFile",
    "Channels",
    "ClientLimits",
    "ClientTimeouts",
    "CloseSent",
    "Closed",
    "ConnectFailedError",
    "Direction",
    "Disconnected",
    "Ending",
    "Event",
    "Expectation",
    "ExpectationKind",
    "Fault",
    "FaultInjector",
    "GenesysClientSession",
    "Judgement",
    "Latency",
    "MessageBudget",
    "MessageIgnored",
    "Moment",
    "Opened",
    "Party",
    "Playback",
    "PongReceived",
    "PreviousSession",
    "ProtocolWarning",
    "Rate",
    "Reaction",
    "ReconnectRequested",
    "RecordedCall",
    "ReplayReport",
    "Scenario",
    "ServerEvent",
    "ServerRule",
    "ServerSide",
    "SessionState",
    "SimulatedCall",
    "SimulatorError",
    "SocketClosed",
    "Span",
    "Spoken",
    "Step",
    "StreamPaused",
    "StreamResumed",
    "Traffic",
    "Underrun",
    "Updated",
    "Verb",
    "Verdict",
    "Violation",
    "as_probe",
    "audiohook_headers",
    "build_report",
    "continuation",
    "find_fault",
    "make_scenario",
    "medium",
    "new_call",
    "new_monitor_call",
    "parse_expectation",
    "parse_script",
    "place_call",
    "play",
    "read_capture",
    "read_scenario",
    "read_stereo_wav",
    "read_wav",
    "replay_call",
    "run_scenario",
    "sample_speech",
    "sign_request",
    "silence",
    "synthesize",
    "tone",
    "write_wav",
]
