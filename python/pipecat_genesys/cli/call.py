"""`pipecat-genesys call URL`: place one call as Genesys would, and report how it went."""

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

from .call_options import DEFAULT_SECONDS, CallerScript, Channels, call_parameters, problem_of
from .credentials import ApiKey, CaFile, SecretFile, connection_options
from .exit_codes import ExitCode
from .summary import report_json, summary_table
from .timeline import StatusLine, Timeline


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
    url: Annotated[
        str, typer.Argument(help="URL of the server: ws://host:port/path or wss://host/path.")
    ],
    steps: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="STEP",
            help="What the caller does, in order, such as: wait:bot say:question.wav press:9 "
            "(see --list-steps). Without steps, the caller talks for two seconds and waits.",
            show_default=False,
        ),
    ] = None,
    mode: Annotated[
        CallMode, typer.Option(help="Whether the server is a bot or only listens.")
    ] = CallMode.BOT,
    channels: Annotated[
        list[Channels] | None,
        typer.Option(
            help="Channels to offer, in order of preference; may be repeated. Default: external "
            "for a bot; both, external and internal for a monitor.",
            show_default=False,
        ),
    ] = None,
    format: Annotated[
        list[AudioHookMediaFormat] | None,
        typer.Option(
            case_sensitive=False,
            help="Audio format to offer, in order of preference; may be repeated. Default: PCMU.",
            show_default=False,
        ),
    ] = None,
    api_key: ApiKey = "simulator",
    secret_file: SecretFile = None,
    ca_file: CaFile = None,
    language: Annotated[
        str,
        typer.Option(help="Language of the conversation; an empty value leaves the field out."),
    ] = "en-US",
    ask_languages: Annotated[
        bool,
        typer.Option("--ask-languages", help="Ask the server which languages it supports."),
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
            help="Seconds of caller audio recorded before the connection; sent at once after "
            "opened.",
        ),
    ] = 0.0,
    fault: Annotated[
        str | None,
        typer.Option(help="A fault that the client makes on purpose; see --list-faults."),
    ] = None,
    hang_up_after: Annotated[
        float | None,
        typer.Option(
            min=0.1,
            help="Seconds after opened at which the caller hangs up, even if steps remain. "
            f"Default: after the last step; without steps after {DEFAULT_SECONDS:g} s.",
            show_default=False,
        ),
    ] = None,
    patience: Annotated[
        float,
        typer.Option(min=0.1, help="Seconds after which a step stops waiting for the server."),
    ] = 10.0,
    capture: Annotated[
        Path | None,
        typer.Option(dir_okay=False, help="Write every message to this file, as JSON lines."),
    ] = None,
    wav: Annotated[
        Path | None,
        typer.Option(
            dir_okay=False,
            help="Record the call to this WAV file: the caller on the left channel, the bot (or "
            "the agent of a monitored call) on the right one.",
        ),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(dir_okay=False, help="Write the summary to this file, as JSON.")
    ] = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print the summary but no messages.")
    ] = False,
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
    """Place one call as Genesys Cloud would, and report whether it was clean.

    Exit status: 0 if the call was clean, or the server handled the fault; 1 if not; 2 if the
    command line is wrong; 3 if there was no connection; 130 if interrupted.
    """
    console = Console(highlight=False)
    try:
        script = parse_script(steps or [])
        chosen_fault = None if fault is None else find_fault(fault)
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
        fault=chosen_fault,
        observer=observe,
    )
    interrupted = False
    with ExitStack() as stack:
        if capture is not None:
            try:
                file = stack.enter_context(CaptureFile(capture, url, simulated.parameters))
            except OSError as error:
                raise typer.BadParameter(str(error)) from None
            observers.append(file)
        if not quiet:
            stack.enter_context(StatusLine(console, simulated))
        try:
            result = asyncio.run(simulated.run(CallerScript(script, hang_up_after, patience)))
        except KeyboardInterrupt:
            interrupted, result = True, simulated.report()
    timeline.flush()
    if simulated.session.state is SessionState.IDLE:
        console.print(Text(result.script_error or "interrupted", "red"))
        raise typer.Exit(ExitCode.INTERRUPTED if interrupted else ExitCode.NO_CONNECTION)
    problem = problem_of(simulated, result)
    if wav is not None:
        simulated.save_recording(wav)
    if report is not None:
        report.write_bytes(report_json(result, fault=fault, verdict=problem or "ok"))
    console.print(summary_table(result, simulated.parameters.mode))
    success = "clean" if fault is None else f"{fault}: handled"
    console.print(Text(problem or success, "red" if problem else "green"))
    if interrupted:
        raise typer.Exit(ExitCode.INTERRUPTED)
    raise typer.Exit(ExitCode.NOT_CLEAN if problem else ExitCode.OK)


def _check_folders(*files: Path | None) -> None:
    """Check before the call that the folders of the output files exist.

    Raises:
        ValueError: If a folder does not exist.
    """
    for file in files:
        if file is not None and not file.parent.is_dir():
            raise ValueError(f"cannot write {file}: the folder {file.parent} does not exist")
