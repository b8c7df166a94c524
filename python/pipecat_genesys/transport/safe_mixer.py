"""A mixer of background sound whose failure does not stop the bot's audio.

Pipecat calls the mixer in the task that sends bot audio. An exception of the mixer ends this task,
and the bot is silent for the rest of the call.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import Any

from pipecat.audio.mixers.base_audio_mixer import BaseAudioMixer
from pipecat.frames.frames import MixerControlFrame

from pipecat_genesys.call import Call

Mixers = BaseAudioMixer | Mapping[str | None, BaseAudioMixer]


class SafeMixer(BaseAudioMixer):
    """Calls a mixer. If the mixer raises an exception, the audio is passed on unchanged."""

    def __init__(self, mixer: BaseAudioMixer, call: Call) -> None:
        """Wrap a mixer.

        Args:
            mixer: The mixer of the application.
            call: The call whose ids are in the log line about the first exception.
        """
        self._mixer = mixer
        self._call = call

    async def start(self, sample_rate: int) -> None:
        """See `BaseAudioMixer`."""
        await self._guarded(self._mixer.start(sample_rate))

    async def stop(self) -> None:
        """See `BaseAudioMixer`."""
        await self._guarded(self._mixer.stop())  # type: ignore[no-untyped-call]

    async def process_frame(self, frame: MixerControlFrame) -> None:
        """See `BaseAudioMixer`."""
        await self._guarded(self._mixer.process_frame(frame))

    async def mix(self, audio: bytes) -> bytes:
        """Return the audio mixed with the sound of the mixer, or unchanged if the mixer fails."""
        mixed: bytes | None = await self._guarded(self._mixer.mix(audio))
        return audio if mixed is None else mixed

    async def _guarded(self, result: Awaitable[Any]) -> Any:
        try:
            return await result
        except Exception as error:
            name = type(self._mixer).__name__
            self._call.log.once(
                "ERROR",
                f"the mixer {name} raised {type(error).__name__}: {error}; the bot's audio is sent "
                "without it; correct the mixer, or remove it from 'audio_out_mixer'",
                "mixer failed",
            )
            return None


def safe_mixers(mixers: Mixers, call: Call) -> Mixers:
    """Wrap a mixer, or the mixers of several destinations.

    Args:
        mixers: The parameter ``audio_out_mixer`` of a transport.
        call: The call whose ids are in the log lines.

    Returns:
        The parameter with wrapped mixers.
    """
    if isinstance(mixers, BaseAudioMixer):
        return SafeMixer(mixers, call)
    return {destination: SafeMixer(mixer, call) for destination, mixer in mixers.items()}
