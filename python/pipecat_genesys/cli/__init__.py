"""The command line: `pipecat-genesys`, one file for each command.

A command reads its options, calls the library and prints; what it does is in the library, where
tests and other programs can use it too. `app.py` puts the commands together. Never imports
pipecat, which takes seconds: a command that serves a bot loads it when it runs.

It needs the extra `cli`; this file alone does without, to be able to say so.
"""

from __future__ import annotations

import sys

EXTRA = frozenset({"typer", "rich", "websockets", "http_message_signatures"})
"""What the extra `cli` brings, by top-level module."""


def main() -> None:
    """Run the command line; the entry point `pipecat-genesys`.

    Raises:
        SystemExit: Always, with the command's exit status.
    """
    try:
        from pipecat_genesys.cli.app import app
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in EXTRA:
            raise
        sys.exit(
            f"pipecat-genesys: the command line needs {missing}; "
            "install it with: pip install 'pipecat-genesys[cli]'"
        )
    app()
