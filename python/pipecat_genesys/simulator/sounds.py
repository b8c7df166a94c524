"""Makes caller audio from WAV files, text and tones, and writes recordings of calls.

Caller audio is 8 kHz mu-law. Tones and `sample_speech` are the same in every run.
"""

from __future__ import annotations

import ctypes
import io
import math
import os
import threading
import wave
from array import array
from collections.abc import Iterable
from contextlib import ExitStack
from functools import cache, lru_cache
from importlib import resources
from sys import byteorder
from typing import BinaryIO

from pipecat_genesys import audio
from pipecat_genesys.capture import create_file
from pipecat_genesys.errors import PipecatGenesysError
from pipecat_genesys.protocol.types import WIRE_SAMPLE_RATE, AudioHookChannel

_PEAK = 32767
_SPOKEN_PEAK = _PEAK // 2
"""Peak of synthetic speech: 6 dB below full scale."""
_QUIET = _PEAK // 200
"""Samples up to this value at the ends of synthetic speech are removed."""


# WAV files.


def read_wav(source: str | os.PathLike[str] | BinaryIO) -> bytes:
    """Read a WAV file as caller audio. A stereo file is mixed down to mono.

    Args:
        source: Path of the file, or a binary file open for reading. It has one or two channels and
            any sample rate. Encodings other than 16-bit PCM need the library soundfile.

    Returns:
        8 kHz mono mu-law. The delay of the resampler is removed.

    Raises:
        ValueError: If the file is not a WAV file with one or two channels, or if soundfile is
            needed and not installed.
        OSError: If the file cannot be opened.
    """
    channels, pcm, rate = _read(source)
    return audio.ulaw_encode(_to_wire_rate(audio.mix_stereo(pcm) if channels == 2 else pcm, rate))


def read_stereo_wav(source: str | os.PathLike[str] | BinaryIO) -> tuple[bytes, bytes]:
    """Read a stereo WAV file of a conversation, with one party on each channel.

    Args:
        source: As for `read_wav`, with two channels.

    Returns:
        The left and the right channel, each as returned by `read_wav`.

    Raises:
        ValueError: If the file is not a WAV file with two channels, or if soundfile is needed and
            not installed.
        OSError: If the file cannot be opened.
    """
    channels, pcm, rate = _read(source)
    if channels != 2:
        raise ValueError("expected a stereo file with one party on each channel, got a mono file")
    left, right = (_to_wire_rate(side, rate) for side in audio.split_stereo(pcm, 2))
    return audio.ulaw_encode(left), audio.ulaw_encode(right)


def write_wav(target: str | os.PathLike[str] | BinaryIO, caller_pcm: bytes, bot_pcm: bytes) -> None:
    """Write a call as a stereo WAV file: 16-bit PCM at 8 kHz, with the caller on the left channel.

    Args:
        target: Path of the file, or a binary file open for writing. A file that is created for a
            path can be read only by the user who created it.
        caller_pcm: Audio of the caller, 16-bit little-endian PCM.
        bot_pcm: Audio of the other party, 16-bit little-endian PCM. The shorter channel is padded
            with silence.

    Raises:
        OSError: If the file cannot be opened.
    """
    length = max(len(caller_pcm), len(bot_pcm))
    stereo = audio.merge_stereo(caller_pcm.ljust(length, b"\0"), bot_pcm.ljust(length, b"\0"), 2)
    with ExitStack() as stack:
        if isinstance(target, (str, os.PathLike)):
            # A recording contains personal data, so only this user can read the file.
            target = stack.enter_context(os.fdopen(create_file(target, replace=True), "wb"))
        writer = stack.enter_context(wave.open(target, "wb"))
        writer.setnchannels(2)
        writer.setsampwidth(2)
        writer.setframerate(WIRE_SAMPLE_RATE)
        writer.writeframes(stereo)


def _read(source: str | os.PathLike[str] | BinaryIO) -> tuple[int, bytes, int]:
    """Return the number of channels, the samples as 16-bit PCM, and the sample rate of a file."""
    file = source if not isinstance(source, (str, os.PathLike)) else os.fspath(source)
    begin = file.tell() if not isinstance(file, str) else 0
    try:
        with wave.open(file, "rb") as reader:
            channels, width, rate = reader.getparams()[:3]
            pcm = reader.readframes(reader.getnframes()) if width == 2 else None
            if pcm is not None:
                # A file whose writer was stopped may end within a frame.
                pcm = pcm[: len(pcm) - len(pcm) % (width * channels)]
    except (wave.Error, EOFError):
        pcm = None
    if pcm is None:
        # The standard library reads only PCM, and returns samples of other widths unconverted.
        if not isinstance(file, str):
            file.seek(begin)
        channels, pcm, rate = _read_with_soundfile(file)
    if channels not in (1, 2):
        raise ValueError(f"expected a WAV file with 1 or 2 channels, got {channels}")
    return channels, pcm, rate


