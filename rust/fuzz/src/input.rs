//! The inputs that the fuzzer generates.

use arbitrary::{Arbitrary, Result, Unstructured};
use audiohook_audio::{ByteOrder, WireFormat};

/// Largest length of the audio of one run in bytes. Every filter divides audio of this length into
/// many pieces.
const MOST_BYTES: usize = 24_000;

/// A sample rate in Hz: mostly a rate that is frequent in audio, sometimes a small or an arbitrary
/// rate.
#[derive(Clone, Copy, Debug)]
pub struct Rate(pub u32);

impl<'a> Arbitrary<'a> for Rate {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        Ok(Self(match u.int_in_range(0..=9)? {
            0..=6 => *u.choose(&[
                8_000, 16_000, 24_000, 48_000, 44_100, 11_025, 12_000, 22_050, 32_000, 40_000,
                56_000, 64_000, 96_000,
            ])?,
            7 => u.int_in_range(0..=300)?,
            8 => u.int_in_range(0..=200_000)?,
            _ => u.arbitrary()?,
        }))
    }
}

/// An encoding of wire audio.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Format {
    /// G.711 mu-law.
    Pcmu,
    /// Linear 16-bit, least significant byte first.
    Little,
    /// Linear 16-bit, most significant byte first.
    Big,
}

impl Format {
    /// Returns the `WireFormat` for this encoding.
    #[must_use]
    pub fn wire(self) -> WireFormat {
        match self {
            Self::Pcmu => WireFormat::Pcmu,
            Self::Little => WireFormat::L16(ByteOrder::Little),
            Self::Big => WireFormat::L16(ByteOrder::Big),
        }
    }

    /// Returns the length of one sample in bytes.
    #[must_use]
    pub fn width(self) -> usize {
        match self {
            Self::Pcmu => 1,
            Self::Little | Self::Big => 2,
        }
    }
}

/// Audio as bytes, valid for every encoding.
#[derive(Arbitrary, Debug)]
pub enum Audio {
    /// Bytes that the fuzzer generates one by one.
    Bytes(Vec<u8>),
    /// Noise: long audio from a short fuzzer input.
    Noise {
        /// Seed of the generator.
        seed: u32,
        /// Length in bytes.
        length: u16,
        /// Whether all samples are at the ends of the range, to provoke overflows.
        clipped: bool,
    },
    /// A few bytes that are repeated: tones, square waves and constants.
    Repeated {
        /// The bytes of one period.
        period: [u8; 8],
        /// Number of bytes of `period` that are used, minus 1, modulo 8.
        used: u8,
        /// Length in bytes.
        length: u16,
    },
}

impl Audio {
    /// Returns the audio, at most 24 000 bytes.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Bytes(bytes) => bytes[..bytes.len().min(MOST_BYTES)].to_vec(),
            Self::Noise {
                seed,
                length,
                clipped,
            } => {
                let mut state = u64::from(*seed) << 1 | 1;
                let mut next = || {
                    state ^= state << 13;
                    state ^= state >> 7;
                    state ^= state << 17;
                    let loud = if state >> 63 == 0 {
                        [0xff, 0x7f]
                    } else {
                        [0, 0x80]
                    };
                    if *clipped {
                        loud
                    } else {
                        [state as u8, (state >> 8) as u8]
                    }
                };
                let length = usize::from(*length).min(MOST_BYTES);
                let pairs = (0..length.div_ceil(2)).flat_map(|_| next());
                pairs.take(length).collect()
            }
            Self::Repeated {
                period,
                used,
                length,
            } => {
                let period = &period[..=usize::from(*used) % period.len()];
                let length = usize::from(*length).min(MOST_BYTES);
                period.iter().copied().cycle().take(length).collect()
            }
        }
    }
}

/// One operation on a stream. A run is a list of operations.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Step {
    /// Process the given number of frames, or all remaining frames if there are fewer.
    Process(u16),
    /// Process the given number of frames. The smaller type makes small numbers frequent.
    ProcessFew(u8),
    /// Process the given number of frames and a part of one more frame. The second number selects
    /// the length of this part. The stream must reject the input.
    PartialFrame(u8, u8),
    /// Process the given number of frames into a buffer that is too long or too short by the given
    /// number of bytes. The stream must reject the buffer.
    WrongOutput(u8, i8),
    /// Flush the stream.
    Flush,
    /// Reset the stream.
    Reset,
    /// Replace the stream by a clone of itself.
    Clone,
}
