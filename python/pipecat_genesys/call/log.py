"""The log of one call. The number of lines is limited, and personal data is hidden by default."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

from loguru import logger

# Maximum number of lines that `once` writes for one call, so that a faulty peer cannot fill the
# disk.
_MAX_LINES = 40
_REDACTED = "(redacted)"


def brief(value: object) -> str:
    """Return the first 120 characters of a value's repr, for one line of log."""
    return f"{value!r:.120}"


class CallLog:
    """Writes the log lines of one call, each with the call's session id."""

    __slots__ = ("_logged", "_personal_data", "_suffix")

    def __init__(self, session_id: str, *, personal_data: bool) -> None:
        """Create the log of a call.

        Args:
            session_id: The session id that each log line contains.
            personal_data: Whether variables, digits and callers may appear in DEBUG lines.
        """
        self._personal_data = personal_data
        # A frozen set, because most calls log nothing once, and an empty set takes 216 bytes.
        self._logged: frozenset[str] = frozenset()
        self.set_session_id(session_id)

    def set_session_id(self, session_id: str) -> None:
        """Change the session id that each log line contains."""
        self._suffix = f" session={session_id!r:.120}"

    def redact(self, value: object) -> object:
        """Return the part of a value that a log line may show, because the value may be personal.

        Args:
            value: A digit, a caller, or a dict of variables.

        Returns:
            The value if personal data may be logged. Otherwise the sorted names of a dict, None for
            None, and a placeholder for any other value.
        """
        if self._personal_data or value is None:
            return value
        return sorted(map(str, value)) if isinstance(value, dict) else _REDACTED

    def once(self, level: str, text: str, key: str | None = None) -> None:
        """Log a line, unless a line with the same key was logged before.

        Args:
            level: A loguru level name, such as ``WARNING``.
            text: The line.
            key: Lines with the same key are logged once; by default the text is the key.
        """
        key = key or text
        if key not in self._logged and len(self._logged) < _MAX_LINES:
            self._logged |= {key}
            self.line(level, f"{text} (logged once)")

    def line(self, level: str, text: str) -> None:
        """Log one line.

        Args:
            level: A loguru level name, such as ``INFO``.
            text: The line, without the session id.
        """
        logger.log(level, text + self._suffix)


class _CurrentValue:
    """A value in loguru's ``extra`` that calls a function when a line is formatted."""

    __slots__ = ("_read",)

    def __init__(self, read: Callable[[], str | None]) -> None:
        self._read = read

    def __str__(self) -> str:
        return self._read() or ""

    __repr__ = __str__

    def __format__(self, specification: str) -> str:
        return format(str(self), specification)


def log_context(**ids: Callable[[], str | None]) -> AbstractContextManager[None]:
    """Put ids on every log line of the current task and of the tasks it starts.

    The ids are in ``record["extra"]``, also on the lines of Pipecat and of the application. Each id
    is read when a line is formatted, because some ids are known only after ``open``.

    Args:
        **ids: For each name, a function that returns the id.

    Returns:
        A context manager; lines that are logged inside it have the ids.
    """
    return logger.contextualize(**{name: _CurrentValue(read) for name, read in ids.items()})
