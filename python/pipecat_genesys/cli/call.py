"""`pipecat-genesys call URL`: place one call as Genesys would, and report the result."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from pipecat_genesys.protocol.types import AudioHookMediaFormat
from pipecat_genesys.simulator import (
    FAULTS,
    VERBS,
    CallMode,
    CallReport,
    CaptureEntry,
    CaptureFile,
    ConnectFailedError,
    Event,
    SessionState,
    SimulatedCall,
    SimulatorError,
    find_fault,
    parse_script,
)

from .arguments import (
    STDOUT,
    ServerUrl,
    assert_writable,
    exit_unwritable,
    finite,
    write_output,
)
from .call_options import DEFAULT_SECONDS, CallerScript, Channels, call_parameters, problem_of
from .console import make_console
from .credentials import ApiKey, CaFile, SecretFile, connection_options, explain
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
    make_console().print(table)
    raise typer.Exit


def call(
    url: ServerUrl,
    steps: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="STEP",
            help="The actions of the caller, in order, such as: wait:bot say:question.wav press:9 "
            "(see --list-steps). Without steps, the caller talks for two seconds and then "
            "waits for the end of the call.",
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
    ani: Annotated[
        str | None,
        typer.Option(help="Number or URI of the caller, such as tel:+4930123.", show_default=False),
    ] = None,
    dnis: Annotated[
        str | None,
        typer.Option(help="Number or URI that the caller dialled.", show_default=False),
    ] = None,
    organization: Annotated[
        str | None,
        typer.Option(help="Id of the Genesys organization. Default: random.", show_default=False),
    ] = None,
    conversation: Annotated[
        str | None,
        typer.Option(help="Id of the conversation. Default: random.", show_default=False),
    ] = None,
    inputs: Annotated[
        list[str] | None,
        typer.Option(
            "--input",
            metavar="NAME=VALUE",
            help="An input variable; may be repeated.",
            show_default=False,
        ),
    ] = None,
    rtt: Annotated[
        float,
        typer.Option(
            min=0.0,
            max=10.0,
            help="Round-trip time of the simulated network in seconds; 0 for none.",
        ),
    ] = 0.04,
    jitter: Annotated[
        float,
        typer.Option(
            min=0.0,
            max=10.0,
            help="Maximum additional delay of each message, at random, in seconds.",
        ),
    ] = 0.0,
    backlog: Annotated[
        float,
        typer.Option(
            min=0.0,
            max=30.0,
            callback=finite,
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
            callback=finite,
            help="Seconds after opened at which the caller hangs up, even if steps remain. "
            f"Default: after the last step; without steps after {DEFAULT_SECONDS:g} s.",
            show_default=False,
        ),
    ] = None,
    patience: Annotated[
        float,
        typer.Option(
            min=0.1,
            callback=finite,
            help="Seconds after which a step, such as wait:bot or wait:quiet, stops waiting for "
            "the server.",
        ),
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
            "the agent of a monitored call) on the right channel.",
        ),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(
            dir_okay=False,
            help="Write the summary to this file, as JSON; - writes it to standard output, and "
            "everything else to standard error.",
        ),
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
    command line is wrong or a file cannot be written; 3 if there was no connection; 130 if
    interrupted.
    """
    console = make_console(stderr=report == STDOUT)
    try:
        script = parse_script(steps or [])
        chosen_fault = None if fault is None else find_fault(fault)
        parameters = call_parameters(
            mode,
            channels,
            format,
            language,
            ask_languages,
            inputs,
            ani=ani,
            dnis=dnis,
            organization=organization,
            conversation=conversation,
        )
        options = connection_options(url, api_key, secret_file, ca_file)
        for option, file in (("--capture", capture), ("--wav", wav)):
            if file == STDOUT:
                raise ValueError(f"{option} needs the name of a file, not -")
    except (ValueError, OSError) as error:
        raise typer.BadParameter(str(error)) from None
    assert_writable(capture, wav, report)

    timeline = Timeline(console)
    observers: list[Callable[[CaptureEntry | Event], None]] = [] if quiet else [timeline]
    capture_errors: list[OSError] = []

    def observe(item: CaptureEntry | Event) -> None:
        for observer in list(observers):
            try:
                observer(item)
            except OSError as error:
                # The capture file can no longer be written; the call continues without the file.
                observers.remove(observer)
                capture_errors.append(error)

    simulated = SimulatedCall(
        url,
        parameters,
        options=replace(options, backlog=backlog, rtt=rtt, jitter=jitter),
        fault=chosen_fault,
        observer=observe,
    )
    interrupted = False
    with ExitStack() as stack:
        if capture is not None:
            observers.append(stack.enter_context(CaptureFile(capture, url, simulated.parameters)))
        if not quiet:
            stack.enter_context(StatusLine(console, simulated))
        try:
            result = asyncio.run(_place(simulated, CallerScript(script, hang_up_after, patience)))
        except ConnectFailedError as error:
            console.print(Text(explain(error, options), "red"), soft_wrap=True)
            raise typer.Exit(ExitCode.NO_CONNECTION) from None
        except KeyboardInterrupt:
            interrupted, result = True, simulated.report()
    timeline.flush()
    if simulated.session.state is SessionState.IDLE:
        console.print(Text("interrupted", "red"))
        raise typer.Exit(ExitCode.INTERRUPTED)
    problem = problem_of(simulated, result)
    console.print(summary_table(result, simulated.parameters.mode))
    success = "clean" if fault is None else f"{fault}: handled"
    console.print(Text(problem or success, "red" if problem else "green"))
    if capture is not None and capture_errors:
        exit_unwritable(capture, capture_errors[0])
    if wav is not None:
        try:
            simulated.save_recording(wav)
        except OSError as error:
            exit_unwritable(wav, error)
    if report is not None:
        write_output(report, report_json(result, fault=fault, verdict=problem or "ok"))
    if interrupted:
        raise typer.Exit(ExitCode.INTERRUPTED)
    raise typer.Exit(ExitCode.NOT_CLEAN if problem else ExitCode.OK)


async def _place(simulated: SimulatedCall, script: CallerScript) -> CallReport:
    """Place the call and run the script.

    Raises:
        ConnectFailedError: If there is no connection.
    """
    try:
        async with simulated:
            await script(simulated)
    except ConnectFailedError:
        raise
    except SimulatorError as error:
        return simulated.report(str(error))
    return simulated.report()
