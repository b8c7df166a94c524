"""Configuration: the serializer's own, and the transport's that goes with it."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Literal

from pipecat.serializers.base_serializer import FrameSerializer
from pydantic import BaseModel

from pipecat_genesys import audio
from pipecat_genesys.protocol import WIRE_SAMPLE_RATE, AudioHookChannel, AudioHookMediaFormat

if TYPE_CHECKING:
    from .serializer import GenesysAudioHookSerializer

CHUNK_10MS = 20
"""Tens of milliseconds in an audio message: 200 ms are 5 messages per second, Genesys's limit."""


class SerializerParams(FrameSerializer.InputParams):
    """Configuration of a `GenesysAudioHookSerializer`.

    Attributes:
        ignore_rtvi_messages: Not to send RTVI messages to Genesys (they never are).
        resampler_clear_after_secs: Accepted and without effect; nothing here depends on when
            audio arrives.
        genesys_sample_rate: 8000, the only rate AudioHook has.
        sample_rate: Rate of the audio given to the pipeline, in Hz; by default the pipeline's.
        channel: Preferred channels of the offer.
        media_format: Preferred format of the offer.
        process_external: In stereo, whether to give the customer's audio to the pipeline.
        process_internal: In stereo, whether to give the other party's. With both, frames have
            two channels, external first; `StereoSplitter` separates them.
        supported_languages: Languages to name when Genesys asks.
        selected_language: Kept for compatibility; the protocol has no such field.
        start_paused: Whether to start the session paused.
        disconnect_action: Whether the ``disconnect`` sent on EndFrame and CancelFrame has
            pipecat's output variable ``action``.
        variables_in_closed: Whether ``closed`` carries output variables, as pipecat's does.
        l16_byteorder: Byte order of L16 audio on the wire.
        log_personal_data: Whether DEBUG logs may show variables, digits and callers.
        hook_timeout_secs: How long ``on_opening``, ``on_updating`` and ``on_closing`` may take.
            Genesys waits 5 s for ``opened`` and 10 s for ``closed``.
    """

    ignore_rtvi_messages: bool = True
    resampler_clear_after_secs: float | None = 0.2
    genesys_sample_rate: int = WIRE_SAMPLE_RATE
    sample_rate: int | None = None
    channel: AudioHookChannel = AudioHookChannel.EXTERNAL
    media_format: AudioHookMediaFormat = AudioHookMediaFormat.PCMU
    process_external: bool = True
    process_internal: bool = False
    supported_languages: list[str] | None = None
    selected_language: str | None = None
    start_paused: bool = False
    disconnect_action: bool = True
    variables_in_closed: bool = True
    l16_byteorder: Literal["little", "big"] = "little"
    log_personal_data: bool = False
    hook_timeout_secs: float = 2.0


def checked(params: object) -> SerializerParams:
    """Take what the application configured.

    Args:
        params: Ours, pipecat's own ``InputParams`` (the same fields), or None for the defaults.

    Returns:
        Valid parameters; ``params`` itself where it is ours.

    Raises:
        TypeError: If it is something else.
        ValueError: If the parameters make no sense; the message says which and why.
    """
    if params is None:
        ours = SerializerParams()
    elif isinstance(params, SerializerParams):
        ours = params
    elif isinstance(params, BaseModel):
        ours = SerializerParams.model_validate(params.model_dump())
    else:
        raise TypeError(
            f"params is a {type(params).__name__}; use GenesysAudioHookSerializer.InputParams(...)"
        )
    if ours.genesys_sample_rate != WIRE_SAMPLE_RATE:
        raise ValueError(
            f"genesys_sample_rate={ours.genesys_sample_rate}: AudioHook audio is "
            f"{WIRE_SAMPLE_RATE} Hz; leave it, and set sample_rate for the pipeline's rate"
        )
    if not (ours.process_external or ours.process_internal):
        raise ValueError(
            "process_external and process_internal are both off, so no audio would reach the "
            "pipeline; set at least one"
        )
    if ours.sample_rate is not None:
        check_rate(ours.sample_rate)
    return ours


def check_rate(rate: int) -> None:
    """Refuse a pipeline rate that wire audio cannot be resampled to.

    Raises:
        ValueError: If it is not positive, or its ratio to 8000 Hz needs too large a filter.
    """
    try:
        audio.InboundAudio("PCMU", 1, rate)
    except audio.AudioError as error:
        raise ValueError(f"the pipeline's input sample rate cannot be {rate}: {error}") from None


def genesys_params(serializer: GenesysAudioHookSerializer, **overrides: Any) -> dict[str, Any]:
    """Give the parameters with which pipecat's WebSocket transports work for Genesys.

    200 ms of audio a message stay within Genesys's 5 messages per second and keep 200 ms of lead;
    a packet size of the transport's own would hold back the tail of every utterance, and the
    silence pipecat appends would be one more burst before ``disconnect``.

    Args:
        serializer: The call's serializer.
        **overrides: Parameters to add or replace.

    Returns:
        Keyword arguments for ``FastAPIWebsocketParams``.

    Raises:
        TypeError: If the installed pipecat has no parameter of a name. Pipecat itself would
            ignore it silently, as it does the one its own Genesys documentation recommends.
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
