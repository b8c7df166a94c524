//! AVX-512 (BW and VNNI): vectors of 32 samples.
//!
//! A VNNI instruction multiplies and adds, and a CPU can start two such instructions per cycle.
//! Because of the latency of this instruction, ten sums must be computed in parallel. The AVX2 code
//! computes the outputs that do not fill a whole block of ten sums.

// Each method of the trait is one or two intrinsics. The trait's documentation states the contract.
#![allow(unsafe_op_in_unsafe_fn)]

use std::arch::x86_64::*;

use super::generic::{self, Vector};
use super::row::{Accumulator, Segment};
use super::{Kernels, avx2, portable};

const LANES: usize = 32;

/// # Safety
/// The CPU must have AVX-512BW and AVX-512VNNI, which imply AVX-512F and AVX2, and FMA.
pub(super) unsafe fn kernels() -> &'static Kernels {
    static KERNELS: Kernels = Kernels {
        name: "avx512",
        convolve: |segments, scales, outputs| {
            // SAFETY: the caller of `kernels` ensures that the CPU has the instruction set.
            unsafe { convolve(segments, scales, outputs) }
        },
        // Most branches have only 48 taps, which fill three vectors of AVX2, so the AVX2 kernel is
        // used.
        polyphase: |branches, positions, inputs, outputs| {
            // SAFETY: the caller of `kernels` ensures that the CPU has the instruction set.
            unsafe { avx2::polyphase(branches, positions, inputs, outputs) }
        },
        interleave2: |planes, shift, outputs| {
            // SAFETY: the caller of `kernels` ensures that the CPU has the instruction set.
            unsafe { interleave2(planes, shift, outputs) }
        },
        interleave3: |planes, shift, outputs| {
            // SAFETY: the caller of `kernels` ensures that the CPU has the instruction set.
            unsafe { interleave3(planes, shift, outputs) }
        },
        deinterleave2: |inputs, planes| {
            // SAFETY: the caller of `kernels` ensures that the CPU has the instruction set.
            unsafe { deinterleave2(inputs, planes) }
        },
        deinterleave3: |inputs, planes| {
            // SAFETY: the caller of `kernels` ensures that the CPU has the instruction set.
            unsafe { deinterleave3(inputs, planes) }
        },
        ulaw_decode: |codes, shift, samples| {
            // SAFETY: the caller of `kernels` ensures that the CPU has the instruction set.
            unsafe { ulaw_decode(codes, shift, samples) }
        },
        ulaw_decode_pairs: |frames, channel, shift, samples| {
            // SAFETY: the caller of `kernels` ensures that the CPU has the instruction set.
            unsafe { ulaw_decode_pairs(frames, channel, shift, samples) }
        },
        ulaw_encode: |samples, codes| {
            // SAFETY: the caller of `kernels` ensures that the CPU has the instruction set.
            unsafe { ulaw_encode(samples, codes) }
        },
        // Reading the weights takes most of the time, so the AVX2 kernels are used.
        dense: |layer, inputs, from, outputs, to, rows| {
            // SAFETY: the caller of `kernels` ensures that the CPU has the instruction set.
            unsafe { avx2::dense(layer, inputs, from, outputs, to, rows) }
        },
        lstm_cell: |gates, cell, hidden| {
            // SAFETY: the caller of `kernels` ensures that the CPU has the instruction set.
            unsafe { avx2::lstm_cell(gates, cell, hidden) }
        },
    };
    &KERNELS
}

// SAFETY: the methods need only AVX-512F, BW and VNNI, and the trait requires callers to ensure
// these instruction sets.
unsafe impl Vector for __m512i {
    const LANES: usize = LANES;

    #[inline(always)]
    unsafe fn load(samples: &[i16], at: usize) -> Self {
        debug_assert!(at + Self::LANES <= samples.len());
        // SAFETY: the caller ensures `at + LANES <= samples.len()`.
        unsafe { _mm512_loadu_si512(samples.as_ptr().add(at).cast()) }
    }

    #[inline(always)]
    unsafe fn store(self, samples: &mut [i16], at: usize) {
        debug_assert!(at + Self::LANES <= samples.len());
        // SAFETY: the caller ensures `at + LANES <= samples.len()`.
        unsafe { _mm512_storeu_si512(samples.as_mut_ptr().add(at).cast(), self) }
    }

