"""`pipecat-genesys serve APP`: run an application that takes calls, as production wants it."""

from __future__ import annotations

import os
import re
import signal
import sys
import tempfile
from contextlib import ExitStack
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

# Of `pipecat_genesys.endpoint`, which is not imported here: it takes pipecat, seconds of it, and
# where there are several processes only they need it.
_APPLICATION = "pipecat_genesys.endpoint.serving:application"
_APP_VARIABLE = "PIPECAT_GENESYS_APP"
_DRAIN_VARIABLE = "PIPECAT_GENESYS_DRAIN_SECONDS"
_GRACE_VARIABLE = "PIPECAT_GENESYS_DRAIN_GRACE_SECONDS"
_METRICS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
_APP = re.compile(r"[\w.]+:[\w.]+")
# Genesys sends no message of more than 64,000 bytes; the margin is for the ones that are refused.
_MAX_MESSAGE = 2**18


class Loop(StrEnum):
    """What runs the calls; uvicorn's names."""

    AUTO = "auto"
    ASYNCIO = "asyncio"
    UVLOOP = "uvloop"


def serve(
    app: Annotated[
        str, typer.Argument(metavar="MODULE:APP", help="An ASGI application with the router in it.")
    ],
    host: Annotated[
        str, typer.Option(envvar="PIPECAT_GENESYS_HOST", help="The address to listen on.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(envvar="PIPECAT_GENESYS_PORT", min=0, max=65535, help="The port.")
    ] = 8080,
    workers: Annotated[
        int,
        typer.Option(
            envvar="PIPECAT_GENESYS_WORKERS", min=1, help="Processes; each has max_calls calls."
        ),
    ] = 1,
    loop: Annotated[
        Loop,
        typer.Option(
            envvar="PIPECAT_GENESYS_LOOP",
            help="The event loop: auto is uvloop where that is installed.",
        ),
    ] = Loop.AUTO,
    drain_seconds: Annotated[
        float | None,
        typer.Option(
            envvar=_DRAIN_VARIABLE,
            min=0,
            show_default=False,
            help="How long calls may go on after SIGTERM; by default the application's.",
        ),
    ] = None,
    drain_grace_seconds: Annotated[
        float | None,
        typer.Option(
            envvar=_GRACE_VARIABLE,
            min=0,
            show_default=False,
            help="How long calls are still taken after SIGTERM, while /readyz says no.",
        ),
    ] = None,
    ssl_certfile: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="Serve wss:// with this certificate."),
    ] = None,
    ssl_keyfile: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="The certificate's key.")
    ] = None,
) -> None:
    """Run an application that takes calls.

    APP is imported from the current folder, too. On SIGTERM it takes no more calls, and stops
    when those that run are over; exit status 0. A second SIGTERM ends it at once.
    """
    if not _APP.fullmatch(app):
        raise typer.BadParameter(f"{app!r} is not MODULE:APP, such as examples.endpoint_bot:app")
    try:
        import uvicorn
    except ModuleNotFoundError:
        raise typer.BadParameter(
            "serve needs uvicorn; install it with: pip install 'pipecat-genesys[endpoint]'"
        ) from None
    if loop is Loop.UVLOOP and find_spec("uvloop") is None:
        raise typer.BadParameter("uvloop is not installed; install it with: pip install uvloop")
    os.environ[_APP_VARIABLE] = app
    for variable, seconds in (
        (_DRAIN_VARIABLE, drain_seconds),
        (_GRACE_VARIABLE, drain_grace_seconds),
    ):
        if seconds is not None:
            os.environ[variable] = str(seconds)
    # uvicorn raises the signal again when it is done, which would be the process's exit status.
    signal.signal(signal.SIGTERM, _exit)
    with ExitStack() as stack:
        if workers > 1 and _METRICS_VARIABLE not in os.environ:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="pipecat-genesys-"))
            os.environ[_METRICS_VARIABLE] = folder
        uvicorn.run(
            _APPLICATION,
            factory=True,
            app_dir=".",
            host=host,
            port=port,
            workers=workers,
            loop=loop.value,
            ssl_certfile=ssl_certfile,
            ssl_keyfile=ssl_keyfile,
            ws="websockets-sansio",
            ws_max_size=_MAX_MESSAGE,
            # Compression takes more time than anything else a message goes through.
            ws_per_message_deflate=False,
            # Genesys pings in its own protocol, and the transport watches for it.
            ws_ping_interval=None,
            # What the endpoint could not end while it drained.
            timeout_graceful_shutdown=10,
            proxy_headers=False,
            server_header=False,
            # The path may hold the connector's id.
            access_log=False,
        )


def _exit(*_: Any) -> NoReturn:
    sys.exit(0)
