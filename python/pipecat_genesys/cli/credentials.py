"""Where the command line takes API key and client secret from: never the secret from argv.

Arguments are seen by every user of the machine; environment and files are not.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

SECRET_VARIABLE = "GENESYS_CLIENT_SECRET"  # noqa: S105 - the variable's name

ApiKey = Annotated[
    str,
    typer.Option(
        envvar="GENESYS_API_KEY",
        help="The integration's API key, sent as X-API-KEY.",
        show_default=False,
    ),
]
SecretFile = Annotated[
    Path | None,
    typer.Option(
        exists=True,
        dir_okay=False,
        readable=True,
        help="A file with the client secret in base64, to sign the request with. "
        f"Without it the variable {SECRET_VARIABLE}; without either the request is unsigned.",
    ),
]
CaFile = Annotated[
    Path | None,
    typer.Option(exists=True, dir_okay=False, help="Trust this certificate, for wss://."),
]


def client_secret(file: Path | None) -> str | None:
    """The client secret, None if there is none.

    Args:
        file: Where it is, None for the environment.
    """
    text = file.read_text(encoding="utf-8") if file else os.environ.get(SECRET_VARIABLE, "")
    return text.strip() or None
