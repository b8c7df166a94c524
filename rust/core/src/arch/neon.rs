//! NEON: vectors of 8 samples. Every AArch64 CPU has NEON.

// Each method of the trait is one or two intrinsics. The trait's documentation states the contract.
#![allow(unsafe_op_in_unsafe_fn)]

use std::arch::aarch64::*;

use super::generic::{self, Vector};
use super::row::{Accumulator, Branches, OutputPositions, Segment};
use super::{Kernels, portable};

const LANES: usize = 8;

pub(super) fn kernels() -> &'static Kernels {
    static KERNELS: Kernels = Kernels {
        name: "neon",
        convolve,
        polyphase,
        interleave2,
        interleave3,
        deinterleave2,
        deinterleave3,
        ulaw_decode,
        ulaw_decode_pairs,
        ulaw_encode,
        // The kernels of the speech model are the portable functions, for which the compiler
        // generates NEON instructions.
        ..portable::KERNELS
    };
    &KERNELS
}

// SAFETY: the methods need NEON, which is part of AArch64.
unsafe impl Vector for int16x8_t {
    const LANES: usize = LANES;

    #[inline(always)]
    unsafe fn load(samples: &[i16], at: usize) -> Self {
        debug_assert!(at + Self::LANES <= samples.len());
        // SAFETY: the caller ensures `at + LANES <= samples.len()`.
        unsafe { vld1q_s16(samples.as_ptr().add(at)) }
    }

    #[inline(always)]
    unsafe fn store(self, samples: &mut [i16], at: usize) {
        debug_assert!(at + Self::LANES <= samples.len());
        // SAFETY: the caller ensures `at + LANES <= samples.len()`.
        unsafe { vst1q_s16(samples.as_mut_ptr().add(at), self) }
    }

    #[inline(always)]
    unsafe fn splat(value: i32) -> Self {
        vreinterpretq_s16_s32(vdupq_n_s32(value))
    }

    #[inline(always)]
    unsafe fn multiply_add(self, inputs: Self, taps: Self) -> Self {
        let low = vmull_s16(vget_low_s16(inputs), vget_low_s16(taps));
        let pairs = vpaddq_s32(low, vmull_high_s16(inputs, taps));
        vreinterpretq_s16_s32(vaddq_s32(vreinterpretq_s32_s16(self), pairs))
    }

    #[inline(always)]
    unsafe fn shift_right(self, bits: u32) -> Self {
        let left = vdupq_n_s32(-(bits as i32));
        vreinterpretq_s16_s32(vshlq_s32(vreinterpretq_s32_s16(self), left))
    }

    #[inline(always)]
    unsafe fn total(self) -> i32 {
        vaddvq_s32(vreinterpretq_s32_s16(self))
    }

    #[inline(always)]
    unsafe fn pack(even: Self, odd: Self) -> Self {
        let even = vqmovn_s32(vreinterpretq_s32_s16(even));
        let odd = vqmovn_s32(vreinterpretq_s32_s16(odd));
        vcombine_s16(vzip1_s16(even, odd), vzip2_s16(even, odd))
    }
}

