"""What one call writes to the log: little, once, and nobody's data unless asked for."""

from __future__ import annotations

from loguru import logger

# Lines a call may log about its peer, who must not be able to fill the disk.
_MAX_LINES = 40


def brief(value: object) -> str:
    """What a peer said, fit for a line of log."""
    return f"{value!r:.120}"


class CallLog:
    """The log of one call."""

    def __init__(self, session_id: str, *, personal_data: bool) -> None:
        self._personal_data = personal_data
        self._logged: set[str] = set()
        self.name_call(session_id)

    def name_call(self, session_id: str) -> None:
        """Set what the lines name the call by."""
        self._call = f" session={brief(session_id)}"

    def shown(self, value: object) -> object:
        """Personal data, or what may be shown of it: the names of variables, not their values."""
        if self._personal_data or value is None:
            return value
        return sorted(map(str, value)) if isinstance(value, dict) else "(redacted)"

    def once(self, level: str, text: str, key: str | None = None) -> None:
        """Log the first of many.

        Args:
            level: A level of loguru's.
            text: The line.
            key: What makes lines one of many; by default the text.
        """
        key = key or text
        if key not in self._logged and len(self._logged) < _MAX_LINES:
            self._logged.add(key)
            self.line(level, f"{text} (logged once)")

    def line(self, level: str, text: str) -> None:
        """Log a line, with the call it is about."""
        logger.log(level, text + self._call)
