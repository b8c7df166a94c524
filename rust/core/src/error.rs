//! The error type of the crate.
//!
//! Rule: each cause has its own variant, which holds the rejected values. The message
//! names these values and the remedy.

use std::error::Error;
use std::fmt;

/// The reason why a function failed. A function that returns an error does not change the state of
/// any stream.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AudioError {
    /// A sample rate outside 1 to 4 294 967 295 Hz.
    RateOutOfRange {
        /// Name of the rejected parameter: `in_rate` or `out_rate`.
        parameter: &'static str,
        /// The rejected rate in Hz.
        rate: i64,
    },
    /// Two rates whose reduced ratio needs a filter bank of more than
    /// [`MAX_BANK_COEFFICIENTS`](crate::MAX_BANK_COEFFICIENTS) coefficients.
    BankTooLarge {
        /// Input rate in Hz.
        in_rate: u32,
        /// Output rate in Hz.
        out_rate: u32,
        /// Number of coefficients that the reduced ratio needs.
        coefficients: u64,
    },
    /// Two rates, one of which is more than [`MAX_FACTOR`](crate::MAX_FACTOR) times the
    /// other.
    RatesTooFarApart {
        /// Input rate in Hz.
        in_rate: u32,
        /// Output rate in Hz.
        out_rate: u32,
    },
    /// An input rate for speech windows other than 8000 and 16 000 Hz.
    SpeechRate {
        /// The rejected rate in Hz.
        in_rate: u32,
    },
    /// A loudness filter that is unstable, or a number of blocks outside 1 to
    /// [`MAX_BLOCKS`](crate::MAX_BLOCKS).
    LoudnessFilter,
    /// A constant of the speech model whose length differs from the expected length.
    SpeechWeights {
        /// Name of the constant.
        name: &'static str,
        /// Expected number of values.
        expected: usize,
        /// Number of values passed.
        actual: usize,
    },
    /// The environment variable `PIPECAT_GENESYS_SIMD` names an instruction set that this CPU or
    /// this build does not have.
    InstructionSet {
        /// The rejected name.
        name: String,
        /// The names that this CPU and this build accept.
        available: Vec<&'static str>,
    },
    /// A format name other than `PCMU` and `L16`.
    UnknownFormat {
        /// The rejected name.
        name: String,
    },
    /// A byte order other than `little` and `big`.
    UnknownByteOrder {
        /// The rejected name.
        name: String,
    },
    /// A channel count other than 1 and 2.
    ChannelCount {
        /// The rejected number of channels.
        channels: i64,
    },
    /// A sample width outside 1 to 4 bytes.
    SampleWidth {
        /// The rejected width in bytes.
        sample_width: i64,
    },
    /// Input that ends in the middle of a frame (one sample of each channel).
    PartialFrame {
        /// Length of the input in bytes.
        length: usize,
        /// Length of one frame in bytes.
        frame: usize,
    },
    /// Two channels of different lengths, which cannot be interleaved.
    UnequalChannels {
        /// Length of the left channel in bytes.
        left: usize,
        /// Length of the right channel in bytes.
        right: usize,
    },
    /// An output buffer whose length differs from the length of the result.
    OutputLength {
        /// Length of the result in bytes.
        expected: usize,
        /// Length of the buffer in bytes.
        actual: usize,
    },
    /// A number of output buffers that differs from the number of channels.
    OutputCount {
        /// Number of channels of the stream.
        expected: usize,
        /// Number of buffers passed.
        actual: usize,
    },
    /// A result that is longer than the address space allows.
    OutputTooLarge {
        /// Number of samples of one channel in the result.
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
                 which is the limit; check the rates, or resample in two steps",
                crate::MAX_FACTOR
            ),
            Self::SpeechRate { in_rate } => write!(
                f,
                "speech windows need audio at 8000 or 16000 Hz, got {in_rate} Hz; resample the \
                 audio first"
            ),
            Self::LoudnessFilter => write!(
                f,
                "the loudness filter needs two stable sections of finite coefficients and from \
                 1 to {} blocks",
                crate::MAX_BLOCKS
            ),
            Self::SpeechWeights {
                name,
                expected,
                actual,
            } => write!(
                f,
                "the {name} of the speech model must have {expected} values, got {actual}; \
                 pass the constants of the Silero model at 8 kHz"
            ),
            Self::InstructionSet { name, available } => write!(
                f,
                "{}={name:?} names an instruction set that this CPU or this build does not \
                 have; use one of {}, or unset the variable",
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
                "the left channel has {left} bytes, the right channel has {right}; pad the \
                 shorter channel"
            ),
            Self::OutputLength { expected, actual } => write!(
                f,
                "the output buffer must have exactly {expected} bytes, got {actual}"
            ),
            Self::OutputCount { expected, actual } => write!(
                f,
                "pass one output buffer per channel: expected {expected} buffers, got {actual}"
            ),
            Self::OutputTooLarge { samples } => write!(
                f,
                "the result has {samples} samples, more than memory can hold; pass the audio \
                 in smaller pieces"
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
