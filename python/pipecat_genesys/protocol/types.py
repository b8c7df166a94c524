"""Basic types of the protocol: enumerations, media, durations and limits.

The server side and the simulator both use these definitions. Sources: Genesys's reference
implementation (message and validator types) and the AudioHook pages of the Genesys Cloud developer
centre.
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

Position = Fraction | float | int | str
"""A stream position or a duration: seconds, or the protocol's text such as ``PT1.5S``."""

PROTOCOL_VERSION = "2"
WIRE_SAMPLE_RATE = 8000
"""The only sample rate of AudioHook media, in Hz."""

MAX_MESSAGE_BYTES = 64_000
"""The largest text or binary message that Genesys accepts, in bytes."""

NULL_UUID = "00000000-0000-0000-0000-000000000000"
"""Conversation and participant id of a connection probe."""


class AudioHookMessageType(StrEnum):
    """The ``type`` of a text message."""

    # Messages from the client, which is Genesys, to the server.
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
    # Messages from the server to the client.
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
    """The parties whose audio a session carries."""

    EXTERNAL = "external"
    """The customer (mono)."""
    INTERNAL = "internal"
    """The audio that the customer hears: agent, IVR, music (mono)."""
    BOTH = "both"
    """The audio of both parties, interleaved sample by sample."""


class AudioHookMediaFormat(StrEnum):
    """The coding of samples on the wire."""

    PCMU = "PCMU"
    """G.711 mu-law, one byte a sample."""
    L16 = "L16"
    """16-bit linear PCM, two bytes a sample; little-endian on every deployed host."""

    @property
    def sample_width(self) -> int:
        """Bytes per sample of one channel."""
        return 1 if self is AudioHookMediaFormat.PCMU else 2


class CloseReason(StrEnum):
    """The reason of a client's ``close``."""

    END = "end"
    ERROR = "error"
    DISCONNECT = "disconnect"
    RECONNECT = "reconnect"


class DisconnectReason(StrEnum):
    """The reason of a server's ``disconnect``."""

    COMPLETED = "completed"
    UNAUTHORIZED = "unauthorized"
    ERROR = "error"


class ErrorCode(IntEnum):
    """Known codes of a client's ``error``; a client may send any code from 400 to 9999."""

    BAD_MESSAGE = 400
    """A message is malformed, or ``opened`` has a medium that was not offered."""
    NOT_ALLOWED = 405
    TIMEOUT = 408
    """``opened``, ``pong`` or ``closed`` did not arrive in time."""
    CONFLICT = 409
    """A message is not allowed in the client's state."""
    TOO_LARGE = 413
    """Text or audio of more than `MAX_MESSAGE_BYTES`."""
    UNEXPECTED_AUDIO = 415
    """Audio on a session that only listens."""
    RATE_LIMIT = 429
    """Too many messages; nothing may be sent for the time in ``retryAfter``."""
    INTERNAL = 500
    """An internal error, a wrong ``seq``, an unknown message or reason, or an empty event."""
    UNAVAILABLE = 503


_NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True)
class Media:
    """One medium of the media offer in ``open``.

    Attributes:
        format: The coding of samples.
        channels: The parties, in the order in which their samples are interleaved.
        extra: Fields of the medium other than type, format, channels and rate; usually empty.
    """

    format: AudioHookMediaFormat
    channels: tuple[AudioHookChannel, ...]
    extra: Mapping[str, Any] = field(default_factory=lambda: _NOTHING)

    @property
    def raw(self) -> dict[str, Any]:
        """The medium as it was offered, for ``opened``. The result is always a new dict.

        A client refuses a medium that it did not offer. In production, sessions ended because
        ``opened`` had a medium with an unknown key.
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

    # These two properties are cached, because they are used for every packet.
    @cached_property
    def frame_bytes(self) -> int:
        """Bytes of one sample of every channel."""
        return self.format.sample_width * len(self.channels)

    @cached_property
    def is_listen_only(self) -> bool:
        """Whether the medium carries audio to the server only.

        Only Audio Connector sessions have bot audio, and they offer the external channel in mono.
        The client refuses binary messages on any other medium (error 415).
        """
        return self.channels != (AudioHookChannel.EXTERNAL,)

    def channel_id(self, channel: str) -> int:
        """Return the index of a party in the channels. A transcript has this index.

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
"""Pattern of a duration: ISO 8601, seconds only, of any precision."""

