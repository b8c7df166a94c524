"""Tests of how `pipecat-genesys serve` imports, checks and configures an application."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI
from loguru import logger
from loopback import serving
from pipecat_genesys.auth import MemoryReplayStore, SignatureVerifier
from pipecat_genesys.auth.redis_store import RedisReplayStore
from pipecat_genesys.endpoint import (
    AudioHookRouter,
    RecordingSettings,
    audiohook_router,
    served_application,
)
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from .served import API_KEY, SECRET, echo

SETTINGS = (
    "MAX_CALLS",
    "AUDIOHOOK_AUTHORITY",
    "REDIS_URL",
    "PIPECAT_GENESYS_WORKERS",
    "PIPECAT_GENESYS_SEPARATE_REPLAY_STORES",
    "PIPECAT_GENESYS_DRAIN_SECONDS",
    *served_application.RECORDING_VARIABLES.values(),
)


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Return the log lines of an application; remove all environment variables with settings."""
    for variable in SETTINGS:
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("PIPECAT_GENESYS_URL", "wss://127.0.0.1:8080")
    # `tune_collector` would change the garbage collector of the test process.
    monkeypatch.setattr(served_application, "tune_collector", lambda: None)
    found: list[str] = []
    sink = logger.add(lambda message: found.append(message.record["message"]), level="INFO")
    yield found
    logger.remove(sink)


def router(**options: Any) -> AudioHookRouter:
    if not {"verifier", "unauthenticated"} & options.keys():
        options["credentials"] = {API_KEY: SECRET}
    return audiohook_router(echo, registry=CollectorRegistry(), **options)


def load(monkeypatch: pytest.MonkeyPatch, app: Any) -> Any:
    """Load an application in the same way as a server process."""
    module = ModuleType("an_application")
    module.app = app  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "an_application", module)
    monkeypatch.setenv("PIPECAT_GENESYS_APP", "an_application:app")
    return served_application.application()


def included(made: AudioHookRouter) -> Any:
    app = FastAPI()
    app.include_router(made)
    return app


def prefixed(made: AudioHookRouter) -> Any:
    outer = APIRouter()
    outer.include_router(made, prefix="/b")
    app = FastAPI()
    app.include_router(outer, prefix="/a")
    return app


def mounted(made: AudioHookRouter) -> Any:
    return Starlette(routes=[Mount("/a", routes=[Mount("/b", made)])])


def wrapped(made: AudioHookRouter) -> Any:
    return GZipMiddleware(GZipMiddleware(included(made)))


