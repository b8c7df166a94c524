//! The inner loops, with one implementation per instruction set.
//!
//! [`portable`] defines in plain Rust what each kernel computes. This code runs on every CPU. The
//! tests compare every implementation with reference functions, at many lengths and alignments.
//! [`generic`] has the two convolution kernels, for any type that implements [`generic::Vector`].
//! One file per instruction set implements [`generic::Vector`] and further kernels.
//!
//! Rules:
//!
//! * All `unsafe` code of the crate is in this folder. The rest of the crate gets a table
//!   of safe functions. The table is selected after a check of the CPU's features.
//! * All arithmetic on samples is on integers and exact, so every instruction set gives the same
//!   bytes, and sums may run in any order. Only the layers of the speech model, in [`dense`], are
//!   sums of f32, which differ between instruction sets by rounding errors.
//! * A kernel accepts slices of any length and any alignment.

#![allow(unsafe_code)]
// Intrinsics must be inlined into a function that enables their instruction set.
#![allow(clippy::inline_always)]
// Variables that hold vectors have short names, as in mathematical notation.
#![allow(clippy::many_single_char_names, clippy::similar_names)]
// The prefix of an intrinsic's name shows its instruction set.
#![allow(clippy::wildcard_imports)]

mod dense;
mod generic;
mod portable;
mod row;
mod select;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
#[cfg(target_arch = "x86_64")]
mod sse2;

#[cfg(test)]
mod tests;

pub(crate) use dense::{Dense, Rows};
pub(crate) use row::{Accumulator, Branches, GROUP, OutputPositions, Row, Segment};
pub(crate) use select::kernels;
pub use select::{SIMD_VARIABLE, instruction_set};

/// The kernels of one instruction set.
pub(crate) struct Kernels {
    /// Name of the instruction set, as in the environment variable `PIPECAT_GENESYS_SIMD`.
    pub(crate) name: &'static str,
    /// Convolves the inputs of each segment with the taps of its row, and adds the results of all
    /// segments. Output `i` uses the inputs from index `i` on. The sums are scaled, rounded and
    /// saturated as the accumulator defines.
    ///
    /// The number of inputs of each segment must be at least the number of outputs plus
    /// [`Row::reach`].
    pub(crate) convolve: fn(&[Segment<'_>], Accumulator, &mut [i16]),
    /// Computes each output as the dot product of the taps of one branch and consecutive inputs.
    /// The positions contain, for each output, the branch and the index of its first input.
    pub(crate) polyphase: fn(&Branches, OutputPositions, &[i16], &mut [i16]),
    /// Interleaves two planes of samples. The samples of the first plane are shifted left by the
    /// given number of bits.
    pub(crate) interleave2: fn([&[i16]; 2], u32, &mut [i16]),
    /// Interleaves three planes of samples. The samples of the first plane are shifted left by the
    /// given number of bits.
    pub(crate) interleave3: fn([&[i16]; 3], u32, &mut [i16]),
    /// Deinterleaves samples into two planes.
    pub(crate) deinterleave2: fn(&[i16], [&mut [i16]; 2]),
    /// Deinterleaves samples into three planes.
    pub(crate) deinterleave3: fn(&[i16], [&mut [i16]; 3]),
    /// Decodes mu-law to 14-bit samples and shifts the samples left by the given number of bits.
    pub(crate) ulaw_decode: fn(&[u8], u32, &mut [i16]),
    /// Decodes one channel of two-channel mu-law, and shifts the samples as `ulaw_decode` does. The
    /// first number is the index of the channel.
    pub(crate) ulaw_decode_pairs: fn(&[[u8; 2]], usize, u32, &mut [i16]),
    /// Encodes 16-bit samples to mu-law.
    pub(crate) ulaw_encode: fn(&[i16], &mut [u8]),
    /// Computes a dense layer: one row of outputs for each row of inputs. The last number is the
    /// number of rows.
    pub(crate) dense: fn(&Dense, &[f32], Rows, &mut [f32], Rows, usize),
    /// Computes the cells and the hidden state of an LSTM from its gates, which are in the order
    /// input, forget, cell, output.
    pub(crate) lstm_cell: fn(&[f32], &mut [f32], &mut [f32]),
}

impl std::fmt::Debug for Kernels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}
