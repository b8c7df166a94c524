"""Parameters with which Pipecat's own WebSocket transports work for Genesys."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any

from pipecat.serializers.base_serializer import FrameSerializer

CHUNK_10MS = 20
"""Tens of milliseconds in an audio message: 200 ms are 5 messages per second, Genesys's limit."""


def genesys_params(serializer: FrameSerializer, **overrides: Any) -> dict[str, Any]:
    """Return the parameters with which Pipecat's WebSocket transports work for Genesys.

    Messages of 200 ms stay within Genesys's 5 messages per second and keep 200 ms of audio ahead
    of playback. The transport's own packet size is off because it would hold back the end of
    every utterance. The silence that Pipecat appends at the end is off because it would be one
    more burst of messages before ``disconnect``.

    Args:
        serializer: The call's serializer.
        **overrides: Parameters to add or replace.

    Returns:
        Keyword arguments for ``FastAPIWebsocketParams``.

    Raises:
        TypeError: If the installed Pipecat has no parameter of that name. Pipecat itself ignores
            unknown parameters silently, including the one that its own Genesys documentation
            recommends.
    """
    from pipecat.transports.websocket.fastapi import FastAPIWebsocketParams

    known = FastAPIWebsocketParams.model_fields
    for name in overrides:
        if name not in known:
            near = get_close_matches(name, known, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise TypeError(f"pipecat's transport has no parameter {name!r}{hint}")
    return {
        "serializer": serializer,
        "audio_in_enabled": True,
        "audio_out_enabled": True,
        "audio_out_10ms_chunks": CHUNK_10MS,
        "audio_out_end_silence_secs": 0,
        "fixed_audio_packet_size": None,
        "add_wav_header": False,
        **overrides,
    }
