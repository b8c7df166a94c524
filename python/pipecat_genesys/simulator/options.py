"""How a simulated call is placed: credentials, headers, timings, and how the audio begins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ssl import SSLContext

from pipecat_genesys.simulator.limits import ClientLimits, ClientTimeouts
from pipecat_genesys.simulator.parameters import CallParameters
from pipecat_genesys.simulator.signing import REFERENCE_COMPONENTS, sign_request


@dataclass(frozen=True, slots=True, kw_only=True)
class CallOptions:
    """How a call is placed. Times in seconds.

    Attributes:
        api_key: Value of ``X-API-KEY``.
        client_secret: Signs the request with it, in base64; None sends it unsigned.
        signed_components: What is signed, in order.
        headers: More headers of the upgrade request, after it was signed; they replace the
            standard ones, and None leaves one out.
        ssl: For ``wss``, where the default context is not wanted.
        timeouts: The client's own.
        limits: What the client puts up with.
        record_audio: Whether to keep both tracks and the audio in the capture, some 32 kB for
            each second of call.
        completed_after_barge_in: See :class:`GenesysClientSession`.
        connect_timeout: For the WebSocket.
        socket_close_timeout: For the closing handshake of the WebSocket.
        lost_attempts: Connections that are lost right after their ``open``, before the one that
            lasts. Each raises ``Audiohook-Retry-Attempt`` by one.
        backlog: Caller audio that has gathered when ``open`` is sent, as connecting took that
            long. It goes out at once after ``opened``, faster than real time.
        catch_up_at_once: Whether audio that has gathered goes out in one frame (as large as a
            message may be) rather than in frames of 200 ms.
    """

    api_key: str = "simulator"
    client_secret: str | None = field(default=None, repr=False)
    signed_components: tuple[str, ...] = REFERENCE_COMPONENTS
    headers: Mapping[str, str | None] = field(default_factory=dict)
    ssl: SSLContext | None = None
    timeouts: ClientTimeouts = field(default_factory=ClientTimeouts)
    limits: ClientLimits = field(default_factory=ClientLimits)
    record_audio: bool = True
    completed_after_barge_in: bool = True
    connect_timeout: float = 10.0
    socket_close_timeout: float = 2.0
    lost_attempts: int = 0
    backlog: float = 0.0
    catch_up_at_once: bool = False


def audiohook_headers(parameters: CallParameters, api_key: str, attempt: int = 0) -> dict[str, str]:
    """The headers of an AudioHook upgrade request, unsigned.

    Args:
        parameters: Who calls.
        api_key: Value of ``X-API-KEY``.
        attempt: Value of ``Audiohook-Retry-Attempt``, from 0.
    """
    return {
        "Audiohook-Organization-Id": parameters.organization_id,
        "Audiohook-Session-Id": parameters.session_id,
        "Audiohook-Correlation-Id": parameters.correlation_id,
        "X-API-KEY": api_key,
        "Audiohook-Retry-Attempt": str(attempt),
    }


def sign_headers(url: str, headers: Mapping[str, str], options: CallOptions) -> dict[str, str]:
    """Complete the headers of an upgrade request: key, signature, and the user's own.

    Args:
        url: Where to; the signature covers it.
        headers: What says which call it is, as of :func:`audiohook_headers`.
        options: Credentials, and headers of the user's own.

    Raises:
        ValueError: If the client secret is no base64.
    """
    complete = {**headers, "X-API-KEY": options.api_key}
    if options.client_secret is not None:
        complete |= sign_request(
            url, complete, options.client_secret, components=options.signed_components
        )
    replaced = {name.lower() for name in options.headers}
    kept = {name: value for name, value in complete.items() if name.lower() not in replaced}
    return kept | {name: value for name, value in options.headers.items() if value is not None}
