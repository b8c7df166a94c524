//! The inner loops, once for each instruction set.
//!
//! [`portable`] says in plain Rust what each kernel computes; it runs wherever
//! nothing better is known, and the others are tested against it at every length
//! and alignment. [`generic`] is the convolution over a [`generic::Vector`], and one
//! file for each instruction set supplies that trait and what else it does better.
//!
//! Rules:
//!
//! * All `unsafe` of the crate is in this folder. What leaves it is a table of safe
//!   functions, handed out only after the CPU has been asked.
//! * All arithmetic is on integers and exact, so every set gives the same bytes
//!   for any division of the input, and sums may run in any order.
//! * A kernel takes slices of any length and any alignment.

#![allow(unsafe_code)]
// What needs an instruction set must become part of a function that has it.
#![allow(clippy::inline_always)]
// Vectors are called what they are called on paper.
#![allow(clippy::many_single_char_names, clippy::similar_names)]
// An instruction set has hundreds of functions, whose prefix says where they are from.
#![allow(clippy::wildcard_imports)]

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

pub(crate) use row::{Accumulator, Branches, GROUP, Row, Segment, Walk};
pub(crate) use select::kernels;
pub use select::{SIMD_VARIABLE, instruction_set};

/// What one instruction set can do.
pub(crate) struct Kernels {
    /// The name that the environment variable takes.
    pub(crate) name: &'static str,
    /// For each output `i`: the sum over the segments of each row's taps times
    /// `inputs[i..]`, rounded and saturated as the accumulator says.
    ///
    /// Each segment needs [`Row::reach`] inputs more than there are outputs.
    pub(crate) convolve: fn(&[Segment<'_>], Accumulator, &mut [i16]),
    /// For each output: the dot product of the branch and the inputs where the walk
    /// has come to.
    pub(crate) polyphase: fn(&Branches, Walk, &[i16], &mut [i16]),
    /// Interleaves two planes; the first is shifted left on the way.
    pub(crate) interleave2: fn([&[i16]; 2], u32, &mut [i16]),
    /// Interleaves three planes; the first is shifted left on the way.
    pub(crate) interleave3: fn([&[i16]; 3], u32, &mut [i16]),
    /// Deals samples out to two planes.
    pub(crate) deinterleave2: fn(&[i16], [&mut [i16]; 2]),
    /// Deals samples out to three planes.
    pub(crate) deinterleave3: fn(&[i16], [&mut [i16]; 3]),
    /// Decodes mu-law to 14-bit samples, shifted left.
    pub(crate) ulaw_decode: fn(&[u8], u32, &mut [i16]),
    /// The same for one channel of two.
    pub(crate) ulaw_decode_pairs: fn(&[[u8; 2]], usize, u32, &mut [i16]),
    /// Encodes 16-bit samples to mu-law.
    pub(crate) ulaw_encode: fn(&[i16], &mut [u8]),
}
