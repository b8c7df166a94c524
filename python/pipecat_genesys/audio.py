"""Telephony audio: G.711 mu-law, channel layout and length-exact resampling.

Everything here takes and returns ``bytes`` (any buffer of bytes is accepted, such
as ``bytearray`` or ``memoryview``). PCM is signed 16-bit little-endian. The work is
done by native code; importing this module does not import pipecat.

Functions:
    ``ulaw_decode`` and ``ulaw_encode`` convert between G.711 mu-law and PCM,
    bit-exact with the standard library's former ``audioop``.
    ``split_stereo`` and ``merge_stereo`` convert between interleaved stereo and two
    channels, for samples of 1 to 4 bytes; ``mix_stereo`` averages the channels of
    16-bit stereo. ``instruction_set`` names what the CPU does it with.

Streams:
    ``Resampler`` changes the sample rate of mono PCM.
    ``InboundAudio`` turns what Genesys sends (8000 Hz, PCMU or L16, one or two
    interleaved channels) into one PCM buffer per channel at ``out_rate``.
    ``OutboundAudio`` turns mono PCM at ``in_rate`` into what Genesys takes.

    All three are **length-exact**: after n samples in, exactly
    ``floor(n * out_rate / in_rate)`` samples have come out of ``process``, and they
    are the same samples however the input was cut into calls. ``flush`` returns the
    ``round(delay_seconds * out_rate)`` samples still in the filter, as if silence
    followed, and leaves the stream as ``reset`` does: as new. ``delay_seconds`` is
    constant: 24 samples at the lower rate, 3 ms against 8000 Hz; 28 samples, 3.5 ms,
    where one rate is six times the other; 0 for equal rates.

    Any rates are supported of which none is more than 64 times the other and whose
    ratio reduces to numbers up to 5461. In the band up to 0.425 of the lower rate
    (3400 Hz at 8000 Hz) the gain is flat within 0.001 dB and images and aliases are
    95 dB down. Output saturates, it never wraps, and digital silence stays digital
    silence. All arithmetic is on integers, so the bytes are the same on every machine.

    A stream may be shared by threads; calls take turns. Streams of the same ratio
    share one filter bank.

Environment:
    ``PIPECAT_GENESYS_SIMD`` forces a lower instruction set than the best one, for tests
    and for ruling it out: ``avx512``, ``avx2``, ``sse2``, ``neon`` or ``portable``.
    It is read when this module is imported; a name that is not there raises.

Errors:
    ``AudioError``, a ``ValueError``: a value the core cannot work with. The message
    says which, why, and what to do. A call that raises has changed nothing.
    Arguments of a wrong type raise ``TypeError``.
"""

from ._native import (
    InboundAudio,
    OutboundAudio,
    Resampler,
    instruction_set,
    merge_stereo,
    mix_stereo,
    split_stereo,
    ulaw_decode,
    ulaw_encode,
)
from .errors import AudioError

__all__ = [
    "AudioError",
    "InboundAudio",
    "OutboundAudio",
    "Resampler",
    "instruction_set",
    "merge_stereo",
    "mix_stereo",
    "split_stereo",
    "ulaw_decode",
    "ulaw_encode",
]
