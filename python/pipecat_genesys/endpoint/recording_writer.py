"""Writes the recordings of all calls of a process, in one thread.

The event loop puts messages into the queues of the calls and never waits for the thread. Every
190 ms, the thread writes the messages of all calls, with one write for each call. Nearly all
messages are audio. One native call formats the audio of all calls and writes it to their files; it
does not hold the GIL, so that it does not delay the event loop. The thread masks and formats the
other messages in Python. If a folder cannot be written, for example because the disk is full,
recording stops until the folder can be written again. The calls are not affected.
"""

from __future__ import annotations

import atexit
import errno
import json
import os
import re
import shutil
import stat
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from loguru import logger

from pipecat_genesys._native import RecordingQueue, waiting_recordings, write_recordings
from pipecat_genesys.capture import (
    CallMode,
    CaptureHead,
    CaptureSource,
    Choice,
    Choices,
    Direction,
    MarkKind,
    Party,
    content_size,
    end_line,
    head_line,
    mark_line,
    mask_client_message,
    message_line,
)
from pipecat_genesys.capture.file import decode_object
from pipecat_genesys.capture.masking import MASK
from pipecat_genesys.protocol import AudioHookChannel, fields

from .metrics import Metrics

if sys.platform != "win32":
    # Windows needs no locks, because it does not delete open files.
    import fcntl

AudioItem = tuple[float, int, bytes | int | None]
"""An audio message: time since the first message, size in bytes, and content.

The size is negative if this process sent the message. The content is the audio, the byte of silence
that is recorded instead of it, or None if the audio is left out.
"""

TextItem = tuple[float, Direction | None, Any, Choices, str | None, int | None, int]
"""A text message: time since the first message, direction, text, handling of personal data, type,
sequence number, and size in bytes.

A text from Genesys has the type None and the size 0, because the thread parses the text. If the
direction is None, the item is no message. Its content is then a `MarkKind`, and the sequence number
is a count of messages; or the content is the `Party` that closed the socket, and the sequence
number is the close code.
"""

Item = AudioItem | TextItem
"""A message that waits to be written. Items are plain tuples to save time in the event loop."""

# The thread writes the messages of all calls at this interval, in seconds. After SIGKILL, the
# messages of the last interval are missing.
_PERIOD = 0.19
# Upper bound of the size of the line of an audio message without its audio, in bytes.
_AUDIO_LINE = 128
# Maximum number, and maximum size in bytes, of the messages of one call that wait for the thread.
_MAX_ITEMS, _MAX_BYTES = 1000, 1_000_000
# Maximum number of files that wait for the thread. Further flight recordings are not written.
_MAX_WAITING = 200
# Time between two attempts to write to a folder that could not be written, in seconds. Writing
# starts again only if 1 % of the disk is free, so that recording does not stop again immediately.
_RETRY_SECONDS = 1.0
_FREE_SHARE = 100
# `_COUNT_SECONDS`: minimum time between two counts of the files in a folder, in seconds. The time
# is at least `_COUNT_FACTOR` times the duration of the last count.
_COUNT_SECONDS, _COUNT_FACTOR = 5.0, 100
# If the files are too large, files are deleted until 1 / `_SLACK_SHARE` of the maximum size is
# free.
_SLACK_SHARE = 50
_FOLDER_MODE = 0o700
_POLL_SECONDS = 0.01
_SUFFIX, _FLIGHT_SUFFIX = ".jsonl", ".flight.jsonl"
_NAME = re.compile(r"\d{8}T\d{6}Z-[0-9a-f-]{36}(-\d+)?")
# For each reply whose latency is recorded, the type of its request.
_REQUESTS = {"opened": "open", "pong": "ping", "updated": "update", "closed": "close"}
_ASKING = frozenset(_REQUESTS.values())
_MAX_TYPE = 40


