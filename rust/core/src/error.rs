//! The one error type.
//!
//! Rules: a variant per cause, carrying the offending values; the message names
//! them and says what to do instead.

use std::error::Error;
use std::fmt;

/// Why a request was refused. Whatever it was, no stream's state has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AudioError {
    /// A sample rate outside 1 to 4 294 967 295 Hz.
    RateOutOfRange {
        /// Which of the rates: `in_rate` or `out_rate`.
        parameter: &'static str,
        /// The rate asked for, in Hz.
        rate: i64,
    },
    /// Two rates whose reduced ratio needs a filter bank above
    /// [`MAX_BANK_COEFFICIENTS`](crate::MAX_BANK_COEFFICIENTS).
    BankTooLarge {
        /// Input rate in Hz.
        in_rate: u32,
        /// Output rate in Hz.
        out_rate: u32,
        /// Coefficients that the reduced ratio would need.
        coefficients: u64,
    },
    /// Two rates of which one is more than
    /// [`MAX_FACTOR`](crate::MAX_FACTOR) times the other.
    RatesTooFarApart {
        /// Input rate in Hz.
        in_rate: u32,
        /// Output rate in Hz.
        out_rate: u32,
    },
    /// The environment asks for an instruction set that this CPU or this build does
    /// not have.
    InstructionSet {
        /// The name given.
        name: String,
        /// The names that would do.
        available: Vec<&'static str>,
    },
    /// A format name other than `PCMU` and `L16`.
    UnknownFormat {
        /// The name given.
        name: String,
    },
    /// A byte order other than `little` and `big`.
    UnknownByteOrder {
        /// The name given.
        name: String,
    },
    /// A channel count other than 1 and 2.
    ChannelCount {
        /// The count asked for.
        channels: i64,
    },
    /// A sample width outside 1 to 4 bytes.
    SampleWidth {
        /// The width asked for, in bytes.
        sample_width: i64,
    },
    /// Input that ends in the middle of a frame (one sample of each channel).
    PartialFrame {
        /// Length of the input in bytes.
        length: usize,
        /// Bytes in one frame.
        frame: usize,
    },
    /// Two channels of different lengths, which cannot be interleaved.
    UnequalChannels {
        /// Length of the left channel in bytes.
        left: usize,
        /// Length of the right channel in bytes.
        right: usize,
    },
    /// An output buffer that is not exactly as long as the result.
    OutputLength {
        /// Bytes the result needs.
        expected: usize,
        /// Bytes the buffer has.
        actual: usize,
    },
    /// Another number of output buffers than the stream has channels.
    OutputCount {
        /// Channels of the stream.
        expected: usize,
        /// Buffers given.
        actual: usize,
    },
    /// A result longer than the address space allows.
    OutputTooLarge {
        /// Samples of one channel the input would become.
        samples: u128,
    },
}

impl fmt::Display for AudioError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RateOutOfRange { parameter, rate } => write!(
                f,
                "{parameter} must be from 1 to {} Hz, got {rate}",
                u32::MAX
            ),
            Self::BankTooLarge {
                in_rate,
                out_rate,
                coefficients,
            } => write!(
                f,
                "resampling {in_rate} Hz to {out_rate} Hz needs a filter bank of {coefficients} \
                 coefficients, the limit is {}; choose rates whose ratio reduces to smaller \
                 numbers, such as multiples of 100 Hz",
                crate::MAX_BANK_COEFFICIENTS
            ),
            Self::RatesTooFarApart { in_rate, out_rate } => write!(
                f,
                "resampling {in_rate} Hz to {out_rate} Hz changes the rate more than {} times, \
                 which is the limit; check the rates, or go there in two steps",
                crate::MAX_FACTOR
            ),
            Self::InstructionSet { name, available } => write!(
                f,
                "{}={name:?} names an instruction set that is not there; use one of {}, or \
                 unset it",
                crate::SIMD_VARIABLE,
                available.join(", ")
            ),
            Self::UnknownFormat { name } => {
                write!(f, "unknown audio format {name:?}; use \"PCMU\" or \"L16\"")
            }
            Self::UnknownByteOrder { name } => {
                write!(f, "unknown byte order {name:?}; use \"little\" or \"big\"")
            }
            Self::ChannelCount { channels } => write!(f, "channels must be 1 or 2, got {channels}"),
            Self::SampleWidth { sample_width } => write!(
                f,
                "sample_width must be 1, 2, 3 or 4 bytes, got {sample_width}"
            ),
            Self::PartialFrame { length, frame } => write!(
                f,
                "{length} bytes end in the middle of a frame; pass a multiple of {frame} bytes"
            ),
            Self::UnequalChannels { left, right } => write!(
                f,
                "left has {left} bytes and right has {right}; pad the shorter channel"
            ),
            Self::OutputLength { expected, actual } => write!(
                f,
                "the output buffer must have exactly {expected} bytes, it has {actual}"
            ),
            Self::OutputCount { expected, actual } => write!(
                f,
                "one output buffer per channel is needed: {expected}, got {actual}"
            ),
            Self::OutputTooLarge { samples } => write!(
                f,
                "the result would have {samples} samples, more than memory can hold; \
                 pass the audio in smaller pieces"
            ),
        }
    }
}

impl Error for AudioError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_name_the_value_and_the_remedy() {
        let error = AudioError::BankTooLarge {
            in_rate: 8_000,
            out_rate: 44_101,
            coefficients: 2_116_848,
        };
        let text = error.to_string();
        for part in ["8000 Hz", "44101 Hz", "2116848", "262144", "choose"] {
            assert!(text.contains(part), "{part} missing in {text}");
        }
        let text = AudioError::PartialFrame {
            length: 7,
            frame: 4,
        }
        .to_string();
        assert!(text.contains('7') && text.contains("multiple of 4"));
    }
}
