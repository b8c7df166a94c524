//! AVX2: vectors of 16 samples.
//!
//! Most AVX2 instructions work on two separate halves of 128 bits. The code works within the
//! halves. At the end it moves samples between the halves, with one permutation per vector.

// Each method of the trait is one or two intrinsics. The trait's documentation states the contract.
#![allow(unsafe_op_in_unsafe_fn)]

use std::arch::x86_64::*;

use super::dense::{self, Dense, PANEL, Rows};
use super::generic::{self, Vector};
use super::row::{Accumulator, Branches, OutputPositions, Segment};
use super::{Kernels, portable};

/// # Safety
/// The CPU must have AVX2 and FMA.
pub(super) unsafe fn kernels() -> &'static Kernels {
    static KERNELS: Kernels = Kernels {
        name: "avx2",
        convolve: |segments, scales, outputs| {
            // SAFETY: the caller of `kernels` ensures that the CPU has the instruction set.
            unsafe { convolve(segments, scales, outputs) }
        },
        polyphase: |branches, positions, inputs, outputs| {
            // SAFETY: the caller of `kernels` ensures that the CPU has the instruction set.
            unsafe { polyphase(branches, positions, inputs, outputs) }
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
        dense: |layer, inputs, from, outputs, to, rows| {
            // SAFETY: the caller of `kernels` ensures that the CPU has the instruction set.
            unsafe { dense(layer, inputs, from, outputs, to, rows) }
        },
        lstm_cell: |gates, cell, hidden| {
            // SAFETY: the caller of `kernels` ensures that the CPU has the instruction set.
            unsafe { lstm_cell(gates, cell, hidden) }
        },
    };
    &KERNELS
}

// SAFETY: the methods need only AVX2, and the trait requires callers to ensure AVX2.
unsafe impl Vector for __m256i {
    const LANES: usize = 16;

    #[inline(always)]
    unsafe fn load(samples: &[i16], at: usize) -> Self {
        debug_assert!(at + Self::LANES <= samples.len());
        // SAFETY: the caller ensures `at + LANES <= samples.len()`.
        unsafe { _mm256_loadu_si256(samples.as_ptr().add(at).cast()) }
    }

    #[inline(always)]
    unsafe fn store(self, samples: &mut [i16], at: usize) {
        debug_assert!(at + Self::LANES <= samples.len());
        // SAFETY: the caller ensures `at + LANES <= samples.len()`.
        unsafe { _mm256_storeu_si256(samples.as_mut_ptr().add(at).cast(), self) }
    }

    #[inline(always)]
    unsafe fn splat(value: i32) -> Self {
        _mm256_set1_epi32(value)
    }

    #[inline(always)]
    unsafe fn multiply_add(self, inputs: Self, taps: Self) -> Self {
        _mm256_add_epi32(self, _mm256_madd_epi16(inputs, taps))
    }

    #[inline(always)]
    unsafe fn shift_right(self, bits: u32) -> Self {
        _mm256_sra_epi32(self, _mm_cvtsi32_si128(bits as i32))
    }

    #[inline(always)]
    unsafe fn total(self) -> i32 {
        let low = _mm256_castsi256_si128(self);
        _mm_add_epi32(low, _mm256_extracti128_si256::<1>(self)).total()
    }

    #[inline(always)]
    unsafe fn pack(even: Self, odd: Self) -> Self {
        // Each half now holds four even outputs, then four odd outputs.
        let packed = _mm256_packs_epi32(even, odd);
        _mm256_unpacklo_epi16(packed, _mm256_shuffle_epi32::<0b01_00_11_10>(packed))
    }
}

