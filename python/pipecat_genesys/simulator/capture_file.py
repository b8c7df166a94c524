"""Writes the capture of a simulated call; `pipecat_genesys.capture.file` has the format."""

from __future__ import annotations

import os
from types import TracebackType
from typing import Self

from pipecat_genesys.capture import (
    VERSION,
    CaptureEntry,
    CaptureHead,
    RecordedCall,
    create_file,
    end_line,
    entry_line,
    head_line,
    read_capture,
)

from .connection import audiohook_headers
from .session.events import Event, SocketClosed
from .session.parameters import CallParameters

__all__ = ["VERSION", "CaptureFile", "RecordedCall", "read_capture"]


class CaptureFile:
    """Writes a call to a capture file. Pass it to a `SimulatedCall` as the observer.

    The capture file is a context manager. Entering it creates the file, and leaving it closes the
    file.

    Args:
        path: Path of the file. An existing file is replaced.
        url: URL of the server.
        parameters: Parameters of the call.
    """

    def __init__(self, path: str | os.PathLike[str], url: str, parameters: CallParameters) -> None:
        self._path = path
        headers = audiohook_headers(parameters, "")
        del headers["X-API-KEY"]
        self._head = CaptureHead(url, parameters.mode, headers)

    def __enter__(self) -> Self:
        self._file = open(create_file(self._path, replace=True), "w", encoding="utf-8", newline="")
        self._file.write(head_line(self._head))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def __call__(self, item: CaptureEntry | Event) -> None:
        """Write a message or the end of the call. Other events are not written."""
        if isinstance(item, CaptureEntry):
            self._file.write(entry_line(item))
        elif isinstance(item, SocketClosed):
            self._file.write(end_line(item.at, item.by, item.code))
