"""Loads and checks the application in each process of `pipecat-genesys serve`.

uvicorn imports and calls `application`. Environment variables name the application and override its
settings; the command sets the variables from its options.
"""

from __future__ import annotations

import asyncio
import inspect
import multiprocessing
import os
import signal
import sys
import threading
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn
from urllib.parse import urlsplit, urlunsplit

from loguru import logger
from starlette.routing import Host, Mount, Route, WebSocketRoute
from uvicorn.config import STARTUP_FAILURE
from uvicorn.importer import ImportFromStringError, import_from_string

from pipecat_genesys.auth import MemoryReplayStore

from .endpoint import AudioHookEndpoint
from .gc_tuning import CollectedCalls, tune_collector
from .recording import RecordingSettings, default_flight_folder

APP_VARIABLE = "PIPECAT_GENESYS_APP"
"""The name of the application: ``module:attribute``."""
URL_VARIABLE = "PIPECAT_GENESYS_URL"
"""The URL of the server without a path, for the log."""
WORKERS_VARIABLE = "PIPECAT_GENESYS_WORKERS"
"""The number of processes."""
SEPARATE_VARIABLE = "PIPECAT_GENESYS_SEPARATE_REPLAY_STORES"
"""If this variable has a value, several processes may have separate replay stores."""
MAX_CALLS_VARIABLE = "MAX_CALLS"
"""The maximum number of simultaneous calls in a process."""
AUTHORITY_VARIABLE = "AUDIOHOOK_AUTHORITY"
"""The public host name, which is part of the signed data."""
REDIS_VARIABLE = "REDIS_URL"
"""The Redis server of the replay store."""
RECORDING_VARIABLES = {
    "folder": "PIPECAT_GENESYS_RECORD",
    "audio": "PIPECAT_GENESYS_RECORD_AUDIO",
    "digits": "PIPECAT_GENESYS_RECORD_DIGITS",
    "variables": "PIPECAT_GENESYS_RECORD_VARIABLES",
    "participant": "PIPECAT_GENESYS_RECORD_PARTICIPANT",
    "max_bytes": "PIPECAT_GENESYS_RECORD_MAX_BYTES",
    "max_age": "PIPECAT_GENESYS_RECORD_MAX_AGE",
    "flight_folder": "PIPECAT_GENESYS_FLIGHT_FOLDER",
}
"""The variables that override the fields of `RecordingSettings`."""
NO_FOLDER = "off"
"""The value of a folder that switches its recorder off."""

_REDIS_TIMEOUT = 0.2
# Delay in seconds before the URLs are logged. uvicorn begins to listen some milliseconds after the
# start of the application, and does not report that it listens.
_LISTENING_SECONDS = 0.2


def application() -> Any:
    """Import the application, apply the settings of the environment, and check the application.

    Returns:
        The ASGI application.

    Raises:
        SystemExit: If the application cannot be served. The reason is logged in one line.
    """
    name = os.environ[APP_VARIABLE]
    app = _import(name)
    if (what := _not_an_application(app)) is not None:
        _fail(
            f"{name} is {what}, not an ASGI application; name an object such as app = FastAPI() "
            "that includes the router of audiohook_router. If this is a function that makes the "
            "application, call it in the module: app = make_app()"
        )
    routes = Routes()
    routes.add(app)
    owners = [getattr(endpoint, "__self__", None) for _, endpoint in routes.websockets]
    endpoints = [one for one in dict.fromkeys(owners) if isinstance(one, AudioHookEndpoint)]
    if not routes.websockets and routes.are_complete:
        _fail(f"{name} has no WebSocket route; include the router of audiohook_router in it")
    for endpoint in endpoints:
        try:
            _apply_settings(endpoint)
        except ValueError as error:
            _fail(str(error))
        _check_replay_store(endpoint)
    for endpoint in endpoints:
        logger.info(f"settings: {_describe(endpoint)}")
        endpoint.recorder.check_folders()
    tune_collector()
    end_with_parent()
    url = os.environ.get(URL_VARIABLE, "")
    return AnnouncedApplication(CollectedCalls(app), [url + path for path, _ in routes.websockets])