#[target_feature(enable = "avx2")]
fn convolve(segments: &[Segment<'_>], scales: Accumulator, outputs: &mut [i16]) {
    convolve_from(0, segments, scales, outputs);
}

/// Computes the outputs of `convolve` from index `done` on.
#[target_feature(enable = "avx2")]
pub(super) fn convolve_from(
    done: usize,
    segments: &[Segment<'_>],
    scales: Accumulator,
    outputs: &mut [i16],
) {
    // SAFETY: this function enables AVX2.
    let done = unsafe { generic::wide_blocks::<__m256i>(segments, scales, outputs, done) };
    // SAFETY: this function enables AVX2.
    let done = unsafe { generic::single_vectors::<__m256i>(segments, scales, outputs, done) };
    portable::convolve_from(done, segments, scales, outputs);
}

#[target_feature(enable = "avx2")]
pub(super) fn polyphase(
    branches: &Branches,
    positions: OutputPositions,
    inputs: &[i16],
    outputs: &mut [i16],
) {
    // SAFETY: this function enables AVX2.
    unsafe { generic::polyphase::<__m256i>(branches, positions, inputs, outputs) }
}

#[target_feature(enable = "avx2")]
fn interleave2([first, second]: [&[i16]; 2], shift: u32, outputs: &mut [i16]) {
    let count = (outputs.len() / 2).min(first.len()).min(second.len());
    let shift_count = _mm_cvtsi32_si128(shift as i32);
    let mut done = 0;
    while count - done >= 16 {
        // SAFETY: `first` and `second` have at least 16 samples from index `done`; `outputs` has at
        // least 32 samples from index `2 * done`.
        unsafe {
            let a = _mm256_sll_epi16(__m256i::load(first, done), shift_count);
            let b = __m256i::load(second, done);
            let (low, high) = (_mm256_unpacklo_epi16(a, b), _mm256_unpackhi_epi16(a, b));
            _mm256_permute2x128_si256::<0x20>(low, high).store(outputs, 2 * done);
            _mm256_permute2x128_si256::<0x31>(low, high).store(outputs, 2 * done + 16);
        }
        done += 16;
    }
    let rest = [&first[done..], &second[done..]];
    portable::interleave2(rest, shift, &mut outputs[2 * done..]);
}

/// For `interleave3`: byte positions that move eight samples to every third position.
#[rustfmt::skip]
const SPREAD: [[i8; 16]; 3] = [
    [0, 1, 6, 7, 12, 13, 2, 3, 8, 9, 14, 15, 4, 5, 10, 11],
    [10, 11, 0, 1, 6, 7, 12, 13, 2, 3, 8, 9, 14, 15, 4, 5],
    [4, 5, 10, 11, 0, 1, 6, 7, 12, 13, 2, 3, 8, 9, 14, 15],
];

/// For `deinterleave3`: byte positions that order the samples that [`pick`] has selected.
#[rustfmt::skip]
const GATHER: [[i8; 16]; 3] = [
    [0, 1, 6, 7, 12, 13, 2, 3, 8, 9, 14, 15, 4, 5, 10, 11],
    [2, 3, 8, 9, 14, 15, 4, 5, 10, 11, 0, 1, 6, 7, 12, 13],
    [4, 5, 10, 11, 0, 1, 6, 7, 12, 13, 2, 3, 8, 9, 14, 15],
];

#[target_feature(enable = "avx2")]
fn both_halves(bytes: &[i8; 16]) -> __m256i {
    // SAFETY: `bytes` has 16 bytes.
    _mm256_broadcastsi128_si256(unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) })
}

/// Selects samples 0, 3, 6 of each half from `a`, 1, 4, 7 from `b` and 2, 5 from `c`.
#[target_feature(enable = "avx2")]
fn pick(a: __m256i, b: __m256i, c: __m256i) -> __m256i {
    let ab = _mm256_blend_epi16::<0b1001_0010>(a, b);
    _mm256_blend_epi16::<0b0010_0100>(ab, c)
}

#[target_feature(enable = "avx2")]
fn interleave3([first, second, third]: [&[i16]; 3], shift: u32, outputs: &mut [i16]) {
    let count = (outputs.len() / 3).min(first.len());
    let count = count.min(second.len()).min(third.len());
    let shift_count = _mm_cvtsi32_si128(shift as i32);
    let order = [
        both_halves(&SPREAD[0]),
        both_halves(&SPREAD[1]),
        both_halves(&SPREAD[2]),
    ];
    let mut done = 0;
    while count - done >= 16 {
        // SAFETY: `first`, `second` and `third` have at least 16 samples from index `done`;
        // `outputs` has at least 48 samples from index `3 * done`.
        unsafe {
            let a = _mm256_sll_epi16(__m256i::load(first, done), shift_count);
            let a = _mm256_shuffle_epi8(a, order[0]);
            let b = _mm256_shuffle_epi8(__m256i::load(second, done), order[1]);
            let c = _mm256_shuffle_epi8(__m256i::load(third, done), order[2]);
            let (x, y, z) = (pick(a, b, c), pick(b, c, a), pick(c, a, b));
            _mm256_permute2x128_si256::<0x20>(x, z).store(outputs, 3 * done);
            _mm256_permute2x128_si256::<0x30>(y, x).store(outputs, 3 * done + 16);
            _mm256_permute2x128_si256::<0x31>(z, y).store(outputs, 3 * done + 32);
        }
        done += 16;
    }
    let rest = [&first[done..], &second[done..], &third[done..]];
    portable::interleave3(rest, shift, &mut outputs[3 * done..]);
}