def _read_with_soundfile(file: str | BinaryIO) -> tuple[int, bytes, int]:
    """Read any WAV file that libsndfile supports, such as mu-law, float and 24-bit PCM."""
    try:
        # Imported here, because most WAV files have 16-bit PCM and do not need the libraries.
        import numpy as np
        import soundfile
    except (ImportError, OSError) as error:
        raise ValueError(
            f"not a WAV file of 16-bit PCM; other WAV files need soundfile ({error}): "
            "pip install 'pipecat-genesys[simulator]'"
        ) from None
    try:
        samples, rate = soundfile.read(file, dtype="float32", always_2d=True)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"not a WAV file: {error}") from None
    # The samples are clipped first, so that the multiplication does not overflow.
    samples = np.clip(np.nan_to_num(samples), -1, 1)
    pcm = np.clip(np.rint(samples * 32768), -32768, 32767).astype("<i2")
    return samples.shape[1], pcm.tobytes(), rate


def _to_wire_rate(pcm: bytes, rate: int) -> bytes:
    if rate == WIRE_SAMPLE_RATE:
        return pcm
    resampler = audio.Resampler(rate, WIRE_SAMPLE_RATE)
    body = resampler.process(pcm)
    tail = resampler.flush()
    # `tail` is as long as the delay of the resampler. The same number of bytes is removed at the
    # front, so that the length is kept and the output is aligned with the input.
    return (body + tail)[len(tail) :]


# Speech.


def sample_speech(seconds: float, party: AudioHookChannel = AudioHookChannel.EXTERNAL) -> bytes:
    """Return recorded English speech of an exact duration.

    The speech is the end of a recording of several sentences, so it may begin within a word, and it
    ends at the end of a sentence. If `seconds` is longer than the recording, the recording is
    repeated, with half a second of silence in between. Silero VAD detects the result as speech, and
    Smart Turn detects its end as the end of a turn.

    Args:
        seconds: Duration.
        party: `external` for the voice of a customer, `internal` for the voice of an agent.

    Raises:
        ValueError: If the duration is negative.
    """
    wanted = _samples(seconds)
    recording = _recording(party)
    pause = silence(0.5)
    repeats = math.ceil(wanted / len(recording + pause))
    track = (recording + pause) * repeats + recording
    return track[len(track) - wanted :]


@cache
def _recording(party: AudioHookChannel) -> bytes:
    name = "agent.wav" if party is AudioHookChannel.INTERNAL else "caller.wav"
    path = resources.files(__package__) / "recordings" / name
    return read_wav(io.BytesIO(path.read_bytes()))


def synthesize(
    text: str,
    language: str = "en-US",
    party: AudioHookChannel = AudioHookChannel.EXTERNAL,
) -> bytes:
    """Return text as spoken by a synthetic voice, without silence at its ends.

    The library eSpeak NG makes the speech on this machine, without an API key and without the
    network. The extra `speech` installs the library. The library adds noise that is different in
    every run; within a process, the last 256 results are cached.

    Args:
        text: The words to speak.
        language: BCP-47 code of the language of the text.
        party: `external` for the voice of a customer, `internal` for the voice of an agent.

    Returns:
        8 kHz mono mu-law with a peak of -6 dB.

    Raises:
        ValueError: If the text contains nothing that can be spoken, if there is no voice for the
            language, or if the library is not installed.
    """
    return _synthesized(text, language, party is AudioHookChannel.INTERNAL)


@lru_cache(maxsize=256)
def _synthesized(text: str, language: str, is_female: bool) -> bytes:
    with _SYNTHESIZER_LOCK:
        pcm, rate = _synthesizer().speak(text, language, is_female=is_female)
    samples = array("h", pcm)
    loud = [index for index, sample in enumerate(samples) if abs(sample) > _QUIET]
    if not loud:
        raise ValueError(f"the text {text!r} contains nothing that can be spoken")
    samples = samples[loud[0] : loud[-1] + 1]
    scale = _SPOKEN_PEAK / max(map(abs, samples))
    pcm = _pcm(sample * scale for sample in samples)
    return audio.ulaw_encode(_to_wire_rate(pcm, rate))


_SYNTHESIZER_LOCK = threading.Lock()
"""Held while the library makes speech, because a process has one voice and one audio callback."""


class NoSpeechError(PipecatGenesysError, ValueError):
    """The library for spoken text is not installed, or it cannot be loaded."""


