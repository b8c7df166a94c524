"""Connects a simulated call to a server: options, signed upgrade request, WebSocket, network delay.

The library http-message-signatures computes the HTTP message signature of the upgrade request (RFC
9421). This module chooses the signed components and the key: the client secret is base64, and its
bytes are the key of an HMAC-SHA256. Sources: the signature builder of Genesys's AudioHook reference
implementation, and the security page of Genesys's documentation.
"""

# The timeouts are passed to the WebSocket library, which reports them in its error messages.
# ruff: noqa: ASYNC109

from __future__ import annotations

import asyncio
import base64
import binascii
import random
import re
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import Enum, auto
from inspect import signature
from ipaddress import ip_address
from ssl import SSLContext, SSLError
from typing import Any, Generic, Self, TypeVar, cast
from urllib.parse import quote, urlsplit
from urllib.request import getproxies

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.typing import Subprotocol

from pipecat_genesys.capture import Party

from .event_log import SimulatorError
from .session.parameters import CallParameters, ClientLimits, ClientTimeouts

REFERENCE_COMPONENTS = (
    "@request-target",
    "@authority",
    "audiohook-organization-id",
    "audiohook-session-id",
    "audiohook-correlation-id",
    "x-api-key",
)
"""The signed components, in the order of Genesys's reference client."""

PRODUCTION_COMPONENTS = (
    "@request-target",
    "audiohook-session-id",
    "audiohook-organization-id",
    "audiohook-correlation-id",
    "x-api-key",
    "@authority",
)
"""The signed components, in the order that an integrator (Rasa) observed in production."""

LIFETIME = 30
"""Seconds from `created` to `expires`, as in the reference client."""

_MAX_SIZE = 16 * 1024 * 1024
"""Maximum size of a received message, in bytes. It is far above the protocol's limit, so that the
session receives a message above that limit and reports it."""

_NO_STATUS = 1005
_KNOWS_PROXIES = "proxy" in signature(connect.__init__).parameters
"""Whether the installed version of websockets (15 or newer) uses the proxies of the environment."""

_SECRET = re.compile(r"[A-Za-z0-9+/]+={0,2}")
_URL_CHARACTERS = ":/?#[]@!$&'()*+,;=%"
"""Characters of a path or a query that are not percent-encoded: delimiters and the percent sign."""
_DEFAULT_PORTS = {"ws": 80, "wss": 443, "http": 80, "https": 443}

_T = TypeVar("_T")


class ConnectFailedError(SimulatorError):
    """The WebSocket could not be established.

    Attributes:
        status: HTTP status with which the server refused the upgrade request; None if the client
            received no HTTP response.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True, kw_only=True)
class CallOptions:
    """The options of a call: credentials, timeouts, limits and network. Times are in seconds.

    Attributes:
        api_key: Value of the `X-API-KEY` header.
        client_secret: Client secret in base64, to sign the request; None for no signature.
        signed_components: The components to sign, in order.
        headers: Headers that are added to the request, or replaced, after it is signed. None as a
            value removes the header.
        ssl: TLS context for `wss://`; None for the default context.
        timeouts: Timings of the client.
        limits: Limits on the messages of the server.
        record_audio: Whether to keep the audio of both directions, also in the capture. The audio
            takes about 32 kB of memory per second of the call.
        completed_after_barge_in: Whether the client sends `playback_completed` after a `barge_in`
            that cleared the playback queue.
        connect_timeout: Maximum time to establish the WebSocket.
        socket_close_timeout: Maximum time for the closing handshake of the WebSocket.
        lost_attempts: Number of connections that are lost right after `open`, before the connection
            that is kept. Each lost connection increases `Audiohook-Retry-Attempt` by one.
        backlog: Duration of the caller audio that is recorded before `open`, as if connecting had
            taken this time. This audio is sent after `opened`, faster than real time.
        catch_up_at_once: Whether delayed audio is sent in one message that is as large as the
            protocol allows. Otherwise it is sent in frames of 200 ms.
        rtt: Round-trip time of the simulated network. Each message is delayed by one half of this
            time, in both directions; 0 for no delay.
        jitter: Maximum of an additional random delay of each message. The order of the messages
            does not change.
        subprotocols: The WebSocket sub-protocols to offer, in order of preference. Genesys offers
            none.
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
    rtt: float = 0.04
    jitter: float = 0.0
    subprotocols: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.rtt < 0 or self.jitter < 0:
            raise ValueError(
                f"rtt and jitter must not be negative, got {self.rtt:g} and {self.jitter:g}"
            )


