//! SSE2: vectors of 8 samples. Every x86-64 CPU has SSE2.

// Each method of the trait is one or two intrinsics. The trait's documentation states the contract.
#![allow(unsafe_op_in_unsafe_fn)]

use std::arch::x86_64::*;

use super::generic::{self, Vector};
use super::row::{Accumulator, Branches, OutputPositions, Segment};
use super::{Kernels, portable};

pub(super) fn kernels() -> &'static Kernels {
    static KERNELS: Kernels = Kernels {
        name: "sse2",
        convolve,
        polyphase,
        // For the other kernels the compiler's code for SSE2 is as fast as hand-written code.
        ..portable::KERNELS
    };
    &KERNELS
}

// SAFETY: the methods need SSE2, which is part of x86-64.
unsafe impl Vector for __m128i {
    const LANES: usize = 8;

    #[inline(always)]
    unsafe fn load(samples: &[i16], at: usize) -> Self {
        debug_assert!(at + Self::LANES <= samples.len());
        // SAFETY: the caller ensures `at + LANES <= samples.len()`.
        unsafe { _mm_loadu_si128(samples.as_ptr().add(at).cast()) }
    }

    #[inline(always)]
    unsafe fn store(self, samples: &mut [i16], at: usize) {
        debug_assert!(at + Self::LANES <= samples.len());
        // SAFETY: the caller ensures `at + LANES <= samples.len()`.
        unsafe { _mm_storeu_si128(samples.as_mut_ptr().add(at).cast(), self) }
    }

    #[inline(always)]
    unsafe fn splat(value: i32) -> Self {
        _mm_set1_epi32(value)
    }

    #[inline(always)]
    unsafe fn multiply_add(self, inputs: Self, taps: Self) -> Self {
        _mm_add_epi32(self, _mm_madd_epi16(inputs, taps))
    }

    #[inline(always)]
    unsafe fn shift_right(self, bits: u32) -> Self {
        _mm_sra_epi32(self, _mm_cvtsi32_si128(bits as i32))
    }

    #[inline(always)]
    unsafe fn total(self) -> i32 {
        let sums = _mm_add_epi32(self, _mm_shuffle_epi32::<0b01_00_11_10>(self));
        let sums = _mm_add_epi32(sums, _mm_shuffle_epi32::<0b10_11_00_01>(sums));
        _mm_cvtsi128_si32(sums)
    }

    #[inline(always)]
    unsafe fn pack(even: Self, odd: Self) -> Self {
        let packed = _mm_packs_epi32(even, odd);
        _mm_unpacklo_epi16(packed, _mm_shuffle_epi32::<0b01_00_11_10>(packed))
    }
}

fn convolve(segments: &[Segment<'_>], scales: Accumulator, outputs: &mut [i16]) {
    // SAFETY: every x86-64 CPU has SSE2.
    let done = unsafe { generic::wide_blocks::<__m128i>(segments, scales, outputs, 0) };
    // SAFETY: every CPU with x86-64 has SSE2.
    let done = unsafe { generic::single_vectors::<__m128i>(segments, scales, outputs, done) };
    portable::convolve_from(done, segments, scales, outputs);
}

fn polyphase(branches: &Branches, positions: OutputPositions, inputs: &[i16], outputs: &mut [i16]) {
    // SAFETY: every x86-64 CPU has SSE2.
    unsafe { generic::polyphase::<__m128i>(branches, positions, inputs, outputs) }
}