@pytest.mark.parametrize(
    ("make", "path"),
    [(included, ""), (prefixed, "/a/b"), (mounted, "/a/b"), (wrapped, "")],
)
async def test_log_names_the_url_to_call(
    make: Callable[[AudioHookRouter], Any],
    path: str,
    lines: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(served_application, "_LISTENING_SECONDS", 0)
    async with serving(load(monkeypatch, make(router(path="/voice"))), lifespan="on"):
        await asyncio.sleep(0.1)
    assert lines[1] == f"calls are accepted at wss://127.0.0.1:8080{path}/voice"


async def page(_: Any) -> PlainTextResponse:
    return PlainTextResponse("a page")


@pytest.mark.parametrize("app", [FastAPI(), Starlette(routes=[Route("/", page)])])
def test_application_without_a_websocket_route_is_not_served(
    app: Any, lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SystemExit, match="3"):
        load(monkeypatch, app)
    assert lines == [
        "an_application:app has no WebSocket route; include the router of audiohook_router in it"
    ]


def test_application_whose_routes_are_unknown_is_served(
    lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        pass

    load(monkeypatch, app)
    assert lines == []


class Application:
    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        pass


class OlderApplication:
    """An application of ASGI 2, which is a class."""

    def __init__(self, scope: Any) -> None:
        pass

    async def __call__(self, receive: Any, send: Any) -> None:
        pass


async def a_bot(call: Any) -> None:
    pass


def make_app() -> FastAPI:
    return FastAPI()


async def with_a_prefix(prefix: str, scope: Any, receive: Any, send: Any) -> None:
    pass


@pytest.mark.parametrize(
    ("app", "what"),
    [
        (json.loads, "a callable with the parameters (s, *"),
        (json, "an object of type module"),
        (5, "an object of type int"),
        ("my_module:app", "an object of type str"),
        (None, "an object of type NoneType"),
        (print, "the built-in function print"),
        (FastAPI, "the class FastAPI"),
        (OlderApplication, "the class OlderApplication"),
        (OlderApplication({}), "a callable with the parameters (receive"),
        (a_bot, "a callable with the parameters (call"),
        (make_app, "a callable with the parameters ()"),
        (lambda environ, start_response: [], "a callable with the parameters (environ"),
    ],
)
def test_an_object_that_is_no_application_is_not_served(
    app: Any, what: str, lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SystemExit, match="3"):
        load(monkeypatch, app)
    (line,) = lines
    assert line.startswith(f"an_application:app is {what}")
    assert "audiohook_router" in line


@pytest.mark.parametrize("app", [Application(), partial(with_a_prefix, "/a")])
def test_an_object_that_can_be_called_as_an_application_is_served(
    app: Any, lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    load(monkeypatch, app)
    assert lines == []


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (None, 'Could not import module "a_module".'),
        ("", 'Attribute "app" not found in module "a_module".'),
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module' (<>:1)"),
        ("\n{}['KEY']", "KeyError: 'KEY' (<>:2)"),
        ("raise ValueError('two\\nlines')", "ValueError: two lines (<>:1)"),
        ("import sys\nsys.exit(7)", "the module calls sys.exit(7)"),
    ],
)
def test_application_that_cannot_be_imported_is_one_line_of_log(
    source: str | None,
    reason: str,
    lines: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = tmp_path / "a_module.py"
    if source is not None:
        module.write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "a_module", raising=False)
    monkeypatch.setenv("PIPECAT_GENESYS_APP", "a_module:app")
    with pytest.raises(SystemExit, match="3"):
        served_application.application()
    (line,) = lines
    assert line.endswith(reason.replace("<>", str(module)))


def test_environment_overrides_the_application(
    lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAX_CALLS", "3")
    monkeypatch.setenv("AUDIOHOOK_AUTHORITY", "ours.example.com")
    monkeypatch.setenv("REDIS_URL", "redis://user:password@127.0.0.1:1/0?password=another")
    monkeypatch.setenv("PIPECAT_GENESYS_DRAIN_SECONDS", "5")
    monkeypatch.setenv("PIPECAT_GENESYS_RECORD", "/calls")
    monkeypatch.setenv("PIPECAT_GENESYS_RECORD_AUDIO", "record")
    monkeypatch.setenv("PIPECAT_GENESYS_RECORD_MAX_BYTES", "2000")
    monkeypatch.setenv("PIPECAT_GENESYS_RECORD_MAX_AGE", "60")
    monkeypatch.setenv("PIPECAT_GENESYS_FLIGHT_FOLDER", "off")
    verifier = SignatureVerifier({API_KEY: SECRET}, authority="theirs.example.com")
    recording = RecordingSettings("/theirs", audio="omit", variables="omit", flight_folder="/f")
    made = router(verifier=verifier, max_calls=50, drain_seconds=600, recording=recording)
    load(monkeypatch, included(made))
    assert made.endpoint.admission.max_calls == 3
    assert verifier.authority == "ours.example.com"
    assert isinstance(verifier.replay_store, RedisReplayStore)
    assert lines[0] == (
        "settings: max_calls=3 authority=ours.example.com replay_store=RedisReplayStore "
        "redis=redis://***@127.0.0.1:1/0 record=/calls record_max_bytes=2000 flight_folder=off "
        "record_audio=record record_digits=mask record_variables=omit record_participant=mask "
        "record_max_age=60 drain_seconds=5 drain_grace_seconds=0"
    )


@pytest.mark.parametrize("value", [None, ""])
def test_application_keeps_what_the_environment_does_not_set(
    value: str | None, lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in SETTINGS if value is not None else ():
        monkeypatch.setenv(variable, value or "")
    verifier = SignatureVerifier({API_KEY: SECRET}, authority="theirs.example.com")
    made = router(verifier=verifier, max_calls=7, drain_seconds=60)
    load(monkeypatch, included(made))
    assert made.endpoint.admission.max_calls == 7
    assert verifier.authority == "theirs.example.com"
    assert isinstance(verifier.replay_store, MemoryReplayStore)
    assert "drain_seconds=60" in lines[0]


@pytest.mark.parametrize(
    ("variable", "value", "reason"),
    [
        ("MAX_CALLS", "0", "MAX_CALLS is '0'; give a number of 1 or more"),
        ("MAX_CALLS", "many", "MAX_CALLS is 'many'; give a number of 1 or more"),
        ("AUDIOHOOK_AUTHORITY", "https://x", "authority is 'https://x'; pass only the public"),
        ("REDIS_URL", "localhost:6379", "REDIS_URL is not the URL of a Redis server"),
        (
            "PIPECAT_GENESYS_RECORD_AUDIO",
            "all",
            "PIPECAT_GENESYS_RECORD_AUDIO: audio is 'all'; give record, mask, omit",
        ),
        (
            "PIPECAT_GENESYS_RECORD_MAX_BYTES",
            "much",
            "PIPECAT_GENESYS_RECORD_MAX_BYTES is 'much'; give a number",
        ),
        (
            "PIPECAT_GENESYS_RECORD_MAX_AGE",
            "-1",
            "PIPECAT_GENESYS_RECORD_MAX_AGE: max_age is -1.0; it must be more than 0",
        ),
    ],
)
def test_setting_that_is_invalid_is_named(
    variable: str, value: str, reason: str, lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SystemExit, match="3"):
        load(monkeypatch, included(router()))
    (line,) = lines
    assert line.startswith(reason)


def test_several_processes_need_a_common_replay_store(
    lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIPECAT_GENESYS_WORKERS", "2")
    with pytest.raises(SystemExit, match="3"):
        load(monkeypatch, included(router()))
    (line,) = lines
    assert line.startswith("2 processes with a replay store each would accept a signed request 2 ")
    load(monkeypatch, included(router(unauthenticated=True)))
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1")
    load(monkeypatch, included(router()))
    monkeypatch.delenv("REDIS_URL")
    monkeypatch.setenv("PIPECAT_GENESYS_SEPARATE_REPLAY_STORES", "1")
    load(monkeypatch, included(router()))
