"""A frame processor for pipelines that need the audio of each party separately."""

from __future__ import annotations

from pipecat.frames.frames import Frame, InputAudioRawFrame
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor

from pipecat_genesys import audio
from pipecat_genesys.protocol import AudioHookChannel


class StereoSplitter(FrameProcessor):
    """Splits two-channel caller audio into two mono frames, external first.

    Use this processor if the next processor supports only mono audio. ``transport_source`` of each
    frame names the party: ``"external"`` or ``"internal"``. All other frames are passed on
    unchanged.
    """

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Split a two-channel audio frame; pass any other frame on.

        Args:
            frame: The frame to process.
            direction: The direction in which the frame travels.
        """
        await super().process_frame(frame, direction)
        if not (isinstance(frame, InputAudioRawFrame) and frame.num_channels == 2):
            await self.push_frame(frame, direction)
            return
        channels = (AudioHookChannel.EXTERNAL, AudioHookChannel.INTERNAL)
        for pcm, channel in zip(audio.split_stereo(frame.audio, 2), channels, strict=True):
            mono = InputAudioRawFrame(audio=pcm, sample_rate=frame.sample_rate, num_channels=1)
            mono.transport_source = channel.value
            await self.push_frame(mono, direction)
