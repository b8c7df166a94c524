"""Takes calls from Genesys Cloud and runs a bot for each of them.

A connection that is not authenticated is refused before the WebSocket is accepted. Connection
probes are answered without a bot. There is a limit of calls, a deadline for every step, and a
shutdown that lets running calls end. ``docs/endpoint.md`` is the guide.

* `router`: `audiohook_router`, the routes of an application.
* `endpoint`: who is let in, and the calls that run.
* `call_handler`: one connection, from its first message to the end of its call.
* `call`: what a bot gets.
* `admission`: how many calls there may be.
* `drain`: what SIGTERM and SIGINT do.
* `served_application`, `gc_tuning`: the application in the processes of ``pipecat-genesys serve``.
* `http_protocol`, `websocket_connection`, `connection_socket`: the connections of uvicorn, with
  limits.
* `metrics`: what Prometheus sees.

Needs the extra ``endpoint``. Builds on `transport` and `auth`; nothing builds on it but the
command line.
"""

from .call import AudioHookCall
from .endpoint import AudioHookEndpoint
from .router import AudioHookRouter, audiohook_router

__all__ = ["AudioHookCall", "AudioHookEndpoint", "AudioHookRouter", "audiohook_router"]
