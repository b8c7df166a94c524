"""`pipecat-genesys check URL`: run the conformance checks against a server."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from pipecat_genesys.conformance import (
    CATALOGUE,
    Check,
    CheckResult,
    Target,
    as_html,
    as_json,
    as_junit,
    as_table,
    failures,
    run_checks,
)
from pipecat_genesys.simulator import CallMode, ConnectFailedError

from .arguments import STDOUT, ServerUrl, assert_writable, write_output
from .console import make_console
from .credentials import (
    SECRET_VARIABLE,
    ApiKey,
    CaFile,
    SecretFile,
    connection_options,
    explain,
)
from .exit_codes import ExitCode


def _list_checks(wanted: bool) -> None:
    if wanted:
        table = Table(show_header=False, box=None, pad_edge=False, padding=(0, 2, 0, 0))
        for one in CATALOGUE.values():
            table.add_row(one.id, one.severity.value, Text(one.rule))
        make_console().print(table)
        raise typer.Exit


def _selected(only: list[str] | None, without: list[str] | None) -> list[Check]:
    """Select the checks to run.

    Raises:
        BadParameter: If there is no check of a given name.
    """
    unknown = ({*(only or ()), *(without or ())}) - CATALOGUE.keys()
    if unknown:
        raise typer.BadParameter(
            f"there is no check {', '.join(sorted(unknown))}; see --list for all checks"
        )
    return [
        one
        for name, one in CATALOGUE.items()
        if (not only or name in only) and name not in (without or ())
    ]


def _assert_some_can_run(checks: list[Check], target: Target) -> None:
    """Refuse a command that would not run any check.

    Raises:
        BadParameter: If no selected check applies to the server's mode, or all these checks need
            the client secret and it is not given.
    """
    applicable = [one for one in checks if target.mode in one.modes]
    if not applicable:
        raise typer.BadParameter(f"no selected check applies to a server in {target.mode} mode")
    if target.secret is None and all(one.signed for one in applicable):
        raise typer.BadParameter(
            "the selected checks need the client secret: use --secret-file or the environment "
            f"variable {SECRET_VARIABLE}"
        )


def check(
    url: ServerUrl,
    mode: Annotated[
        CallMode, typer.Option(help="Whether the server is a bot or only listens.")
    ] = CallMode.BOT,
    api_key: ApiKey = "simulator",
    secret_file: SecretFile = None,
    ca_file: CaFile = None,
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="CHECK", help="Run only this check; may be repeated."),
    ] = None,
    without: Annotated[
        list[str] | None,
        typer.Option(metavar="CHECK", help="Do not run this check; may be repeated."),
    ] = None,
    rtt: Annotated[
        float,
        typer.Option(
            min=0.0,
            max=1.0,
            help="Round-trip time of the simulated network in seconds; 0 for no delay.",
        ),
    ] = 0.04,
    strict: Annotated[
        bool, typer.Option(help="Exit with status 1 also on warnings.", show_default=False)
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Also list the checks that passed.")
    ] = False,
    json_file: Annotated[
        Path | None,
        typer.Option(
            "--json",
            dir_okay=False,
            help="Write the results to this file as JSON. If the name is -, the results go to "
            "standard output and all other output to standard error.",
        ),
    ] = None,
    junit_file: Annotated[
        Path | None,
        typer.Option(
            "--junit",
            dir_okay=False,
            help="Write the results to this file as JUnit XML; - stands for standard output.",
        ),
    ] = None,
    html_file: Annotated[
        Path | None,
        typer.Option(
            "--html", dir_okay=False, help="Write the results to this file, as an HTML page."
        ),
    ] = None,
    _: Annotated[
        bool,
        typer.Option(
            "--list", callback=_list_checks, is_eager=True, help="List all checks and exit."
        ),
    ] = False,
) -> None:
    """Check whether a server follows the AudioHook protocol.

    The checks place about a hundred short calls, several at a time. The server should accept no
    other calls during the checks. With the client secret, the checks of authentication also run.

    Exit status: 0 if the server kept all rules; 1 if the server broke a rule; 2 if the command line
    is wrong or a file cannot be written; 3 if there was no connection; 130 if interrupted.
    """
    console = make_console(stderr=STDOUT in (json_file, junit_file))
    selected = _selected(only, without)
    try:
        options = connection_options(url, api_key, secret_file, ca_file)
    except (ValueError, OSError) as error:
        raise typer.BadParameter(str(error)) from None
    target = Target(
        url=url, mode=mode, api_key=api_key, secret=options.client_secret, ssl=options.ssl, rtt=rtt
    )
    _assert_some_can_run(selected, target)
    if json_file == junit_file == STDOUT:
        raise typer.BadParameter("only one of --json and --junit can write to standard output")
    if html_file == STDOUT:
        raise typer.BadParameter("--html needs the name of a file, not -")
    assert_writable(json_file, junit_file, html_file)
    try:
        results = asyncio.run(_run(console, target, selected))
    except ConnectFailedError as error:
        console.print(Text(explain(error, options), "red"), soft_wrap=True)
        raise typer.Exit(ExitCode.NO_CONNECTION) from None
    except KeyboardInterrupt:
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    console.print(as_table(results, list_passed=verbose))
    if json_file:
        write_output(json_file, as_json(target, results))
    if junit_file:
        write_output(junit_file, as_junit(target, results, strict=strict))
    if html_file:
        write_output(html_file, as_html(target, results))
    raise typer.Exit(ExitCode.NOT_CLEAN if failures(results, strict=strict) else ExitCode.OK)


async def _run(console: Console, target: Target, selected: list[Check]) -> list[CheckResult]:
    """Run the checks with a progress bar.

    Raises:
        ConnectFailedError: If the first connection to the server fails.
    """
    async with target.connection():
        pass
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        console=console,
        transient=True,
    )
    with bar:
        count = sum(target.mode in one.modes for one in selected)
        task = bar.add_task("checking", total=count)

        def show_progress(result: CheckResult) -> None:
            bar.update(task, advance=1, description=result.check.id)

        return await run_checks(target, selected, on_result=show_progress)
