"""Accepts calls from Genesys Cloud and runs a bot for each call.

A connection that is not authenticated is refused before the WebSocket is accepted. Connection
probes are answered without a bot. The number of calls is limited, every step has a deadline, and
the shutdown waits for running calls. ``docs/endpoint.md`` is the guide.

* `router`: `audiohook_router`, the routes of an application.
* `endpoint`: authenticates connections, runs their calls, and waits for them at shutdown.
* `call_handler`: handles one connection from its first message to the end of its call.
* `call`: `AudioHookCall`, the argument of a bot.
* `admission`: limits the number of calls.
* `refusal_log`: logs refused connections.
* `drain`: the handling of SIGTERM and SIGINT.
* `event_loop`: event loops that a bot cannot stop and strangers cannot keep busy.
* `served_application`, `gc_tuning`: load the application in the processes of ``pipecat-genesys
  serve``, and tune their garbage collector.
* `http_protocol`, `websocket_connection`, `connection_socket`: handle connections instead of
  uvicorn's own classes, and limit the data that a peer sends.
* `recording`, `recording_writer`: record calls. The flight recorder writes only the last minute of
  calls that ended badly.
* `metrics`: the metrics for Prometheus.

This package needs the extra ``endpoint``. It imports `transport` and `auth`. Only the command line
imports this package.
"""

from .call import AudioHookCall
from .endpoint import AudioHookEndpoint
from .recording import CallRecording, RecordingSettings
from .router import AudioHookRouter, audiohook_router

__all__ = [
    "AudioHookCall",
    "AudioHookEndpoint",
    "AudioHookRouter",
    "CallRecording",
    "RecordingSettings",
    "audiohook_router",
]
