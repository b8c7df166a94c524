//! The two audio encodings of AudioHook, both at 8 kHz.
//!
//! Rule: this module converts each sample independently. It has no state and does not change the
//! sample rate.

use std::str::FromStr;

use crate::AudioError;
use crate::arch::Kernels;
use crate::g711;
use crate::pcm::{ByteOrder, SAMPLE_BYTES};

/// Sample rate of all AudioHook audio, in Hz.
pub const WIRE_RATE: u32 = 8_000;

/// Encoding of the samples on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WireFormat {
    /// G.711 mu-law: one byte per sample.
    Pcmu,
    /// Linear 16-bit PCM: two bytes per sample, in the given byte order.
    L16(ByteOrder),
}

impl FromStr for WireFormat {
    type Err = AudioError;

    /// Parses AudioHook's format names: `PCMU`, or `L16`, which becomes little-endian.
    fn from_str(name: &str) -> Result<Self, AudioError> {
        match name {
            "PCMU" => Ok(Self::Pcmu),
            "L16" => Ok(Self::L16(ByteOrder::default())),
            _ => Err(AudioError::UnknownFormat { name: name.into() }),
        }
    }
}

impl WireFormat {
    /// Returns AudioHook's name of the format.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pcmu => "PCMU",
            Self::L16(_) => "L16",
        }
    }

    /// Returns the format with `order` as byte order of L16. Mu-law has no byte order.
    #[must_use]
    pub const fn with_byte_order(self, order: ByteOrder) -> Self {
        match self {
            Self::Pcmu => Self::Pcmu,
            Self::L16(_) => Self::L16(order),
        }
    }

    /// Returns the length in bytes of one sample of one channel.
    #[must_use]
    pub const fn sample_width(self) -> usize {
        match self {
            Self::Pcmu => 1,
            Self::L16(_) => SAMPLE_BYTES,
        }
    }

    /// Returns the number of low bits that are zero in every decoded sample.
    pub(crate) const fn unused_bits(self) -> u32 {
        match self {
            Self::Pcmu => g711::UNUSED_BITS,
            Self::L16(_) => 0,
        }
    }

    /// Decodes `samples.len()` samples of the channel with index `channel` out of
    /// `channels` interleaved channels, and shifts them right by `shift` bits.
    ///
    /// The shift must be at most [`unused_bits`](Self::unused_bits).
    pub(crate) fn decode(
        self,
        kernels: &Kernels,
        frames: &[u8],
        (channel, channels): (usize, usize),
        shift: u32,
        samples: &mut [i16],
    ) {
        match (self, channels) {
            (Self::Pcmu, 1) => {
                (kernels.ulaw_decode)(&frames[..samples.len()], g711::UNUSED_BITS - shift, samples);
            }
            (Self::Pcmu, _) => {
                let frames = &frames.as_chunks().0[..samples.len()];
                (kernels.ulaw_decode_pairs)(frames, channel, g711::UNUSED_BITS - shift, samples);
            }
            (Self::L16(order), 1) => order.read(frames, samples),
            (Self::L16(order), _) => {
                let frames = frames.as_chunks::<SAMPLE_BYTES>().0.as_chunks::<2>().0;
                for (sample, frame) in samples.iter_mut().zip(frames) {
                    *sample = order.decode(frame[channel]);
                }
            }
        }
    }

    /// Encodes mono samples and writes them to the front of `bytes`.
    pub(crate) fn encode(self, kernels: &Kernels, samples: &[i16], bytes: &mut [u8]) {
        match self {
            Self::Pcmu => (kernels.ulaw_encode)(samples, bytes),
            Self::L16(order) => order.write(samples, bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::kernels;

    #[test]
    fn format_names_are_parsed_and_returned() {
        assert_eq!("PCMU".parse(), Ok(WireFormat::Pcmu));
        assert_eq!("L16".parse(), Ok(WireFormat::L16(ByteOrder::Little)));
        assert_eq!(
            "pcmu".parse::<WireFormat>(),
            Err(AudioError::UnknownFormat {
                name: "pcmu".into()
            })
        );
        assert_eq!(WireFormat::Pcmu.name(), "PCMU");
        assert_eq!(
            WireFormat::L16(ByteOrder::Little).with_byte_order(ByteOrder::Big),
            WireFormat::L16(ByteOrder::Big)
        );
    }

    #[test]
    fn one_channel_of_two_is_decoded() {
        let mut samples = [0; 2];
        let frames = [0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde, 0xf0];
        let kernels = kernels().expect("the environment names no unknown instruction set");
        WireFormat::L16(ByteOrder::Big).decode(kernels, &frames, (1, 2), 0, &mut samples);
        assert_eq!(samples, [0x5678, 0xdef0_u16 as i16]);
        let frames = [0xff, 0x80, 0xff, 0x00];
        WireFormat::Pcmu.decode(kernels, &frames, (1, 2), 0, &mut samples);
        assert_eq!(samples, [32124, -32124]);
        WireFormat::Pcmu.decode(kernels, &frames, (1, 2), 2, &mut samples);
        assert_eq!(samples, [8031, -8031]);
    }
}
