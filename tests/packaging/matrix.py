"""Run the tests on several versions of pipecat, against the newest wheel in a folder.

Each version has its own environment in `.venvs`, which later runs reuse. The version `lowest` is
the lowest version of every direct dependency that `pyproject.toml` allows, pipecat included.
"""

from __future__ import annotations

import argparse
import logging
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

from environments import ROOT, Environment, clean_environ, newest, version_of

HERE = Path(__file__).resolve().parent
PIPECAT_VERSION = "from importlib.metadata import version; print(version('pipecat-ai'))"

log = logging.getLogger("matrix")


@dataclass
class VersionResult:
    """The result for one version: one row of the table."""

    wanted: str
    pipecat: str = "-"
    python: str = "-"
    result: str = "not run"
    seconds: float = 0
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def cells(self) -> tuple[str, ...]:
        counts = [str(self.counts[name]) for name in ("passed", "failed", "skipped")]
        time = f"{self.seconds:.0f} s"
        return (self.wanted, self.pipecat, self.python, self.result, *counts, time)


def read_counts(report: Path) -> Counter[str]:
    """Return the numbers of tests in pytest's JUnit report by outcome."""
    counts: Counter[str] = Counter()
    for suite in ElementTree.parse(report).iter("testsuite"):
        of = {name: int(suite.get(name, 0)) for name in ("tests", "failures", "errors", "skipped")}
        counts["failed"] += of["failures"] + of["errors"]
        counts["skipped"] += of["skipped"]
        counts["passed"] += of["tests"] - of["failures"] - of["errors"] - of["skipped"]
    return counts


def prepare(wanted: str, interpreter: str, wheel: Path) -> Environment:
    """Set up the environment of one version: the wheel, pipecat and the test dependencies.

    Args:
        wanted: A version of pipecat, `newest`, or `lowest`.
        interpreter: Python interpreter of the environment.
        wheel: Wheel to test.

    Raises:
        subprocess.CalledProcessError: If an installation fails.
    """
    name = f"pipecat-{wanted}"
    if interpreter != sys.executable:
        name += f"-python{version_of(interpreter)}"
    environment = Environment(ROOT / ".venvs" / name, interpreter)
    if wanted == "lowest":
        install_lowest(environment, wheel)
        return environment
    pipecat = "pipecat-ai[websocket]" + ("" if wanted == "newest" else f"=={wanted}")
    environment.install(
        "--upgrade", pipecat, "--group", f"{ROOT / 'pyproject.toml'}:test", str(wheel)
    )
    # The wheel needs a second installation, because a rebuilt wheel of the same version must
    # replace the older wheel.
    environment.install("--no-deps", "--force-reinstall", str(wheel))
    return environment


def install_lowest(environment: Environment, wheel: Path) -> None:
    """Install the wheel, and the lowest allowed version of every direct dependency.

    Direct dependencies are listed in `pyproject.toml`, for the package, all extras and the tests.
    uv resolves them, because pip cannot resolve to the lowest versions.

    Raises:
        subprocess.CalledProcessError: If an installation fails.
    """
    pyproject = str(ROOT / "pyproject.toml")
    environment.install("--upgrade", "uv")
    environment.run(
        *("-m", "uv", "pip", "install", "--quiet", "--upgrade"),
        *("--python", str(environment.python)),
        *("--resolution", "lowest-direct", "--requirements", pyproject, "--all-extras"),
        *("--group", f"{pyproject}:test"),
    )
    environment.install("--no-deps", "--force-reinstall", str(wheel))


def run_tests(environment: Environment) -> tuple[int, Counter[str]]:
    """Run pytest; return its exit status and the numbers of tests by outcome."""
    report = environment.folder / "report.xml"
    report.unlink(missing_ok=True)
    command = [
        str(environment.python),
        "-m",
        "pytest",
        "-p",
        "installed_wheel",
        "--numprocesses=4",
        "--junitxml",
        str(report),
    ]
    done = subprocess.run(command, check=False, cwd=ROOT, env=clean_environ(PYTHONPATH=str(HERE)))
    return done.returncode, read_counts(report) if report.exists() else Counter()


def run(specification: str, wheel: Path) -> VersionResult:
    """Prepare one version and test it."""
    wanted, _, interpreter = specification.partition("@")
    outcome = VersionResult(specification)
    log.info("\n== pipecat %s", specification)
    start = time.monotonic()
    try:
        environment = prepare(wanted, interpreter or sys.executable, wheel)
        outcome.python = version_of(environment.python)
        command = [str(environment.python), "-c", PIPECAT_VERSION]
        outcome.pipecat = subprocess.run(
            command, check=True, capture_output=True, text=True, env=clean_environ()
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError) as error:
        log.error("the environment could not be set up: %s", error)
        outcome.result = "NO SET-UP"
    else:
        status, outcome.counts = run_tests(environment)
        outcome.result = "ok" if status == 0 else f"FAILED ({status})"
    outcome.seconds = time.monotonic() - start
    return outcome


def table(outcomes: list[VersionResult]) -> str:
    """Return the outcomes as a table with aligned columns."""
    head = ("asked for", "pipecat", "python", "result", "passed", "failed", "skipped", "time")
    rows = [head, *(outcome.cells for outcome in outcomes)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dist", type=Path, help="folder with the wheel")
    parser.add_argument(
        "versions",
        nargs="+",
        metavar="VERSION[@PYTHON]",
        help="pipecat version, such as 1.0.0, newest, or newest@python3.13; default: this Python",
    )
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    try:
        wheel = newest(arguments.dist, "*.whl").resolve()
    except FileNotFoundError as error:
        log.error("%s", error)
        return 1
    log.info("testing %s", wheel.name)
    outcomes = [run(specification, wheel) for specification in arguments.versions]
    log.info("\n%s", table(outcomes))
    return 0 if all(outcome.result == "ok" for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
