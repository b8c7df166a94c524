//! The two kinds of convolution, over whatever vector an instruction set has.
//!
//! Where every output has the same taps, a vector of inputs multiplied with a pair of taps and added in pairs gives the
//! terms of the outputs of even index; with the taps moved by one, those of odd
//! index. So one load serves both, and no input is ever shuffled. Where every output
//! has taps of its own, it is a dot product.

use super::row::{self, Accumulator, Branches, GROUP, Segment, Taps, Walk};

/// A vector of 16-bit samples, or of half as many 32-bit sums.
///
/// # Safety
///
/// Every method may be called only where the instruction set is known to be there.
pub(super) unsafe trait Vector: Copy {
    /// 16-bit samples in a vector.
    const LANES: usize;

    /// The samples from `at` on.
    ///
    /// # Safety
    /// `at + LANES` is at most the slice's length.
    unsafe fn load(samples: &[i16], at: usize) -> Self;
    /// Writes the samples from `at` on.
    ///
    /// # Safety
    /// `at + LANES` is at most the slice's length.
    unsafe fn store(self, samples: &mut [i16], at: usize);
    /// The same 32 bits everywhere.
    unsafe fn splat(value: i32) -> Self;
    /// Adds to each 32-bit sum the two products of a pair of inputs and of taps.
    unsafe fn multiply_add(self, inputs: Self, taps: Self) -> Self;
    /// Shifts 32-bit sums right, keeping the sign.
    unsafe fn shift_right(self, bits: u32) -> Self;
    /// The sum of the 32-bit sums.
    unsafe fn total(self) -> i32;
    /// Saturates the sums to 16 bits: `even` to even indices, `odd` to odd ones.
    unsafe fn pack(even: Self, odd: Self) -> Self;
}

/// Vectors of outputs made at once: as many sums as hide the latencies and still
/// stay in registers.
const WIDE: usize = 5;

/// [`super::Kernels::convolve`] from output `done` on, in wide blocks while there are
/// enough outputs. Returns how many are done then.
///
/// # Safety
/// The instruction set of `V` must be there.
#[inline(always)]
pub(super) unsafe fn wide_blocks<V: Vector>(
    segments: &[Segment<'_>],
    scales: Accumulator,
    outputs: &mut [i16],
    done: usize,
) -> usize {
    // SAFETY: the caller vouches for the instruction set.
    unsafe { blocks::<V, WIDE>(segments, scales, outputs, done) }
}

/// The same in single vectors.
///
/// # Safety
/// The instruction set of `V` must be there.
#[inline(always)]
pub(super) unsafe fn single_vectors<V: Vector>(
    segments: &[Segment<'_>],
    scales: Accumulator,
    outputs: &mut [i16],
    done: usize,
) -> usize {
    // SAFETY: the caller vouches for the instruction set.
    unsafe { blocks::<V, 1>(segments, scales, outputs, done) }
}

/// Blocks of `N` vectors of outputs, from output `done` on, while there are enough.
///
/// # Safety
/// The instruction set of `V` must be there.
#[inline(always)]
unsafe fn blocks<V: Vector, const N: usize>(
    segments: &[Segment<'_>],
    scales: Accumulator,
    outputs: &mut [i16],
    mut done: usize,
) -> usize {
    row::check(segments, outputs.len());
    while outputs.len() - done >= N * V::LANES {
        // SAFETY: the caller vouches for the instruction set.
        unsafe { block::<V, N>(segments, scales, outputs, done) };
        done += N * V::LANES;
    }
    done
}

/// `N` vectors of outputs, from `at` on.
///
/// # Safety
/// The instruction set of `V` must be there.
#[inline(always)]
unsafe fn block<V: Vector, const N: usize>(
    segments: &[Segment<'_>],
    scales: Accumulator,
    outputs: &mut [i16],
    at: usize,
) {
    let outputs = &mut outputs[at..at + N * V::LANES];
    // SAFETY: the caller vouches for the instruction set, and the stores are within
    // the slice of N vectors above.
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

/// Adds the products of one part of a row.
///
/// # Safety
/// The instruction set of `V` must be there.
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
    // All that is read below: N vectors for each pair, two inputs further each time.
    assert!(inputs.len() >= N * V::LANES + 2 * pairs.len());
    // SAFETY: the caller vouches for the instruction set, the assertion for the length.
    unsafe {
        for (p, pair) in pairs.iter().enumerate() {
            let (even, odd) = (V::splat(pair.even), V::splat(pair.odd));
            for (n, [even_sum, odd_sum]) in sums.iter_mut().enumerate() {
                let inputs = V::load(inputs, n * V::LANES + 2 * p);
                *even_sum = even_sum.multiply_add(inputs, even);
                *odd_sum = odd_sum.multiply_add(inputs, odd);
            }
        }
        // The last pair is there for the outputs of odd index alone.
        let odd = V::splat(last.odd);
        for (n, [_, odd_sum]) in sums.iter_mut().enumerate() {
            let inputs = V::load(inputs, n * V::LANES + 2 * pairs.len());
            *odd_sum = odd_sum.multiply_add(inputs, odd);
        }
    }
}

/// [`super::Kernels::polyphase`].
///
/// # Safety
/// The instruction set of `V` must be there.
#[inline(always)]
pub(super) unsafe fn polyphase<V: Vector>(
    branches: &Branches,
    walk: Walk,
    inputs: &[i16],
    outputs: &mut [i16],
) {
    const { assert!(GROUP.is_multiple_of(V::LANES)) };
    assert!(branches.taps.is_multiple_of(GROUP));
    for (output, (branch, oldest)) in outputs.iter_mut().zip(walk) {
        let (all_fine, all_coarse) = branches.branch(branch);
        let all_inputs = &inputs[oldest..][..branches.taps];
        let mut sum = 0;
        for from in (0..branches.taps).step_by(Branches::SUMMED) {
            let to = branches.taps.min(from + Branches::SUMMED);
            let (inputs, fine) = (&all_inputs[from..to], &all_fine[from..to]);
            let coarse = &all_coarse[from..to];
            // SAFETY: the caller vouches for the instruction set; the three slices are
            // of one length, a whole number of vectors.
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
