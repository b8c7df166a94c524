"""`pipecat-genesys call URL`: place one call as Genesys would, and judge it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipecat_genesys.cli.caller import (
    UNTIL_HANG_UP,
    Caller,
    Channels,
    call_parameters,
    verdict_of,
)
from pipecat_genesys.cli.connecting import ApiKey, CaFile, SecretFile, connection_options
from pipecat_genesys.cli.status import ExitStatus
from pipecat_genesys.cli.summary import report_json, summary_table
from pipecat_genesys.cli.timeline import Progress, Timeline
from pipecat_genesys.protocol.types import AudioHookMediaFormat
from pipecat_genesys.simulator import (
    FAULTS,
    VERBS,
    CallMode,
    CaptureEntry,
    CaptureFile,
    Event,
    SessionState,
    SimulatedCall,
    find_fault,
    parse_script,
)


def _list_faults(wanted: bool) -> None:
    if wanted:
        _print_pairs([(f.name, f.summary) for f in FAULTS.values()])


def _list_steps(wanted: bool) -> None:
    if wanted:
        _print_pairs([(verb.example, verb.summary) for verb in VERBS.values()])


def _print_pairs(rows: Sequence[tuple[str, str]]) -> None:
    table = Table(show_header=False, box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for row in rows:
        table.add_row(*row)
    Console().print(table)
    raise typer.Exit


def call(
    url: Annotated[str, typer.Argument(help="The server: ws://host:port/path or wss://...")],
    steps: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="STEP",
            help="What the caller does, in order, such as: wait:bot say:question.wav press:9 "
            "(see --list-steps). Without any, the caller talks for some seconds.",
            show_default=False,
        ),
    ] = None,
    mode: Annotated[
        CallMode, typer.Option(help="Whether the server is a bot, or only listens.")
    ] = CallMode.BOT,
    channels: Annotated[
        list[Channels] | None,
        typer.Option(
            help="The parties offered, most wanted first; may be repeated. Default: external for "
            "a bot, all of them for a monitor.",
            show_default=False,
        ),
    ] = None,
    format: Annotated[
        list[AudioHookMediaFormat] | None,
        typer.Option(
            case_sensitive=False,
            help="How samples are coded, most wanted first; may be repeated. Default: PCMU.",
            show_default=False,
        ),
    ] = None,
    api_key: ApiKey = "simulator",
    secret_file: SecretFile = None,
    ca_file: CaFile = None,
    language: Annotated[
        str, typer.Option(help="Of the conversation; empty leaves it out.")
    ] = "en-US",
    ask_languages: Annotated[
        bool, typer.Option("--ask-languages", help="Ask which languages the server supports.")
    ] = False,
    variable: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE", help="An input variable; may be repeated.", show_default=False
        ),
    ] = None,
    backlog: Annotated[
        float,
        typer.Option(
            min=0.0,
            max=30.0,
            help="Seconds of caller audio that gathered while connecting; sent at once.",
        ),
    ] = 0.0,
    fault: Annotated[
        str | None, typer.Option(help="What the client does wrong; see --list-faults.")
    ] = None,
    hang_up_after: Annotated[
        float | None,
        typer.Option(
            min=0.1,
            help="Seconds after opened at which the caller hangs up, done or not. Default: when "
            f"the steps are done; without steps after {UNTIL_HANG_UP:g} s.",
            show_default=False,
        ),
    ] = None,
    patience: Annotated[
        float, typer.Option(min=0.1, help="Seconds to wait for what the server is to do.")
    ] = 10.0,
    capture: Annotated[
        Path | None, typer.Option(dir_okay=False, help="Write every message here, as JSON lines.")
    ] = None,
    wav: Annotated[
        Path | None,
        typer.Option(
            dir_okay=False, help="Record here: the caller left, the bot as heard (or agent) right."
        ),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(dir_okay=False, help="Write how it went here, as JSON.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print the summary only.")] = False,
    _faults: Annotated[
        bool,
        typer.Option(
            "--list-faults", callback=_list_faults, is_eager=True, help="List the faults and exit."
        ),
    ] = False,
    _steps: Annotated[
        bool,
        typer.Option(
            "--list-steps", callback=_list_steps, is_eager=True, help="List the steps and exit."
        ),
    ] = False,
) -> None:
    """Place one call as Genesys Cloud would, and say whether it was clean.

    Exit status: 0 the call was clean, or the fault was dealt with; 1 it was not; 2 the command
    was not understood; 3 no connection; 130 interrupted.
    """
    console = Console(highlight=False)
    try:
        script = parse_script(steps or [])
        chosen = None if fault is None else find_fault(fault)
        parameters = call_parameters(mode, channels, format, language, ask_languages, variable)
        options = connection_options(api_key, secret_file, ca_file)
        _check_folders(capture, wav, report)
    except (ValueError, OSError) as error:
        raise typer.BadParameter(str(error)) from None

    timeline = Timeline(console)
    observers: list[Callable[[CaptureEntry | Event], None]] = [] if quiet else [timeline]

    def observe(item: CaptureEntry | Event) -> None:
        for observer in observers:
            observer(item)

    simulated = SimulatedCall(
        url,
        parameters,
        options=replace(options, backlog=backlog),
        fault=chosen,
        observer=observe,
    )
    caller = Caller(script, hang_up_after, patience)
    interrupted = False
    with ExitStack() as stack:
        if capture is not None:
            try:
                file = stack.enter_context(CaptureFile(capture, url, simulated.parameters))
            except OSError as error:
                raise typer.BadParameter(str(error)) from None
            observers.append(file)
        if not quiet:
            stack.enter_context(Progress(console, simulated))
        try:
            result = asyncio.run(simulated.run(caller))
        except KeyboardInterrupt:
            interrupted, result = True, simulated.report()
    timeline.flush()
    if simulated.session.state is SessionState.IDLE:
        console.print(Text(result.script_error or "interrupted", "red"))
        raise typer.Exit(ExitStatus.INTERRUPTED if interrupted else ExitStatus.NO_CONNECTION)
    verdict = verdict_of(simulated, result)
    if wav is not None:
        simulated.save_recording(wav)
    if report is not None:
        report.write_bytes(report_json(result, fault=fault, verdict=verdict or "ok"))
    console.print(summary_table(result, simulated.parameters.mode))
    praise = "clean" if fault is None else f"{fault}: dealt with"
    console.print(Text(verdict or praise, "red" if verdict else "green"))
    if interrupted:
        raise typer.Exit(ExitStatus.INTERRUPTED)
    raise typer.Exit(ExitStatus.NOT_CLEAN if verdict else ExitStatus.OK)


def _check_folders(*files: Path | None) -> None:
    """Find out before the call that a file cannot be written, not after it."""
    for file in files:
        if file is not None and not file.parent.is_dir():
            raise ValueError(f"{file}: there is no folder {file.parent}")