@dataclass(slots=True)
class RecordingInfo:
    """The contents of the first line of a recording.

    Attributes:
        url: URL of the server.
        headers: Headers of the upgrade request, without credentials.
        source: Whether the recorder or the flight recorder writes the file.
        started: Time of the connection.
        choices: For each kind of personal data, whether it is recorded, masked or left out.
        reasons: Reasons why the call ended badly; empty if the file is not a flight recording.
    """

    url: str
    headers: Mapping[str, str]
    source: CaptureSource
    started: str
    choices: Choices
    reasons: tuple[str, ...] = ()

    def of_flight(self, reasons: tuple[str, ...]) -> RecordingInfo:
        """Return the information for the flight recording of the same call."""
        choices = replace(self.choices, audio=Choice.OMIT)
        return replace(self, source=CaptureSource.FLIGHT_RECORDER, choices=choices, reasons=reasons)


class RecordingFolder:
    """A folder of recordings. Only the thread calls its methods, except `check`.

    Attributes:
        path: The folder.
        suffix: The end of the names of the files.
        metrics: The metrics in which recordings are counted.
    """

    def __init__(
        self,
        path: Path,
        max_bytes: int,
        max_age: float,
        source: CaptureSource,
        metrics: Metrics,
    ) -> None:
        """Create the object. The folder on the disk is created by `prepare`.

        Args:
            path: The folder.
            max_bytes: Largest size of all files.
            max_age: Age in seconds at which files are deleted.
            source: Whether the recorder or the flight recorder writes the files. Files of other
                sources in the folder are neither counted nor deleted.
            metrics: The metrics in which recordings are counted.
        """
        self.path = path
        self.metrics = metrics
        self._max_bytes = max_bytes
        self._max_age = max_age
        is_flight = source is CaptureSource.FLIGHT_RECORDER
        self._contents = "flight recordings" if is_flight else "recordings"
        self.suffix = _FLIGHT_SUFFIX if is_flight else _SUFFIX
        self._used = 0
        self._unreported = 0
        self._counted_at = -1e9
        self._count_again_seconds = _COUNT_SECONDS
        self._stopped = False
        self._retry_at = 0.0
        self._has_warned = False

    @property
    def is_stopped(self) -> bool:
        """Whether the last attempt to write to the folder failed."""
        return self._stopped

    def check(self) -> None:
        """Log the reason now if the folder cannot be written. Call this at the start."""
        now = time.monotonic()
        try:
            self.prepare(0, now)
            if not os.access(self.path, os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self.path))
        except OSError as error:
            self.failed(error, now)

    def may_write(self, now: float) -> bool:
        """Return whether the last write succeeded, or the time for the next attempt has come."""
        return not self._stopped or now >= self._retry_at

    def prepare(self, size: int, now: float) -> None:
        """Create the folder, and delete old files until `size` bytes can be written.

        Raises:
            OSError: If the folder cannot be written, or if `size` bytes are not available.
        """
        if self._stopped:
            self._create()
            usage = shutil.disk_usage(self.path)
            if usage.free < max(size, usage.total // _FREE_SHARE):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
        is_due = now >= self._counted_at + self._count_again_seconds
        if is_due or self._used + size > self._max_bytes:
            self._create()
            self._delete_old(size, now)
        if self._used + size > self._max_bytes:
            raise OSError(
                errno.ENOSPC,
                f"the recordings of running calls take {self._used} of {self._max_bytes} bytes; "
                "increase max_bytes (for flight recordings, flight_max_bytes)",
            )

    def written(self, size: int) -> None:
        """Count written bytes, and log the end of a period in which nothing could be written."""
        self._used += size
        self._unreported += size
        if self._stopped:
            self._stopped = False
            self.metrics.recording_stopped.dec()
            logger.info(f"{self._contents} are written to {self.path} again")

    def report(self) -> None:
        """Add the written bytes to the metric.

        The thread calls this method only once in each interval, because changing a metric is slow.
        """
        size, self._unreported = self._unreported, 0
        if size:
            self.metrics.recording_bytes.inc(size)

    def failed(self, error: OSError, now: float) -> None:
        """Stop recording, and log the reason once."""
        self._retry_at = now + _RETRY_SECONDS
        if self._stopped:
            return
        self._stopped = True
        self.metrics.recording_stopped.inc()
        reason = error.strerror or str(error)
        logger.error(
            f"{self._contents} stop: {self.path} cannot be written: {reason}. Calls continue. "
            "Recording begins again when the folder can be written"
        )

    def _create(self) -> None:
        if not self.path.is_dir():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.mkdir(mode=_FOLDER_MODE, exist_ok=True)
        if not hasattr(os, "getuid"):
            return
        found, parent = self.path.lstat(), self.path.parent.stat()
        is_shared = parent.st_mode & stat.S_IWOTH
        if is_shared and (stat.S_ISLNK(found.st_mode) or found.st_uid != os.getuid()):
            raise PermissionError(
                errno.EACCES,
                "the folder belongs to another user or is a symbolic link, and every user may "
                f"write to {self.path.parent}; choose another folder",
            )
        if self.path.stat().st_mode & 0o077 and not self._has_warned:
            self._has_warned = True
            logger.warning(
                f"other users have rights on {self.path}: its mode is "
                f"{stat.S_IMODE(self.path.stat().st_mode):o}; set it to {_FOLDER_MODE:o}"
            )

    def _delete_old(self, size: int, now: float) -> None:
        """Count the files, and delete the files that are too old or exceed the maximum size."""
        began = time.monotonic()
        files = sorted(self._files())
        self._used = sum(length for _, length, _ in files)
        oldest = time.time() - self._max_age
        allowed = self._max_bytes - size
        if self._used > allowed:
            allowed -= self._max_bytes // _SLACK_SHARE
        for modified, length, path in files:
            if modified >= oldest and self._used <= allowed:
                break
            if _delete_finished(path):
                self._used -= length
        self._counted_at = now
        took = time.monotonic() - began
        self._count_again_seconds = max(_COUNT_SECONDS, _COUNT_FACTOR * took)

    def _files(self) -> Iterator[tuple[float, int, str]]:
        with os.scandir(self.path) as found:
            for entry in found:
                name, dot, suffix = entry.name.partition(".")
                if dot + suffix == self.suffix and _NAME.fullmatch(name):
                    try:
                        status = entry.stat(follow_symlinks=False)
                    except FileNotFoundError:
                        continue  # another process has deleted the file
                    yield status.st_mtime, status.st_size, entry.path


def _delete_finished(path: str) -> bool:
    """Delete the file of a finished call, and return whether the file does not exist any more.

    The file of a running call is locked by the process that writes it, until that process ends.
    """
    try:
        if sys.platform != "win32":
            descriptor = os.open(path, os.O_RDWR)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.unlink(path)
            finally:
                os.close(descriptor)
        else:
            os.unlink(path)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


class RecordingFile:
    """The file of one call, and the messages that wait to be written to it.

    The event loop calls `begin`, `put_audio`, `put_text`, `put_later` and `end`. The thread calls
    the other methods.

    Attributes:
        folder: The folder of the file.
        path: Path of the file.
        queue: The messages that wait.
    """

    def __init__(self, folder: RecordingFolder, name: str, info: RecordingInfo) -> None:
        """Create the object. The file is created when the first message is written.

        Args:
            folder: The folder of the file.
            name: Name of the file without its suffix. If the file exists already, a number is
                appended.
            info: The contents of the first line.
        """
        self.folder = folder
        self.path = folder.path / f"{name}{folder.suffix}"
        self.queue = RecordingQueue(_MAX_ITEMS, _MAX_BYTES)
        self._info = info
        self._make_items: Callable[[], list[Item]] | None = None
        # Number of messages that were dropped because too many messages waited, and that the file
        # does not report yet.
        self._refused = 0
        self._refused_at = 0.0
        self._is_created = False
        self._has_content = False
        self._requested_at: dict[str, float] = {}

    # -- methods for the event loop ----------------------------------------------------------

    @property
    def is_impossible(self) -> bool:
        """Whether the folder cannot be written, and the file has no content."""
        return self.folder.is_stopped and not self._has_content

    def begin(self) -> None:
        """Begin the file, because the first message follows."""
        self.folder.metrics.recordings_active.inc()
        writer_thread().add(self)

    def put_audio(self, at: float, size: int, content: bytes | int | None) -> None:
        """Queue an audio message. If too many messages wait, the message is dropped and counted.

        Args:
            at: See `AudioItem`.
            size: See `AudioItem`.
            content: See `AudioItem`.
        """
        if self._refused:
            self._report_refused()
        if not self.queue.put_audio(at, size, content):
            self._refuse(at)

    def put_text(self, item: TextItem, size: int) -> None:
        """Queue a text message. If too many messages wait, the message is dropped and counted.

        Args:
            item: The message.
            size: Number of bytes that the content of the message takes in memory.
        """
        if self._refused:
            self._report_refused()
        if not self.queue.put_other(item, size):
            self._refuse(item[0])

    def _refuse(self, at: float) -> None:
        if not self._refused:
            self._refused_at = at
        self._refused += 1
        self.folder.metrics.recording_dropped.inc()

    def _report_refused(self) -> None:
        if self.queue.put_other(self._dropped(self._refused_at, self._refused), 0):
            self._refused = 0

    def _dropped(self, at: float, count: int) -> TextItem:
        return (at, None, MarkKind.DROPPED, self._info.choices, None, count, 0)

    def put_later(self, make_items: Callable[[], list[Item]]) -> bool:
        """Queue all messages of a call that has ended.

        Args:
            make_items: Called in the thread; returns the messages.

        Returns:
            Whether the call will be written. The call is not written if too many calls wait.
        """
        self._make_items = make_items
        if not writer_thread().add(self, at_most=_MAX_WAITING):
            return False
        self.end()
        return True

    def end(self) -> None:
        """End the file when the queued messages are written."""
        writer_thread().end(self)

    # -- methods for the thread --------------------------------------------------------------

    def write_waiting(self, now: float) -> None:
        """Write all messages that wait.

        Only this method writes messages that are not audio, and the first line.
        """
        items: list[Item] = self.queue.take() if self._make_items is None else self._make_items()
        self._make_items = None
        if not items:
            return
        folder = self.folder
        if not folder.may_write(now):
            self.give_up(items)
            return
        lines: list[bytes | AudioItem] = []
        if not self._has_content:
            lines.append(self._head(items).encode())
        for item in items:
            if len(item) == 3:
                lines.append(item)
            else:
                lines.append(self._line(item).encode())
        try:
            folder.prepare(sum(map(_size, lines)), now)
            if not self._is_created:
                self._create()
            size = self.queue.append(lines)
        except OSError as error:
            folder.failed(error, now)
            self._remove_empty()
            self.give_up(items)
        else:
            self._has_content = True
            folder.written(size)

    def give_up(self, items: list[Item] | None = None) -> None:
        """Count messages that are not written; by default those that wait."""
        if items is None:
            items = self.queue.take()
        messages = sum(item[1] is not None for item in items)
        earlier = sum(
            item[5] or 0 for item in items if len(item) != 3 and item[2] is MarkKind.DROPPED
        )
        if messages or earlier:
            self.lose(items[0][0], messages, earlier)

    def lose(self, at: float, messages: int, earlier: int = 0) -> None:
        """Count messages that could not be written, and report them in the file later.

        Args:
            at: Time of the first message.
            messages: Number of messages.
            earlier: Number of messages that were lost earlier, and that the file does not report
                yet.
        """
        self.folder.metrics.recording_dropped.inc(messages)
        self.queue.put_other(self._dropped(at, messages + earlier), 0)

    def _create(self) -> None:
        name, suffix, number = self.path.name, self.folder.suffix, 1
        while not self._is_created:
            try:
                self.queue.create_file(self.path)
                self._is_created = True
            except FileExistsError:
                number += 1
                self.path = self.path.with_name(f"{name.removesuffix(suffix)}-{number}{suffix}")

    def _remove_empty(self) -> None:
        if self._is_created and not self._has_content:
            self._is_created = False
            self.queue.close_file()
            self.path.unlink(missing_ok=True)

    def finish(self, now: float) -> None:
        """Write the last messages."""
        self.write_waiting(now)
        if self._refused:
            self._report_refused()
            self.write_waiting(now)

    def close(self) -> None:
        """Close the file."""
        if self._info.source is CaptureSource.RECORDER:
            self.folder.metrics.recordings_active.dec()
        self.queue.close_file()

    def abandon(self) -> None:
        """Refuse further messages, because an unexpected error occurred."""
        self.queue.close_file()
        self.queue = RecordingQueue(0, 0)

    # -- lines of the file -------------------------------------------------------------------

    def _head(self, items: list[Item]) -> str:
        info = self._info
        offer = next((item[2] for item in items if isinstance(item[2], str)), "")
        return head_line(
            CaptureHead(
                info.url,
                _mode(offer),
                info.headers,
                info.source,
                info.started,
                info.choices,
                info.reasons,
            )
        )

    def _line(self, item: TextItem) -> str:
        at, direction, content, choices, kind, seq, size = item
        if direction is None:
            if isinstance(content, Party):
                return end_line(at, content, seq)
            return mark_line(at, content, seq or 0)
        if kind is None:
            return self._received_line(at, direction, content, choices)
        asked_at = self._requested_at.pop(_REQUESTS.get(kind, ""), None)
        latency = None if asked_at is None else at - asked_at
        content = f'"message":{content}'
        return message_line(at, direction, kind, size, content, seq=seq, latency=latency)

    def _received_line(self, at: float, direction: Direction, text: str, choices: Choices) -> str:
        message, size = decode_object(text), content_size(text)
        try:
            if message is not None and not choices.is_verbatim:
                message = mask_client_message(message, choices)
            encoded = json.dumps(message, separators=(",", ":"))
        except RecursionError:
            message = None
        if message is None:
            shown = text if choices.is_verbatim else MASK
            return message_line(at, direction, "?", size, f'"text":{json.dumps(shown)}')
        kind, seq = message.get("type"), fields.integer(message, "seq")
        kind = kind[:_MAX_TYPE] if isinstance(kind, str) else "?"
        if kind in _ASKING:
            self._requested_at[kind] = at
        return message_line(at, direction, kind, size, f'"message":{encoded}', seq=seq)


def _mode(opening: str) -> CallMode:
    """Return the mode of a call. Genesys offers a bot only the caller's channel."""
    parameters = fields.parameters(decode_object(opening))
    offered = parameters.get("media")
    entries = offered if isinstance(offered, list) else []
    channels = [entry.get("channels") for entry in entries if isinstance(entry, dict)]
    only_listens = any(AudioHookChannel.INTERNAL in (names or ()) for names in channels)
    return CallMode.MONITOR if only_listens else CallMode.BOT


def _size(line: bytes | AudioItem) -> int:
    """Return an upper bound of the size of a line."""
    if isinstance(line, bytes):
        return len(line)
    audio = len(line[2]) if isinstance(line[2], bytes) else 0
    return _AUDIO_LINE + audio + audio // 3


@dataclass(slots=True)
class _Group:
    """The files of a folder to which the thread writes.

    Attributes:
        folder: The folder.
        files: The files.
        queues: The queue of each file.
    """

    folder: RecordingFolder
    files: list[RecordingFile] = field(default_factory=list)
    queues: list[RecordingQueue] = field(default_factory=list)

    def write(self, now: float) -> None:
        """Write the messages that wait."""
        folder, files, queues = self.folder, self.files, self.queues
        size, others = waiting_recordings(queues)
        if not size:
            return
        if not folder.may_write(now):
            self._give_up()
            return
        for index in others:
            try:
                files[index].write_waiting(now)
            except Exception as error:
                # An unexpected error must not end the other recordings.
                _abandon(files[index], error)
                queues[index] = files[index].queue
        if others:
            size, _ = waiting_recordings(queues)
        if not size:
            return
        try:
            folder.prepare(size, now)
        except OSError as error:
            folder.failed(error, now)
            self._give_up()
            return
        written, failures = write_recordings(queues)
        if written:
            folder.written(written)
        for index, at, lost, failure in failures:
            folder.failed(failure, now)
            files[index].lose(at, lost)

    def _give_up(self) -> None:
        for file in self.files:
            file.give_up()


class WriterThread:
    """The thread that writes all recordings of the process. It starts with the first recording."""

    def __init__(self) -> None:
        self._added: deque[RecordingFile] = deque()
        self._ended: deque[RecordingFile] = deque()
        self._files: list[RecordingFile] = []
        self._groups: list[_Group] = []
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def add(self, file: RecordingFile, at_most: int | None = None) -> bool:
        """Add a file to the files that the thread writes, until the file has ended.

        Args:
            file: The file.
            at_most: Largest number of files that wait for the thread, or None for no limit.

        Returns:
            Whether the file was added.
        """
        if at_most is not None and len(self._added) >= at_most:
            return False
        self._added.append(file)
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="recordings", daemon=True)
                try:
                    self._thread.start()
                except RuntimeError as error:
                    logger.error(f"calls are not recorded: {error}")
                else:
                    atexit.register(self.flush, None, 1.0)
        self._wake.set()
        return True

    def end(self, file: RecordingFile) -> None:
        """Close a file when its messages are written. No message may follow."""
        self._ended.append(file)

    def flush(self, folder: RecordingFolder | None, seconds: float) -> bool:
        """Wait until the files of ended calls are complete. Do not call this in the event loop.

        Args:
            folder: The folder of the files; None for all folders.
            seconds: Longest time to wait.

        Returns:
            Whether all files are complete.
        """
        until = time.monotonic() + seconds
        while any(folder is None or file.folder is folder for file in (*self._added, *self._files)):
            if time.monotonic() > until:
                return False
            time.sleep(_POLL_SECONDS)
        return True

    def _run(self) -> None:
        began = 0.0
        while True:
            if self._files:
                time.sleep(max(0.0, began + _PERIOD - time.monotonic()))
            else:
                self._wake.wait()
                self._wake.clear()
            # All messages of these files are in their queues.
            ended = [self._ended.popleft() for _ in range(len(self._ended))]
            if self._added:
                self._change_files(added=len(self._added))
            now = began = time.monotonic()
            for group in self._groups:
                group.write(now)
            for file in ended:
                try:
                    file.finish(now)
                except Exception as error:
                    _abandon(file, error)
                file.close()
            for group in self._groups:
                group.folder.report()
            if ended:
                self._change_files(ended=ended)

    def _change_files(self, added: int = 0, ended: Sequence[RecordingFile] = ()) -> None:
        # Replace the list and do not change it, because another thread may read it in `flush`. Each
        # file is always in `_files` or `_added`.
        gone = set(ended)
        self._files = [file for file in self._files if file not in gone]
        self._files += [self._added[index] for index in range(added)]
        for _ in range(added):
            self._added.popleft()
        self._group_files()

    def _group_files(self) -> None:
        groups: dict[RecordingFolder, _Group] = {}
        for file in self._files:
            group = groups.setdefault(file.folder, _Group(file.folder))
            group.files.append(file)
            group.queues.append(file.queue)
        self._groups = list(groups.values())


def _abandon(file: RecordingFile, error: Exception) -> None:
    # loguru's own traceback shows the values of variables, which may be personal data.
    where = "".join(traceback.format_tb(error.__traceback__))
    logger.error(
        f"the recording {file.path} ends because of an unexpected error, "
        f"{type(error).__name__}:\n{where}"
    )
    file.abandon()


@cache
def writer_thread() -> WriterThread:
    """Return the thread of this process."""
    return WriterThread()
