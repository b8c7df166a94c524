"""`pipecat-genesys call URL`: place one call as Genesys would, and judge it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipecat_genesys.cli.credentials import ApiKey, CaFile, SecretFile, client_secret
from pipecat_genesys.cli.status import ExitStatus
from pipecat_genesys.cli.summary import report_json, summary_table
from pipecat_genesys.cli.timeline import Progress, Timeline
from pipecat_genesys.protocol.types import AudioHookChannel, AudioHookMediaFormat
from pipecat_genesys.simulator import (
    FAULTS,
    VERBS,
    ActingSession,
    CallEndedError,
    CallMode,
    CallOptions,
    CallParameters,
    CallReport,
    CaptureEntry,
    CaptureFile,
    Event,
    SessionState,
    SimulatedCall,
    Step,
    find_fault,
    medium,
    new_call,
    new_monitor_call,
    parse_script,
    play,
)
from pipecat_genesys.simulator.signing import decode_secret

_UNTIL_HANG_UP = 10.0


class Channels(StrEnum):
    """What is offered of the parties."""

    EXTERNAL = "external"
    INTERNAL = "internal"
    BOTH = "both"
    INVERTED = "inverted"


_PARTIES = {
    Channels.EXTERNAL: (AudioHookChannel.EXTERNAL,),
    Channels.INTERNAL: (AudioHookChannel.INTERNAL,),
    Channels.BOTH: (AudioHookChannel.EXTERNAL, AudioHookChannel.INTERNAL),
    Channels.INVERTED: (AudioHookChannel.INTERNAL, AudioHookChannel.EXTERNAL),
}


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
    fault: Annotated[
        str | None, typer.Option(help="What the client does wrong; see --list-faults.")
    ] = None,
    hang_up_after: Annotated[
        float | None,
        typer.Option(
            min=0.1,
            help="Seconds after opened at which the caller hangs up, done or not. Default: when "
            f"the steps are done; without steps after {_UNTIL_HANG_UP:g} s.",
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
        parameters = _parameters(mode, channels, format, language, ask_languages, variable)
        secret = client_secret(secret_file)
        if secret is not None:
            decode_secret(secret)
        context = None if ca_file is None else ssl.create_default_context(cafile=str(ca_file))
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
        options=CallOptions(api_key=api_key, client_secret=secret, ssl=context),
        fault=chosen,
        observer=observe,
    )
    caller = _Caller(script, hang_up_after, patience)
    interrupted = False
    with ExitStack() as stack:
        if capture is not None:
            observers.append(stack.enter_context(CaptureFile(capture, url, simulated.parameters)))
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
    verdict = _verdict(simulated, result)
    if wav is not None:
        simulated.save_recording(wav)
    if report is not None:
        report.write_bytes(report_json(result, fault=fault, verdict=verdict or "clean"))
    console.print(summary_table(result, simulated.parameters.mode))
    console.print(Text(verdict or "clean", "red" if verdict else "green"))
    if interrupted:
        raise typer.Exit(ExitStatus.INTERRUPTED)
    raise typer.Exit(ExitStatus.NOT_CLEAN if verdict else ExitStatus.OK)


class _Caller:
    """What the caller does: the steps, or some talk, and then hang up."""

    def __init__(self, steps: Sequence[Step], hang_up_after: float | None, patience: float) -> None:
        self._steps = steps
        self._talk = parse_script(["say:speech:2"])
        self._patience = patience
        default = None if steps else _UNTIL_HANG_UP
        self._limit = hang_up_after if hang_up_after is not None else default

    async def __call__(self, call: SimulatedCall) -> None:
        await call.opened()
        try:
            async with asyncio.timeout(self._limit) as limit:
                await self._act(call)
        except TimeoutError:
            # The caller's own patience; a wait that failed is another matter.
            if not limit.expired():
                raise

    async def _act(self, call: SimulatedCall) -> None:
        if self._steps:
            return await play(self._steps, call, self._patience)
        if call.parameters.is_probe:
            return None
        try:
            await play(self._talk, call)
            await call.ended()
        except CallEndedError:
            # A server may end a call when it likes.
            return None
        return None


def _parameters(
    mode: CallMode,
    channels: Sequence[Channels] | None,
    formats: Sequence[AudioHookMediaFormat] | None,
    language: str,
    ask_languages: bool,
    variables: Sequence[str] | None,
) -> CallParameters:
    new = new_call if mode is CallMode.BOT else new_monitor_call
    if channels is None:
        is_bot = mode is CallMode.BOT
        channels = (
            [Channels.EXTERNAL] if is_bot else [Channels.BOTH, Channels.EXTERNAL, Channels.INTERNAL]
        )
    offer = tuple(
        medium(*_PARTIES[parties], format=coding)
        for coding in formats or [AudioHookMediaFormat.PCMU]
        for parties in channels
    )
    pairs = [variable.partition("=") for variable in variables or []]
    wrong = [name for name, equals, _ in pairs if not equals or not name]
    if wrong:
        raise ValueError(f"write a variable as NAME=VALUE, not {wrong[0]!r}")
    parameters = new(
        media=offer, language=language or None, supported_languages=ask_languages or None
    )
    if pairs:
        parameters = replace(parameters, input_variables={name: v for name, _, v in pairs})
    return parameters


def _verdict(call: SimulatedCall, report: CallReport) -> str:
    """Why the call was not what it should be; empty if it was."""
    fault = call.fault
    if fault is None:
        return "" if report.clean else "not clean"
    if isinstance(call.session, ActingSession) and not call.session.has_acted:
        needs = "; the server has to pause" if fault.needs_server_pause else ""
        return f"the fault {fault.name} did not happen{needs}"
    return "" if fault.is_handled(report) else f"{fault.name}: not dealt with as it should be"
