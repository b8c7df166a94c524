"""`pipecat-genesys serve MODULE:APP`: run an ASGI application that accepts calls, in production."""

from __future__ import annotations

import logging
import os
import re
import signal
import ssl
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from enum import StrEnum
from importlib.util import find_spec
from ipaddress import ip_address
from pathlib import Path
from socket import socket
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from pipecat_genesys.capture import Choice

from .serve_logging import (
    FORMAT_VARIABLE,
    LEVEL_VARIABLE,
    LogFormat,
    LogLevel,
    uvicorn_log_config,
)

if TYPE_CHECKING:
    import uvicorn

# uvicorn imports these two names in the server processes. This module must not import the endpoint,
# because the endpoint imports pipecat, which takes seconds.
_LOOPS = "pipecat_genesys.endpoint.event_loop"
_APPLICATION = "pipecat_genesys.endpoint.served_application:application"
_APP_VARIABLE = "PIPECAT_GENESYS_APP"
_URL_VARIABLE = "PIPECAT_GENESYS_URL"
_WORKERS_VARIABLE = "PIPECAT_GENESYS_WORKERS"
_SEPARATE_VARIABLE = "PIPECAT_GENESYS_SEPARATE_REPLAY_STORES"
_MAX_CALLS_VARIABLE = "MAX_CALLS"
_AUTHORITY_VARIABLE = "AUDIOHOOK_AUTHORITY"
_REDIS_VARIABLE = "REDIS_URL"
_DRAIN_VARIABLE = "PIPECAT_GENESYS_DRAIN_SECONDS"
_GRACE_VARIABLE = "PIPECAT_GENESYS_DRAIN_GRACE_SECONDS"
_METRICS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
_RECORD_VARIABLE = "PIPECAT_GENESYS_RECORD"
_FLIGHT_VARIABLE = "PIPECAT_GENESYS_FLIGHT_FOLDER"
_SUFFIXES = {
    **{"k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12},
    **{"s": 1, "m": 60, "h": 3600, "d": 86_400},
}
_SIZE = re.compile(r"(\d+)([kMGT]?)B?")
_AGE = re.compile(r"(\d+)([smhd]?)")
_APP = re.compile(r"[\w.]+:[\w.]+")
# Largest WebSocket message that the WebSocket protocol class accepts, in bytes. Genesys sends at
# most 64,000 bytes.
_MAX_MESSAGE = 2**18


class Loop(StrEnum):
    """Event loop, with the names that uvicorn's `--loop` accepts."""

    AUTO = "auto"
    ASYNCIO = "asyncio"
    UVLOOP = "uvloop"


def _parsed(pattern: re.Pattern[str], example: str) -> Callable[[str], int]:
    """Return a function that parses a number with a suffix, such as 500M or 7d."""

    def parse(text: str) -> int:
        found = pattern.fullmatch(text)
        if found is None or int(found[1]) < 1:
            raise typer.BadParameter(f"{text!r} is not a value such as {example}")
        return int(found[1]) * _SUFFIXES.get(found[2], 1)

    return parse


def _choice(kind: str, what: str) -> Any:
    """Return the command-line option that says how one kind of personal data is recorded."""
    return typer.Option(
        f"--record-{kind}",
        envvar=f"{_RECORD_VARIABLE}_{kind.upper()}",
        show_default=False,
        help=f"How to record {what}. Default: the setting of the application, or mask.",
    )


def serve(
    app: Annotated[
        str,
        typer.Argument(metavar="MODULE:APP", help="The ASGI application that includes the router."),
    ],
    host: Annotated[
        str, typer.Option(envvar="PIPECAT_GENESYS_HOST", help="Address to listen on.")
    ] = "127.0.0.1",
    port: Annotated[
        int,
        typer.Option(envvar="PIPECAT_GENESYS_PORT", min=0, max=65535, help="Port to listen on."),
    ] = 8080,
    workers: Annotated[
        int,
        typer.Option(
            envvar=_WORKERS_VARIABLE,
            min=1,
            help="Number of server processes; each process accepts up to max_calls calls.",
        ),
    ] = 1,
    loop: Annotated[
        Loop,
        typer.Option(
            envvar="PIPECAT_GENESYS_LOOP",
            help="Event loop; auto uses uvloop if it is installed.",
        ),
    ] = Loop.AUTO,
    drain_seconds: Annotated[
        float | None,
        typer.Option(
            envvar=_DRAIN_VARIABLE,
            min=0,
            show_default=False,
            help="Seconds that running calls may continue after SIGTERM and the grace time. "
            "Default: the setting of the application.",
        ),
    ] = None,
    drain_grace_seconds: Annotated[
        float | None,
        typer.Option(
            envvar=_GRACE_VARIABLE,
            min=0,
            show_default=False,
            help="Seconds after SIGTERM in which the server still accepts calls, while /readyz "
            "reports that it is not ready. Default: the setting of the application.",
        ),
    ] = None,
    max_calls: Annotated[
        int | None,
        typer.Option(
            envvar=_MAX_CALLS_VARIABLE,
            min=1,
            show_default=False,
            help="Largest number of simultaneous calls in each process. Default: the setting of "
            "the application.",
        ),
    ] = None,
    authority: Annotated[
        str | None,
        typer.Option(
            envvar=_AUTHORITY_VARIABLE,
            help="Host in the URL of the Genesys integration, which is part of the signed data. "
            "Default: the setting of the application.",
        ),
    ] = None,
    redis_url: Annotated[
        str | None,
        typer.Option(
            envvar=_REDIS_VARIABLE,
            show_default=False,
            help="Redis server that stores used signatures, shared by all processes. Default: the "
            "setting of the application.",
        ),
    ] = None,
    separate_replay_stores: Annotated[
        bool,
        typer.Option(
            "--separate-replay-stores",
            envvar=_SEPARATE_VARIABLE,
            help="Allow several processes without a common replay store. Each process then accepts "
            "the same signed request once.",
        ),
    ] = False,
    record: Annotated[
        Path | None,
        typer.Option(
            envvar=_RECORD_VARIABLE,
            file_okay=False,
            show_default=False,
            help="Folder for a recording of each call; off for no recordings. Default: the setting "
            "of the application, or off.",
        ),
    ] = None,
    record_audio: Annotated[
        Choice | None, _choice("audio", "the audio of both parties, and transcripts")
    ] = None,
    record_digits: Annotated[
        Choice | None, _choice("digits", "the keys that callers press")
    ] = None,
    record_variables: Annotated[
        Choice | None, _choice("variables", "the values of input and output variables")
    ] = None,
    record_participant: Annotated[
        Choice | None, _choice("participant", "the numbers and the name of the caller")
    ] = None,
    record_max_bytes: Annotated[
        int | None,
        typer.Option(
            envvar=f"{_RECORD_VARIABLE}_MAX_BYTES",
            parser=_parsed(_SIZE, "500M or 20G"),
            metavar="BYTES",
            show_default=False,
            help="Largest total size of all recordings, such as 500M; above it, the oldest "
            "recordings are deleted. Default: the setting of the application, or 1G.",
        ),
    ] = None,
    record_max_age: Annotated[
        int | None,
        typer.Option(
            envvar=f"{_RECORD_VARIABLE}_MAX_AGE",
            parser=_parsed(_AGE, "12h or 7d"),
            metavar="SECONDS",
            show_default=False,
            help="Age at which recordings are deleted, such as 12h or 7d. Default: the setting of "
            "the application, or 7d.",
        ),
    ] = None,
    flight_folder: Annotated[
        Path | None,
        typer.Option(
            envvar=_FLIGHT_VARIABLE,
            file_okay=False,
            show_default=False,
            help="Folder for the last 60 s of each call that failed or had gaps in the bot's "
            "audio, without audio. With off, nothing is written. "
            "Default: pipecat-genesys-flight-UID in the folder for temporary files.",
        ),
    ] = None,
    log_level: Annotated[
        LogLevel,
        typer.Option(
            envvar=[LEVEL_VARIABLE, "LOGURU_LEVEL"],
            case_sensitive=False,
            help="Lowest level that is logged.",
        ),
    ] = LogLevel.INFO,
    log_format: Annotated[
        LogFormat,
        typer.Option(
            envvar=FORMAT_VARIABLE, help="Format of the log: text, or one JSON object per line."
        ),
    ] = LogFormat.TEXT,
    ssl_certfile: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="PEM file with the certificate for wss://."),
    ] = None,
    ssl_keyfile: Annotated[
        Path | None,
        typer.Option(
            exists=True, dir_okay=False, help="PEM file with the private key of the certificate."
        ),
    ] = None,
) -> None:
    """Run an ASGI application that accepts calls.

    MODULE is imported from the current folder or from the installed packages. On SIGTERM or Ctrl-C
    the server accepts no new calls, waits for the running calls and exits with status 0. A second
    signal of the same kind stops the server immediately.
    """
    if not _APP.fullmatch(app):
        raise typer.BadParameter(
            f"the application must be MODULE:APP, such as examples.endpoint_bot:app, got {app!r}"
        )
    if find_spec("uvicorn") is None:
        raise typer.BadParameter(
            "serve needs uvicorn; install it with: pip install 'pipecat-genesys[endpoint]'"
        )
    import uvicorn

    if loop is Loop.UVLOOP and find_spec("uvloop") is None:
        raise typer.BadParameter("uvloop is not installed; install it with: pip install uvloop")
    _check_certificate(ssl_certfile, ssl_keyfile)
    # The server processes read these variables when uvicorn imports the application.
    _export(
        {
            _METRICS_VARIABLE: os.environ.get(_METRICS_VARIABLE),
            _APP_VARIABLE: app,
            _WORKERS_VARIABLE: workers,
            _DRAIN_VARIABLE: drain_seconds,
            _GRACE_VARIABLE: drain_grace_seconds,
            _MAX_CALLS_VARIABLE: max_calls,
            _AUTHORITY_VARIABLE: authority,
            _REDIS_VARIABLE: redis_url,
            _SEPARATE_VARIABLE: "1" if separate_replay_stores else None,
            _RECORD_VARIABLE: record,
            f"{_RECORD_VARIABLE}_AUDIO": record_audio,
            f"{_RECORD_VARIABLE}_DIGITS": record_digits,
            f"{_RECORD_VARIABLE}_VARIABLES": record_variables,
            f"{_RECORD_VARIABLE}_PARTICIPANT": record_participant,
            f"{_RECORD_VARIABLE}_MAX_BYTES": record_max_bytes,
            f"{_RECORD_VARIABLE}_MAX_AGE": record_max_age,
            _FLIGHT_VARIABLE: flight_folder,
            LEVEL_VARIABLE: log_level.value,
            FORMAT_VARIABLE: log_format.value,
        }
    )
    # uvicorn raises SIGTERM again after it has stopped. Without this handler, the signal would
    # determine the exit status.
    signal.signal(signal.SIGTERM, _exit)
    config = uvicorn.Config(
        _APPLICATION,
        factory=True,
        host=host,
        port=port,
        workers=workers,
        loop=f"{_LOOPS}:new_{loop.value}_loop",
        log_config=uvicorn_log_config(),
        ssl_certfile=ssl_certfile,
        ssl_keyfile=ssl_keyfile,
        # The class is given by name, because each server process imports it.
        http="pipecat_genesys.endpoint.http_protocol:HttpProtocol",
        # HttpProtocol handles WebSockets itself.
        ws="none",
        ws_max_size=_MAX_MESSAGE,
        # Limit in seconds for connections that remain after the drain.
        timeout_graceful_shutdown=10,
        # Time in seconds after which a worker that does not answer is killed, which ends its calls.
        # With the default of 5 s, a worker that starts slowly on a busy machine is killed again and
        # again.
        timeout_worker_healthcheck=60,
        proxy_headers=False,
        server_header=False,
        # The access log would contain the path, which may contain the connector id.
        access_log=False,
    )
    sys.path.insert(0, os.getcwd())
    with ExitStack() as stack:
        if workers > 1 and not os.environ.get(_METRICS_VARIABLE):
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="pipecat-genesys-"))
            os.environ[_METRICS_VARIABLE] = folder
        try:
            listener = stack.enter_context(config.bind_socket())
        except SystemExit:  # uvicorn has logged the reason without the address
            logging.getLogger("uvicorn.error").error(
                "cannot listen on %s, port %d; choose others with --host and --port", host, port
            )
            raise
        os.environ[_URL_VARIABLE] = _url(listener, secure=ssl_certfile is not None)
        with suppress(KeyboardInterrupt):
            _run(config, listener)


