"""The parameters of a call."""

from __future__ import annotations

from typing import Literal

from pipecat.serializers.base_serializer import FrameSerializer
from pydantic import BaseModel

from pipecat_genesys import audio
from pipecat_genesys.protocol import WIRE_SAMPLE_RATE, AudioHookChannel, AudioHookMediaFormat


class CallParams(FrameSerializer.InputParams):
    """The parameters of one call. `GenesysAudioHookSerializer.InputParams` is this class.

    Attributes:
        ignore_rtvi_messages: Has no effect and is kept for compatibility. RTVI messages are never
            sent to Genesys.
        resampler_clear_after_secs: Has no effect and is kept for compatibility. The resamplers of
            this package do not depend on the time at which audio arrives.
        genesys_sample_rate: Sample rate on the wire, in Hz; AudioHook supports only 8000.
        sample_rate: Sample rate of the audio for the pipeline, in Hz; by default the pipeline's
            input rate.
        channel: Preferred channels among the media that Genesys offers.
        media_format: Preferred format among the media that Genesys offers.
        process_external: Whether the pipeline gets the customer's audio of a stereo medium.
        process_internal: Whether the pipeline gets the other party's audio of a stereo medium. If
            both are set, the serializer's frames have two channels, external first, and
            `StereoSplitter` separates them.
        supported_languages: Language codes for ``opened``, if Genesys asks for them.
        selected_language: Kept for compatibility. It is not sent, because the protocol has no such
            field.
        start_paused: Whether the session starts paused.
        disconnect_action: Whether the ``disconnect`` for EndFrame and CancelFrame has Pipecat's
            output variable ``action``.
        variables_in_closed: Whether ``closed`` has the output variables, as with Pipecat's
            serializer.
        l16_byteorder: Byte order of L16 audio on the wire.
        log_personal_data: Whether DEBUG logs may show variables, digits and callers.
        hook_timeout_secs: Longest time for a handler of ``on_opening``, ``on_updating`` or
            ``on_closing``, in seconds. Genesys waits 5 s for ``opened`` and 10 s for ``closed``.
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


def check_params(params: object) -> CallParams:
    """Validate the parameters of the application.

    Args:
        params: A `CallParams`, Pipecat's own ``InputParams`` (which has a subset of the fields),
            or None for the defaults.

    Returns:
        Valid parameters; the same object as ``params`` if that is a `CallParams`.

    Raises:
        TypeError: If ``params`` is of another type.
        ValueError: If a parameter has no valid value. The message names the parameter and the
            remedy.
    """
    if params is None:
        checked = CallParams()
    elif isinstance(params, CallParams):
        checked = params
    elif isinstance(params, BaseModel):
        checked = CallParams.model_validate(params.model_dump())
    else:
        raise TypeError(
            f"params is a {type(params).__name__}; use GenesysAudioHookSerializer.InputParams(...)"
        )
    if checked.genesys_sample_rate != WIRE_SAMPLE_RATE:
        raise ValueError(
            f"genesys_sample_rate={checked.genesys_sample_rate}: AudioHook audio is "
            f"{WIRE_SAMPLE_RATE} Hz; remove genesys_sample_rate, and set "
            "sample_rate for the pipeline"
        )
    if not (checked.process_external or checked.process_internal):
        raise ValueError(
            "process_external and process_internal are both off, so no audio would reach the "
            "pipeline; set at least one"
        )
    if checked.sample_rate is not None:
        check_rate(checked.sample_rate)
    return checked


def check_rate(rate: int) -> None:
    """Check that wire audio can be resampled to a pipeline rate.

    Args:
        rate: The pipeline's input rate, in Hz.

    Raises:
        ValueError: If the rate is not positive, or its ratio to 8000 Hz needs too large a filter.
    """
    try:
        audio.InboundAudio("PCMU", 1, rate)
    except audio.AudioError as error:
        raise ValueError(f"the pipeline's input sample rate cannot be {rate}: {error}") from None