class AnnouncedApplication:
    """An ASGI application that logs its URLs when it accepts connections."""

    def __init__(self, app: Any, urls: Sequence[str]) -> None:
        """Wrap an application.

        Args:
            app: The ASGI application.
            urls: The URLs of its WebSocket routes.
        """
        self._app = app
        self._urls = urls

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Run the application for one connection, or for its lifespan."""
        if scope["type"] != "lifespan":
            await self._app(scope, receive, send)
            return

        async def announced(message: Any) -> None:
            await send(message)
            if message["type"] == "lifespan.startup.complete":
                self._announce_soon()

        try:
            await self._app(scope, receive, announced)
        except BaseException:
            # An application without lifespan support raises an exception for the lifespan, but can
            # serve connections.
            self._announce_soon()
            raise

    def _announce_soon(self) -> None:
        asyncio.get_running_loop().call_later(_LISTENING_SECONDS, self._announce)

    def _announce(self) -> None:
        for url in self._urls:
            logger.info(f"calls are accepted at {url}")
        self._urls = ()


@dataclass(slots=True)
class Routes:
    """The WebSocket routes that were found in an application.

    Attributes:
        websockets: Path and endpoint of each WebSocket route.
        are_complete: Whether all routes are of a known kind, so that no WebSocket route is missing.
    """

    websockets: list[tuple[str, Any]] = field(default_factory=list)
    are_complete: bool = True

    def add(self, app: Any, prefix: str = "") -> None:
        """Add the routes of a Starlette or FastAPI application, or of middleware around one.

        Args:
            app: The application, or a router.
            prefix: The path at which the application is mounted.
        """
        while not hasattr(app, "routes") and hasattr(app, "app"):
            app = app.app
        if not hasattr(app, "routes"):
            self.are_complete = False
            return
        for route in app.routes:
            if isinstance(route, WebSocketRoute):
                self.websockets.append((prefix + route.path, route.endpoint))
            elif isinstance(route, Mount):
                self.add(route.app, prefix + route.path)
            elif isinstance(route, Host):
                self.add(route.app, prefix)
            elif hasattr(route, "original_router"):
                # FastAPI 0.136 and newer store an included router in this private class.
                context = getattr(route, "include_context", None)
                self.add(route.original_router, prefix + getattr(context, "prefix", ""))
            elif not isinstance(route, Route):
                self.are_complete = False


def end_with_parent() -> None:
    """Send SIGTERM to this process if its parent process ends first.

    Otherwise, a worker without a parent would keep the port open and accept more calls than
    allowed.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def wait() -> None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="parent process", daemon=True).start()


def _import(name: str) -> Any:
    try:
        return import_from_string(name)
    except ImportFromStringError as error:
        _fail(str(error))
    except SystemExit as error:
        _fail(f"{name} cannot be imported: the module calls sys.exit({error.code!r})")
    except Exception as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        logger.opt(exception=error).debug(f"the import of {name} failed")
        text = " ".join(str(error).split())
        kind = type(error).__name__
        _fail(f"{name} cannot be imported: {kind}: {text} ({frame.filename}:{frame.lineno})")


def _not_an_application(app: Any) -> str | None:
    """Return what an object is, if it is not an ASGI application.

    An application is called with three arguments: scope, receive and send. A class would be called
    with them too, but no method of its instance would be.
    """
    if isinstance(app, type):
        return f"the class {app.__name__}"
    if inspect.isbuiltin(app):
        return f"the built-in function {app.__name__}"
    if not callable(app):
        return f"an object of type {type(app).__name__}"
    try:
        signature = inspect.signature(app)
    except (TypeError, ValueError):
        # Some callables of compiled modules have no signature.
        return None
    try:
        signature.bind(None, None, None)
    except TypeError:
        return f"a callable with the parameters {signature}"
    return None


