"""`pipecat-genesys inspect`: show, play and replay calls in the browser."""

from __future__ import annotations

import asyncio
import os
import signal
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer
from rich.text import Text

from .arguments import assert_inspector_installed
from .console import make_console
from .credentials import ApiKey, CaFile, SecretFile, connection_options, explain
from .exit_codes import ExitCode

if TYPE_CHECKING:
    from pipecat_genesys.inspector.server import InspectorSettings

_NICENESS = 10


def inspect(
    captures: Annotated[
        Path | None,
        typer.Argument(
            metavar="CAPTURE|FOLDER",
            exists=True,
            help="A file that `pipecat-genesys call --capture` or `pipecat-genesys serve --record` "
            "wrote, or a folder of such files.",
            show_default=False,
        ),
    ] = None,
    to: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Run a proxy in front of this AudioHook server, and show its calls.",
            show_default=False,
        ),
    ] = None,
    listen: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of the proxy; 0 for any.")
    ] = 8900,
    save: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            file_okay=False,
            help="Save each call that the proxy forwards as a capture in this folder.",
            show_default=False,
        ),
    ] = None,
    phone: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Call this AudioHook server with the microphone of the browser.",
            show_default=False,
        ),
    ] = None,
    api_key: ApiKey = "simulator",
    secret_file: SecretFile = None,
    ca_file: CaFile = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the page; 0 for any.")] = 0,
    open_browser: Annotated[
        bool, typer.Option("--open", help="Open the page in the browser.")
    ] = False,
) -> None:
    """Show calls in the browser: messages, both voices, latencies and broken rules.

    Give one source: captures, --to or --phone. The page is served on this machine only, and the
    printed URL contains a token. The command runs until Ctrl-C or SIGTERM.

    Exit status: 0 after Ctrl-C or SIGTERM; 2 if the command line is wrong, a file cannot be read or
    written, or a port is taken.
    """
    assert_inspector_installed()
    from pipecat_genesys.inspector.server import InspectorSettings

    sources = [name for name, value in (("--to", to), ("--phone", phone)) if value is not None]
    sources += [] if captures is None else ["CAPTURE"]
    if len(sources) != 1:
        given = " and ".join(sources) or "none"
        raise typer.BadParameter(
            f"give one source: a capture or a folder, --to or --phone ({given})"
        )
    url = to or phone or ""
    try:
        if url and (urlsplit(url).scheme not in ("ws", "wss") or not urlsplit(url).hostname):
            raise ValueError(f"{url!r} is not the URL of a server, such as ws://host:port/path")
        if url:
            try:
                _ = urlsplit(url).port
            except ValueError as error:
                raise ValueError(f"{url!r} is not the URL of a server: {error}") from None
        if save is not None:
            if to is None:
                raise ValueError("--save needs --to")
            save.mkdir(parents=True, exist_ok=True, mode=0o700)
        options = connection_options(url, api_key, secret_file, ca_file)
    except (ValueError, OSError) as error:
        raise typer.BadParameter(str(error)) from None
    settings = InspectorSettings(
        captures=captures,
        proxy=to,
        listen=listen,
        save=save,
        ca_file=None if ca_file is None else str(ca_file),
        phone=phone,
        options=options,
        explain=lambda error: explain(error, options),
        port=port,
    )
    asyncio.run(_run(settings, open_browser=open_browser))


async def _run(settings: InspectorSettings, *, open_browser: bool) -> None:
    """Run the inspector until a signal ends it.

    Raises:
        Exit: With the status `USAGE`, if a port is taken.
    """
    from pipecat_genesys.inspector.proxy import ProxyStartError
    from pipecat_genesys.inspector.server import Inspector, InspectorStartError

    console = make_console()
    errors = make_console(stderr=True)

    def warn(text: str) -> None:
        errors.print(Text(text, "red"), soft_wrap=True)

    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        try:
            loop.add_signal_handler(number, stopped.set)
        except NotImplementedError:  # Windows
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(stopped.set))
    try:
        async with Inspector(settings, warn).running() as inspector:
            if inspector.proxy is not None:
                # Give this process a lower priority than the forwarder, which is a separate
                # process: forwarding a call is more urgent than its analysis.
                if hasattr(os, "nice"):
                    os.nice(_NICENESS)
                path = urlsplit(settings.proxy or "").path
                listening = f"ws://127.0.0.1:{inspector.proxy.port}{path}"
                console.print(Text(f"calls to {listening} go to {settings.proxy}"), soft_wrap=True)
            console.print(Text(inspector.url, "bold"), soft_wrap=True)
            if open_browser and not await asyncio.to_thread(webbrowser.open, inspector.url):
                warn("no browser can be opened; open the URL above")
            await stopped.wait()
    except (InspectorStartError, ProxyStartError) as error:
        warn(str(error))
        raise typer.Exit(ExitCode.USAGE) from None