    #[inline(always)]
    unsafe fn splat(value: i32) -> Self {
        _mm512_set1_epi32(value)
    }

    #[inline(always)]
    unsafe fn multiply_add(self, inputs: Self, taps: Self) -> Self {
        _mm512_dpwssd_epi32(self, inputs, taps)
    }

    #[inline(always)]
    unsafe fn shift_right(self, bits: u32) -> Self {
        _mm512_sra_epi32(self, _mm_cvtsi32_si128(bits as i32))
    }

    #[inline(always)]
    unsafe fn total(self) -> i32 {
        _mm512_reduce_add_epi32(self)
    }

    #[inline(always)]
    unsafe fn pack(even: Self, odd: Self) -> Self {
        // Each quarter now holds four even outputs, then four odd outputs.
        let packed = _mm512_packs_epi32(even, odd);
        _mm512_unpacklo_epi16(packed, _mm512_shuffle_epi32::<0b01_00_11_10>(packed))
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn convolve(segments: &[Segment<'_>], scales: Accumulator, outputs: &mut [i16]) {
    // SAFETY: this function enables the instruction sets that the vector needs.
    let done = unsafe { generic::wide_blocks::<__m512i>(segments, scales, outputs, 0) };
    avx2::convolve_from(done, segments, scales, outputs);
}

/// Returns the plane, and the index in that plane, of sample `index` of interleaved planes.
const fn interleaved(planes: usize, index: usize) -> (usize, usize) {
    (index % planes, index / planes)
}

/// Returns, for each output vector, the index of each sample in the concatenation of the first two
/// planes. The index is 0 for samples from a third plane.
const fn interleaved_places<const PLANES: usize>() -> [[i16; LANES]; PLANES] {
    let mut places = [[0; LANES]; PLANES];
    let mut index = 0;
    while index < PLANES * LANES {
        let (plane, place) = interleaved(PLANES, index);
        if plane < 2 {
            places[index / LANES][index % LANES] = (plane * LANES + place) as i16;
        }
        index += 1;
    }
    places
}

/// For each output vector of three interleaved planes, the index of each sample in the third plane,
/// and a mask of the samples that come from that plane.
const THIRD: ([[i16; LANES]; 3], [u32; 3]) = {
    let (mut places, mut masks) = ([[0; LANES]; 3], [0; 3]);
    let mut index = 0;
    while index < 3 * LANES {
        let (plane, place) = interleaved(3, index);
        if plane == 2 {
            places[index / LANES][index % LANES] = place as i16;
            masks[index / LANES] |= 1 << (index % LANES);
        }
        index += 1;
    }
    (places, masks)
};

const TWO: [[i16; LANES]; 2] = interleaved_places::<2>();
const THREE: [[i16; LANES]; 3] = interleaved_places::<3>();

#[target_feature(enable = "avx512f,avx512bw")]
fn interleave2([first, second]: [&[i16]; 2], shift: u32, outputs: &mut [i16]) {
    let count = (outputs.len() / 2).min(first.len()).min(second.len());
    let shift_count = _mm_cvtsi32_si128(shift as i32);
    let mut done = 0;
    while count - done >= LANES {
        // SAFETY: `first` and `second` have at least `LANES` samples from index `done`; `outputs`
        // has at least `2 * LANES` samples from index `2 * done`. Each index table has `LANES`
        // elements.
        unsafe {
            let a = _mm512_sll_epi16(__m512i::load(first, done), shift_count);
            let b = __m512i::load(second, done);
            for (n, places) in TWO.iter().enumerate() {
                let places = __m512i::load(places, 0);
                let both = _mm512_permutex2var_epi16(a, places, b);
                both.store(outputs, 2 * done + n * LANES);
            }
        }
        done += LANES;
    }
    let rest = [&first[done..], &second[done..]];
    portable::interleave2(rest, shift, &mut outputs[2 * done..]);
}

#[target_feature(enable = "avx512f,avx512bw")]
fn interleave3([first, second, third]: [&[i16]; 3], shift: u32, outputs: &mut [i16]) {
    let count = (outputs.len() / 3).min(first.len());
    let count = count.min(second.len()).min(third.len());
    let shift_count = _mm_cvtsi32_si128(shift as i32);
    let mut done = 0;
    while count - done >= LANES {
        // SAFETY: `first`, `second` and `third` have at least `LANES` samples from index `done`;
        // `outputs` has at least `3 * LANES` samples from index `3 * done`. Each index table has
        // `LANES` elements.
        unsafe {
            let a = _mm512_sll_epi16(__m512i::load(first, done), shift_count);
            let (b, c) = (__m512i::load(second, done), __m512i::load(third, done));
            for (n, two) in THREE.iter().enumerate() {
                let two = _mm512_permutex2var_epi16(a, __m512i::load(two, 0), b);
                let places = __m512i::load(&THIRD.0[n], 0);
                let all = _mm512_mask_permutexvar_epi16(two, THIRD.1[n], places, c);
                all.store(outputs, 3 * done + n * LANES);
            }
        }
        done += LANES;
    }
    let rest = [&first[done..], &second[done..], &third[done..]];
    portable::interleave3(rest, shift, &mut outputs[3 * done..]);
}

/// Returns, for each plane, the indices of its samples in the interleaved vectors.
const fn deinterleaved_places<const PLANES: usize>() -> [[i16; LANES]; PLANES] {
    let mut places = [[0; LANES]; PLANES];
    let mut index = 0;
    while index < PLANES * LANES {
        let (plane, place) = interleaved(PLANES, index);
        places[plane][place] = index as i16;
        index += 1;
    }
    places
}

const DEINTERLEAVED_TWO: [[i16; LANES]; 2] = deinterleaved_places::<2>();
const DEINTERLEAVED_THREE: [[i16; LANES]; 3] = deinterleaved_places::<3>();

#[target_feature(enable = "avx512f,avx512bw")]
fn deinterleave2(inputs: &[i16], [first, second]: [&mut [i16]; 2]) {
    let count = (inputs.len() / 2).min(first.len()).min(second.len());
    let mut done = 0;
    while count - done >= LANES {
        // SAFETY: `inputs` has at least `2 * LANES` samples from index `2 * done`; `first` and
        // `second` have at least `LANES` samples from index `done`. Each index table has `LANES`
        // elements.
        unsafe {
            let a = __m512i::load(inputs, 2 * done);
            let b = __m512i::load(inputs, 2 * done + LANES);
            let [even, odd] = &DEINTERLEAVED_TWO;
            _mm512_permutex2var_epi16(a, __m512i::load(even, 0), b).store(first, done);
            _mm512_permutex2var_epi16(a, __m512i::load(odd, 0), b).store(second, done);
        }
        done += LANES;
    }
    let rest = [&mut first[done..], &mut second[done..]];
    portable::deinterleave2(&inputs[2 * done..], rest);
}

#[target_feature(enable = "avx512f,avx512bw")]
fn deinterleave3(inputs: &[i16], [first, second, third]: [&mut [i16]; 3]) {
    let count = (inputs.len() / 3).min(first.len());
    let count = count.min(second.len()).min(third.len());
    let limit = _mm512_set1_epi16(2 * LANES as i16);
    let mut done = 0;
    while count - done >= LANES {
        // SAFETY: `inputs` has at least `3 * LANES` samples from index `3 * done`; `first`,
        // `second` and `third` have at least `LANES` samples from index `done`. Each index table
        // has `LANES` elements.
        unsafe {
            let a = __m512i::load(inputs, 3 * done);
            let b = __m512i::load(inputs, 3 * done + LANES);
            let c = __m512i::load(inputs, 3 * done + 2 * LANES);
            let planes = [&mut *first, &mut *second, &mut *third];
            for (places, plane) in DEINTERLEAVED_THREE.iter().zip(planes) {
                let places = __m512i::load(places, 0);
                // A permutation ignores the index bits above its number of lanes.
                let two = _mm512_permutex2var_epi16(a, places, b);
                let in_third = _mm512_cmpge_epi16_mask(places, limit);
                let all = _mm512_mask_permutexvar_epi16(two, in_third, places, c);
                all.store(plane, done);
            }
        }
        done += LANES;
    }
    let rest = [&mut first[done..], &mut second[done..], &mut third[done..]];
    portable::deinterleave3(&inputs[3 * done..], rest);
}

#[target_feature(enable = "avx512f,avx512bw")]
fn ulaw_decode(codes: &[u8], shift: u32, samples: &mut [i16]) {
    let count = codes.len().min(samples.len());
    let mut done = 0;
    while count - done >= LANES {
        // SAFETY: `codes` and `samples` have at least `LANES` elements from index `done`.
        unsafe {
            let codes = _mm256_loadu_si256(codes.as_ptr().add(done).cast());
            decode(_mm512_cvtepu8_epi16(codes), shift).store(samples, done);
        }
        done += LANES;
    }
    portable::ulaw_decode(&codes[done..], shift, &mut samples[done..]);
}

#[target_feature(enable = "avx512f,avx512bw")]
fn ulaw_decode_pairs(frames: &[[u8; 2]], channel: usize, shift: u32, samples: &mut [i16]) {
    let count = frames.len().min(samples.len());
    let mut done = 0;
    while count - done >= LANES {
        // SAFETY: `frames` and `samples` have at least `LANES` elements from index `done`.
        unsafe {
            let both = _mm512_loadu_si512(frames.as_ptr().add(done).cast());
            let codes = if channel == 0 {
                _mm512_and_si512(both, _mm512_set1_epi16(0xff))
            } else {
                _mm512_srli_epi16::<8>(both)
            };
            decode(codes, shift).store(samples, done);
        }
        done += LANES;
    }
    portable::ulaw_decode_pairs(&frames[done..], channel, shift, &mut samples[done..]);
}

/// Decodes codes, each in 16 bits, to 14-bit samples, `((2 m + 33) << segment) - 33`, and
/// shifts the samples left by `shift` bits.
#[target_feature(enable = "avx512f,avx512bw")]
fn decode(codes: __m512i, shift: u32) -> __m512i {
    // A mu-law code is transmitted with all bits inverted, including the sign bit.
    let inverted = _mm512_xor_si512(codes, _mm512_set1_epi16(0xff));
    let mantissa = _mm512_and_si512(inverted, _mm512_set1_epi16(0x0f));
    let bias = _mm512_set1_epi16(33);
    let odd = _mm512_add_epi16(_mm512_add_epi16(mantissa, mantissa), bias);
    let segment = _mm512_and_si512(_mm512_srli_epi16::<4>(inverted), _mm512_set1_epi16(7));
    let magnitude = _mm512_sub_epi16(_mm512_sllv_epi16(odd, segment), bias);
    let negative = _mm512_test_epi16_mask(inverted, _mm512_set1_epi16(0x80));
    let zero = _mm512_setzero_si512();
    let sample = _mm512_mask_sub_epi16(magnitude, negative, zero, magnitude);
    _mm512_sll_epi16(sample, _mm_cvtsi32_si128(shift as i32))
}

#[target_feature(enable = "avx512f,avx512bw")]
fn ulaw_encode(samples: &[i16], codes: &mut [u8]) {
    let count = samples.len().min(codes.len());
    let mut done = 0;
    while count - done >= LANES {
        // SAFETY: `codes` and `samples` have at least `LANES` elements from index `done`.
        unsafe {
            let encoded = _mm512_cvtepi16_epi8(encode(__m512i::load(samples, done)));
            _mm256_storeu_si256(codes.as_mut_ptr().add(done).cast(), encoded);
        }
        done += LANES;
    }
    portable::encode(&samples[done..], &mut codes[done..]);
}

/// Encodes samples to codes, each in 16 bits. [`crate::g711`] describes the method.
#[target_feature(enable = "avx512f,avx512bw")]
fn encode(samples: __m512i) -> __m512i {
    let zero = _mm512_setzero_si512();
    let linear = _mm512_srai_epi16::<2>(samples);
    let clipped = _mm512_min_epi16(_mm512_abs_epi16(linear), _mm512_set1_epi16(8158));
    let biased = _mm512_add_epi16(clipped, _mm512_set1_epi16(33));
    let low = _mm512_cvtepi32_ps(_mm512_unpacklo_epi16(biased, zero));
    let high = _mm512_cvtepi32_ps(_mm512_unpackhi_epi16(biased, zero));
    let low = _mm512_srli_epi32::<19>(_mm512_castps_si512(low));
    let high = _mm512_srli_epi32::<19>(_mm512_castps_si512(high));
    let magnitude = _mm512_sub_epi16(_mm512_packus_epi32(low, high), _mm512_set1_epi16(132 << 4));
    let sign = _mm512_and_si512(_mm512_srai_epi16::<15>(samples), _mm512_set1_epi16(0x80));
    let code = _mm512_or_si512(magnitude, sign);
    _mm512_xor_si512(code, _mm512_set1_epi16(0xff))
}
