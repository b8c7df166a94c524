"""Consoles for the output of the commands. A failed write does not end a command.

A call must not fail because the terminal cannot show a character, or because the reader of a pipe
(such as `head`) has stopped reading.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import Any, TextIO

from rich.console import Console


class SafeOutput:
    """A text stream whose methods never raise an exception for a failed write.

    Characters that the encoding does not have are replaced. After an error, such as a closed pipe,
    all text is discarded.

    Args:
        stream: The stream to write to; None if the process has no such stream.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write text, with escape sequences for characters that the encoding does not have."""
        if self._stream is not None:
            try:
                self._stream.write(text)
            except UnicodeEncodeError:
                encoding = self._stream.encoding or "ascii"
                self.write(text.encode(encoding, "backslashreplace").decode(encoding))
            except (OSError, ValueError):
                self._give_up()
        return len(text)

    def flush(self) -> None:
        """Flush the stream."""
        if self._stream is not None:
            try:
                self._stream.flush()
            except (OSError, ValueError):
                self._give_up()

    def isatty(self) -> bool:
        """Return whether the stream is a terminal."""
        return self._stream is not None and not self._stream.closed and self._stream.isatty()

    def __getattr__(self, name: str) -> Any:
        """Return any other attribute of the stream; rich uses `encoding` and `fileno`."""
        return getattr(self._stream, name)

    def _give_up(self) -> None:
        """Discard all later text, including text that Python would write when the process ends."""
        stream, self._stream = self._stream, None
        if stream is not None:
            with suppress(OSError, ValueError):
                null = os.open(os.devnull, os.O_WRONLY)
                os.dup2(null, stream.fileno())
                os.close(null)


def make_console(*, stderr: bool = False) -> Console:
    """Make a console for standard output or standard error.

    Args:
        stderr: Whether the console writes to standard error.
    """
    stream = sys.stderr if stderr else sys.stdout
    return Console(file=SafeOutput(stream), highlight=False)  # type: ignore[arg-type]
