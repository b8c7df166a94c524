"""`pipecat-genesys serve MODULE:APP`: run an ASGI application that takes calls, for production."""

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

# uvicorn imports this name in the server processes. This module must not import the endpoint,
# because that imports pipecat, which takes seconds.
_APPLICATION = "pipecat_genesys.endpoint.gc_tuning:application"
_APP_VARIABLE = "PIPECAT_GENESYS_APP"
_DRAIN_VARIABLE = "PIPECAT_GENESYS_DRAIN_SECONDS"
_GRACE_VARIABLE = "PIPECAT_GENESYS_DRAIN_GRACE_SECONDS"
_METRICS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
_APP = re.compile(r"[\w.]+:[\w.]+")
# In bytes. Genesys sends at most 64,000; the endpoint itself refuses messages up to this limit.
_MAX_MESSAGE = 2**18


class Loop(StrEnum):
    """The event loop, named as in uvicorn."""

    AUTO = "auto"
    ASYNCIO = "asyncio"
    UVLOOP = "uvloop"


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
            envvar="PIPECAT_GENESYS_WORKERS",
            min=1,
            help="Number of server processes; each takes up to max_calls calls.",
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
            help="Seconds that running calls may continue after SIGTERM. Default: the setting of "
            "the application.",
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
    """Run an ASGI application that takes calls.

    MODULE is imported from the current folder or from the installed packages. On SIGTERM or Ctrl-C
    the server accepts no new calls, waits for the running calls and exits with status 0. A second
    signal of the same kind stops the server at once.
    """
    if not _APP.fullmatch(app):
        raise typer.BadParameter(
            f"the application must be MODULE:APP, such as examples.endpoint_bot:app, got {app!r}"
        )
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
    # uvicorn raises SIGTERM again after it has stopped, which would set the exit status.
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
            # By name, as with several processes each imports it.
            http="pipecat_genesys.endpoint.http_protocol:HttpProtocol",
            # HttpProtocol has WebSockets of its own.
            ws="none",
            ws_max_size=_MAX_MESSAGE,
            # Limit in seconds for connections that remain after the drain.
            timeout_graceful_shutdown=10,
            proxy_headers=False,
            server_header=False,
            # The access log would contain the path, which may contain the connector id.
            access_log=False,
        )


def _exit(*_: Any) -> NoReturn:
    sys.exit(0)
