"""`pipecat-genesys replay CAPTURE URL`: play a recorded call's client side again, and compare."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from pipecat_genesys.cli.connecting import ApiKey, CaFile, SecretFile, connection_options
from pipecat_genesys.cli.status import ExitStatus
from pipecat_genesys.cli.timeline import Timeline
from pipecat_genesys.simulator import ConnectFailedError, read_capture, replay_call


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
        again = replay_call(
            read_capture(capture),
            url,
            options=connection_options(api_key, secret_file, ca_file),
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
