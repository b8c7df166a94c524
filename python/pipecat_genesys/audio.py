"""Telephony audio: G.711 mu-law, channel layout and length-exact resampling.

All functions take and return `bytes`; any other bytes-like object, such as a `bytearray` or a
`memoryview`, is accepted too. PCM is signed 16-bit little-endian. The functions and classes are
implemented in Rust. Importing this module does not import pipecat.

Functions:
    `ulaw_decode` and `ulaw_encode` convert between G.711 mu-law and PCM, bit-exact with the
    standard library's former `audioop`. `split_stereo` and `merge_stereo` convert between
    interleaved stereo and two channels, for samples of 1 to 4 bytes. `mix_stereo` averages the
    channels of 16-bit stereo. `instruction_set` returns the name of the instruction set in use.

Streams:
    `Resampler` changes the sample rate of mono PCM. `InboundAudio` converts audio from Genesys
    (8000 Hz, PCMU or L16, one or two interleaved channels) to one PCM buffer per channel at
    `out_rate`. `OutboundAudio` converts mono PCM at `in_rate` to audio for Genesys.

    All three are **length-exact**: after n input samples, `process` has returned exactly
    `floor(n * out_rate / in_rate)` samples. The output does not depend on the division of the
    input into calls. `flush` returns the `round(delay_seconds * out_rate)` samples that are
    still in the filter, as if silence followed, and resets the stream.

    `delay_seconds` is constant: 24 samples at the lower rate (3 ms at 8000 Hz), 28 samples if
    one rate is six times the other (3.5 ms at 8000 Hz), 0 for equal rates.

    Two rates are supported if neither is more than 64 times the other and their ratio reduces
    to numbers up to 5461. In the band up to 0.425 of the lower rate (3400 Hz at 8000 Hz) the
    gain is flat within 0.001 dB, and images and aliases are 95 dB down. Output that exceeds 16
    bits saturates. Digital silence stays digital silence. All arithmetic is on integers, so the
    output is the same on every machine.

    Threads can share a stream; a mutex serialises the calls. Streams of the same ratio share
    one filter bank.

Environment:
    `PIPECAT_GENESYS_SIMD` selects an instruction set: `avx512`, `avx2`, `sse2`, `neon` or
    `portable`. By default the fastest that the CPU has is used. The variable is read when this
    module is imported; importing fails with `AudioError` if it names an unknown instruction set
    or one that the CPU does not have.

Errors:
    `AudioError`, which is also a `ValueError`, is raised for an unsupported value. The message
    names the value, the reason and the remedy. A call that raises does not change the stream.
    Arguments of a wrong type raise `TypeError`.
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
