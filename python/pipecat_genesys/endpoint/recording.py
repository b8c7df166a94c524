"""Records calls: passes their messages to files, and keeps the last minute for flight recordings.

A flight recording is a file with the last minute of a call that ended badly. A `CallRecording`
receives all messages of one call. It passes the messages to the file of the call, which
`recording_writer` writes in a thread, and keeps the last minute in memory for a flight recording.
All functions of this module run in the event loop. Only `Recorder.close` waits for the thread.
"""

from __future__ import annotations

import asyncio
import os
import re
import tempfile
import time
import uuid
from array import array
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipecat_genesys.auth.request import is_uuid
from pipecat_genesys.capture import (
    CaptureSource,
    Choice,
    Choices,
    Direction,
    MarkKind,
    Party,
    mask_server_parameters,
)
from pipecat_genesys.capture.masking import MASK, silence
from pipecat_genesys.protocol import AudioHookMessageType, WireMessage, fields
from pipecat_genesys.transport import MessageTap

from .metrics import Metrics
from .recording_writer import (
    Item,
    RecordingFile,
    RecordingFolder,
    RecordingInfo,
    TextItem,
    writer_thread,
)

# Period of a call that the flight recorder keeps in memory, in seconds; maximum size of its text
# messages in bytes; and maximum number of its audio messages. A call sends and receives 10 audio
# messages per second.
_FLIGHT_SECONDS = 60.0
_MAX_FLIGHT_TEXT = 128 * 1024
_MAX_FLIGHT_AUDIO = 768
# When the memory has this many audio messages more than `_MAX_FLIGHT_AUDIO`, as many of the oldest
# audio messages are dropped together.
_SPARE_FLIGHT_AUDIO = 64
# Number of text messages at the start of a call that are always kept: a replay needs `open` and
# `opened`.
_OPENING_TEXTS = 2
# Longest time that the shutdown of the server waits for the thread, in seconds.
_FLUSH_SECONDS = 5.0
# The text before the parameters of a server message. No string in JSON contains it, because quotes
# are escaped in strings.
_PARAMETERS = '"parameters": '
_OPENED, _EVENT = AudioHookMessageType.OPENED, AudioHookMessageType.EVENT
_WITH_PERSONAL_DATA = frozenset(
    {_EVENT, AudioHookMessageType.DISCONNECT, AudioHookMessageType.CLOSED}
)
_TO_SERVER, _FROM_SERVER = Direction.TO_SERVER, Direction.FROM_SERVER
_HEADERS = (
    "Audiohook-Organization-Id",
    "Audiohook-Session-Id",
    "Audiohook-Correlation-Id",
    "Audiohook-Retry-Attempt",
)
_MAX_HEADER = 256