DURATION = re.compile(DURATION_PATTERN)


def parse_duration(text: object) -> Fraction:
    """Parse an AudioHook duration, exactly.

    AudioHook restricts ISO 8601 to non-negative seconds: ``PT1S``, ``PT0.000125S``, ``PT.5S``.

    Args:
        text: The value as received in a message.

    Returns:
        Seconds.

    Raises:
        ValueError: If the value is not such a string.
    """
    return Fraction(_digits(text))


def _digits(text: object) -> str:
    """Return the number in a duration, as text."""
    if not isinstance(text, str) or not DURATION.fullmatch(text):
        # Only text is shown, because the repr of nested values can exceed the recursion limit.
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
        raise ValueError(f"a duration must not be negative, got {seconds}")
    whole, nanos = divmod(round(seconds * 1_000_000_000), 1_000_000_000)
    fraction = f".{nanos:09d}".rstrip("0") if nanos else ""
    return f"PT{whole}{fraction}S"


def samples_to_duration(samples: int) -> str:
    """Return the duration of a number of samples of one channel at 8 kHz."""
    return format_duration(Fraction(samples, WIRE_SAMPLE_RATE))


def duration_to_samples(text: object) -> int:
    """Return the number of samples of one channel at 8 kHz in a duration, rounded.

    Raises:
        ValueError: If the value is not a duration.
    """
    return digits_to_samples(_digits(text))


def digits_to_samples(digits: str) -> int:
    """Convert the number in a valid duration to wire samples, rounded to the nearest."""
    # Every message has a position, and exact arithmetic is slow. The error of a float of this size
    # is below a millionth of a sample, so only a result near a half needs exact arithmetic.
    near = float(digits) * WIRE_SAMPLE_RATE
    if near < 1e9:
        nearest = int(near + 0.5)
        if -0.49 < near - nearest < 0.49:
            return nearest
    return round(Fraction(digits) * WIRE_SAMPLE_RATE)


def parse_media(entry: object) -> Media | None:
    """Read one media entry of an offer.

    Args:
        entry: The entry as received.

    Returns:
        The medium, or None if this package does not support the entry: another type, format or
        rate, or channels that are not external, internal, or both once each.
    """
    # The entry is nearly always a dict. The check for dict is faster than the check for Mapping.
    if not isinstance(entry, (dict, Mapping)) or entry.get("type") != "audio":
        return None
    names = entry.get("channels")
    if entry.get("rate") != WIRE_SAMPLE_RATE or not isinstance(names, (list, tuple)):
        return None
    try:
        media = _MEDIA.get((entry.get("format"), *names))
    except TypeError:  # an unhashable value cannot be the name of a channel
        return None
    if media is None or len(entry) == len(_STANDARD):
        return media
    extra = {name: entry[name] for name in entry if name not in _STANDARD}
    # The entry is copied, because applications may change the message that contains it.
    return replace(media, extra=MappingProxyType(copy_json(extra)))


def copy_json(value: Any) -> Any:
    """Copy a JSON value; infinite numbers are replaced by the largest float of the same sign.

    JSON has no infinite numbers, but `1e999` is decoded as infinity.
    """
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
# The supported media, by format and channels on the wire. The objects are immutable, so calls can
# share them.
_MEDIA: Mapping[tuple[object, ...], Media] = {
    (media_format.value, *(channel.value for channel in channels)): Media(media_format, channels)
    for media_format in AudioHookMediaFormat
    for count in (1, 2)
    for channels in permutations(_PARTIES, count)
}
