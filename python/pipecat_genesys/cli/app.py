"""The application that typer runs: the commands, and the options that need none."""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated

import typer

from pipecat_genesys.cli.call import call
from pipecat_genesys.cli.check import check
from pipecat_genesys.cli.replay import replay
from pipecat_genesys.cli.serve import serve

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
    """Genesys Cloud AudioHook and Audio Connector, without a Genesys organisation."""


app.command()(call)
app.command()(check)
app.command()(replay)
app.command()(serve)
