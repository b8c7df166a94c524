"""The command line `pipecat-genesys`, with one module for each command.

A command reads its options, calls the library and prints the result; the logic is in the library,
where tests and other programs can use it. `app` combines the commands. No module of this package
imports pipecat, because the import takes seconds; only the server processes of `serve` import it.

The command line needs the extra `cli`. This module itself does not need the extra, so that the
command can print how to install it.
"""

from __future__ import annotations

import os
import sys

EXTRA_MODULES = frozenset({"typer", "rich", "websockets", "http_message_signatures"})
"""Top-level modules that the extra `cli` installs."""


def main() -> None:
    """Run the command line; this is the entry point `pipecat-genesys`.

    Raises:
        SystemExit: With the exit status, when the command has ended or a module of the extra `cli`
            is missing.
        ModuleNotFoundError: If another module is missing.
    """
    if os.environ.get("LOGURU_LEVEL") == "":
        # loguru raises an exception at its import if this variable is empty.
        del os.environ["LOGURU_LEVEL"]
    try:
        from pipecat_genesys.cli.app import app
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in EXTRA_MODULES:
            raise
        sys.exit(
            f"pipecat-genesys: the command line needs {missing}; "
            "install it with: pip install 'pipecat-genesys[cli]'"
        )
    app()
