"""The log of `pipecat-genesys serve`: one format for this package, Pipecat and uvicorn.

`uvicorn_log_config` names `LoguruHandler`, so each server process configures its log before it
imports the application.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import traceback
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from loguru import logger

if TYPE_CHECKING:
    from loguru import Message, Record

LEVEL_VARIABLE = "PIPECAT_GENESYS_LOG_LEVEL"
FORMAT_VARIABLE = "PIPECAT_GENESYS_LOG_FORMAT"
CALL_FIELDS = ("session_id", "conversation_id", "correlation_id", "organization_id")
"""The fields of a log line of a call, in order; the endpoint adds them to loguru's context."""

_MAX_ID_LENGTH = 64
_TEXT = "{time:YYYY-MM-DD HH:mm:ss.SSS} | {level: <8} | {name}:{function}:{line} | {message}"
# uvicorn logs a line with this text when it has bound the port, before it imports the application.
# The line is dropped, because `serve` logs the URL of the WebSocket when the application is ready.
_SUPERSEDED = "Uvicorn running on"


class LogFormat(StrEnum):
    """The format of a log line."""

    TEXT = "text"
    JSON = "json"


class LogLevel(StrEnum):
    """The lowest level that is logged."""

    TRACE = "trace"
    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"


def uvicorn_log_config() -> dict[str, Any]:
    """Return the logging configuration of uvicorn that sends its records to loguru."""
    loggers = {
        name: {"handlers": ["loguru"], "level": "INFO", "propagate": False}
        for name in ("uvicorn", "uvicorn.error", "uvicorn.access")
    }
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {"loguru": {"()": "pipecat_genesys.cli.serve_logging.LoguruHandler"}},
        "loggers": loggers,
    }


class LoguruHandler(logging.Handler):
    """Passes records of the standard library's logging to loguru."""

    def __init__(self) -> None:
        """Create the handler, and configure loguru from environment variables."""
        super().__init__()
        configure_log(
            LogLevel(os.environ.get(LEVEL_VARIABLE) or LogLevel.INFO),
            LogFormat(os.environ.get(FORMAT_VARIABLE) or LogFormat.TEXT),
        )

    def emit(self, record: logging.LogRecord) -> None:
        """Pass one log record to loguru."""
        if str(record.msg).startswith(_SUPERSEDED):
            return
        try:
            level: str | int = logger.level(record.levelname).name
        except ValueError:
            level = record.levelno

        def name_source(entry: Record) -> None:
            entry["name"], entry["line"] = record.name, record.lineno
            entry["function"] = record.funcName or ""

        log = logger.patch(name_source).opt(exception=record.exc_info)
        log.log(level, "{}", record.getMessage())


def configure_log(level: LogLevel, log_format: LogFormat) -> None:
    """Let loguru write only to stderr.

    Args:
        level: The lowest level that is written.
        log_format: The format of a line.
    """
    logger.remove()
    if log_format is LogFormat.JSON:
        logger.add(_write_json, level=level.upper(), format="{message}", diagnose=False)
    else:
        # `diagnose` would log the values of variables, which may be personal data.
        logger.add(sys.stderr, level=level.upper(), format=_text_format, diagnose=False)


def _text_format(record: Record) -> str:
    # Escape braces, because loguru reads them as fields of the format.
    fields = " ".join(
        f"{name}={value}".replace("{", "{{").replace("}", "}}")
        for name, value in _call_fields(record).items()
    ).replace("<", r"\<")
    return f"{_TEXT}{f' [{fields}]' if fields else ''}\n{{exception}}"


def _call_fields(record: Record) -> dict[str, str]:
    """Return the IDs of the call of a log line, as short printable text.

    The text is checked, because clients choose the IDs.
    """
    values = {name: str(record["extra"].get(name, "")) for name in CALL_FIELDS}
    return {
        name: "".join(filter(str.isprintable, value))[:_MAX_ID_LENGTH]
        for name, value in values.items()
        if value
    }


def _write_json(message: Message) -> None:
    record = message.record
    entry: dict[str, Any] = {
        "time": record["time"].isoformat(),
        "level": record["level"].name,
        "logger": f"{record['name']}:{record['function']}:{record['line']}",
        "message": record["message"],
    }
    entry |= _call_fields(record)
    if (error := record["exception"]) is not None and error.value is not None:
        entry["exception"] = "".join(traceback.format_exception(error.value))
    sys.stderr.write(json.dumps(entry, ensure_ascii=False) + "\n")
