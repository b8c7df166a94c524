"""The typer application, with all commands and the options of the program itself."""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated

import typer

from .call import call
from .check import check
from .inspect import inspect
from .load import load
from .replay import replay
from .serve import serve

app = typer.Typer(
    name="pipecat-genesys",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"pipecat-genesys {version('pipecat-genesys')}")
        raise typer.Exit


@app.callback()
def _options(
    _: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Run and test servers for Genesys Cloud AudioHook and Audio Connector.

    The commands `call`, `load`, `check` and `replay` act as Genesys Cloud. They need no Genesys
    organisation.
    """


app.command()(call)
app.command()(load)
app.command()(check)
app.command()(inspect)
app.command()(replay)
app.command()(serve)
