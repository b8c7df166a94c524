"""`pipecat-genesys check URL`: put every conformance check to a server."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from pipecat_genesys.cli.connecting import ApiKey, CaFile, SecretFile, connection_options
from pipecat_genesys.cli.status import ExitStatus
from pipecat_genesys.conformance import CATALOGUE, Check, Result, Target, failures, run
from pipecat_genesys.conformance.report import as_json, as_junit, show
from pipecat_genesys.simulator import CallMode, ConnectFailedError


def _list_checks(wanted: bool) -> None:
    if wanted:
        table = Table(show_header=False, box=None, pad_edge=False, padding=(0, 2, 0, 0))
        for one in CATALOGUE.values():
            table.add_row(one.id, one.severity.value, one.rule)
        Console().print(table)
        raise typer.Exit


def _chosen(only: list[str] | None, without: list[str] | None) -> list[Check]:
    unknown = ({*(only or ()), *(without or ())}) - CATALOGUE.keys()
    if unknown:
        raise typer.BadParameter(f"no check is named {', '.join(sorted(unknown))}; see --list")
    return [
        one
        for name, one in CATALOGUE.items()
        if (not only or name in only) and name not in (without or ())
    ]


def check(
    url: Annotated[str, typer.Argument(help="The server: ws://host:port/path or wss://...")],
    mode: Annotated[
        CallMode, typer.Option(help="Whether the server is a bot, or only listens.")
    ] = CallMode.BOT,
    api_key: ApiKey = "simulator",
    secret_file: SecretFile = None,
    ca_file: CaFile = None,
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="CHECK", help="Put this check alone; may be repeated."),
    ] = None,
    without: Annotated[
        list[str] | None,
        typer.Option(metavar="CHECK", help="Leave this check out; may be repeated."),
    ] = None,
    strict: Annotated[bool, typer.Option(help="Let warnings decide the exit status too.")] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="List the checks that passed, too.")
    ] = False,
    json_file: Annotated[
        Path | None, typer.Option("--json", dir_okay=False, help="Write the results as JSON.")
    ] = None,
    junit_file: Annotated[
        Path | None, typer.Option("--junit", dir_okay=False, help="Write the results as JUnit XML.")
    ] = None,
    _: Annotated[
        bool,
        typer.Option("--list", callback=_list_checks, is_eager=True, help="List all checks."),
    ] = False,
) -> None:
    """Check whether a server keeps the AudioHook protocol.

    Places some hundred short calls, several at a time; nobody should be talking to the server
    meanwhile. With the client secret the checks of authentication run, too.

    Exit status: 0 no error, 1 a rule is broken, 2 the command was not understood, 3 no
    connection.
    """
    console = Console()
    chosen = _chosen(only, without)
    try:
        options = connection_options(api_key, secret_file, ca_file)
    except (ValueError, OSError) as error:
        raise typer.BadParameter(str(error)) from None
    target = Target(
        url=url, mode=mode, api_key=api_key, secret=options.client_secret, ssl=options.ssl
    )
    results = asyncio.run(_run(console, target, chosen))
    show(console, results, everything=verbose)
    if json_file:
        json_file.write_text(as_json(target, results), encoding="utf-8")
    if junit_file:
        junit_file.write_text(as_junit(target, results, strict=strict), encoding="utf-8")
    raise typer.Exit(ExitStatus.NOT_CLEAN if failures(results, strict=strict) else ExitStatus.OK)


async def _run(console: Console, target: Target, chosen: list[Check]) -> list[Result]:
    try:
        async with target.line():
            pass
    except ConnectFailedError as error:
        console.print(f"[red]{error}[/red]", highlight=False)
        raise typer.Exit(ExitStatus.NO_CONNECTION) from None
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        console=console,
        transient=True,
    )
    with bar:
        count = sum(target.mode in one.modes for one in chosen)
        task = bar.add_task("checking", total=count)

        def progress(result: Result) -> None:
            bar.update(task, advance=1, description=result.check.id)

        return await run(target, chosen, progress=progress)
