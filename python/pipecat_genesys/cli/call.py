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
    EXPECTATIONS,
    FAULTS,
    VERBS,
    CallMode,
    CaptureEntry,
    CaptureFile,
    Channels,
    ConnectFailedError,
    Event,
    Scenario,
    SessionState,
    SimulatedCall,
    find_fault,
    read_scenario,
    run_scenario,
)
from pipecat_genesys.simulator.scenario import DEFAULT_SECONDS

from .arguments import (
    STDOUT,
    ServerUrl,
    assert_inspector_installed,
    assert_writable,
    exit_unwritable,
    finite,
    write_output,
    write_private,
)
from .console import make_console
from .credentials import ApiKey, CaFile, SecretFile, connection_options, explain
from .exit_codes import ExitCode
from .summary import report_json, summary_table, verdict_lines
from .timeline import StatusLine, Timeline


def _list_faults(wanted: bool) -> None:
    if wanted:
        _print_pairs([(f.name, f.summary) for f in FAULTS.values()])


def _list_steps(wanted: bool) -> None:
    if wanted:
        _print_pairs([(verb.example, verb.summary) for verb in VERBS.values()])


def _list_expectations(wanted: bool) -> None:
    if wanted:
        _print_pairs([(kind.example, kind.summary) for kind in EXPECTATIONS])


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
    script: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="Read the steps, the expectations and the caller from this TOML file; other "
            "options replace its values.",
            show_default=False,
        ),
    ] = None,
    expect: Annotated[
        list[str] | None,
        typer.Option(
            metavar="EXPECTATION",
            help="An expectation for the call, such as 'answered within 800 ms'; may be "
            "repeated (see --list-expectations).",
            show_default=False,
        ),
    ] = None,
    mode: Annotated[
        CallMode | None,
        typer.Option(
            help="Whether the server is a bot or only listens. Default: bot.", show_default=False
        ),
    ] = None,
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
        str | None,
        typer.Option(
            help="Language of the conversation, and of spoken text; an empty value leaves the "
            "field out. Default: en-US.",
            show_default=False,
        ),
    ] = None,
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
            help="Round-trip time of the simulated network in seconds; 0 for no delay.",
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
    subprotocol: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="A WebSocket sub-protocol to offer; may be repeated. Genesys offers none.",
            show_default=False,
        ),
    ] = None,
    backlog: Annotated[
        float,
        typer.Option(
            min=0.0,
            max=30.0,
            callback=finite,
            help="Seconds of caller audio that is recorded before the connection. It is sent "
            "immediately after opened.",
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
            help="Seconds after opened at which the caller hangs up, even during the steps. "
            f"Default: after the last step; without steps after {DEFAULT_SECONDS:g} s.",
            show_default=False,
        ),
    ] = None,
    patience: Annotated[
        float | None,
        typer.Option(
            min=0.1,
            callback=finite,
            help="Seconds after which a step, such as wait:bot or wait:quiet, stops waiting for "
            "the server. Default: 10.",
            show_default=False,
        ),
    ] = None,
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
    html: Annotated[
        Path | None,
        typer.Option(
            dir_okay=False,
            help="Write the call to this file as an HTML page with its messages and audio. The "
            "page works without a network. This option requires the package extra 'inspector'.",
        ),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(
            dir_okay=False,
            help="Write the summary to this file as JSON. If the name is -, the summary goes to "
            "standard output and all other output to standard error.",
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
    _expectations: Annotated[
        bool,
        typer.Option(
            "--list-expectations",
            callback=_list_expectations,
            is_eager=True,
            help="List the expectations and exit.",
        ),
    ] = False,
) -> None:
    """Place one call as Genesys Cloud would, and report whether the server kept all rules.

    Exit status: 0 if the call was clean, or the server handled the fault, and if the call met all
    expectations; 1 if not; 2 if the command line or the script is wrong, or a file cannot be
    written; 3 if there was no connection; 130 if interrupted.
    """
    console = make_console(stderr=report == STDOUT)
    try:
        chosen_fault = None if fault is None else find_fault(fault)
        scenario = _scenario(
            script,
            steps,
            expect,
            inputs,
            mode=mode,
            channels=channels,
            format=format,
            language=language,
            ask_languages=ask_languages or None,
            ani=ani,
            dnis=dnis,
            organization=organization,
            conversation=conversation,
            patience=patience,
            hang_up_after=hang_up_after,
        )
        options = connection_options(url, api_key, secret_file, ca_file)
        for option, file in (("--capture", capture), ("--wav", wav), ("--html", html)):
            if file == STDOUT:
                raise ValueError(f"{option} needs the name of a file, not -")
    except (ValueError, OSError) as error:
        raise typer.BadParameter(str(error)) from None
    assert_writable(capture, wav, html, report)
    if html is not None:
        assert_inspector_installed()

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

    def close(written: CaptureFile) -> None:
        try:
            written.__exit__(None, None, None)  # writes what is still in the buffer
        except OSError as error:
            capture_errors.append(error)

    simulated = SimulatedCall(
        url,
        scenario.parameters(),
        options=replace(
            options,
            backlog=backlog,
            rtt=rtt,
            jitter=jitter,
            subprotocols=tuple(subprotocol or ()),
        ),
        fault=chosen_fault,
        observer=observe,
    )
    interrupted = False
    with ExitStack() as stack:
        if capture is not None:
            written = CaptureFile(capture, url, simulated.parameters)
            observers.append(written.__enter__())
            stack.callback(close, written)
        if not quiet:
            stack.enter_context(StatusLine(console, simulated))
        try:
            verdict = asyncio.run(run_scenario(simulated, scenario))
        except ConnectFailedError as error:
            console.print(Text(explain(error, options), "red"), soft_wrap=True)
            raise typer.Exit(ExitCode.NO_CONNECTION) from None
        except KeyboardInterrupt:
            interrupted, verdict = True, scenario.judge(simulated)
    timeline.flush()
    if simulated.session.state is SessionState.IDLE:
        console.print(Text("interrupted", "red"))
        raise typer.Exit(ExitCode.INTERRUPTED)
    console.print(summary_table(verdict.report, simulated.parameters.mode))
    for text, style in verdict_lines(verdict):
        console.print(Text(text, style), soft_wrap=True)
    if capture is not None and capture_errors:
        exit_unwritable(capture, capture_errors[0])
    if wav is not None:
        try:
            simulated.save_recording(wav)
        except OSError as error:
            exit_unwritable(wav, error)
    if html is not None:
        write_private(html, _page(simulated))
    if report is not None:
        write_output(report, report_json(verdict))
    if interrupted:
        raise typer.Exit(ExitCode.INTERRUPTED)
    raise typer.Exit(ExitCode.OK if verdict.passed else ExitCode.NOT_CLEAN)


def _page(simulated: SimulatedCall) -> str:
    """Return the report of a finished call as an HTML page."""
    from pipecat_genesys.inspector.calls import simulated_call
    from pipecat_genesys.inspector.report_page import report_page

    return report_page(simulated_call(simulated))


def _scenario(
    script: Path | None,
    steps: Sequence[str] | None,
    expect: Sequence[str] | None,
    inputs: Sequence[str] | None,
    **options: object,
) -> Scenario:
    """Return the scenario of the file and the options.

    Args:
        script: The file; None if no file is given.
        steps: The steps on the command line.
        expect: The expectations on the command line, in addition to the expectations in the file.
        inputs: Input variables, each as `NAME=VALUE`, in addition to the variables in the file.
        **options: Other fields of `Scenario`; None leaves the value of the file.

    Raises:
        ValueError: If a value is not valid, or if both a file and steps are given.
        OSError: If the file cannot be read.
    """
    if script is not None and steps:
        raise ValueError("--script and steps cannot be given together; remove one of them")
    scenario = Scenario() if script is None else read_scenario(script)
    pairs = [variable.partition("=") for variable in inputs or []]
    wrong = [name for name, equals, _ in pairs if not equals or not name]
    if wrong:
        raise ValueError(f"an input variable has the form NAME=VALUE, got {wrong[0]!r}")
    given = {name: value for name, value in options.items() if value is not None}
    if steps:
        given["steps"] = steps
    if expect:
        given["expect"] = [*scenario.expect, *expect]
    if pairs:
        given["input"] = {**(scenario.input or {}), **{name: value for name, _, value in pairs}}
    return scenario.replace(**given) if given else scenario