#[target_feature(enable = "avx2")]
fn deinterleave2(inputs: &[i16], [first, second]: [&mut [i16]; 2]) {
    let count = (inputs.len() / 2).min(first.len()).min(second.len());
    let mut done = 0;
    while count - done >= 16 {
        // SAFETY: `inputs` has at least 32 samples from index `2 * done`; `first` and `second` have
        // at least 16 samples from index `done`.
        unsafe {
            let a = __m256i::load(inputs, 2 * done);
            let b = __m256i::load(inputs, 2 * done + 16);
            let (even_a, even_b) = (low_halves(a), low_halves(b));
            let even = _mm256_packs_epi32(even_a, even_b);
            let odd = _mm256_packs_epi32(_mm256_srai_epi32::<16>(a), _mm256_srai_epi32::<16>(b));
            _mm256_permute4x64_epi64::<0b11_01_10_00>(even).store(first, done);
            _mm256_permute4x64_epi64::<0b11_01_10_00>(odd).store(second, done);
        }
        done += 16;
    }
    let rest = [&mut first[done..], &mut second[done..]];
    portable::deinterleave2(&inputs[2 * done..], rest);
}

/// Returns the lower sample of each pair, sign-extended to 32 bits.
#[target_feature(enable = "avx2")]
fn low_halves(pairs: __m256i) -> __m256i {
    _mm256_srai_epi32::<16>(_mm256_slli_epi32::<16>(pairs))
}

#[target_feature(enable = "avx2")]
fn deinterleave3(inputs: &[i16], [first, second, third]: [&mut [i16]; 3]) {
    let count = (inputs.len() / 3).min(first.len());
    let count = count.min(second.len()).min(third.len());
    let order = [
        both_halves(&GATHER[0]),
        both_halves(&GATHER[1]),
        both_halves(&GATHER[2]),
    ];
    let mut done = 0;
    while count - done >= 16 {
        // SAFETY: `inputs` has at least 48 samples from index `3 * done`; `first`, `second` and
        // `third` have at least 16 samples from index `done`.
        unsafe {
            let p = __m256i::load(inputs, 3 * done);
            let q = __m256i::load(inputs, 3 * done + 16);
            let r = __m256i::load(inputs, 3 * done + 32);
            // The low halves hold the first eight frames, and the high halves hold the last eight
            // frames.
            let x = _mm256_permute2x128_si256::<0x30>(p, q);
            let y = _mm256_permute2x128_si256::<0x21>(p, r);
            let z = _mm256_permute2x128_si256::<0x30>(q, r);
            _mm256_shuffle_epi8(pick(x, y, z), order[0]).store(first, done);
            _mm256_shuffle_epi8(pick(z, x, y), order[1]).store(second, done);
            _mm256_shuffle_epi8(pick(y, z, x), order[2]).store(third, done);
        }
        done += 16;
    }
    let rest = [&mut first[done..], &mut second[done..], &mut third[done..]];
    portable::deinterleave3(&inputs[3 * done..], rest);
}

#[target_feature(enable = "avx2")]
fn ulaw_decode(codes: &[u8], shift: u32, samples: &mut [i16]) {
    let count = codes.len().min(samples.len());
    let shift_count = _mm_cvtsi32_si128(shift as i32);
    let mut done = 0;
    while count - done >= 16 {
        // SAFETY: `codes` and `samples` have at least 16 elements from index `done`.
        unsafe {
            let codes = _mm_loadu_si128(codes.as_ptr().add(done).cast());
            let samples16 = decode16(_mm256_cvtepu8_epi16(codes));
            _mm256_sll_epi16(samples16, shift_count).store(samples, done);
        }
        done += 16;
    }
    portable::ulaw_decode(&codes[done..], shift, &mut samples[done..]);
}

