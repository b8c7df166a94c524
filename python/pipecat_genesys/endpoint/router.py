"""The routes of an endpoint, for a FastAPI or Starlette application."""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from fastapi import APIRouter
from prometheus_client import CollectorRegistry
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from pipecat_genesys.auth import SignatureVerifier
from pipecat_genesys.auth.credentials import Credentials
from pipecat_genesys.transport import AudioHookParams

from .call_handler import Bot
from .drain import SignalHandlers, drained_on_signals
from .endpoint import AudioHookEndpoint
from .metrics import Metrics, default_metrics, remove_dead_processes
from .recording import RecordingSettings

DRAIN_VARIABLE = "PIPECAT_GENESYS_DRAIN_SECONDS"
GRACE_VARIABLE = "PIPECAT_GENESYS_DRAIN_GRACE_SECONDS"
# Maximum duration of a drain, and maximum duration of its grace period. Most calls take only some
# minutes.
_DRAIN_SECONDS, _GRACE_SECONDS = 600.0, 0.0
_WATCH_EVERY = 0.5
# Largest value of `ready_seconds`. Genesys ends a session if `opened` does not arrive within 5 s,
# and hooks and the network need part of this time.
_MAX_READY_SECONDS = 4.0


class AudioHookRouter(APIRouter):
    """The routes of an endpoint. Pass this object to ``app.include_router``.

    Attributes:
        endpoint: The endpoint of the routes.
    """

    def __init__(self, endpoint: AudioHookEndpoint, path: str, drain: dict[str, float]) -> None:
        """Create the router. Use `audiohook_router` instead."""
        super().__init__(lifespan=partial(_lifespan, endpoint, drain))
        self.endpoint = endpoint
        endpoint.drain_settings = drain
        self.add_websocket_route(path, endpoint.answer)
        self.add_route("/healthz", _healthz, include_in_schema=False)
        self.add_route("/readyz", self._readyz, include_in_schema=False)
        self.add_route("/metrics", self._metrics, include_in_schema=False)

    async def _readyz(self, _: Request) -> Response:
        admission = self.endpoint.admission
        why = "draining" if admission.draining else admission.refusal
        return PlainTextResponse("ready" if why is None else str(why), 200 if why is None else 503)

    async def _metrics(self, _: Request) -> Response:
        text, content_type = self.endpoint.metrics.text()
        return Response(text, headers={"Content-Type": content_type})


async def _healthz(_: Request) -> Response:
    return PlainTextResponse("alive")


