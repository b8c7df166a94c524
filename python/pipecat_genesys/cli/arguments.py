"""Arguments that several commands use: the URL of the server, and the output files."""

from __future__ import annotations

import math
import os
import re
import sys
from importlib import import_module
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from pipecat_genesys.capture import create_file

from .console import make_console
from .exit_codes import ExitCode

STDOUT = Path("-")
"""The file name that stands for standard output."""
_ADDRESS = re.compile(r"[/:.\[]")


def _parse_url(text: str) -> str:
    """Return the URL; refuse text that is clearly not a URL, such as a step of the caller.

    Other errors in a URL, such as a missing `ws://`, are reported when the connection is made.
    """
    if not _ADDRESS.search(text):
        raise typer.BadParameter(f"{text!r} is not a URL, such as ws://localhost:8080/audiohook")
    return text


ServerUrl = Annotated[
    str,
    typer.Argument(
        callback=_parse_url, help="URL of the server: ws://host:port/path or wss://host/path."
    ),
]


def finite(value: float | None) -> float | None:
    """Return the value of an option; refuse infinity and NaN.

    Raises:
        BadParameter: If the value is infinite or NaN.
    """
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"{value} is not a number of seconds")
    return value


def assert_writable(*files: Path | None) -> None:
    """Check before a call that the output files can be written.

    Args:
        *files: The files; None for an output that was not requested, `STDOUT` for standard output.

    Raises:
        BadParameter: If a file cannot be written.
    """
    for file in files:
        # Do not open pipes and devices, because the reader of a pipe would see the end of the file.
        if file is None or file == STDOUT or (file.exists() and not file.is_file()):
            continue
        is_new = not file.exists()
        try:
            file.open("ab").close()
        except OSError as error:
            raise typer.BadParameter(f"cannot write {file}: {error.strerror}") from None
        if is_new:
            file.unlink(missing_ok=True)


def write_output(file: Path, content: str) -> None:
    """Write text to an output file.

    Args:
        file: The file; `STDOUT` for standard output.
        content: The text.

    Raises:
        Exit: With the status `USAGE`, if the file cannot be written.
    """
    try:
        if file == STDOUT:
            typer.echo(content, nl=False)
            sys.stdout.flush()
        else:
            file.write_text(content, encoding="utf-8")
    except OSError as error:
        exit_unwritable(file, error)


def write_private(file: Path, content: str) -> None:
    """Write text to an output file that only this user can read.

    Args:
        file: The file; an existing file is replaced.
        content: The text.

    Raises:
        Exit: With the status `USAGE`, if the file cannot be written.
    """
    try:
        with os.fdopen(create_file(file, replace=True), "w", encoding="utf-8", newline="") as out:
            out.write(content)
    except OSError as error:
        exit_unwritable(file, error)


def assert_inspector_installed() -> None:
    """Check that the libraries of the inspector are installed.

    Raises:
        BadParameter: If a library is missing; the message names the extra.
    """
    try:
        import_module("pipecat_genesys.inspector.server")
    except ModuleNotFoundError as error:
        raise typer.BadParameter(
            f"the inspector needs {error.name}; install it with: "
            "pip install 'pipecat-genesys[inspector]'"
        ) from None


def exit_unwritable(file: Path, error: OSError) -> NoReturn:
    """Print that an output file cannot be written, and exit.

    Raises:
        Exit: Always, with the status `USAGE`.
    """
    make_console(stderr=True).print(
        f"cannot write {file}: {error.strerror}", style="red", markup=False, soft_wrap=True
    )
    raise typer.Exit(ExitCode.USAGE)