#[target_feature(enable = "avx2")]
fn ulaw_decode_pairs(frames: &[[u8; 2]], channel: usize, shift: u32, samples: &mut [i16]) {
    let count = frames.len().min(samples.len());
    let shift_count = _mm_cvtsi32_si128(shift as i32);
    let mut done = 0;
    while count - done >= 16 {
        // SAFETY: `frames` and `samples` have at least 16 elements from index `done`.
        unsafe {
            let both = _mm256_loadu_si256(frames.as_ptr().add(done).cast());
            let codes = if channel == 0 {
                _mm256_and_si256(both, _mm256_set1_epi16(0xff))
            } else {
                _mm256_srli_epi16::<8>(both)
            };
            _mm256_sll_epi16(decode16(codes), shift_count).store(samples, done);
        }
        done += 16;
    }
    portable::ulaw_decode_pairs(&frames[done..], channel, shift, &mut samples[done..]);
}

/// Decodes sixteen codes, each in 16 bits, to 14-bit samples: `((2 m + 33) << segment) - 33`.
#[target_feature(enable = "avx2")]
fn decode16(codes: __m256i) -> __m256i {
    // Byte `n` of this table is 2 to the power of segment `n`. `shuffle_epi8` looks up bytes in each
    // half of 128 bits separately, so both halves must contain the table.
    let powers = _mm256_set1_epi64x(0x8040_2010_0804_0201_u64.cast_signed());
    // A mu-law code is transmitted with all bits inverted, including the sign bit.
    let inverted = _mm256_xor_si256(codes, _mm256_set1_epi16(0xff));
    let mantissa = _mm256_and_si256(inverted, _mm256_set1_epi16(0x0f));
    let odd = _mm256_add_epi16(_mm256_add_epi16(mantissa, mantissa), _mm256_set1_epi16(33));
    // The top bit of the high byte is set, so that the shuffle returns 0 for that byte.
    let segment = _mm256_and_si256(_mm256_srli_epi16::<4>(inverted), _mm256_set1_epi16(7));
    let segment = _mm256_or_si256(segment, _mm256_set1_epi16(0x8000_u16.cast_signed()));
    let power = _mm256_shuffle_epi8(powers, segment);
    let magnitude = _mm256_sub_epi16(_mm256_mullo_epi16(odd, power), _mm256_set1_epi16(33));
    // -1 where the sign bit is set, otherwise 0.
    let sign = _mm256_srai_epi16::<15>(_mm256_slli_epi16::<8>(inverted));
    _mm256_sub_epi16(_mm256_xor_si256(magnitude, sign), sign)
}

#[target_feature(enable = "avx2")]
fn ulaw_encode(samples: &[i16], codes: &mut [u8]) {
    let count = samples.len().min(codes.len());
    let mut done = 0;
    while count - done >= 32 {
        // SAFETY: `codes` and `samples` have at least 32 elements from index `done`.
        unsafe {
            let a = encode16(__m256i::load(samples, done));
            let b = encode16(__m256i::load(samples, done + 16));
            let packed = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packus_epi16(a, b));
            _mm256_storeu_si256(codes.as_mut_ptr().add(done).cast(), packed);
        }
        done += 32;
    }
    portable::encode(&samples[done..], &mut codes[done..]);
}

/// Encodes sixteen samples to codes, each in 16 bits. [`crate::g711`] describes the method.
#[target_feature(enable = "avx2")]
fn encode16(samples: __m256i) -> __m256i {
    let zero = _mm256_setzero_si256();
    let linear = _mm256_srai_epi16::<2>(samples);
    let clipped = _mm256_min_epi16(_mm256_abs_epi16(linear), _mm256_set1_epi16(8158));
    let biased = _mm256_add_epi16(clipped, _mm256_set1_epi16(33));
    let low = _mm256_cvtepi32_ps(_mm256_unpacklo_epi16(biased, zero));
    let high = _mm256_cvtepi32_ps(_mm256_unpackhi_epi16(biased, zero));
    let low = _mm256_srli_epi32::<19>(_mm256_castps_si256(low));
    let high = _mm256_srli_epi32::<19>(_mm256_castps_si256(high));
    let magnitude = _mm256_sub_epi16(_mm256_packus_epi32(low, high), _mm256_set1_epi16(132 << 4));
    let sign = _mm256_and_si256(_mm256_srai_epi16::<15>(samples), _mm256_set1_epi16(0x80));
    let code = _mm256_or_si256(magnitude, sign);
    _mm256_xor_si256(code, _mm256_set1_epi16(0xff))
}

