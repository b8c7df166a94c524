"""The protocol's vocabulary: enumerations, media descriptions, durations and limits.

Nothing here does anything; the rest of the package, server side and simulator alike, speaks in
these terms. Sources: Genesys's reference implementation (message and validator types) and the
AudioHook pages of the Genesys Cloud developer centre.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum, StrEnum
from fractions import Fraction
from functools import cached_property
from itertools import permutations
from types import MappingProxyType
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


class ErrorCode(IntEnum):
    """Codes of a client's ``error``; others come too, anything from 400 to 9999."""

    BAD_MESSAGE = 400
    """A message is malformed, or the medium is not one of the offered."""
    NOT_ALLOWED = 405
    TIMEOUT = 408
    """``opened``, ``pong`` or ``closed`` did not come in time."""
    CONFLICT = 409
    """A message that this state does not have."""
    TOO_LARGE = 413
    """Text or audio of more than `MAX_MESSAGE_BYTES`."""
    UNEXPECTED_AUDIO = 415
    """Audio on a session that only listens."""
    RATE_LIMIT = 429
    """Too many messages; ``retryAfter`` says how long to keep silent."""
    INTERNAL = 500
    """Also: a wrong ``seq``, an unknown message or reason, an event without entities."""
    UNAVAILABLE = 503


_NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True)
class Media:
    """One entry of an ``open``'s media offer.

    Attributes:
        format: How samples are coded.
        channels: The parties in the order their samples are interleaved.
        extra: What the entry has beside type, format, channels and rate: nothing, today.
    """

    format: AudioHookMediaFormat
    channels: tuple[AudioHookChannel, ...]
    extra: Mapping[str, Any] = field(default_factory=lambda: _NOTHING)

    @property
    def raw(self) -> dict[str, Any]:
        """The entry as it came, for ``opened``; a new dict every time.

        A client refuses anything it did not offer, and an unknown key ended sessions in
        production.
        """
        entry = {
            "type": "audio",
            "format": self._names[0],
            "channels": self._names[1:],
            "rate": WIRE_SAMPLE_RATE,
        }
        return {**entry, **copy_json(dict(self.extra))} if self.extra else entry

    @cached_property
    def _names(self) -> list[str]:
        return [self.format.value, *(channel.value for channel in self.channels)]

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

    def channel_id(self, channel: str) -> int:
        """Give the number by which a transcript names a party: its place in the channels.

        Args:
            channel: ``external`` or ``internal``.

        Raises:
            ValueError: If the medium does not carry that party.
        """
        try:
            return [c.value for c in self.channels].index(channel)
        except ValueError:
            carried = ", ".join(self.channels)
            raise ValueError(f"this medium carries {carried}, not {channel}") from None


_LARGEST = 1.7976931348623157e308
DURATION_PATTERN = r"PT(?:[0-9]{1,12}(?:\.[0-9]{0,100})?|\.[0-9]{1,100})S"
"""What a duration looks like: ISO 8601, seconds only, of any precision."""

DURATION = re.compile(DURATION_PATTERN)


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
    return Fraction(_digits(text))


def _digits(text: object) -> str:
    """The number in a duration."""
    if not isinstance(text, str) or not DURATION.fullmatch(text):
        # Only text is shown: the repr of what else a peer may send can be too deep to make.
        shown = repr(text[:60]) if isinstance(text, str) else type(text).__name__
        raise ValueError(
            f"not a duration: {shown}; expected seconds such as 'PT1S' or 'PT0.000125S'"
        )
    return text[2:-1]


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
    return digits_to_samples(_digits(text))


def digits_to_samples(digits: str) -> int:
    """The same of the number in a duration, once it is known to be one."""
    # Every message has one, and exact arithmetic is slow. A float of this size is off by less
    # than a millionth of a sample, which matters to halves only.
    near = float(digits) * WIRE_SAMPLE_RATE
    if near < 1e9:
        nearest = int(near + 0.5)
        if -0.49 < near - nearest < 0.49:
            return nearest
    return round(Fraction(digits) * WIRE_SAMPLE_RATE)


def parse_media(entry: object) -> Media | None:
    """Read one media entry of an offer.

    Args:
        entry: The entry as it came.

    Returns:
        The medium, or None where the entry is not one this package can carry: another type,
        format or rate, or channels that are not external, internal, or both once each.
    """
    # Nearly always a dict, and then it is quicker told.
    if not isinstance(entry, (dict, Mapping)) or entry.get("type") != "audio":
        return None
    names = entry.get("channels")
    if entry.get("rate") != WIRE_SAMPLE_RATE or not isinstance(names, (list, tuple)):
        return None
    try:
        media = _MEDIA.get((entry.get("format"), *names))
    except TypeError:  # something that cannot be looked up is no name
        return None
    if media is None or len(entry) == len(_STANDARD):
        return media
    extra = {name: entry[name] for name in entry if name not in _STANDARD}
    # A copy of its own: applications see, and may change, the message it came in.
    return replace(media, extra=MappingProxyType(copy_json(extra)))


def copy_json(value: Any) -> Any:
    """Copy JSON, with what it may carry and no reply could repeat, such as 1e999, in range."""
    kind = type(value)
    if kind is dict:
        return {n: v if type(v) in _SCALARS else copy_json(v) for n, v in value.items()}
    if kind is list:
        return [copy_json(inner) for inner in value]
    if kind is float:
        return max(-_LARGEST, min(_LARGEST, value))
    return value


_SCALARS = frozenset({str, int, bool, type(None)})
_PARTIES = (AudioHookChannel.EXTERNAL, AudioHookChannel.INTERNAL)
_STANDARD = frozenset({"type", "format", "channels", "rate"})
# What can be carried, by how the wire says it. Calls share these, as nothing in them changes.
_MEDIA: Mapping[tuple[object, ...], Media] = {
    (media_format.value, *(channel.value for channel in channels)): Media(media_format, channels)
    for media_format in AudioHookMediaFormat
    for count in (1, 2)
    for channels in permutations(_PARTIES, count)
}
