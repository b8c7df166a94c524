"""API key, client secret and certificate, as all commands take them.

The client secret comes from a file or from the environment, never from an argument: other users of
the machine can read the arguments of a process.
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
        help="The API key of the integration, sent as X-API-KEY.",
        show_default=False,
    ),
]
SecretFile = Annotated[
    Path | None,
    typer.Option(
        exists=True,
        dir_okay=False,
        readable=True,
        help="Sign the request with the client secret in this file (base64). Default: the "
        f"environment variable {SECRET_VARIABLE}; if it is not set, the request is not signed.",
    ),
]
CaFile = Annotated[
    Path | None,
    typer.Option(
        exists=True,
        dir_okay=False,
        help="Trust the certificates in this PEM file for wss://, instead of the system's.",
    ),
]


def connection_options(api_key: str, secret_file: Path | None, ca_file: Path | None) -> CallOptions:
    """Read the client secret and the certificates.

    Args:
        api_key: The API key.
        secret_file: File with the client secret; None for the environment variable.
        ca_file: File with certificates to trust; None for those of the system.

    Returns:
        The options of a call, with all that a connection needs.

    Raises:
        ValueError: If the secret is not base64, or the file holds no certificate.
        OSError: If a file cannot be read.
    """
    environment = os.environ.get(SECRET_VARIABLE, "")
    text = secret_file.read_text(encoding="utf-8") if secret_file else environment
    secret = text.strip() or None
    if secret is not None:
        decode_secret(secret)
    context = None if ca_file is None else ssl.create_default_context(cafile=str(ca_file))
    return CallOptions(api_key=api_key, client_secret=secret, ssl=context)
