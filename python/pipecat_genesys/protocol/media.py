"""Selects one medium from the media that the client offers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .types import (
    WIRE_SAMPLE_RATE,
    AudioHookChannel,
    AudioHookMediaFormat,
    Media,
    parse_media,
)


@dataclass(frozen=True, slots=True)
class MediaPreference:
    """The medium that the application prefers.

    Attributes:
        channel: The preferred channels.
        format: The preferred coding of samples.
    """

    channel: AudioHookChannel = AudioHookChannel.EXTERNAL
    format: AudioHookMediaFormat = AudioHookMediaFormat.PCMU

    def matches(self, media: Media) -> bool:
        """Return whether a medium equals the preference, in either channel order."""
        if media.format != self.format:
            return False
        if len(media.channels) == 2:
            return self.channel == AudioHookChannel.BOTH
        return media.channels[0] == self.channel


def select_media(offer: Sequence[object], preference: MediaPreference) -> Media | None:
    """Select the medium to copy into ``opened``.

    Args:
        offer: The entries of ``open.parameters.media``, in the client's order of preference.
        preference: The medium that the application prefers.

    Returns:
        The first entry that equals the preference; otherwise the first supported entry; otherwise
        None.
    """
    first = None
    for entry in offer:
        media = parse_media(entry)
        if media is not None:
            if preference.matches(media):
                return media
            first = first or media
    return first


def preferred_entry(preference: MediaPreference) -> dict[str, Any]:
    """Return a preference as a media entry, for clients that did not offer media."""
    both = preference.channel is AudioHookChannel.BOTH
    channels = ["external", "internal"] if both else [preference.channel.value]
    return {
        "type": "audio",
        "format": preference.format.value,
        "channels": channels,
        "rate": WIRE_SAMPLE_RATE,
    }
