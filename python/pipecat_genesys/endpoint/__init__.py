"""Takes calls from Genesys Cloud and gives each to a bot: what a server needs around a transport.

Who is not Genesys is refused before the WebSocket is accepted; probes are answered without a bot;
there is a limit of calls, a deadline for every step, one fate for each call, and a way to shut
down that cuts nobody off. ``docs/endpoint.md`` is the guide.

* `router`: `audiohook_router`, the routes of an application.
* `endpoint`: who is let in, and the calls that run.
* `call_handler`: one connection, from its first message to the end of its call.
* `call`: what a bot gets.
* `admission`: how many calls there may be.
* `drain`: what SIGTERM does.
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