def _check_certificate(certfile: Path | None, keyfile: Path | None) -> None:
    """Check that the certificate and its key can be used.

    Raises:
        BadParameter: If the certificate or its key is missing or is not a PEM file, or if they do
            not belong together.
    """
    if certfile is None:
        if keyfile is not None:
            raise typer.BadParameter("--ssl-keyfile needs --ssl-certfile")
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certfile, keyfile)
    except OSError as error:  # also catches ssl.SSLError
        raise typer.BadParameter(
            f"{certfile} and its key cannot be used: {error}; give the certificate and the key as "
            "PEM files with --ssl-certfile and --ssl-keyfile"
        ) from None


def _run(config: uvicorn.Config, listener: socket) -> None:
    """Run the server, and exit with a status other than 0 if it did not start."""
    from uvicorn import Server
    from uvicorn.config import STARTUP_FAILURE
    from uvicorn.supervisors import Multiprocess

    if config.workers == 1:
        server = Server(config)
        server.run([listener])
        has_started = server.started
    else:
        supervisor = Multiprocess(config, [listener])
        supervisor.run()
        has_started = all(one.exitcode != STARTUP_FAILURE for one in supervisor.processes)
    if not has_started:
        sys.exit(STARTUP_FAILURE)


def _export(settings: Mapping[str, object]) -> None:
    """Set environment variables; a setting that is None or empty is removed."""
    for variable, value in settings.items():
        if value is None or value == "":
            os.environ.pop(variable, None)
        else:
            os.environ[variable] = str(value)


def _url(listener: socket, *, secure: bool) -> str:
    """Return the URL at which a listening socket can be reached from this machine."""
    host, port = listener.getsockname()[:2]
    if ip_address(host).is_unspecified:
        host = "::1" if ":" in host else "127.0.0.1"
    return f"{'wss' if secure else 'ws'}://{f'[{host}]' if ':' in host else host}:{port}"


def _exit(*_: Any) -> NoReturn:
    sys.exit(0)
