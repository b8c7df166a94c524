//! G.711 mu-law, bit-exact with CPython's `audioop` (`ulaw2lin`, `lin2ulaw`).
//!
//! A mu-law code is a small floating-point number: one sign bit, three exponent bits
//! and four mantissa bits, with a bias of 33 in the 14-bit domain (ITU-T G.711, table
//! 2a). The conversion therefore uses the hardware's floating-point format: decoding
//! places the seven magnitude bits into an IEEE single, and encoding extracts these bits.
//!
//! Rules: the code has no lookup table, because a table would compete with the filter banks for
//! the first-level cache. The code has no branches, so that the compiler can vectorise the loops.

use crate::AudioError;
use crate::arch::kernels;
use crate::pcm::{ByteOrder, SAMPLE_BYTES, exact_output, whole_frames, with_samples};

/// Position of the lowest of a code's seven magnitude bits in an IEEE single-precision number.
const MANTISSA_SHIFT: u32 = 19;
/// IEEE exponent for which the lowest segment starts at 32.
const EXPONENT_BASE: u32 = 132;
/// G.711's bias in the 14-bit domain.
const BIAS: i32 = 33;
/// Largest 14-bit magnitude inside the top segment.
const CLIP: i32 = 8158;
/// Number of low bits of a 16-bit sample that G.711 does not use.
pub(crate) const UNUSED_BITS: u32 = 2;
/// Number of samples that [`pcm_to_ulaw`] encodes per block.
const ENCODED_AT_ONCE: usize = 512;
/// Adding this constant moves an integer of up to 22 bits into the low bits of a float.
const TO_INTEGER: f32 = 12_582_912.0;

/// Decodes one mu-law code to a 16-bit sample.
#[inline]
#[must_use]
pub fn ulaw_decode(code: u8) -> i16 {
    decode_14_bits(code) << UNUSED_BITS
}

/// Decodes one mu-law code to a 14-bit sample.
#[inline]
pub(crate) fn decode_14_bits(code: u8) -> i16 {
    let inverted = u32::from(!code);
    // Half a mantissa step is added because G.711 decodes to the middle of a step.
    let bits = ((inverted & 0x7f) << MANTISSA_SHIFT)
        + ((EXPONENT_BASE << 23) | (1 << (MANTISSA_SHIFT - 1)));
    let magnitude = f32::from_bits(bits) - BIAS as f32;
    let magnitude = (magnitude + TO_INTEGER).to_bits() as i16;
    let sign = -((inverted >> 7) as i16);
    (magnitude ^ sign) - sign
}

/// Encodes one 16-bit sample to mu-law.
#[inline]
#[must_use]
pub fn ulaw_encode(sample: i16) -> u8 {
    let linear = i32::from(sample) >> 2;
    let biased = linear.abs().min(CLIP) + BIAS;
    let magnitude = ((biased as f32).to_bits() >> MANTISSA_SHIFT) - (EXPONENT_BASE << 4);
    let sign = (linear >> 31) as u32 & 0x80;
    !(magnitude | sign) as u8
}

/// Decodes mu-law codes to PCM: two bytes per code.
pub fn ulaw_to_pcm(codes: &[u8], pcm: &mut [u8]) -> Result<(), AudioError> {
    exact_output(codes.len().saturating_mul(SAMPLE_BYTES), pcm.len())?;
    let kernels = kernels()?;
    with_samples(pcm, |samples| {
        (kernels.ulaw_decode)(codes, UNUSED_BITS, samples);
    });
    Ok(())
}

/// Returns the number of mu-law codes for `length` bytes of PCM.
pub fn pcm_to_ulaw_len(length: usize) -> Result<usize, AudioError> {
    whole_frames(length, SAMPLE_BYTES)
}

/// Encodes PCM to mu-law: one code per two bytes.
pub fn pcm_to_ulaw(pcm: &[u8], codes: &mut [u8]) -> Result<(), AudioError> {
    exact_output(pcm_to_ulaw_len(pcm.len())?, codes.len())?;
    let kernels = kernels()?;
    let mut block = [0; ENCODED_AT_ONCE];
    for (pcm, codes) in pcm
        .chunks(ENCODED_AT_ONCE * SAMPLE_BYTES)
        .zip(codes.chunks_mut(ENCODED_AT_ONCE))
    {
        let samples = &mut block[..codes.len()];
        ByteOrder::Little.read(pcm, samples);
        (kernels.ulaw_encode)(samples, codes);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Decodes by ITU-T G.711, table 2a: the segments double in size and have 16 steps each.
    fn decode_by_table(code: u8) -> i16 {
        let inverted = !code;
        let segment = u32::from((inverted >> 4) & 7);
        let step = i32::from(inverted & 15);
        let magnitude = (((2 * step + 33) << segment) - 33) << 2;
        (if inverted & 0x80 == 0 {
            magnitude
        } else {
            -magnitude
        }) as i16
    }

    #[test]
    fn all_256_codes_decode_as_in_the_standard() {
        for code in 0..=u8::MAX {
            assert_eq!(ulaw_decode(code), decode_by_table(code), "{code:#x}");
        }
    }

    #[test]
    fn every_sample_is_encoded_to_the_nearest_decoded_value() {
        // The decision level lies midway between two neighbouring decoded values in the
        // 14-bit domain of the encoder.
        for sample in i16::MIN..=i16::MAX {
            let linear = i32::from(sample) >> 2;
            let code = ulaw_encode(sample);
            let level = i32::from(ulaw_decode(code)) >> 2;
            let segment = u32::from((!code >> 4) & 7);
            if linear.abs() <= CLIP {
                assert!((linear - level).abs() <= 1 << segment, "{sample}");
            } else {
                assert_eq!(level.abs(), 8031, "{sample}");
            }
            assert_eq!(code & 0x80 == 0, sample < 0, "{sample}");
        }
    }

    #[test]
    fn encoding_a_decoded_code_returns_the_same_code() {
        for code in 0..=u8::MAX {
            // 0x7f is negative zero, which decodes to the same value as 0xff.
            let expected = if code == 0x7f { 0xff } else { code };
            assert_eq!(ulaw_encode(ulaw_decode(code)), expected);
        }
    }

    #[test]
    fn silence_is_0xff() {
        assert_eq!(ulaw_encode(0), 0xff);
        assert_eq!(ulaw_decode(0xff), 0);
    }

    #[test]
    fn wrong_lengths_are_rejected() {
        assert_eq!(
            pcm_to_ulaw(&[0; 3], &mut [0; 1]),
            Err(AudioError::PartialFrame {
                length: 3,
                frame: 2
            })
        );
        assert_eq!(
            ulaw_to_pcm(&[0; 3], &mut [0; 5]),
            Err(AudioError::OutputLength {
                expected: 6,
                actual: 5
            })
        );
    }
}