@dataclass(frozen=True, slots=True)
class RecordingSettings:
    """Which calls are recorded, in which folders, and with which personal data.

    Attributes:
        folder: The folder of the recordings: one file for each call. None records no calls.
        flight_folder: The folder of the flight recorder, which writes the last 60 s of a call that
            ended badly. None switches the flight recorder off.
        audio: What is done with the audio of both parties, and with the data of ``event`` messages,
            such as transcripts.
        digits: What is done with the keys that the caller presses.
        variables: What is done with the values of input and output variables, and with the
            configuration of the integration.
        participant: What is done with the caller's number and name, and the number that was
            dialled.
        max_bytes: Largest size of all recordings in `folder`. The oldest recordings of finished
            calls are deleted first.
        max_age: Age in seconds at which recordings are deleted, in both folders.
        flight_max_bytes: Largest size of all files in `flight_folder`.
    """

    folder: str | Path | None = None
    flight_folder: str | Path | None = None
    audio: Choice | str = Choice.MASK
    digits: Choice | str = Choice.MASK
    variables: Choice | str = Choice.MASK
    participant: Choice | str = Choice.MASK
    max_bytes: int = 1_000_000_000
    max_age: float = 7 * 86_400.0
    flight_max_bytes: int = 64_000_000

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ValueError: If a value is not valid. The message of the error names the value.
        """
        for name in ("audio", "digits", "variables", "participant"):
            given = getattr(self, name)
            if given not in set(Choice):
                raise ValueError(f"{name} is {given!r}; give {', '.join(Choice)}")
        for name in ("max_bytes", "max_age", "flight_max_bytes"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be more than 0")

    @property
    def choices(self) -> Choices:
        """For each kind of personal data, whether it is recorded, masked or left out."""
        return Choices(
            Choice(self.audio),
            Choice(self.digits),
            Choice(self.variables),
            Choice(self.participant),
            # The setting for audio also applies to events, because events can contain transcripts
            # of the audio.
            events=Choice(self.audio),
        )


class Recorder:
    """Records the calls of one endpoint.

    Attributes:
        settings: The settings.
    """

    def __init__(self, settings: RecordingSettings, metrics: Metrics) -> None:
        """Create a recorder. Folders are created when the first call is written.

        Args:
            settings: The settings.
            metrics: The metrics in which recordings are counted.
        """
        self.settings = settings
        self._metrics = metrics
        self._folder = self._open_folder(
            settings.folder, settings.max_bytes, CaptureSource.RECORDER
        )
        self._flight_folder = self._open_folder(
            settings.flight_folder, settings.flight_max_bytes, CaptureSource.FLIGHT_RECORDER
        )

    def _open_folder(
        self, path: str | Path | None, max_bytes: int, source: CaptureSource
    ) -> RecordingFolder | None:
        if path is None:
            return None
        return RecordingFolder(
            Path(path).absolute(), max_bytes, self.settings.max_age, source, self._metrics
        )

    def check_folders(self) -> None:
        """Create the folders, and log an error for each folder that cannot be written."""
        for folder in (self._folder, self._flight_folder):
            if folder is not None:
                folder.check()

    def begin(self, url: str, headers: Mapping[str, str]) -> CallRecording:
        """Begin the recording of a call. The file is created when the first message arrives.

        Args:
            url: URL of the server, without a query.
            headers: Headers of the upgrade request. Only the ids of AudioHook are recorded.
        """
        given = {name: headers.get(name, "")[:_MAX_HEADER] for name in _HEADERS}
        session = given["Audiohook-Session-Id"].lower()
        return CallRecording(
            self.settings.choices,
            url,
            {name: value for name, value in given.items() if value},
            session if is_uuid(session) else str(uuid.uuid4()),
            self._folder,
            self._flight_folder,
        )

    async def close(self) -> None:
        """Wait until the messages of all calls are written, but not longer than 5 s."""
        for folder in (self._folder, self._flight_folder):
            if folder is not None:
                await asyncio.to_thread(writer_thread().flush, folder, _FLUSH_SECONDS)


class CallRecording(MessageTap):
    """The recording of one call.

    A bot uses it as ``call.recording``. If calls are not recorded, the methods have no effect.

    Attributes:
        is_paused: Whether the recording is paused.
    """

    def __init__(
        self,
        choices: Choices | None = None,
        url: str = "",
        headers: Mapping[str, str] | None = None,
        session_id: str = "",
        folder: RecordingFolder | None = None,
        flight_folder: RecordingFolder | None = None,
    ) -> None:
        """Create the recording. Use `Recorder.begin` instead."""
        self.is_paused = False
        self._chosen = choices or Choices()
        self._media_format: str | None = None
        now = datetime.now(UTC)
        self._name = f"{now:%Y%m%dT%H%M%SZ}-{session_id}"
        started = now.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        self._info = RecordingInfo(
            url, dict(headers or {}), CaptureSource.RECORDER, started, self._chosen
        )
        self._began_at: float | None = None
        self._has_ended = False
        self._choose(self._chosen)
        self._writes: RecordingFile | None = None
        if folder is not None:
            self._writes = RecordingFile(folder, self._name, self._info)
        self._flight_folder = flight_folder
        self._flight = _FlightMemory() if flight_folder is not None else None

    @property
    def is_on(self) -> bool:
        """Whether messages must be passed to this recording."""
        return self._writes is not None or self._flight is not None

    @property
    def file(self) -> Path | None:
        """Path of the recording.

        None if the call is not recorded, has no message yet, or the folder cannot be written.
        """
        writes = self._writes
        if writes is None or self._began_at is None or writes.is_impossible:
            return None
        return writes.path

    # -- methods for the bot -----------------------------------------------------------------

    def pause(self) -> None:
        """Record no personal data until `resume`, for example while the caller says a card number.

        Audio is recorded as silence. Digits, variables, the participant and the data of events are
        masked, or left out if the settings require this. The file has the time of the pause. Audio
        that arrived before the pause is not changed. If the recording is already paused, this
        method has no effect.
        """
        self._set_paused(True)

    def resume(self) -> None:
        """Continue to record personal data as before `pause`.

        Caller audio arrives in packets of up to 200 ms and may be late. Therefore call this method
        only when the bot has received the caller's data completely.
        """
        self._set_paused(False)

    def _set_paused(self, is_paused: bool) -> None:
        if is_paused is self.is_paused:
            return
        self.is_paused = is_paused
        self._choose(self._chosen.paused if is_paused else self._chosen)
        kind = MarkKind.PAUSED if is_paused else MarkKind.RESUMED
        self._put((self._at(time.monotonic()), None, kind, self._choices, None, None, 0), 0)

    def _choose(self, choices: Choices) -> None:
        """Set the choices for the following messages."""
        self._choices = choices
        self._keeps_audio = choices.audio is Choice.RECORD
        # What is recorded instead of audio. The format is known when `opened` is sent, before all
        # audio.
        self._masked_audio = None
        if choices.audio is Choice.MASK:
            self._masked_audio = silence(1, self._media_format)[0]

    # -- methods of `MessageTap` -------------------------------------------------------------

    def received(self, message: str | bytes, at: float) -> None:
        """See `MessageTap`."""
        at = self._at(at)
        if isinstance(message, bytes):
            self._put_audio(at, len(message), message)
        else:
            item = (at, _TO_SERVER, message, self._choices, None, None, 0)
            self._put(item, len(message))

    def sent(self, message: WireMessage | bytes, at: float) -> None:
        """See `MessageTap`."""
        if isinstance(message, bytes):
            self._put_audio(self._at(at), -len(message), message)
            return
        text, kind, seq, parameters = message
        size = fields.wire_size(text)
        if kind is _OPENED:
            self._find_format(parameters)
        elif kind in _WITH_PERSONAL_DATA and not self._choices.is_verbatim:
            text = self._masked(kind, text, parameters)
        item = (self._at(at), _FROM_SERVER, text, self._choices, kind.value, seq, size)
        self._put(item, len(text))

    def closed(self, *, by_server: bool, code: int | None, at: float) -> None:
        """See `MessageTap`."""
        if not self._has_ended:
            self._has_ended = True
            party = Party.SERVER if by_server else Party.CLIENT
            self._put((self._at(at), None, party, self._choices, None, code, 0), 0)

    def _at(self, now: float) -> float:
        if self._began_at is None:
            self._began_at = now
            if self._writes is not None:
                self._writes.begin()
        return now - self._began_at

    def _find_format(self, parameters: Mapping[str, Any]) -> None:
        media = parameters.get("media")
        if media:
            self._media_format = media[0].get("format")
            self._choose(self._choices)

    def _masked(self, kind: AudioHookMessageType, text: str, parameters: Mapping[str, Any]) -> str:
        """Mask a server message now, because the application may change its parameters."""
        try:
            shown = mask_server_parameters(kind.value, parameters, self._choices)
            if shown is parameters:
                return text
            masked = fields.encode(shown)
        except Exception:
            # Masking fails if the application changes the parameters in another thread at the same
            # time.
            masked = f'"{MASK}"'
        return f"{text.partition(_PARAMETERS)[0]}{_PARAMETERS}{masked}}}"

    def _put(self, item: TextItem, size: int) -> None:
        if self._writes is not None:
            self._writes.put_text(item, size)
        if self._flight is not None:
            self._flight.put(item, size)

    def _put_audio(self, at: float, size: int, audio: bytes) -> None:
        """Record an audio message. The size is negative if this process sent the message."""
        if self._writes is not None:
            self._writes.put_audio(at, size, audio if self._keeps_audio else self._masked_audio)
        if self._flight is not None:
            self._flight.put_audio(at, size)

    # -- end of the recording ----------------------------------------------------------------

    def end(self, reasons: tuple[str, ...]) -> Path | None:
        """End the recording, and write the flight recording of a call that ended badly.

        Args:
            reasons: What went wrong in the call; empty if the call ended well.

        Returns:
            Path of the flight recording; None if there is none.
        """
        if self._began_at is not None:
            self.closed(by_server=True, code=None, at=time.monotonic())
            if self._writes is not None:
                self._writes.end()
        flight, folder = self._flight, self._flight_folder
        self._flight = None
        if flight is None or folder is None or not reasons or not flight.has_messages:
            return None
        info = self._info.of_flight(reasons)
        file = RecordingFile(folder, self._name, info)
        return file.path if file.put_later(flight.items) else None


class _FlightMemory:
    """The newest messages of one call.

    Attributes:
        has_messages: Whether the call had a text message.
    """

    def __init__(self) -> None:
        self._opening: list[Item] = []
        self._texts: deque[tuple[TextItem, int]] = deque()
        self._text_size = 0
        # Number of messages that were dropped because they are too old or too large.
        self._dropped = 0
        # Time and size of each audio message, alternately. The size of bot audio is negative. The
        # array takes 16 bytes for a message.
        self._audio = array("d")

    @property
    def has_messages(self) -> bool:
        return bool(self._opening)

    def put(self, item: TextItem, size: int) -> None:
        if len(self._opening) < _OPENING_TEXTS and item[1] is not None:
            self._opening.append(item)
            return
        self._texts.append((item, size))
        self._text_size += size
        oldest = item[0] - _FLIGHT_SECONDS
        while self._text_size > _MAX_FLIGHT_TEXT or self._texts[0][0][0] < oldest:
            (old, dropped) = self._texts.popleft()
            self._text_size -= dropped
            self._dropped += old[1] is not None
            if not self._texts:
                return

    def put_audio(self, at: float, size: int) -> None:
        audio = self._audio
        audio.append(at)
        audio.append(size)
        if len(audio) >= 2 * (_MAX_FLIGHT_AUDIO + _SPARE_FLIGHT_AUDIO):
            del audio[: 2 * _SPARE_FLIGHT_AUDIO]
            self._dropped += _SPARE_FLIGHT_AUDIO

    def items(self) -> list[Item]:
        """Return the messages in the order of their times. Audio messages have no content."""
        kept: list[Item] = [item for item, _ in self._texts]
        times, sizes = self._audio[::2], self._audio[1::2]
        kept += ((at, int(size), None) for at, size in zip(times, sizes, strict=True))
        kept.sort(key=lambda item: item[0])
        skipped = self._dropped
        if kept:
            oldest = kept[-1][0] - _FLIGHT_SECONDS
            skipped += sum(item[0] < oldest and item[1] is not None for item in kept)
            kept = [item for item in kept if item[0] >= oldest]
        if skipped:
            at = kept[0][0] if kept else self._opening[-1][0]
            kept.insert(0, (at, None, MarkKind.SKIPPED, Choices(), None, skipped, 0))
        return [*self._opening, *kept]


def default_flight_folder() -> Path:
    """Return the folder of the flight recorder in `pipecat-genesys serve`.

    The folder is in the folder for temporary files. Its name contains the user name, because the
    folder must belong to the user of this process.
    """
    name = os.environ.get("USERNAME", "user")
    user = os.getuid() if hasattr(os, "getuid") else re.sub(r"\W", "_", name)
    return Path(tempfile.gettempdir()) / f"pipecat-genesys-flight-{user}"
