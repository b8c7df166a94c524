"""Bot audio as it comes, in pieces that are not too long."""

from __future__ import annotations

from dataclasses import replace

from pipecat.frames.frames import OutputAudioRawFrame

# As long as can be without a bot that speaks seeming to do so in fits and starts: pipecat says that
# it speaks with each piece.
_PIECE_SECONDS = 0.4
_SAMPLE_BYTES = 2


class Cutter:
    """Cuts frames of audio; what is no whole sample waits for the next frame."""

    def __init__(self) -> None:
        self._rest = b""
        self._kind = (0, 0)

    def cut(self, frame: OutputAudioRawFrame) -> list[OutputAudioRawFrame]:
        """Cut a frame.

        Args:
            frame: 16-bit PCM, of any rate and number of channels.

        Returns:
            The frame itself, if it is short and whole; or frames like it.
        """
        kind = (frame.sample_rate, frame.num_channels)
        if kind != self._kind:
            self._kind, self._rest = kind, b""
        audio = self._rest + frame.audio if self._rest else frame.audio
        width = _SAMPLE_BYTES * frame.num_channels
        whole = len(audio) // width * width
        longest = max(1, int(_PIECE_SECONDS * frame.sample_rate)) * width
        if not self._rest and whole == len(audio) <= longest:
            return [frame]
        self._rest = audio[whole:]
        parts = (audio[begin : min(begin + longest, whole)] for begin in range(0, whole, longest))
        return [_like(frame, part) for part in parts]

    def clear(self) -> None:
        """Forget what waits: nothing follows it."""
        self._rest = b""


def _like(frame: OutputAudioRawFrame, audio: bytes) -> OutputAudioRawFrame:
    piece = replace(frame, audio=audio)
    piece.transport_destination = frame.transport_destination
    if hasattr(frame, "interruptible"):  # pipecat 1.11 and newer
        piece.interruptible = frame.interruptible
    return piece
