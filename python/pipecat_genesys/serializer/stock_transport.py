"""Parameters with which Pipecat's own WebSocket transports can be used for calls from Genesys."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any

from pipecat.serializers.base_serializer import FrameSerializer

CHUNK_10MS = 20
"""Length of an audio message in units of 10 ms. Genesys accepts 5 messages per second."""


def genesys_params(serializer: FrameSerializer, **overrides: Any) -> dict[str, Any]:
    """Return the parameters of Pipecat's WebSocket transports for a call from Genesys.

    Messages of 200 ms of audio stay within Genesys's limit of 5 messages per second, and each
    message is sent 200 ms before it is played. The transport's own packet size is off, because it
    would delay the end of every utterance. The silence that Pipecat appends at the end is off,
    because it would cause another burst of messages before ``disconnect``.

    Args:
        serializer: The call's serializer.
        **overrides: Parameters to add or replace.

    Returns:
        Keyword arguments for ``FastAPIWebsocketParams``.

    Raises:
        TypeError: If the installed Pipecat does not have a parameter of `overrides`. Pipecat itself
            silently ignores unknown parameters, for example a parameter that Pipecat's
            documentation for Genesys recommends.
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
