//! Conversion of real filter taps to the integers that the kernels multiply with.
//!
//! Rules:
//!
//! * The taps of a branch sum to exactly 1, so that a constant input gives the same
//!   constant as output.
//! * No sum overflows 32 bits for any input. This module asserts this rule.
//! * The error of the response stays 97 dB below a gain of 1 at every frequency.

use crate::arch::{Accumulator, Branches, Row};

/// Returns the number of fractional bits of the fine taps, for an output that is the sum of the
/// products of `taps` rounded taps. With this number of bits, the error of the response is 97 dB
/// below a gain of 1 at the worst frequency.
const fn fine_bits(taps: usize) -> u32 {
    match taps {
        0..=16 => 18,
        17..=96 => 19,
        _ => 20,
    }
}

/// Quantizes the rows of a bank. The products of each group of `together` rows are added to one
/// sum.
///
/// # Panics
/// If some input could overflow a sum in every scale that was tried. This never happens
/// for windowed sincs: the magnitudes of their taps sum to less than 2 when decimating
/// and to less than 3 when interpolating.
pub(crate) fn rows(
    rows: &[Vec<f64>],
    together: usize,
    input_shift: u32,
) -> (Box<[Row]>, Accumulator) {
    let taps = rows[0].len();
    // Only one tap of the row with the middle of the filter is not zero, so the taps of this row
    // are not counted.
    let fine_bits = fine_bits((together - 1).max(1) * taps);
    for half_width in 0..=taps / 2 {
        for coarse_bits in [15, 14, 13] {
            let scales = Accumulator {
                fine_bits,
                coarse_bits,
                input_shift,
            };
            let middle = taps / 2 - half_width..taps / 2 + half_width;
            let parts: Option<Vec<_>> = rows
                .chunks(together)
                .map(|rows| split(rows, scales, middle.clone()))
                .collect();
            if let Some(parts) = parts
                && parts.iter().all(|parts| fits(parts, scales))
            {
                let rows = parts.iter().flatten();
                let rows = rows.map(|(fine, coarse)| Row::new(fine, coarse)).collect();
                return (rows, scales);
            }
        }
    }
    unreachable!("the taps of a windowed sinc fit")
}

/// Fine and coarse parts of the taps of a row.
type Parts = (Vec<i16>, Vec<i16>);

/// Splits taps into fine and coarse parts. The products of all these rows are added to one sum.
/// Only the taps in the range `middle` get a coarse part. Returns `None` if a part does not fit
/// into 16 bits.
fn split(
    rows: &[Vec<f64>],
    scales: Accumulator,
    middle: std::ops::Range<usize>,
) -> Option<Vec<Parts>> {
    let to_fine = scales.fine_bits - scales.coarse_bits;
    let (mut largest, mut sum) = ((0, 0, 0.0), 0);
    let mut parts = Vec::new();
    for (r, row) in rows.iter().enumerate() {
        let (mut fine, mut coarse) = (Vec::new(), Vec::new());
        for (k, &tap) in row.iter().enumerate() {
            let units = (tap * f64::from(1 << scales.fine_bits)).round_ties_even() as i32;
            let high = if middle.contains(&k) {
                (units + (1 << (to_fine - 1))) >> to_fine
            } else {
                0
            };
            coarse.push(i16::try_from(high).ok()?);
            fine.push(i16::try_from(units - (high << to_fine)).ok()?);
            sum += units;
            if tap.abs() > largest.2 {
                largest = (r, k, tap.abs());
            }
        }
        parts.push((fine, coarse));
    }
    // The sum of the rounding errors is added to the largest tap, where the relative change is
    // the smallest.
    let missing = (1 << scales.fine_bits) - sum;
    let fine = &mut parts[largest.0].0[largest.1];
    *fine = i16::try_from(i32::from(*fine) + missing).ok()?;
    Some(parts)
}

/// Returns whether a 32-bit sum cannot overflow for any inputs. The sum has the products
/// of the inputs with the taps of all these rows. Intermediate sums are checked too.
fn fits(parts: &[Parts], scales: Accumulator) -> bool {
    let loudest = i64::from(1 << 15 >> scales.input_shift);
    let magnitude = |taps: &[i16]| taps.iter().map(|tap| i64::from(*tap).abs()).sum::<i64>();
    let fine: i64 = parts.iter().map(|(fine, _)| magnitude(fine)).sum();
    let coarse: i64 = parts.iter().map(|(_, coarse)| magnitude(coarse)).sum();
    let start = 1_i64 << scales.fine_bits;
    let fine = start + fine * loudest;
    let coarse = (fine >> (scales.fine_bits - scales.coarse_bits)) + 1 + coarse * loudest;
    // A tap of `i16::MIN` could overflow the sum of two products in the hardware.
    let lowest = |(fine, coarse): &Parts| fine.contains(&i16::MIN) || coarse.contains(&i16::MIN);
    fine < 1 << 31 && coarse < 1 << 31 && !parts.iter().any(lowest)
}

/// Quantizes branches for dot products. Every tap gets a fine and a coarse part.
///
/// # Panics
/// If some input could overflow the 32-bit sum of [`Branches::SUMMED`] products. This
/// never happens for windowed sincs.
pub(crate) fn branches(branches: &[Vec<f64>]) -> Branches {
    let (mut all_fine, mut all_coarse) = (Vec::new(), Vec::new());
    let scales = Accumulator {
        fine_bits: Branches::FINE_BITS,
        coarse_bits: Branches::FINE_BITS - Branches::TO_FINE,
        input_shift: 0,
    };
    for branch in branches {
        let parts = split(std::slice::from_ref(branch), scales, 0..branch.len());
        let (fine, coarse) = parts.expect("taps below 2 in magnitude").remove(0);
        for part in [&fine, &coarse] {
            for taps in part.chunks(Branches::SUMMED) {
                let sum: i64 = taps.iter().map(|tap| i64::from(*tap).abs()).sum();
                assert!(sum << 15 < 1 << 31, "a dot product could overflow");
            }
        }
        all_fine.extend(fine);
        all_coarse.extend(coarse);
    }
    Branches {
        taps: branches[0].len(),
        fine: all_fine.into(),
        coarse: all_coarse.into(),
    }
}