def audiohook_headers(parameters: CallParameters, api_key: str, attempt: int = 0) -> dict[str, str]:
    """Return the headers of an AudioHook upgrade request, without a signature.

    Args:
        parameters: Parameters of the call.
        api_key: Value of `X-API-KEY`.
        attempt: Value of `Audiohook-Retry-Attempt`, from 0.
    """
    return {
        "Audiohook-Organization-Id": parameters.organization_id,
        "Audiohook-Session-Id": parameters.session_id,
        "Audiohook-Correlation-Id": parameters.correlation_id,
        "X-API-KEY": api_key,
        "Audiohook-Retry-Attempt": str(attempt),
    }


def decode_secret(text: str) -> bytes:
    """Decode a client secret from base64. Padding is optional, as in Genesys's administration.

    Raises:
        ValueError: If the text is not base64. The message does not contain the text.
    """
    try:
        if not _SECRET.fullmatch(text):
            raise binascii.Error
        return base64.b64decode(text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4))
    except binascii.Error:
        raise ValueError(
            f"the client secret ({len(text)} characters) is not base64; "
            "copy it as Genesys's integration page shows it"
        ) from None


def normalized_url(url: str) -> str:
    """Check the URL of a server, and return the URL in ASCII, as the request contains it.

    Returns:
        The URL with the host in IDNA and with percent-encoded path and query.

    Raises:
        ValueError: If the URL is not a valid URL of a WebSocket server. The message says why.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("ws", "wss"):
        raise ValueError("the URL must begin with ws:// or wss://")
    if parts.fragment:
        raise ValueError("the URL must not have a fragment (#...)")
    host = parts.hostname or ""
    port = parts.port
    if not host:
        raise ValueError("the URL has no host")
    if not host.isascii():
        host = host.encode("idna").decode()
    elif ":" not in host and any(not 0 < len(label) < 64 for label in host.rstrip(".").split(".")):
        raise ValueError(f"{host!r} is not a host name")
    host = f"[{host}]" if ":" in host else host
    user = parts.netloc.rpartition("@")[0]
    authority = (f"{user}@" if user else "") + host + ("" if port is None else f":{port}")
    path, query = (quote(text, safe=_URL_CHARACTERS) for text in (parts.path, parts.query))
    return f"{parts.scheme}://{authority}{path}" + (f"?{query}" if query else "")


@dataclass(frozen=True, slots=True)
class _Request:
    """A request in the form that http-message-signatures reads and modifies."""

    method: str
    url: str
    request_target: str
    headers: dict[str, str] = field(repr=False)


def sign_request(
    url: str,
    headers: Mapping[str, str],
    client_secret: str,
    *,
    created: float | None = None,
    nonce: str | None = None,
    lifetime: float = LIFETIME,
    components: Sequence[str] = REFERENCE_COMPONENTS,
) -> dict[str, str]:
    """Sign an upgrade request.

    Args:
        url: URL of the server, `ws://` or `wss://`.
        headers: Headers of the request. `X-API-KEY` among them is also the `keyid`.
        client_secret: Client secret of the integration, in base64.
        created: Time of signing in seconds since the Unix epoch; now by default.
        nonce: A value that no other request uses; 128 random bits in base64 by default.
        lifetime: Seconds until the signature expires.
        components: The components to sign, in order.

    Returns:
        The two headers to add, `Signature-Input` and `Signature`.

    Raises:
        ValueError: If the client secret is not base64, or the URL is wrong.
        ImportError: If neither the extra `cli` nor the extra `auth` is installed.
    """
    # Imported here, because only signed calls need the library.
    from http_message_signatures import HTTPMessageSigner, HTTPSignatureKeyResolver, algorithms

    key = decode_secret(client_secret)

    class _Key(HTTPSignatureKeyResolver):
        def resolve_private_key(self, key_id: str) -> bytes:
            return key

    parts = urlsplit(normalized_url(url))
    host = (parts.hostname or "").lower()
    host = f"[{host}]" if ":" in host else host
    is_default = parts.port in (None, _DEFAULT_PORTS.get(parts.scheme))
    authority = host if is_default else f"{host}:{parts.port}"
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    request = _Request("GET", f"https://{authority}/", target, {"Host": authority, **headers})
    moment = datetime.now(UTC) if created is None else datetime.fromtimestamp(created, UTC)
    api_key = next((v for name, v in headers.items() if name.lower() == "x-api-key"), "")
    HTTPMessageSigner(signature_algorithm=algorithms.HMAC_SHA256, key_resolver=_Key()).sign(
        request,
        key_id=api_key,
        created=moment,
        expires=moment + timedelta(seconds=lifetime),
        nonce=nonce or base64.b64encode(secrets.token_bytes(16)).decode(),
        label="sig1",
        covered_component_ids=components,
    )
    return {name: request.headers[name] for name in ("Signature-Input", "Signature")}


def checked_url(url: str) -> str:
    """Check the URL of a server, see `normalized_url`.

    Raises:
        ConnectFailedError: If the URL is not a valid URL of a WebSocket server.
    """
    try:
        return normalized_url(url)
    except ValueError as error:
        raise ConnectFailedError(f"no connection to {url}: {error}") from error


def upgrade_headers(url: str, headers: Mapping[str, str], options: CallOptions) -> dict[str, str]:
    """Add the API key, the signature and the user's own headers to the AudioHook headers.

    Args:
        url: URL of the server; the signature covers it.
        headers: Headers that identify the call, see `audiohook_headers`.
        options: Credentials, and the user's own headers.

    Returns:
        All headers of the upgrade request.

    Raises:
        ConnectFailedError: If the URL is wrong.
        ValueError: If the client secret is not base64.
    """
    url = checked_url(url)
    complete = {**headers, "X-API-KEY": options.api_key}
    if options.client_secret is not None:
        complete |= sign_request(
            url, complete, options.client_secret, components=options.signed_components
        )
    replaced = {name.lower() for name in options.headers}
    kept = {name: value for name, value in complete.items() if name.lower() not in replaced}
    return kept | {name: value for name, value in options.headers.items() if value is not None}


async def open_websocket(
    url: str,
    headers: Mapping[str, str],
    *,
    timeout: float,
    close_timeout: float,
    ssl: SSLContext | None,
    subprotocols: Sequence[str] = (),
) -> ClientConnection:
    """Establish a WebSocket as the AudioHook client does.

    Messages are not compressed. No WebSocket pings are sent, because the AudioHook protocol has its
    own `ping` message. Redirects are not followed: Genesys does not follow them, and the API key
    and the signature must not reach another server. The proxies of the environment are used, except
    that an HTTP proxy is not used for a server on this machine.

    Args:
        url: URL of the server, `ws://` or `wss://`.
        headers: Headers of the upgrade request.
        timeout: Maximum time to establish the WebSocket, in seconds.
        close_timeout: Maximum time for the closing handshake, in seconds.
        ssl: TLS context for `wss://`; None for the default context.
        subprotocols: The WebSocket sub-protocols to offer, in order of preference.

    Raises:
        ConnectFailedError: If the WebSocket cannot be established.
    """
    # For websockets, `ssl=None` means "no TLS", and a missing argument `ssl` means "the default
    # context".
    more: dict[str, Any] = {} if ssl is None else {"ssl": ssl}
    target = checked_url(url)
    if _KNOWS_PROXIES and _is_loopback(target) and not _has_socks_proxy():
        more["proxy"] = None
    try:
        return await _ConnectWithoutRedirects(
            target,
            additional_headers=dict(headers),
            compression=None,
            subprotocols=[Subprotocol(name) for name in subprotocols] or None,
            max_size=_MAX_SIZE,
            open_timeout=timeout,
            close_timeout=close_timeout,
            ping_interval=None,
            **more,
        )
    except InvalidStatus as error:
        status = error.response.status_code
        reason = f"no connection to {url}: the server answered with HTTP status {status}"
        if 300 <= status < 400:
            reason += "; redirects are not followed"
        raise ConnectFailedError(reason, status) from error
    except (OSError, ValueError, ImportError, TimeoutError, WebSocketException) as error:
        # A ValueError means that a proxy setting of the environment is invalid. An ImportError
        # means that the proxy needs a missing library.
        reason = " ".join(str(error).split()) or type(error).__name__
        is_not_tls = isinstance(error, SSLError) and error.reason == "WRONG_VERSION_NUMBER"
        if target.startswith("wss:") and (is_not_tls or isinstance(error, ConnectionResetError)):
            reason += "; if the server does not use TLS, the URL must begin with ws://"
        raise ConnectFailedError(f"no connection to {url}: {reason}") from error


class _ConnectWithoutRedirects(connect):
    """The `connect` of websockets, changed to raise an error for a redirect."""

    def process_redirect(self, exc: Exception) -> Exception:
        return exc


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _has_socks_proxy() -> bool:
    return any(proxy.lower().startswith("socks") for proxy in getproxies().values())


class _Link(Generic[_T]):
    """One direction of the simulated network: a queue that delays each message and keeps the order.

    Args:
        delay: Delay of each message in seconds.
        jitter: Maximum of an additional random delay in seconds.
    """

    def __init__(self, delay: float, jitter: float) -> None:
        self._delay = delay
        self._jitter = jitter
        self._queue: asyncio.Queue[tuple[float, _T]] = asyncio.Queue()

    @property
    def is_immediate(self) -> bool:
        """Whether messages are passed on without a delay."""
        return not self._delay and not self._jitter

    @property
    def max_delay(self) -> float:
        """Maximum delay of a message in seconds."""
        return self._delay + self._jitter

    def put(self, item: _T) -> None:
        due = 0.0
        if not self.is_immediate:
            # A secure random generator is not necessary for the delays.
            jitter = random.uniform(0, self._jitter)  # noqa: S311
            due = asyncio.get_running_loop().time() + self._delay + jitter
        self._queue.put_nowait((due, item))

    async def get(self) -> _T:
        """Return the next message after its delay. Cancelling this method may lose the message."""
        due, item = await self._queue.get()
        if not self.is_immediate:
            await asyncio.sleep(due - asyncio.get_running_loop().time())
        return item

    def empty(self) -> bool:
        return self._queue.empty()


class _Ending(Enum):
    """How the connection is ended after the last message is sent."""

    CLOSE = auto()
    ABORT = auto()


@dataclass(frozen=True, slots=True)
class ConnectionEnd:
    """How a connection ended.

    Attributes:
        by: The party that closed the connection first.
        code: Close code received from the server, or None if no close frame was received.
        detail: Close reason received from the server.
        fault: Why the WebSocket library closed the connection, or None if the library did not close
            the connection.
        is_doubtful: Whether the server may have closed the connection at the same time.
    """

    by: Party
    code: int | None
    detail: str = ""
    fault: str | None = None
    is_doubtful: bool = False


class CallConnection:
    """The WebSocket of a call: sends messages in order, and delivers received messages.

    Args:
        websocket: An established WebSocket.
        close_timeout: Maximum time in seconds, after `close`, to send the queued messages to a
            server that does not read. The connection is then aborted.
        rtt: Round-trip time of the simulated network, in seconds.
        jitter: Maximum of an additional random delay of each message, in seconds.
    """

    def __init__(
        self,
        websocket: ClientConnection,
        close_timeout: float,
        *,
        rtt: float = 0.0,
        jitter: float = 0.0,
    ) -> None:
        self._websocket = websocket
        self._close_timeout = close_timeout
        self._outgoing: _Link[str | bytes | _Ending] = _Link(rtt / 2, jitter)
        self._incoming: _Link[str | bytes | ConnectionClosed] = _Link(rtt / 2, jitter)
        self._closing = False

    @classmethod
    async def open(cls, url: str, headers: Mapping[str, str], options: CallOptions) -> Self:
        """Connect to a server.

        The server's answer to the upgrade request is delayed by one half of the round-trip time.

        Args:
            url: URL of the server, `ws://` or `wss://`.
            headers: Headers that identify the call, see `audiohook_headers`.
            options: Credentials, timeouts and network delay.

        Raises:
            ConnectFailedError: If the WebSocket cannot be established.
            ValueError: If the client secret is not base64.
        """
        websocket = await open_websocket(
            url,
            upgrade_headers(url, headers, options),
            timeout=options.connect_timeout,
            close_timeout=options.socket_close_timeout,
            ssl=options.ssl,
            subprotocols=options.subprotocols,
        )
        if options.rtt:
            await asyncio.sleep(options.rtt / 2)
        return cls(websocket, options.socket_close_timeout, rtt=options.rtt, jitter=options.jitter)

    def send(self, message: str | bytes) -> None:
        """Queue a message. After `close`, `drop_when_sent` or `drop` it is discarded."""
        if not self._closing:
            self._outgoing.put(message)

    def close(self) -> None:
        """Close the connection after all queued messages are sent."""
        if not self._closing:
            self._closing = True
            self._outgoing.put(_Ending.CLOSE)
            timeout = self._close_timeout + self._outgoing.max_delay
            asyncio.get_running_loop().call_later(timeout, self._drop_unless_sent)

    def drop_when_sent(self) -> None:
        """Abort the connection, without a close frame, after all queued messages are sent."""
        if not self._closing:
            self._closing = True
            self._outgoing.put(_Ending.ABORT)

    def drop(self) -> None:
        """Abort the connection immediately, without a close frame."""
        self._closing = True
        self._websocket.transport.abort()

    def _drop_unless_sent(self) -> None:
        if not self._outgoing.empty():
            self.drop()

    async def run(self, on_message: Callable[[str | bytes], None]) -> ConnectionEnd:
        """Send and receive until the connection ends.

        Cancelling this method stops sending and receiving. It does not close the connection.

        Args:
            on_message: Called with every received message, in order.

        Returns:
            How the connection ended.
        """
        tasks = [asyncio.create_task(self._write())]
        receive: Callable[[], Awaitable[str | bytes]] = self._websocket.recv
        if not self._incoming.is_immediate:
            tasks.append(asyncio.create_task(self._read()))
            receive = self._receive_delayed
        try:
            while True:
                on_message(await receive())
        except ConnectionClosed as closed:
            return self._end(closed)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _read(self) -> None:
        """Put received messages, and the end of the connection, into the delaying queue."""
        try:
            while True:
                self._incoming.put(await self._websocket.recv())
        except ConnectionClosed as closed:
            self._incoming.put(closed)

    async def _receive_delayed(self) -> str | bytes:
        item = await self._incoming.get()
        if isinstance(item, ConnectionClosed):
            raise item
        return item

    async def _write(self) -> None:
        try:
            while not isinstance(message := await self._outgoing.get(), _Ending):
                await self._websocket.send(message)
            if message is _Ending.ABORT:
                return self._websocket.transport.abort()
            # The reference client sends a close frame without a code, which the peer's library
            # reports as code 1005. The type annotation of `close` requires a number, but `close`
            # also accepts None.
            await self._websocket.close(cast("int", None))
        except ConnectionClosed:
            return None

    def _end(self, closed: ConnectionClosed) -> ConnectionEnd:
        sent, received = closed.sent, closed.rcvd
        code = received.code if received else None
        detail = received.reason if received else ""
        if sent is not None and not closed.rcvd_then_sent:
            if not self._closing:
                fault = f"{sent.code} {sent.reason}"
                return ConnectionEnd(Party.CLIENT, code, detail, fault=fault)
            # The client's close frame has no code, so a reply to it has no code either. If the
            # received frame has a code, the server may have closed the connection at the same time.
            is_doubtful = code not in (None, _NO_STATUS)
            return ConnectionEnd(Party.CLIENT, code, detail, is_doubtful=is_doubtful)
        by = Party.CLIENT if self._closing and received is None else Party.SERVER
        return ConnectionEnd(by, code, detail)
