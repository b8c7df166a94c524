"""How a simulated call is placed: credentials, headers, timings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ssl import SSLContext

from pipecat_genesys.simulator.limits import ClientLimits, ClientTimeouts
from pipecat_genesys.simulator.parameters import CallParameters


@dataclass(frozen=True, slots=True, kw_only=True)
class CallOptions:
    """How a call is placed. Times in seconds.

    Attributes:
        api_key: Value of ``X-API-KEY``.
        headers: More headers of the upgrade request; they replace the standard ones.
        ssl: For ``wss``, where the default context is not wanted.
        timeouts: The client's own.
        limits: What the client puts up with.
        record_audio: Whether to keep both tracks, 8 kB each per second of call.
        completed_after_barge_in: See :class:`GenesysClientSession`.
        connect_timeout: For the WebSocket.
        socket_close_timeout: For the closing handshake of the WebSocket.
    """

    api_key: str = "simulator"
    headers: Mapping[str, str] = field(default_factory=dict)
    ssl: SSLContext | None = None
    timeouts: ClientTimeouts = field(default_factory=ClientTimeouts)
    limits: ClientLimits = field(default_factory=ClientLimits)
    record_audio: bool = True
    completed_after_barge_in: bool = True
    connect_timeout: float = 10.0
    socket_close_timeout: float = 2.0


def audiohook_headers(parameters: CallParameters, api_key: str) -> dict[str, str]:
    """The headers of an AudioHook upgrade request, unsigned, first attempt."""
    return {
        "Audiohook-Organization-Id": parameters.organization_id,
        "Audiohook-Session-Id": parameters.session_id,
        "Audiohook-Correlation-Id": parameters.correlation_id,
        "X-API-KEY": api_key,
        "Audiohook-Retry-Attempt": "0",
    }
