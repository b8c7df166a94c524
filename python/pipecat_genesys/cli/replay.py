"""`pipecat-genesys replay CAPTURE URL`: repeat the client side of a recorded call, and compare."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from pipecat_genesys.simulator import ConnectFailedError, read_capture, replay_call

from .credentials import ApiKey, CaFile, SecretFile, connection_options
from .exit_codes import ExitCode
from .timeline import Timeline


def replay(
    capture: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, help="A file from call --capture.")
    ],
    url: Annotated[
        str, typer.Argument(help="URL of the server: ws://host:port/path or wss://host/path.")
    ],
    api_key: ApiKey = "simulator",
    secret_file: SecretFile = None,
    ca_file: CaFile = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print the differences but no messages.")
    ] = False,
) -> None:
    """Repeat the client side of a recorded call at the recorded times, and compare the server's.

    The command compares the type and the parameters of the server's messages in order, the number
    of pongs, the length of the audio, and who closed the socket. It ignores times and UUIDs.

    Exit status: 0 if the server acted as recorded; 1 if not; 2 if the command line is wrong; 3 if
    there was no connection; 130 if interrupted.
    """
    console = Console(highlight=False)
    timeline = Timeline(console)
    try:
        replayed = replay_call(
            read_capture(capture),
            url,
            options=connection_options(api_key, secret_file, ca_file),
            observer=None if quiet else timeline,
        )
        report = asyncio.run(replayed)
    except ConnectFailedError as error:
        console.print(Text(str(error), "red"))
        raise typer.Exit(ExitCode.NO_CONNECTION) from None
    except (ValueError, OSError) as error:
        raise typer.BadParameter(str(error)) from None
    except KeyboardInterrupt:
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    timeline.flush()
    for line in report.differences:
        console.print(Text(line, {"+": "green", "-": "red"}.get(line[:1], "")), soft_wrap=True)
    if report.differences:
        console.print(Text("the server acted differently", "red"))
        raise typer.Exit(ExitCode.NOT_CLEAN)
    console.print(Text("the server acted as recorded", "green"))