def _apply_settings(endpoint: AudioHookEndpoint) -> None:
    """Override the settings of the application with the settings in the environment."""
    if text := os.environ.get(MAX_CALLS_VARIABLE):
        if not text.isascii() or not text.isdigit() or int(text) < 1:
            raise ValueError(f"{MAX_CALLS_VARIABLE} is {text!r}; give a number of 1 or more")
        endpoint.set_max_calls(int(text))
    endpoint.set_recording(_recording_settings(endpoint.recorder.settings))
    verifier = endpoint.verifier
    if verifier is None:
        return
    if authority := os.environ.get(AUTHORITY_VARIABLE):
        verifier.replace_authority(authority)
    if url := os.environ.get(REDIS_VARIABLE):
        try:
            from redis.asyncio import Redis

            from pipecat_genesys.auth.redis_store import RedisReplayStore
        except ModuleNotFoundError:
            raise ValueError(
                f"{REDIS_VARIABLE} needs redis; install it: pip install 'pipecat-genesys[redis]'"
            ) from None
        try:
            client = Redis.from_url(url, socket_timeout=_REDIS_TIMEOUT)
        except ValueError as error:
            raise ValueError(
                f"{REDIS_VARIABLE} is not the URL of a Redis server: {error}"
            ) from None
        verifier.replace_replay_store(RedisReplayStore(client))


def _recording_settings(settings: RecordingSettings) -> RecordingSettings:
    """Return the settings of the recorder, overridden by the environment.

    The flight recorder is on unless a variable switches it off.

    Raises:
        ValueError: If the value of a variable is not valid. The message names the variable.
    """
    changed: dict[str, Any] = {}
    if settings.flight_folder is None:
        changed["flight_folder"] = default_flight_folder()
    for name, variable in RECORDING_VARIABLES.items():
        text = os.environ.get(variable)
        if not text:
            continue
        if name in ("folder", "flight_folder"):
            changed[name] = None if text == NO_FOLDER else text
        elif name in ("max_bytes", "max_age"):
            try:
                changed[name] = int(text) if name == "max_bytes" else float(text)
            except ValueError:
                raise ValueError(f"{variable} is {text!r}; give a number") from None
        else:
            changed[name] = text
        try:
            settings = replace(settings, **changed)
        except ValueError as error:
            raise ValueError(f"{variable}: {error}") from None
    return replace(settings, **changed)


def _check_replay_store(endpoint: AudioHookEndpoint) -> None:
    workers = int(os.environ.get(WORKERS_VARIABLE) or 1)
    verifier = endpoint.verifier
    if workers == 1 or os.environ.get(SEPARATE_VARIABLE) or verifier is None:
        return
    if isinstance(verifier.replay_store, MemoryReplayStore):
        _fail(
            f"{workers} processes with a replay store each would accept a signed request {workers} "
            f"times; set a common Redis server with --redis-url or {REDIS_VARIABLE}, or allow this "
            "with --separate-replay-stores"
        )


def _describe(endpoint: AudioHookEndpoint) -> str:
    verifier = endpoint.verifier
    parts = [f"max_calls={endpoint.admission.max_calls}"]
    if verifier is None:
        parts.append("authentication=none")
    else:
        authority = verifier.authority or "the Host header of each request"
        parts += [f"authority={authority}", f"replay_store={type(verifier.replay_store).__name__}"]
        if url := os.environ.get(REDIS_VARIABLE):
            parts.append(f"redis={_masked(url)}")
    recording = endpoint.recorder.settings
    parts.append(f"record={recording.folder or NO_FOLDER}")
    if recording.folder is not None:
        parts += [f"record_max_bytes={recording.max_bytes}"]
    parts.append(f"flight_folder={recording.flight_folder or NO_FOLDER}")
    if recording.folder is not None or recording.flight_folder is not None:
        kinds = ("audio", "digits", "variables", "participant")
        parts += [f"record_{kind}={getattr(recording, kind)}" for kind in kinds]
        parts.append(f"record_max_age={recording.max_age:g}")
    parts += [f"drain_{name}={value:g}" for name, value in endpoint.drain_settings.items()]
    return " ".join(parts)


def _masked(url: str) -> str:
    """Return a URL without its password and its query."""
    parts = urlsplit(url)
    address = parts.netloc.rpartition("@")[2]
    if "@" in parts.netloc:
        address = f"***@{address}"
    return urlunsplit((parts.scheme, address, parts.path, "", ""))


def _fail(reason: str) -> NoReturn:
    logger.error(reason)
    sys.exit(STARTUP_FAILURE)
