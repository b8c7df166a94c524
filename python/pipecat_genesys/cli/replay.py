"""`pipecat-genesys replay CAPTURE URL`: play a recorded call's client side again, and compare."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from pipecat_genesys.cli.credentials import ApiKey, CaFile, SecretFile, client_secret
from pipecat_genesys.cli.status import ExitStatus
from pipecat_genesys.cli.timeline import Timeline
from pipecat_genesys.simulator import CallOptions, ConnectFailedError, read_capture, replay_call
from pipecat_genesys.simulator.signing import decode_secret


def replay(
    capture: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, help="A file of call --capture.")
    ],
    url: Annotated[str, typer.Argument(help="The server: ws://host:port/path or wss://...")],
    api_key: ApiKey = "simulator",
    secret_file: SecretFile = None,
    ca_file: CaFile = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print the differences only.")
    ] = False,
) -> None:
    """Play the client side of a recorded call again, at the same times, and compare the server's.

    Compared are the server's messages (type and parameters, in order), the number of its pongs,
    the length of its audio, and who closed the socket; not times, and no UUIDs.

    Exit status: 0 the server did the same; 1 it did not; 2 the command was not understood;
    3 no connection; 130 interrupted.
    """
    console = Console(highlight=False)
    timeline = Timeline(console)
    try:
        secret = client_secret(secret_file)
        if secret is not None:
            decode_secret(secret)
        context = None if ca_file is None else ssl.create_default_context(cafile=str(ca_file))
        again = replay_call(
            read_capture(capture),
            url,
            options=CallOptions(api_key=api_key, client_secret=secret, ssl=context),
            observer=None if quiet else timeline,
        )
        report = asyncio.run(again)
    except ConnectFailedError as error:
        console.print(Text(str(error), "red"))
        raise typer.Exit(ExitStatus.NO_CONNECTION) from None
    except (ValueError, OSError) as error:
        raise typer.BadParameter(str(error)) from None
    except KeyboardInterrupt:
        raise typer.Exit(ExitStatus.INTERRUPTED) from None
    timeline.flush()
    for line in report.differences:
        console.print(Text(line, {"+": "green", "-": "red"}.get(line[:1], "")), soft_wrap=True)
    if report.differences:
        console.print(Text("the server did something else", "red"))
        raise typer.Exit(ExitStatus.NOT_CLEAN)
    console.print(Text("the server did the same", "green"))
