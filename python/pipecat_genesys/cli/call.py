"""`pipecat-genesys call URL`: place one call as Genesys would, and judge it."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer
from rich.console import Console

from pipecat_genesys.cli.status import ExitStatus
from pipecat_genesys.simulator import ConnectFailedError, SimulatedCall


def call(
    url: Annotated[str, typer.Argument(help="The server: ws://host:port/path or wss://...")],
    hang_up_after: Annotated[
        float, typer.Option(min=0.0, help="Seconds after the call was accepted.")
    ] = 10.0,
) -> None:
    """Place one call as Genesys Cloud would, and say whether it was clean.

    Exit status: 0 clean, 1 not clean, 2 bad options, 3 no connection.
    """
    console = Console()
    simulated = SimulatedCall(url)

    async def run() -> None:
        async with simulated:
            await simulated.opened()
            await asyncio.sleep(hang_up_after)

    try:
        asyncio.run(run())
    except ConnectFailedError as error:
        console.print(f"[red]{error}[/red]", highlight=False)
        raise typer.Exit(ExitStatus.NO_CONNECTION) from None
    report = simulated.report()
    for violation in report.violations:
        console.print(f"{violation.at:.3f} s {violation.rule}: {violation.message}")
    console.print("clean" if report.clean else "not clean")
    raise typer.Exit(ExitStatus.OK if report.clean else ExitStatus.NOT_CLEAN)
