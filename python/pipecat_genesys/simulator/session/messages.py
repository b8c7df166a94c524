"""The client's outgoing messages, and the list of all messages of a call."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pipecat_genesys.capture.entries import AUDIO, CaptureEntry, Direction, content_size
from pipecat_genesys.protocol.types import PROTOCOL_VERSION, samples_to_duration


class Capture:
    """All messages of one call, in memory.

    Args:
        record_audio: Whether to keep the content of binary messages.
    """

    def __init__(self, *, record_audio: bool = True) -> None:
        self._record_audio = record_audio
        self._entries: list[CaptureEntry] = []

    @property
    def entries(self) -> Sequence[CaptureEntry]:
        """All messages with their times, oldest first."""
        return self._entries

    def add(
        self,
        at: float,
        direction: Direction,
        type: str,
        seq: int | None,
        content: str | bytes,
        note: str = "",
    ) -> int:
        """Append a message.

        Args:
            at: Seconds since `open`.
            direction: Direction of the message.
            type: Type of the message.
            seq: Sequence number of the message, or None for audio.
            content: The message as sent or received.
            note: Remark.

        Returns:
            Index of the new entry.
        """
        kept = content if self._record_audio or isinstance(content, str) else None
        entry = CaptureEntry(
            at, direction, str(type), seq, content_size(content), note=note, content=kept
        )
        self._entries.append(entry)
        return len(self._entries) - 1

    def identify(self, index: int, type: str, seq: int | None, latency: float | None) -> None:
        """Set the type, sequence number and latency of the entry at `index`."""
        entry = self._entries[index]
        self._entries[index] = replace(entry, type=type, seq=seq, latency=latency)

    def annotate(self, index: int, note: str) -> None:
        """Append a remark to the note of the entry at `index`."""
        entry = self._entries[index]
        self._entries[index] = replace(entry, note=f"{entry.note}; {note}" if entry.note else note)

    def last(self, count: int) -> Sequence[CaptureEntry]:
        """Return the newest entries, oldest first.

        Consecutive audio messages count as one entry, so that audio does not displace text.

        Args:
            count: Maximum number of entries.
        """
        picked: list[CaptureEntry] = []
        for entry in reversed(self._entries):
            previous = picked[-1] if picked else None
            if previous and entry.is_audio and previous.is_audio:
                continue
            picked.append(entry)
            if len(picked) == count:
                break
        return picked[::-1]


class Outbox:
    """Numbers the client's outgoing messages, queues them in order, and adds them to the capture.

    The methods that take `now` expect seconds on a monotonic clock.

    Args:
        session_id: `id` of every message.
        position: Stream position at the start, in samples.
        capture: The capture to which outgoing messages are added.

    Attributes:
        seq: `seq` of the last message sent; 0 if none was sent. A fault does not change it.
        highest_seq: The highest `seq` sent, including messages of a fault. A server may acknowledge
            up to this number.
        serverseq: `seq` of the last server message received in sequence; 0 if none was received.
        position: Stream position, in samples: the number of the next caller sample.
        frames_to_split: Number of audio messages that are still to be sent one byte at a time.
            It is above 0 only for a fault.
    """

    def __init__(self, session_id: str, position: int, capture: Capture) -> None:
        self.seq = 0
        self.highest_seq = 0
        self.serverseq = 0
        self.position = position
        self.frames_to_split = 0
        self._session_id = session_id
        self._capture = capture
        self._started_at = 0.0
        self._queue: list[str | bytes] = []

    def start(self, now: float) -> None:
        """Set the time of `open`. The times in the capture are relative to this time."""
        self._started_at = now

    def take(self) -> list[str | bytes]:
        """Remove and return all queued messages, in the order in which they must be sent."""
        messages, self._queue = self._queue, []
        return messages

    def send(self, type: str, parameters: Mapping[str, Any], now: float, note: str = "") -> None:
        """Number a message, and queue it.

        Args:
            type: Type of the message.
            parameters: Parameters of the message.
            now: Time of sending.
            note: Remark for the capture.
        """
        self.seq += 1
        self._put(self._envelope(type, parameters), now, note)

    def send_altered(
        self, type: str, parameters: Mapping[str, Any], now: float, note: str, **envelope: object
    ) -> None:
        """Queue a message whose envelope differs from what the protocol requires.

        Args:
            type: Type of the message.
            parameters: Parameters of the message.
            now: Time of sending.
            note: Remark for the capture.
            **envelope: Envelope fields to replace or to add. A `seq` given here does not change
                the numbering of later messages.
        """
        if "seq" not in envelope:
            self.seq += 1
        self._put(self._envelope(type, parameters) | envelope, now, note)

    def send_audio(self, payload: bytes, now: float, note: str = "") -> None:
        """Queue an audio message. The stream position does not change."""
        pieces = [payload]
        if self.frames_to_split:
            self.frames_to_split -= 1
            pieces = [payload[index : index + 1] for index in range(len(payload))]
        for piece in pieces:
            self._queue.append(piece)
            at = now - self._started_at
            self._capture.add(at, Direction.TO_SERVER, AUDIO, None, piece, note)

    def _envelope(self, type: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "version": PROTOCOL_VERSION,
            "type": type,
            "id": self._session_id,
            "seq": self.seq,
            "serverseq": self.serverseq,
            "position": samples_to_duration(self.position),
            "parameters": parameters,
        }

    def _put(self, message: Mapping[str, Any], now: float, note: str) -> None:
        text = json.dumps(message, separators=(",", ":"))
        self._queue.append(text)
        if isinstance(message["seq"], int):  # A fault can send a value of any type.
            self.highest_seq = max(self.highest_seq, message["seq"])
        at = now - self._started_at
        self._capture.add(at, Direction.TO_SERVER, message["type"], message["seq"], text, note)


def gap_parameters(start: int, samples: int) -> dict[str, str]:
    """Return the parameters of `discarded` and `resumed`.

    Args:
        start: Stream position of the first missing sample.
        samples: Number of missing samples.
    """
    return {"start": samples_to_duration(start), "discarded": samples_to_duration(samples)}
