"""What the exit status of a command says."""

from __future__ import annotations

from enum import IntEnum


class ExitStatus(IntEnum):
    """One meaning for each number, in every command."""

    OK = 0
    """The server did what it should."""
    NOT_CLEAN = 1
    """A rule was broken, or what was waited for did not come."""
    USAGE = 2
    """The command was not understood; typer's own."""
    NO_CONNECTION = 3
    """No WebSocket could be had: nobody listens, or the upgrade was refused."""
    INTERRUPTED = 130
    """Ctrl-C, as shells number it."""
