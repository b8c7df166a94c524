//! The two convolution kernels, generic over the vector type of an instruction set.
//!
//! `convolve` uses the same taps for every output. A vector of inputs is multiplied with a
//! pair of taps and adjacent products are added, which gives terms of the outputs of even
//! index. The pair of taps that is shifted by one gives terms of the outputs of odd index.
//! One load of inputs therefore gives terms of the outputs of even and of odd index, and the inputs
//! need not be shuffled.
//!
//! `polyphase` uses different taps for each output, so each output is a dot product.

use super::row::{self, Accumulator, Branches, GROUP, OutputPositions, Segment, Taps};

/// A vector of 16-bit samples, or of half as many 32-bit sums.
///
/// # Safety
///
/// The caller of any method must ensure that the CPU has the instruction set.
pub(super) unsafe trait Vector: Copy {
    /// Number of 16-bit samples in a vector.
    const LANES: usize;

    /// Loads the samples from index `at` on.
    ///
    /// # Safety
    /// `at + LANES` must be at most the slice's length.
    unsafe fn load(samples: &[i16], at: usize) -> Self;
    /// Stores the samples from index `at` on.
    ///
    /// # Safety
    /// `at + LANES` must be at most the slice's length.
    unsafe fn store(self, samples: &mut [i16], at: usize);
    /// Returns a vector with the same 32 bits in every lane.
    unsafe fn splat(value: i32) -> Self;
    /// Adds to each 32-bit sum the two products of a pair of inputs with a pair of taps.
    unsafe fn multiply_add(self, inputs: Self, taps: Self) -> Self;
    /// Shifts the 32-bit sums right arithmetically.
    unsafe fn shift_right(self, bits: u32) -> Self;
    /// Returns the total of all 32-bit sums.
    unsafe fn total(self) -> i32;
    /// Saturates the sums to 16 bits. The result has the sums of `even` at even indices, and the
    /// sums of `odd` at odd indices.
    unsafe fn pack(even: Self, odd: Self) -> Self;
}

/// Number of output vectors in a wide block. This number of sums hides the latency of the
/// multiplications and still fits in registers.
const WIDE: usize = 5;