def audiohook_router(
    bot: Bot,
    *,
    credentials: Credentials | None = None,
    verifier: SignatureVerifier | None = None,
    unauthenticated: bool = False,
    path: str = "/audiohook",
    params: AudioHookParams | None = None,
    max_calls: int = 50,
    ready_seconds: float = 2.5,
    after_call_seconds: float = 60.0,
    drain_seconds: float | None = None,
    drain_grace_seconds: float | None = None,
    recording: RecordingSettings | None = None,
    registry: CollectorRegistry | None = None,
) -> AudioHookRouter:
    """Make the routes of an application that accepts calls from Genesys Cloud.

    Example::

        async def bot(call: AudioHookCall) -> None:
            transport = call.transport
            await call.run(Pipeline([transport.input(), ..., transport.output()]))

        app = FastAPI()
        app.include_router(audiohook_router(bot, credentials={api_key: client_secret}))

    The routes are the WebSocket at `path`, ``/healthz``, ``/readyz`` and ``/metrics``. ``/healthz``
    answers with status 200 while the process lives. ``/readyz`` answers with status 503 while the
    endpoint has the maximum number of calls or is draining. ``/metrics`` is for Prometheus. Only
    `path` may be accessible to the public. On SIGTERM or SIGINT, the endpoint waits until the
    running calls have ended, and then passes the signal to the server.

    Args:
        bot: The function that is awaited for each call; the call ends when it returns or raises.
        credentials: Client secrets by API key, for a `SignatureVerifier` with its defaults.
        verifier: A configured verifier instead of `credentials`, for a server behind a proxy,
            several processes, or key rotation.
        unauthenticated: Whether to accept every connection. Use this only for development.
        path: The path of the WebSocket.
        params: The parameters of every call's transport.
        max_calls: Maximum number of simultaneous calls in this process. Further calls are refused
            with HTTP 503.
        ready_seconds: Longest time that ``opened`` waits for the bot's pipeline. After this time,
            the session is opened paused, and resumed when the pipeline runs.
        after_call_seconds: Longest time that a bot may run after the end of its call.
        drain_seconds: Longest time that calls may run after SIGTERM or SIGINT and the grace time;
            by default 600. The environment variable ``PIPECAT_GENESYS_DRAIN_SECONDS`` overrides it.
        drain_grace_seconds: Time after the signal during which new calls are still accepted, so
            that a load balancer can notice that ``/readyz`` fails; by default 0. The environment
            variable ``PIPECAT_GENESYS_DRAIN_GRACE_SECONDS`` overrides it.
        recording: Which calls are recorded, in which folders, and with which personal data; by
            default no calls.
        registry: The registry of the metrics; by default the registry of the process.

    Returns:
        The router. ``router.endpoint.drain()`` waits for the running calls without SIGTERM.

    Raises:
        ValueError: If not exactly one of `credentials`, `verifier` and `unauthenticated` is given,
            or a number is out of range.
    """
    given = [
        name
        for name, is_given in (
            ("credentials", credentials is not None),
            ("verifier", verifier is not None),
            ("unauthenticated", unauthenticated),
        )
        if is_given
    ]
    if len(given) != 1:
        raise ValueError(
            f"authentication is configured by {' and '.join(given) if given else 'nothing'}; give "
            "either credentials ({API key: client secret}), or a verifier, or unauthenticated=True "
            "to accept any connection"
        )
    drain = {
        "seconds": _seconds("drain_seconds", drain_seconds, DRAIN_VARIABLE, _DRAIN_SECONDS),
        "grace_seconds": _seconds(
            "drain_grace_seconds", drain_grace_seconds, GRACE_VARIABLE, _GRACE_SECONDS
        ),
    }
    if max_calls < 1:
        raise ValueError(f"max_calls is {max_calls}; it must be 1 or more")
    if not 0 < ready_seconds <= _MAX_READY_SECONDS:
        raise ValueError(
            f"ready_seconds is {ready_seconds}; it must be more than 0 and at most "
            f"{_MAX_READY_SECONDS:g}, as Genesys waits 5 s"
        )
    if not (after_call_seconds >= 0 and math.isfinite(after_call_seconds)):
        raise ValueError(f"after_call_seconds is {after_call_seconds}; it must be 0 or more")
    endpoint = AudioHookEndpoint(
        bot,
        SignatureVerifier(credentials) if credentials is not None else verifier,
        params or AudioHookParams(),
        default_metrics() if registry is None else Metrics(registry),
        max_calls=max_calls,
        ready_seconds=ready_seconds,
        after_call_seconds=after_call_seconds,
        recording=recording or RecordingSettings(),
    )
    return AudioHookRouter(endpoint, path, drain)


def _seconds(name: str, given: float | None, variable: str, default: float) -> float:
    """Return a number of seconds from the environment, the application, or the default."""
    if text := os.environ.get(variable):
        name = variable
        try:
            given = float(text)
        except ValueError:
            raise ValueError(f"{name} is {text!r}; give a number of seconds") from None
    if given is None:
        return default
    if not (given >= 0 and math.isfinite(given)):
        raise ValueError(f"{name} is {given}; it must be 0 or more")
    return given


@asynccontextmanager
async def _lifespan(
    endpoint: AudioHookEndpoint, drain: dict[str, float], _: Any
) -> AsyncIterator[None]:
    remove_dead_processes()
    try:
        with drained_on_signals(partial(endpoint.drain, **drain)) as handlers:
            watching = asyncio.create_task(_watch(endpoint, handlers))
            try:
                yield
            finally:
                watching.cancel()
                await asyncio.gather(watching, return_exceptions=True)
    finally:
        await endpoint.recorder.close()


async def _watch(endpoint: AudioHookEndpoint, handlers: SignalHandlers | None) -> None:
    """Measure the delay of the event loop.

    If a bot replaces the signal handlers of the drain, install them again.
    """
    loop = asyncio.get_running_loop()
    calls_seen = endpoint.calls_begun
    if handlers is not None:
        # Another endpoint of the application may have installed its handlers since.
        handlers.note()
    while True:
        due = loop.time() + _WATCH_EVERY
        await asyncio.sleep(_WATCH_EVERY)
        endpoint.metrics.loop_lag.observe(max(0.0, loop.time() - due))
        if handlers is None:
            continue
        if endpoint.active_calls or endpoint.calls_begun != calls_seen:
            handlers.take_back()
            calls_seen = endpoint.calls_begun
        else:
            # The application may install handlers of its own.
            handlers.note()
