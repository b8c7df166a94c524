"""`pipecat-genesys load URL`: place many simultaneous calls, and measure delays and gaps."""

from __future__ import annotations

import asyncio
import gc
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Self

import typer
from pydantic_core import to_json
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from pipecat_genesys.load import (
    Criteria,
    Expect,
    LoadPlan,
    LoadProgress,
    LoadResult,
    Percentiles,
    Talk,
    find_failures,
    run_load,
)
from pipecat_genesys.simulator import ConnectFailedError, read_scenario
from pipecat_genesys.simulator.session.session import DTMF_KEYS
from pipecat_genesys.simulator.sounds import read_wav, sample_speech

from .arguments import STDOUT, ServerUrl, assert_writable, finite, write_output
from .console import make_console
from .credentials import ApiKey, CaFile, SecretFile, connection_options, explain
from .exit_codes import ExitCode

_UTTERANCE_SECONDS = 2.0


def load(
    url: ServerUrl,
    calls: Annotated[
        int, typer.Option(min=1, max=10_000, help="Number of simultaneous calls.")
    ] = 10,
    ramp: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            callback=finite,
            help="Seconds over which the calls begin. Default: 0.15 for each call.",
            show_default=False,
        ),
    ] = None,
    duration: Annotated[
        float,
        typer.Option(min=1.0, callback=finite, help="Seconds during which all calls run."),
    ] = 30.0,
    expect: Annotated[
        Expect,
        typer.Option(
            help="What is measured: the answer of a bot to each utterance, or the echo of a bot "
            "that repeats the caller's audio."
        ),
    ] = Expect.ANSWER,
    say: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            exists=True,
            dir_okay=False,
            help="An utterance, as a WAV file; may be repeated, and the callers say them in turn. "
            "Default: two seconds of recorded English speech.",
            show_default=False,
        ),
    ] = None,
    period: Annotated[
        float,
        typer.Option(
            min=1.0,
            callback=finite,
            help="Seconds from the beginning of one utterance to the next utterance.",
        ),
    ] = 8.0,
    press: Annotated[
        str | None,
        typer.Option(help="A key that each caller presses once, in the middle of the call."),
    ] = None,
    script: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="TOML file with the steps and the expectations of a call, in the format of "
            "`pipecat-genesys call`. Each caller repeats this call until its time is over. A "
            "caller with a script needs several times the CPU time of a caller without a script.",
            show_default=False,
        ),
    ] = None,
    api_key: ApiKey = "simulator",
    secret_file: SecretFile = None,
    ca_file: CaFile = None,
    max_delay: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            callback=finite,
            help="Fail if the 99th percentile of the delay of the bot's replies is above this "
            "value, in seconds. Default: no limit.",
            show_default=False,
        ),
    ] = None,
    max_underruns: Annotated[
        float,
        typer.Option(
            min=0.0,
            callback=finite,
            help="Fail if the bot's audio has this number of gaps, or more, per minute of a call.",
        ),
    ] = 1.0,
    json_file: Annotated[
        Path | None,
        typer.Option(
            "--json",
            dir_okay=False,
            help="Write the result to this file as JSON. If the name is -, the result goes to "
            "standard output and all other output to standard error.",
        ),
    ] = None,
) -> None:
    """Place many simultaneous calls, and measure the delays and gaps of the bots' audio.

    The callers run in this process. The command measures the delay of its own timers. If the 99th
    percentile is above 20 ms, the callers were too slow, and the result is not valid.

    Exit status: 0 if no limit was exceeded; 1 if one was; 2 if the command line is wrong or a file
    cannot be written; 3 if the first call could not be connected; 4 if the result is not valid; 130
    if interrupted.
    """
    console = make_console(stderr=json_file == STDOUT)
    try:
        options = connection_options(url, api_key, secret_file, ca_file)
        plan = LoadPlan(calls=calls, ramp=0.15 * calls if ramp is None else ramp, duration=duration)
        if press is not None and (len(press) != 1 or press not in DTMF_KEYS):
            raise ValueError(f"--press is {press!r}; give one of the keys {DTMF_KEYS}")
        utterances = [read_wav(file) for file in say or ()] or [sample_speech(_UTTERANCE_SECONDS)]
        talk = Talk(expect=expect, utterances=utterances, period=period, key=press)
        scenario = None if script is None else read_scenario(script)
    except (ValueError, OSError) as error:
        raise typer.BadParameter(str(error)) from None
    assert_writable(json_file)
    criteria = Criteria(
        max_underruns_per_minute=max_underruns,
        max_delay_ms=None if max_delay is None else 1000 * max_delay,
    )
    # Disable garbage collection, because the objects of the calls are kept until the end, and a
    # collection would only delay the callers.
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        with _ProgressBar(console, plan) as bar:
            result = asyncio.run(
                run_load(
                    url,
                    plan,
                    talk,
                    options=replace(options, rtt=0.0),
                    scenario=scenario,
                    on_progress=bar.update,
                )
            )
    except ConnectFailedError as error:
        console.print(Text(explain(error, options), "red"), soft_wrap=True)
        raise typer.Exit(ExitCode.NO_CONNECTION) from None
    except KeyboardInterrupt:
        console.print(Text("interrupted", "red"))
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    finally:
        gc.enable()
        gc.unfreeze()
    failures, is_valid = find_failures(result, criteria), criteria.is_valid(result)
    console.print(_table(result, expect))
    if script is None and result.completed and not result.replies + result.replies_missing:
        text = (
            f"no {'echo' if expect is Expect.ECHO else 'answer'} could be measured in this short "
            "time: use a longer --duration"
        )
        console.print(Text(text, "yellow"))
    for failure in failures:
        console.print(Text(f"failed: {failure}", "red"))
    if not is_valid:
        console.print(
            Text(
                f"not valid: the timers of this process were {result.lag_ms.p99:.0f} ms late (99th "
                f"percentile; limit {criteria.max_lag_ms:.0f} ms); place fewer calls, use a faster "
                "machine, or run this command on several machines",
                "red",
            ),
            soft_wrap=True,
        )
    elif not failures:
        console.print(Text("passed", "green"))
    if json_file is not None:
        values = {
            "passed": is_valid and not failures,
            "valid": is_valid,
            "failures": failures,
            "plan": plan,
            "criteria": criteria,
            "result": result,
        }
        write_output(json_file, to_json(values, indent=2).decode() + "\n")
    if not is_valid:
        raise typer.Exit(ExitCode.NOT_VALID)
    raise typer.Exit(ExitCode.NOT_CLEAN if failures else ExitCode.OK)


