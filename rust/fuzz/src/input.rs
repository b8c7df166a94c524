//! What the fuzzer chooses.

use arbitrary::{Arbitrary, Result, Unstructured};
use audiohook_audio::{ByteOrder, WireFormat};

/// Most bytes of audio in one run: many pieces of work for every filter.
const MOST_BYTES: usize = 24_000;

/// A sample rate in Hz: mostly one in use, else a small one, whose ratios are small,
/// or any at all.
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

/// An encoding of the wire.
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
    /// The crate's name of it.
    #[must_use]
    pub fn wire(self) -> WireFormat {
        match self {
            Self::Pcmu => WireFormat::Pcmu,
            Self::Little => WireFormat::L16(ByteOrder::Little),
            Self::Big => WireFormat::L16(ByteOrder::Big),
        }
    }

    /// Bytes in one sample.
    #[must_use]
    pub fn width(self) -> usize {
        match self {
            Self::Pcmu => 1,
            Self::Little | Self::Big => 2,
        }
    }
}

/// Bytes of audio, whatever they mean.
#[derive(Arbitrary, Debug)]
pub enum Audio {
    /// Chosen one by one.
    Bytes(Vec<u8>),
    /// Noise: long audio from a short input.
    Noise {
        /// Of the generator.
        seed: u32,
        /// In bytes.
        length: u16,
        /// Whether samples are at the ends of the range, which overflows what can.
        clipped: bool,
    },
    /// A few bytes over and over: tones, squares and constants.
    Again {
        /// One period.
        period: [u8; 8],
        /// How much of it there is.
        used: u8,
        /// In bytes.
        length: u16,
    },
}

impl Audio {
    /// The bytes.
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
            Self::Again {
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

/// What is done with a stream, one thing after the other.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Step {
    /// So many frames are processed, fewer if there are no more.
    Take(u16),
    /// The same, for the small numbers that matter most.
    TakeFew(u8),
    /// So many frames and so many bytes too many, which must be refused.
    PartialFrame(u8, u8),
    /// An output buffer of a wrong length, or a wrong number of them; must be refused.
    WrongOutput(u8, i8),
    /// What is in the filter is taken out.
    Flush,
    /// All is forgotten.
    Reset,
    /// The stream goes on as a copy of itself.
    Clone,
}
