//! The inner loops: convolution of a block, dot product, rounding.
//!
//! Rules:
//!
//! * Every output is a sum in one fixed order, whatever block it falls into and
//!   wherever it lies in the block. Only so do all divisions of the input give
//!   the same samples, on every machine.
//! * Each loop is a small function of its own, never inlined, with constant
//!   bounds: inlined into their callers these loops stop vectorising.

/// Taps of one row of an integer factor's bank.
pub(crate) const TAPS: usize = 48;
/// Outputs that [`convolve`] makes at once: eight 128-bit vectors of sums, as
/// many as stay in registers on the x86-64 baseline.
pub(crate) const BLOCK: usize = 32;
/// Inputs that [`convolve`] reads.
pub(crate) const REACH: usize = BLOCK + TAPS - 1;
/// Partial sums of [`dot`].
pub(crate) const LANES: usize = 16;

/// Adds `row` convolved with `inputs` to `sums`: for each output, oldest first.
#[inline(never)]
pub(crate) fn convolve(row: &[f32; TAPS], inputs: &[f32; REACH], sums: &mut [f32; BLOCK]) {
    let mut local = *sums;
    for (inputs, tap) in inputs.windows(BLOCK).zip(row) {
        for (sum, input) in local.iter_mut().zip(inputs) {
            *sum += tap * input;
        }
    }
    *sums = local;
}

/// Dot product of whole groups: lane by lane, then the lanes in halves.
#[inline(never)]
pub(crate) fn dot(branch: &[[f32; LANES]], inputs: &[[f32; LANES]]) -> f32 {
    let mut lanes = [0.0; LANES];
    for (taps, inputs) in branch.iter().zip(inputs) {
        for ((lane, tap), input) in lanes.iter_mut().zip(taps).zip(inputs) {
            *lane += tap * input;
        }
    }
    let mut width = LANES;
    while width > 1 {
        width /= 2;
        for lane in 0..width {
            lanes[lane] += lanes[lane + width];
        }
    }
    lanes[0]
}

/// Nearest 16-bit sample, ties to even; beyond full scale it saturates.
#[inline]
pub(crate) fn round(value: f32) -> i16 {
    // Adding 1.5 * 2^23 leaves the rounded integer in the low bits of the float.
    const TO_INTEGER: f32 = 12_582_912.0;
    let clamped = value.clamp(f32::from(i16::MIN), f32::from(i16::MAX));
    (clamped + TO_INTEGER).to_bits() as i16
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(seed: u32) -> f32 {
        let mixed = (seed ^ 0x9e37_79b9).wrapping_mul(2_654_435_761) >> 15;
        mixed as f32 / 65_536.0 - 1.0
    }

    #[test]
    fn convolve_is_the_textbook_sum() {
        let row: [f32; TAPS] = std::array::from_fn(|i| noise(i as u32));
        let inputs: [f32; REACH] = std::array::from_fn(|i| noise(1_000 + i as u32));
        let mut sums = [1.0; BLOCK];
        convolve(&row, &inputs, &mut sums);
        for (i, sum) in sums.iter().enumerate() {
            let exact: f64 = (0..TAPS)
                .map(|k| f64::from(row[k]) * f64::from(inputs[i + k]))
                .sum();
            assert!((f64::from(*sum) - 1.0 - exact).abs() < 1e-5);
        }
    }

    #[test]
    fn dot_is_the_textbook_sum() {
        let branch: [[f32; LANES]; 17] =
            std::array::from_fn(|i| std::array::from_fn(|j| noise((i * LANES + j) as u32)));
        let inputs: [[f32; LANES]; 17] =
            std::array::from_fn(|i| std::array::from_fn(|j| noise((9_999 + i * LANES + j) as u32)));
        let exact: f64 = branch
            .iter()
            .flatten()
            .zip(inputs.iter().flatten())
            .map(|(a, b)| f64::from(*a) * f64::from(*b))
            .sum();
        assert!((f64::from(dot(&branch, &inputs)) - exact).abs() < 1e-4);
    }

    #[test]
    fn rounds_to_nearest_and_saturates() {
        for (value, expected) in [
            (0.0, 0),
            (0.5, 0),
            (1.5, 2),
            (-0.5, 0),
            (-1.5, -2),
            (0.501, 1),
            (32_767.4, 32_767),
            (40_000.0, 32_767),
            (-40_000.0, -32_768),
            (f32::INFINITY, 32_767),
        ] {
            assert_eq!(round(value), expected, "{value}");
        }
        for sample in i16::MIN..=i16::MAX {
            assert_eq!(round(f32::from(sample)), sample);
        }
    }
}
