"""Options for the API key, the client secret and the certificates, and advice after a refusal.

The client secret comes from a file or from the environment, never from an argument: other users of
the machine can read the arguments of a process.
"""

from __future__ import annotations

import os
import ssl
from http import HTTPStatus
from pathlib import Path
from typing import Annotated

import typer

from pipecat_genesys.simulator import CallOptions, ConnectFailedError
from pipecat_genesys.simulator.connection import decode_secret

SECRET_VARIABLE = "GENESYS_CLIENT_SECRET"  # noqa: S105 - this is the variable's name, not a secret

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


def connection_options(
    url: str, api_key: str, secret_file: Path | None, ca_file: Path | None
) -> CallOptions:
    """Read the client secret and the certificates.

    Args:
        url: The URL of the server.
        api_key: The API key.
        secret_file: File with the client secret; None for the environment variable.
        ca_file: File with certificates to trust; None for the certificates of the system.

    Returns:
        The options of a call that the connection needs.

    Raises:
        ValueError: If the API key cannot be sent in a header, if the secret is not base64, if
            `ca_file` contains no certificates, or if `ca_file` is given for a URL without TLS.
        OSError: If a file cannot be read.
    """
    if not (api_key.isascii() and api_key.isprintable()):
        raise ValueError("the API key must consist of printable ASCII characters")
    environment = os.environ.get(SECRET_VARIABLE, "")
    text = secret_file.read_bytes().decode("ascii", "replace") if secret_file else environment
    secret = text.strip() or None
    if secret is not None:
        decode_secret(secret)
    if ca_file is not None and not url.startswith("wss:"):
        raise ValueError("--ca-file needs a URL that begins with wss://")
    try:
        context = None if ca_file is None else ssl.create_default_context(cafile=str(ca_file))
    except ssl.SSLError:
        raise ValueError(f"{ca_file} contains no certificates in PEM format") from None
    return CallOptions(api_key=api_key, client_secret=secret, ssl=context)


def explain(error: ConnectFailedError, options: CallOptions) -> str:
    """Describe why there is no connection, with advice if the server refused the credentials.

    Args:
        error: The error of the connection.
        options: The options of the connection.
    """
    if error.status not in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return str(error)
    if options.client_secret is None:
        advice = (
            "check the API key (--api-key); the request was not signed, because there is no client "
            f"secret (--secret-file or {SECRET_VARIABLE})"
        )
    else:
        advice = (
            "check the API key (--api-key) and the client secret; the signature also covers the "
            "host, the port and the path, which a proxy may change, and the time"
        )
    if error.status == HTTPStatus.FORBIDDEN:
        advice = f"check the path of the URL, which the server may not have; {advice}"
    return f"{error}: {advice}"
