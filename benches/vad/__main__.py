"""Compare our voice activity detection with pipecat's; write the results, with today's date.

    python -m vad                     all steps; 15 minutes on an otherwise idle machine
    python -m vad --short             all steps in less than 10 minutes: fewer numbers of calls
    python -m vad --only calls model  some steps; replaces them in today's files
    python -m vad --labelled FOLDER   accuracy on the recordings and labels (*.scv) of a folder
    python -m vad --quick             a smoke test; writes no results

Run it from `benches`. Without `--labelled`, the step `accuracy` downloads a labelled test set. If
the download fails, the step uses speech made by espeak-ng. The exit status is 1 if a result was
wrong; a slow result is not an error.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

# Disable the log before pipecat is imported, so that the CPU time does not include log lines.
os.environ["LOGURU_AUTOINIT"] = "False"

import report
from rich.console import Console

from . import labelled
from .accuracy import measure_accuracy
from .analyzers import CONFIGURATIONS
from .calls import measure_calls
from .model_runs import measure_model
from .stages import measure_stages
from .tables import make_vad_tables
from .turns import measure_smart_turn

COUNTS = (1, 10, 25, 50, 100, 200)
_SHORT_COUNTS = (1, 25, 100)
_SECONDS = 8.0
_SHORT_SECONDS = 5.0
_TEST_SET = report.ROOT / ".venv" / "vad-test-set"
# Width of output that is not a terminal, in characters: enough for the widest table.
_WIDTH = 200


def calls(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure CPU time and latency of many calls."""
    if options.quick:
        return measure_calls((2,), 1.0)
    counts = options.calls or (_SHORT_COUNTS if options.short else COUNTS)
    seconds = options.seconds or (_SHORT_SECONDS if options.short else _SECONDS)
    return [
        *measure_calls(counts, seconds),
        *measure_calls((25,), seconds, packet_ms=20),
        *measure_calls((25, 100), seconds, at_once=True),
    ]


def memory(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure the memory of each analyzer in a separate process."""
    rows = []
    for configuration in CONFIGURATIONS:
        # Each of pipecat's analyzers has its own model and needs more memory, so fewer analyzers
        # are measured.
        count = 300 if configuration.name.startswith("ours") else 20
        process = subprocess.run(
            [
                *(sys.executable, "-m", "vad.memory", configuration.name),
                f"--count={3 if options.quick else count}",
            ],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        rows.append(json.loads(process.stdout))
    return rows


def accuracy(options: argparse.Namespace) -> dict[str, Any]:
    """Measure accuracy on a folder of recordings, the downloaded test set, or synthetic speech."""
    recordings, source = _recordings(options.labelled, options.quick)
    return {"source": source} | measure_accuracy(recordings, options.quick)


def _recordings(folder: Path | None, quick: bool) -> tuple[list[labelled.Recording], str]:
    if folder is not None:
        return labelled.load_folder(folder), f"Recordings of the folder `{folder.name}`."
    try:
        if not quick:
            labelled.download(_TEST_SET)
        if _TEST_SET.exists():
            return labelled.load_folder(_TEST_SET), "The 30 recordings of TEN VAD's test set."
    except OSError as error:
        print(f"the test set cannot be downloaded: {error}", file=sys.stderr)
    return labelled.synthesize(), "Synthetic speech of espeak-ng, because there was no test set."


STEPS: dict[str, Callable[[argparse.Namespace], Any]] = {
    "calls": calls,
    "model": lambda options: measure_model(options.quick),
    "stages": lambda options: measure_stages(options.quick),
    "memory": memory,
    "turns": lambda options: measure_smart_turn(options.quick),
    "accuracy": accuracy,
}


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=STEPS, metavar="STEP", help=", ".join(STEPS))
    parser.add_argument("--labelled", type=Path, metavar="FOLDER", help="folder of labelled speech")
    parser.add_argument(
        "--calls", nargs="+", type=int, metavar="N", help="numbers of simultaneous calls to measure"
    )
    parser.add_argument("--seconds", type=float, help="duration of each run of the step `calls`")
    parser.add_argument("--short", action="store_true", help="measure fewer numbers of calls")
    parser.add_argument("--quick", action="store_true", help="a smoke test; writes no results")
    parser.add_argument("--output", type=Path, help="write the results to this folder")
    options = parser.parse_args()
    if options.labelled is not None and not any(options.labelled.rglob("*.scv")):
        parser.error(f"the folder {options.labelled} has no labels (*.scv)")
    return options


def main() -> int:
    options = parse_options()
    output: Path | None = options.output or (None if options.quick else report.RESULTS)
    console = Console(width=None if sys.stdout.isatty() else _WIDTH)
    path = None if output is None else output / f"{date.today().isoformat()}-vad.json"
    run: dict[str, Any] = {"commits": {}, "problems": {}, "parts": {}}
    if path is not None and options.only and path.exists():
        run = json.loads(path.read_text(encoding="utf-8"))
    run["title"] = f"Voice activity detection, {date.today().isoformat()}"
    command = "python -m vad --short" if options.short else "python -m vad"
    # Accuracy does not depend on the machine, so a run of this step keeps the facts of the other
    # steps.
    if options.only != ["accuracy"] or "facts" not in run:
        run["facts"] = report.environment(command)
    for name in options.only or STEPS:
        console.print(f"[bold]{name}[/bold]", highlight=False)
        run["parts"][name] = measured = STEPS[name](options)
        run["problems"][name] = measured.get("problems", []) if name == "model" else []
        run["commits"][name] = report.current_commit()
        if path is not None:
            # Save the results after every step, because a run takes a long time.
            report.save_results(run, path)
    tables = list(make_vad_tables(run["parts"]).values())
    for table in tables:
        table.show(console)
    if path is not None:
        text = report.markdown_report(run, tables)
        path.with_suffix(".md").write_text(text, encoding="utf-8")
        console.print(f"written: {os.path.relpath(path.with_suffix(''))}.md and .json")
    problems = [problem for step in run["problems"].values() for problem in step]
    for problem in problems:
        console.print(f"[bold red]wrong:[/bold red] {problem}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
