"""The exit status of the commands that act as Genesys Cloud."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit status; each number means the same in every command."""

    OK = 0
    """The server kept all rules, and did everything that the command waited for."""
    NOT_CLEAN = 1
    """The server broke a rule, or did not do something that the command waited for."""
    USAGE = 2
    """The command line is wrong, or a file cannot be written; typer uses the same number."""
    NO_CONNECTION = 3
    """No WebSocket could be established: no server answered, or the server refused the request."""
    NOT_VALID = 4
    """The callers of `load` were too slow, so that the result does not describe the server."""
    INTERRUPTED = 130
    """The user interrupted the command with Ctrl-C; shells use the same number."""
