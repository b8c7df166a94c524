"""The protocol's vocabulary: enumerations, media descriptions, durations and limits.

Nothing here does anything; the rest of the package, server side and simulator alike, speaks in
these terms. Sources: Genesys's reference implementation (message and validator types) and the
AudioHook pages of the Genesys Cloud developer centre.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from functools import cached_property
from typing import Any

PROTOCOL_VERSION = "2"
WIRE_SAMPLE_RATE = 8000
"""The only sample rate AudioHook media has, in Hz."""

MAX_MESSAGE_BYTES = 64_000
"""The largest text or binary message Genesys accepts."""

NULL_UUID = "00000000-0000-0000-0000-000000000000"
"""Conversation and participant id of a connection probe."""


class AudioHookMessageType(StrEnum):
    """The ``type`` of a text message."""

    # Client (Genesys) to server.
    OPEN = "open"
    CLOSE = "close"
    PING = "ping"
    UPDATE = "update"
    PAUSED = "paused"
    RESUMED = "resumed"
    DISCARDED = "discarded"
    DTMF = "dtmf"
    PLAYBACK_STARTED = "playback_started"
    PLAYBACK_COMPLETED = "playback_completed"
    ERROR = "error"
    # Server to client.
    OPENED = "opened"
    CLOSED = "closed"
    PONG = "pong"
    UPDATED = "updated"
    PAUSE = "pause"
    RESUME = "resume"
    EVENT = "event"
    RECONNECT = "reconnect"
    DISCONNECT = "disconnect"


class AudioHookChannel(StrEnum):
    """Which parties' audio a session carries."""

    EXTERNAL = "external"
    """The customer (mono)."""
    INTERNAL = "internal"
    """What the customer hears: agent, IVR, music (mono)."""
    BOTH = "both"
    """Both, interleaved sample by sample."""


class AudioHookMediaFormat(StrEnum):
    """How samples are coded on the wire."""

    PCMU = "PCMU"
    """G.711 mu-law, one byte a sample."""
    L16 = "L16"
    """16-bit linear PCM, two bytes a sample; little-endian on every deployed host."""

    @property
    def sample_width(self) -> int:
        """Bytes per sample of one channel."""
        return 1 if self is AudioHookMediaFormat.PCMU else 2


class CloseReason(StrEnum):
    """Why the client sends ``close``."""

    END = "end"
    ERROR = "error"
    DISCONNECT = "disconnect"
    RECONNECT = "reconnect"


class DisconnectReason(StrEnum):
    """Why the server sends ``disconnect``."""

    COMPLETED = "completed"
    UNAUTHORIZED = "unauthorized"
    ERROR = "error"


@dataclass(frozen=True)
class Media:
    """One entry of an ``open``'s media offer.

    Attributes:
        format: How samples are coded.
        channels: The parties in the order their samples are interleaved.
        raw: The entry as it came, to be copied verbatim into ``opened``; a client refuses
            anything it did not offer, and an unknown key ended sessions in production.
    """

    format: AudioHookMediaFormat
    channels: tuple[AudioHookChannel, ...]
    raw: Mapping[str, Any]

    # Kept, as both are asked for with every packet.
    @cached_property
    def frame_bytes(self) -> int:
        """Bytes of one sample of every channel."""
        return self.format.sample_width * len(self.channels)

    @cached_property
    def is_listen_only(self) -> bool:
        """Whether the medium carries audio to the server only.

        Bot audio exists on Audio Connector sessions alone, and those offer the external channel
        in mono; the client refuses binary messages on any other medium (error 415).
        """
        return self.channels != (AudioHookChannel.EXTERNAL,)


_DURATION = re.compile(r"PT(\d{1,12}(?:\.\d{0,100})?|\.\d{1,100})S", re.ASCII)


def parse_duration(text: object) -> Fraction:
    """Parse an AudioHook duration, exactly.

    AudioHook restricts ISO 8601 to non-negative seconds: ``PT1S``, ``PT0.000125S``, ``PT.5S``.

    Args:
        text: The value as it came in a message.

    Returns:
        Seconds.

    Raises:
        ValueError: If the value is not such a string.
    """
    match = _DURATION.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        # Only text is shown: the repr of what else a peer may send can be too deep to make.
        shown = repr(text[:60]) if isinstance(text, str) else type(text).__name__
        raise ValueError(
            f"not a duration: {shown}; expected seconds such as 'PT1S' or 'PT0.000125S'"
        )
    return Fraction(match[1])


def format_duration(seconds: Fraction) -> str:
    """Write seconds as an AudioHook duration.

    Args:
        seconds: Non-negative seconds. Rounded to the nanosecond; a multiple of a sample at
            8 kHz (125 microseconds) is written exactly.

    Returns:
        The shortest form: ``PT1S``, ``PT0.6S``, ``PT0.000125S``.

    Raises:
        ValueError: If ``seconds`` is negative.
    """
    if seconds < 0:
        raise ValueError(f"a duration is never negative, got {seconds}")
    whole, nanos = divmod(round(seconds * 1_000_000_000), 1_000_000_000)
    fraction = f".{nanos:09d}".rstrip("0") if nanos else ""
    return f"PT{whole}{fraction}S"


def samples_to_duration(samples: int) -> str:
    """Write a count of wire samples (8 kHz, per channel) as a duration."""
    return format_duration(Fraction(samples, WIRE_SAMPLE_RATE))


def duration_to_samples(text: object) -> int:
    """Read a duration as wire samples (8 kHz, per channel), rounded to the nearest.

    Raises:
        ValueError: If the value is not a duration.
    """
    return round(parse_duration(text) * WIRE_SAMPLE_RATE)


def parse_media(entry: object) -> Media | None:
    """Read one media entry of an offer.

    Args:
        entry: The entry as it came.

    Returns:
        The medium, or None where the entry is not one this package can carry: another type,
        format or rate, or channels that are not external, internal, or both once each.
    """
    if not isinstance(entry, Mapping) or entry.get("type") != "audio":
        return None
    if entry.get("rate") != WIRE_SAMPLE_RATE:
        return None
    names = entry.get("channels")
    if not isinstance(names, Sequence) or isinstance(names, str) or len(names) not in (1, 2):
        return None
    mono = (AudioHookChannel.EXTERNAL, AudioHookChannel.INTERNAL)
    channels = tuple(c for name in names for c in mono if c == name)
    if len(channels) != len(names) or len(set(channels)) != len(channels):
        return None
    formats = [f for f in AudioHookMediaFormat if f == entry.get("format")]
    # A copy of its own: applications see, and may change, the message it came in.
    return Media(formats[0], channels, deepcopy(dict(entry))) if formats else None
