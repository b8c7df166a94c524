"""How the command line connects; it never takes the client secret from its arguments.

Arguments are seen by every user of the machine; environment and files are not.
"""

from __future__ import annotations

import os
import ssl
from pathlib import Path
from typing import Annotated

import typer

from pipecat_genesys.simulator import CallOptions
from pipecat_genesys.simulator.signing import decode_secret

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


def connection_options(api_key: str, secret_file: Path | None, ca_file: Path | None) -> CallOptions:
    """Read credentials and certificate.

    Args:
        api_key: The API key.
        secret_file: Where the client secret is, None for the environment.
        ca_file: A certificate to trust, None for the system's.

    Raises:
        ValueError: If the secret is no base64, or the certificate none.
        OSError: If a file cannot be read.
    """
    environment = os.environ.get(SECRET_VARIABLE, "")
    text = secret_file.read_text(encoding="utf-8") if secret_file else environment
    secret = text.strip() or None
    if secret is not None:
        decode_secret(secret)
    context = None if ca_file is None else ssl.create_default_context(cafile=str(ca_file))
    return CallOptions(api_key=api_key, client_secret=secret, ssl=context)