/// Number of floats in a vector.
const FLOATS: usize = 8;
/// Number of vectors in a panel of a dense layer.
const VECTORS: usize = PANEL / FLOATS;

#[target_feature(enable = "avx2,fma")]
pub(super) fn dense(
    layer: &Dense,
    inputs: &[f32],
    from: Rows,
    outputs: &mut [f32],
    to: Rows,
    rows: usize,
) {
    for (panel, weights) in layer.panels().enumerate() {
        let mut row = 0;
        // The sums of two rows, and the weights of one input, fit in the registers.
        while rows - row >= 2 {
            let sums = weighted_sums::<2, 1>(weights, inputs, from, row);
            store_panel(sums, layer.rectify, outputs, to, row, panel);
            row += 2;
        }
        if row < rows {
            // One row has few sums. Each sum is computed in two parts, which hides the latency of
            // the instructions.
            let sums = weighted_sums::<1, 2>(weights, inputs, from, row);
            store_panel(sums, layer.rectify, outputs, to, row, panel);
        }
    }
}

/// Returns the outputs of a panel for `ROWS` rows of inputs. Each sum is computed in `PARTS` parts.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn weighted_sums<const ROWS: usize, const PARTS: usize>(
    (weights, bias): (&[[f32; PANEL]], &[f32; PANEL]),
    inputs: &[f32],
    from: Rows,
    row: usize,
) -> [[__m256; VECTORS]; ROWS] {
    let rows: [&[f32]; ROWS] =
        std::array::from_fn(|number| &inputs[from.start(row + number)..][..weights.len()]);
    let mut sums = [[[_mm256_setzero_ps(); VECTORS]; ROWS]; PARTS];
    sums[0] = [load_panel(bias); ROWS];
    let (groups, rest) = weights.as_chunks::<PARTS>();
    for (group, weights) in groups.iter().enumerate() {
        for (part, (sums, weights)) in sums.iter_mut().zip(weights).enumerate() {
            add_products(sums, weights, &rows, group * PARTS + part);
        }
    }
    for (place, weights) in rest.iter().enumerate() {
        add_products(&mut sums[0], weights, &rows, groups.len() * PARTS + place);
    }
    let mut total = sums[0];
    for part in &sums[1..] {
        for (total, part) in total.as_flattened_mut().iter_mut().zip(part.as_flattened()) {
            *total = _mm256_add_ps(*total, *part);
        }
    }
    total
}

/// Adds the products of the input `at` of each row with its weights.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn add_products<const ROWS: usize>(
    sums: &mut [[__m256; VECTORS]; ROWS],
    weights: &[f32; PANEL],
    rows: &[&[f32]; ROWS],
    at: usize,
) {
    let weights = load_panel(weights);
    for (sums, row) in sums.iter_mut().zip(rows) {
        let input = _mm256_set1_ps(row[at]);
        for (sum, weights) in sums.iter_mut().zip(weights) {
            *sum = _mm256_fmadd_ps(weights, input, *sum);
        }
    }
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn load_panel(panel: &[f32; PANEL]) -> [__m256; VECTORS] {
    let vectors = panel.as_chunks::<FLOATS>().0;
    // SAFETY: `vectors[vector]` has `FLOATS` floats, which fill one vector.
    std::array::from_fn(|vector| unsafe { _mm256_loadu_ps(vectors[vector].as_ptr()) })
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn store_panel<const ROWS: usize>(
    sums: [[__m256; VECTORS]; ROWS],
    rectify: bool,
    outputs: &mut [f32],
    to: Rows,
    row: usize,
    panel: usize,
) {
    for (number, sums) in sums.into_iter().enumerate() {
        let outputs = &mut outputs[to.start(row + number) + panel * PANEL..][..PANEL];
        for (sum, outputs) in sums.into_iter().zip(outputs.as_chunks_mut::<FLOATS>().0) {
            let sum = if rectify {
                _mm256_max_ps(sum, _mm256_setzero_ps())
            } else {
                sum
            };
            // SAFETY: `outputs` has `FLOATS` floats, which is the length of one vector.
            unsafe { _mm256_storeu_ps(outputs.as_mut_ptr(), sum) };
        }
    }
}

#[target_feature(enable = "avx2,fma")]
pub(super) fn lstm_cell(gates: &[f32], cell: &mut [f32], hidden: &mut [f32]) {
    dense::lstm_cell(gates, cell, hidden);
}
