"""`pipecat-genesys replay CAPTURE URL`: repeat the client side of a recorded call, and compare."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from pipecat_genesys.simulator import ConnectFailedError, read_capture, replay_call

from .arguments import ServerUrl
from .console import make_console
from .credentials import ApiKey, CaFile, SecretFile, connection_options, explain
from .exit_codes import ExitCode
from .timeline import Timeline


def replay(
    capture: Annotated[
        Path,
        typer.Argument(
            exists=True,
            dir_okay=False,
            help="A file that `pipecat-genesys call --capture` or `pipecat-genesys serve --record` "
            "wrote.",
        ),
    ],
    url: ServerUrl,
    api_key: ApiKey = "simulator",
    secret_file: SecretFile = None,
    ca_file: CaFile = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print the differences but no messages.")
    ] = False,
) -> None:
    """Repeat the client side of a recorded call, and compare the server's messages.

    The command sends the client's messages at the recorded times. The command compares the type and
    the parameters of the server's messages in order, the number of pongs, the length of the audio,
    and the side that closed the socket. Times and UUIDs are ignored. Masked audio of a
    recording is sent as silence. Data that is masked in the recording is masked in the replay
    before the comparison.

    Exit status: 0 if the server acted as recorded; 1 if not; 2 if the command line is wrong; 3 if
    there was no connection; 130 if interrupted.
    """
    console = make_console()
    timeline = Timeline(console)
    try:
        recorded = read_capture(capture)
        options = connection_options(url, api_key, secret_file, ca_file)
    except (ValueError, OSError) as error:
        raise typer.BadParameter(str(error)) from None
    observer = None if quiet else timeline
    try:
        report = asyncio.run(replay_call(recorded, url, options=options, observer=observer))
    except ConnectFailedError as error:
        console.print(Text(explain(error, options), "red"), soft_wrap=True)
        raise typer.Exit(ExitCode.NO_CONNECTION) from None
    except KeyboardInterrupt:
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    timeline.flush()
    if report.is_partial:
        console.print("messages are missing in the recording; pongs and audio are not compared")
    if report.first_difference is not None:
        console.print(Text(report.first_difference, "red"), soft_wrap=True)
    for line in report.differences:
        console.print(Text(line, {"+": "green", "-": "red"}.get(line[:1], "")), soft_wrap=True)
    if report.differences:
        console.print(Text("the server acted differently", "red"))
        raise typer.Exit(ExitCode.NOT_CLEAN)
    console.print(Text("the server acted as recorded", "green"))