class _EspeakVoice(ctypes.Structure):
    """`espeak_VOICE` of `speak_lib.h`."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("languages", ctypes.c_char_p),
        ("identifier", ctypes.c_char_p),
        ("gender", ctypes.c_ubyte),
        ("age", ctypes.c_ubyte),
        ("variant", ctypes.c_ubyte),
        ("xx1", ctypes.c_ubyte),
        ("score", ctypes.c_int),
        ("spare", ctypes.c_void_p),
    )


_ON_AUDIO = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
)
"""`t_espeak_callback` of `speak_lib.h`."""


class _Synthesizer:
    """The library eSpeak NG, called through the functions of its `speak_lib.h`.

    Raises:
        ValueError: If the library is not installed, or if it cannot be loaded.
    """

    _AUDIO_OUTPUT_SYNCHRONOUS = 2
    _INITIALIZE_DONT_EXIT = 0x8000
    _CHARS_UTF8 = 1
    _POSITION_CHARACTER = 1
    _FEMALE = 2
    _MALE = 1

    def __init__(self) -> None:
        try:
            # Imported here, because only spoken text needs the library.
            import espeakng_loader

            self._library = ctypes.CDLL(espeakng_loader.get_library_path())
            data = espeakng_loader.get_data_path()
        except (ImportError, OSError, RuntimeError) as error:
            raise NoSpeechError(
                f"spoken text needs the library eSpeak NG ({error}): "
                "pip install 'pipecat-genesys[speech]'"
            ) from None
        self._rate: int = self._library.espeak_Initialize(
            self._AUDIO_OUTPUT_SYNCHRONOUS, 0, os.fsencode(data), self._INITIALIZE_DONT_EXIT
        )
        if self._rate <= 0:
            raise ValueError(f"the library eSpeak NG cannot read its data in {data}")
        self._pcm = bytearray()
        # The library keeps a pointer to the callback, so this object must keep the callback.
        self._on_audio = _ON_AUDIO(self._keep)
        self._library.espeak_SetSynthCallback(self._on_audio)
        self._library.espeak_Synth.argtypes = (
            ctypes.c_char_p,
            ctypes.c_size_t,
            ctypes.c_uint,
            ctypes.c_int,
            ctypes.c_uint,
            ctypes.c_uint,
            ctypes.c_void_p,
            ctypes.c_void_p,
        )

    def _keep(self, samples: object, count: int, events: object) -> int:
        if samples and count > 0:
            self._pcm += ctypes.string_at(samples, 2 * count)  # type: ignore[arg-type]
        return 0

    def speak(self, text: str, language: str, *, is_female: bool) -> tuple[bytes, int]:
        """Return the text as 16-bit PCM in native byte order, and the sample rate.

        Raises:
            ValueError: If there is no voice for the language, or if the library fails.
        """
        gender = self._FEMALE if is_female else self._MALE
        voice = _EspeakVoice(languages=language.encode(), gender=gender)
        if not language or self._library.espeak_SetVoiceByProperties(ctypes.byref(voice)):
            raise ValueError(f"eSpeak NG has no voice for the language {language!r}")
        self._pcm.clear()
        # A null character ends the text.
        words = text.replace("\0", " ").encode() + b"\0"
        status = self._library.espeak_Synth(
            words, len(words), 0, self._POSITION_CHARACTER, 0, self._CHARS_UTF8, None, None
        )
        if status:
            raise ValueError(f"eSpeak NG cannot speak {text!r}: its return value is {status}")
        return bytes(self._pcm), self._rate


@cache
def _synthesizer() -> _Synthesizer:
    return _Synthesizer()


# Generated sounds.


def silence(seconds: float) -> bytes:
    """Return mu-law silence of this duration.

    Raises:
        ValueError: If the duration is negative.
    """
    return b"\xff" * _samples(seconds)


def tone(frequency: float, seconds: float, level: float = -12.0) -> bytes:
    """Return a sine tone.

    Args:
        frequency: Frequency in Hz, below 4000.
        seconds: Duration.
        level: Peak level in dB relative to full scale.

    Raises:
        ValueError: If the frequency is out of range or the duration is negative.
    """
    if not 0 < frequency < WIRE_SAMPLE_RATE / 2:
        raise ValueError(f"a tone must be between 0 and 4000 Hz, got {frequency:g} Hz")
    step = math.tau * frequency / WIRE_SAMPLE_RATE
    peak = _PEAK * 10 ** (level / 20)
    return audio.ulaw_encode(_pcm(peak * math.sin(step * n) for n in range(_samples(seconds))))


def _samples(seconds: float) -> int:
    if seconds < 0:
        raise ValueError(f"a duration must not be negative, got {seconds:g} s")
    return round(seconds * WIRE_SAMPLE_RATE)


def _pcm(samples: Iterable[float]) -> bytes:
    """Return samples as 16-bit little-endian PCM."""
    pcm = array("h", (round(sample) for sample in samples))
    if byteorder == "big":
        pcm.byteswap()
    return pcm.tobytes()