class _ProgressBar:
    """A line that shows how many calls are running. The line is shown only on a terminal."""

    def __init__(self, console: Console, plan: LoadPlan) -> None:
        self._plan = plan
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("connecting", total=plan.end_of(plan.calls))

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        # Early versions of rich print an empty line for a disabled bar, too.
        if not self._bar.disable:
            self._bar.stop()

    def update(self, progress: LoadProgress) -> None:
        """Show how many calls are running and how many have ended. It is called every second."""
        lag = progress.lag_ms.p99 or 0.0
        self._bar.update(
            self._task,
            advance=1,
            description=f"{progress.running} of {self._plan.calls} calls run, "
            f"{progress.completed} completed, {progress.failed} failed, lag {lag:.0f} ms",
        )


def _table(result: LoadResult, expect: Expect) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("", "p50", "p95", "p99", "worst", "count"):
        table.add_column(name, justify="left" if not name else "right")
    delay = "echo" if expect is Expect.ECHO else "answer"
    for name, values in (
        (f"{delay} after, ms", result.delay_ms),
        ("opened after, ms", result.opened_ms),
        ("pong after, ms", result.pong_ms),
        ("closed after, ms", result.closed_ms),
        ("barge-in after, ms", result.barge_in_ms),
        ("lag of this process, ms", result.lag_ms),
    ):
        if values.count:
            table.add_row(name, *_cells(values))
    for name, text in (
        ("calls completed", f"{result.completed} of {result.calls}"),
        (f"{delay}s missing", str(result.replies_missing)),
        ("underruns", f"{result.underruns}, {result.underruns_per_minute:.2f} per call-minute"),
        ("errors 429", str(result.rate_limited)),
    ):
        table.add_row(name, text)
    for counts in (result.refusals, result.script_errors, result.broken_rules):
        for reason, count in counts.items():
            table.add_row(Text(reason), str(count))
    return table


def _cells(values: Percentiles) -> list[str]:
    times = (values.p50, values.p95, values.p99, values.worst)
    return [*(f"{time:.0f}" for time in times if time is not None), str(values.count)]