fn convolve(segments: &[Segment<'_>], scales: Accumulator, outputs: &mut [i16]) {
    // SAFETY: every AArch64 CPU has NEON.
    let done = unsafe { generic::wide_blocks::<int16x8_t>(segments, scales, outputs, 0) };
    // SAFETY: every AArch64 CPU has NEON.
    let done = unsafe { generic::single_vectors::<int16x8_t>(segments, scales, outputs, done) };
    portable::convolve_from(done, segments, scales, outputs);
}

fn polyphase(branches: &Branches, positions: OutputPositions, inputs: &[i16], outputs: &mut [i16]) {
    // SAFETY: every AArch64 CPU has NEON.
    unsafe { generic::polyphase::<int16x8_t>(branches, positions, inputs, outputs) }
}

fn interleave2([first, second]: [&[i16]; 2], shift: u32, outputs: &mut [i16]) {
    let count = (outputs.len() / 2).min(first.len()).min(second.len());
    let mut done = 0;
    while count - done >= LANES {
        // SAFETY: `first` and `second` have at least `LANES` samples from index `done`; `outputs`
        // has at least `2 * LANES` samples from index `2 * done`.
        unsafe {
            let a = shifted(int16x8_t::load(first, done), shift);
            let both = int16x8x2_t(a, int16x8_t::load(second, done));
            vst2q_s16(outputs.as_mut_ptr().add(2 * done), both);
        }
        done += LANES;
    }
    let rest = [&first[done..], &second[done..]];
    portable::interleave2(rest, shift, &mut outputs[2 * done..]);
}

fn interleave3([first, second, third]: [&[i16]; 3], shift: u32, outputs: &mut [i16]) {
    let count = (outputs.len() / 3).min(first.len());
    let count = count.min(second.len()).min(third.len());
    let mut done = 0;
    while count - done >= LANES {
        // SAFETY: `first`, `second` and `third` have at least `LANES` samples from index `done`;
        // `outputs` has at least `3 * LANES` samples from index `3 * done`.
        unsafe {
            let a = shifted(int16x8_t::load(first, done), shift);
            let (b, c) = (int16x8_t::load(second, done), int16x8_t::load(third, done));
            vst3q_s16(outputs.as_mut_ptr().add(3 * done), int16x8x3_t(a, b, c));
        }
        done += LANES;
    }
    let rest = [&first[done..], &second[done..], &third[done..]];
    portable::interleave3(rest, shift, &mut outputs[3 * done..]);
}

#[target_feature(enable = "neon")]
fn shifted(samples: int16x8_t, left: u32) -> int16x8_t {
    vshlq_s16(samples, vdupq_n_s16(left as i16))
}

fn deinterleave2(inputs: &[i16], [first, second]: [&mut [i16]; 2]) {
    let count = (inputs.len() / 2).min(first.len()).min(second.len());
    let mut done = 0;
    while count - done >= LANES {
        // SAFETY: `inputs` has at least `2 * LANES` samples from index `2 * done`; `first` and
        // `second` have at least `LANES` samples from index `done`.
        unsafe {
            let int16x8x2_t(even, odd) = vld2q_s16(inputs.as_ptr().add(2 * done));
            even.store(first, done);
            odd.store(second, done);
        }
        done += LANES;
    }
    let rest = [&mut first[done..], &mut second[done..]];
    portable::deinterleave2(&inputs[2 * done..], rest);
}

fn deinterleave3(inputs: &[i16], [first, second, third]: [&mut [i16]; 3]) {
    let count = (inputs.len() / 3).min(first.len());
    let count = count.min(second.len()).min(third.len());
    let mut done = 0;
    while count - done >= LANES {
        // SAFETY: `inputs` has at least `3 * LANES` samples from index `3 * done`; `first`,
        // `second` and `third` have at least `LANES` samples from index `done`.
        unsafe {
            let int16x8x3_t(a, b, c) = vld3q_s16(inputs.as_ptr().add(3 * done));
            a.store(first, done);
            b.store(second, done);
            c.store(third, done);
        }
        done += LANES;
    }
    let rest = [&mut first[done..], &mut second[done..], &mut third[done..]];
    portable::deinterleave3(&inputs[3 * done..], rest);
}

fn ulaw_decode(codes: &[u8], shift: u32, samples: &mut [i16]) {
    let count = codes.len().min(samples.len());
    let mut done = 0;
    while count - done >= LANES {
        // SAFETY: `codes` and `samples` have at least `LANES` elements from index `done`.
        unsafe {
            let codes = vld1_u8(codes.as_ptr().add(done));
            shifted(decode(codes), shift).store(samples, done);
        }
        done += LANES;
    }
    portable::ulaw_decode(&codes[done..], shift, &mut samples[done..]);
}

fn ulaw_decode_pairs(frames: &[[u8; 2]], channel: usize, shift: u32, samples: &mut [i16]) {
    let count = frames.len().min(samples.len());
    let mut done = 0;
    while count - done >= LANES {
        // SAFETY: `frames` and `samples` have at least `LANES` elements from index `done`.
        unsafe {
            let uint8x8x2_t(left, right) = vld2_u8(frames.as_ptr().add(done).cast());
            let codes = if channel == 0 { left } else { right };
            shifted(decode(codes), shift).store(samples, done);
        }
        done += LANES;
    }
    portable::ulaw_decode_pairs(&frames[done..], channel, shift, &mut samples[done..]);
}

/// Decodes codes to 14-bit samples: `((2 m + 33) << segment) - 33`.
#[target_feature(enable = "neon")]
fn decode(codes: uint8x8_t) -> int16x8_t {
    // A mu-law code is transmitted with all bits inverted, including the sign bit.
    let inverted = vreinterpretq_s16_u16(vmovl_u8(vmvn_u8(codes)));
    let mantissa = vandq_s16(inverted, vdupq_n_s16(0x0f));
    let odd = vaddq_s16(vaddq_s16(mantissa, mantissa), vdupq_n_s16(33));
    let segment = vandq_s16(vshrq_n_s16::<4>(inverted), vdupq_n_s16(7));
    let magnitude = vsubq_s16(vshlq_s16(odd, segment), vdupq_n_s16(33));
    let negative = vtstq_s16(inverted, vdupq_n_s16(0x80));
    vbslq_s16(negative, vnegq_s16(magnitude), magnitude)
}

fn ulaw_encode(samples: &[i16], codes: &mut [u8]) {
    let count = samples.len().min(codes.len());
    let mut done = 0;
    while count - done >= LANES {
        // SAFETY: `codes` and `samples` have at least `LANES` elements from index `done`.
        unsafe {
            let encoded = encode(int16x8_t::load(samples, done));
            vst1_u8(codes.as_mut_ptr().add(done), encoded);
        }
        done += LANES;
    }
    portable::encode(&samples[done..], &mut codes[done..]);
}

/// Encodes samples to codes. The segment is the position of the highest bit that is set, and
/// the mantissa is the four bits below it.
#[target_feature(enable = "neon")]
fn encode(samples: int16x8_t) -> uint8x8_t {
    let linear = vshrq_n_s16::<2>(samples);
    let clipped = vminq_s16(vabsq_s16(linear), vdupq_n_s16(8158));
    let biased = vaddq_s16(clipped, vdupq_n_s16(33));
    // The smallest biased value, 33, has 10 leading zeros and belongs to segment 0.
    let segment = vsubq_s16(vdupq_n_s16(10), vclzq_s16(biased));
    let right = vnegq_s16(vaddq_s16(segment, vdupq_n_s16(1)));
    let mantissa = vandq_s16(vshlq_s16(biased, right), vdupq_n_s16(0x0f));
    let magnitude = vorrq_s16(vshlq_n_s16::<4>(segment), mantissa);
    let sign = vandq_s16(vshrq_n_s16::<15>(samples), vdupq_n_s16(0x80));
    vmvn_u8(vmovn_u16(vreinterpretq_u16_s16(vorrq_s16(magnitude, sign))))
}