/// Computes [`super::Kernels::convolve`] from output `done` on, in wide blocks, while enough
/// outputs remain for a block. Returns the index of the next output.
///
/// # Safety
/// The CPU must have the instruction set of `V`.
#[inline(always)]
pub(super) unsafe fn wide_blocks<V: Vector>(
    segments: &[Segment<'_>],
    scales: Accumulator,
    outputs: &mut [i16],
    done: usize,
) -> usize {
    // SAFETY: the caller ensures that the CPU has the instruction set of `V`.
    unsafe { blocks::<V, WIDE>(segments, scales, outputs, done) }
}

/// Computes [`super::Kernels::convolve`] from output `done` on, in single vectors, while enough
/// outputs remain for a vector. Returns the index of the next output.
///
/// # Safety
/// The CPU must have the instruction set of `V`.
#[inline(always)]
pub(super) unsafe fn single_vectors<V: Vector>(
    segments: &[Segment<'_>],
    scales: Accumulator,
    outputs: &mut [i16],
    done: usize,
) -> usize {
    // SAFETY: the caller ensures that the CPU has the instruction set of `V`.
    unsafe { blocks::<V, 1>(segments, scales, outputs, done) }
}

/// Computes blocks of `N` vectors from output `done` on, while enough outputs remain for a block.
/// Returns the index of the next output.
///
/// # Safety
/// The CPU must have the instruction set of `V`.
#[inline(always)]
unsafe fn blocks<V: Vector, const N: usize>(
    segments: &[Segment<'_>],
    scales: Accumulator,
    outputs: &mut [i16],
    mut done: usize,
) -> usize {
    row::check(segments, outputs.len());
    while outputs.len() - done >= N * V::LANES {
        // SAFETY: the caller ensures that the CPU has the instruction set of `V`.
        unsafe { block::<V, N>(segments, scales, outputs, done) };
        done += N * V::LANES;
    }
    done
}

/// Computes `N` vectors of outputs from output `at` on.
///
/// # Safety
/// The CPU must have the instruction set of `V`.
#[inline(always)]
unsafe fn block<V: Vector, const N: usize>(
    segments: &[Segment<'_>],
    scales: Accumulator,
    outputs: &mut [i16],
    at: usize,
) {
    let outputs = &mut outputs[at..at + N * V::LANES];
    // SAFETY: the caller ensures that the CPU has the instruction set of `V`. The stores are within
    // `outputs`, which has `N * V::LANES` samples.
    unsafe {
        let mut sums = [[V::splat(scales.start()); 2]; N];
        for segment in segments {
            accumulate(&mut sums, &segment.row.fine, segment.inputs, at);
        }
        for [even, odd] in &mut sums {
            *even = even.shift_right(scales.to_coarse());
            *odd = odd.shift_right(scales.to_coarse());
        }
        for segment in segments {
            accumulate(&mut sums, &segment.row.coarse, segment.inputs, at);
        }
        for (n, [even, odd]) in sums.into_iter().enumerate() {
            let even = even.shift_right(scales.to_sample());
            let odd = odd.shift_right(scales.to_sample());
            V::pack(even, odd).store(outputs, n * V::LANES);
        }
    }
}

/// Multiplies the inputs with the fine or the coarse parts of a row's taps, and adds the products
/// to the sums. The first sum is for the output with index `at`.
///
/// # Safety
/// The CPU must have the instruction set of `V`.
#[inline(always)]
unsafe fn accumulate<V: Vector, const N: usize>(
    sums: &mut [[V; 2]; N],
    taps: &Taps,
    inputs: &[i16],
    at: usize,
) {
    let Some((last, pairs)) = taps.pairs.split_last() else {
        return;
    };
    let inputs = &inputs[at + taps.first..];
    // The loop below reads N vectors per pair. Each pair starts two inputs after the previous pair.
    assert!(inputs.len() >= N * V::LANES + 2 * pairs.len());
    // SAFETY: the caller ensures that the CPU has the instruction set of `V`. The assertion ensures
    // that every load is within `inputs`.
    unsafe {
        for (p, pair) in pairs.iter().enumerate() {
            let (even, odd) = (V::splat(pair.even), V::splat(pair.odd));
            for (n, [even_sum, odd_sum]) in sums.iter_mut().enumerate() {
                let inputs = V::load(inputs, n * V::LANES + 2 * p);
                *even_sum = even_sum.multiply_add(inputs, even);
                *odd_sum = odd_sum.multiply_add(inputs, odd);
            }
        }
        // The last pair is only for the outputs of odd index.
        let odd = V::splat(last.odd);
        for (n, [_, odd_sum]) in sums.iter_mut().enumerate() {
            let inputs = V::load(inputs, n * V::LANES + 2 * pairs.len());
            *odd_sum = odd_sum.multiply_add(inputs, odd);
        }
    }
}

/// Computes [`super::Kernels::polyphase`].
///
/// # Safety
/// The CPU must have the instruction set of `V`.
#[inline(always)]
pub(super) unsafe fn polyphase<V: Vector>(
    branches: &Branches,
    positions: OutputPositions,
    inputs: &[i16],
    outputs: &mut [i16],
) {
    const { assert!(GROUP.is_multiple_of(V::LANES)) };
    assert!(branches.taps.is_multiple_of(GROUP));
    for (output, (branch, oldest)) in outputs.iter_mut().zip(positions) {
        let (all_fine, all_coarse) = branches.branch(branch);
        let all_inputs = &inputs[oldest..][..branches.taps];
        let mut sum = 0;
        for from in (0..branches.taps).step_by(Branches::SUMMED) {
            let to = branches.taps.min(from + Branches::SUMMED);
            let (inputs, fine) = (&all_inputs[from..to], &all_fine[from..to]);
            let coarse = &all_coarse[from..to];
            // SAFETY: the caller ensures that the CPU has the instruction set of `V`. `inputs`,
            // `fine` and `coarse` have the same length, which is a multiple of `V::LANES`.
            unsafe {
                let [mut fine_sum, mut coarse_sum] = [V::splat(0); 2];
                for at in (0..inputs.len()).step_by(V::LANES) {
                    let inputs = V::load(inputs, at);
                    fine_sum = fine_sum.multiply_add(inputs, V::load(fine, at));
                    coarse_sum = coarse_sum.multiply_add(inputs, V::load(coarse, at));
                }
                sum += i64::from(fine_sum.total());
                sum += i64::from(coarse_sum.total()) << Branches::TO_FINE;
            }
        }
        *output = Branches::round(sum);
    }
}
