//! Filter banks: designed once per ratio, shared by every stream that uses it.
//!
//! The prototype is a sinc of 48 zero crossings, cut off (-6 dB) at half the
//! lower rate, under a Kaiser window. Its zeros fall on the samples of the lower
//! rate (a Nyquist filter), so an interpolator's phase 0 is a pure delay. Each
//! branch is scaled to a gain of exactly 1 at DC, which puts a zero of the
//! response on every image of DC.
//!
//! Rules: design in f64 with nothing but IEEE-exact operations (no `sin` of the
//! platform's), so that banks are the same on every machine; no entry outlives
//! the last stream that uses it, so odd ratios cannot pile up.

use std::collections::BTreeMap;
use std::f64::consts::PI;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::kernel::{LANES, TAPS};
use crate::ratio::{DELAY_SAMPLES, Ratio, SPAN};

/// Largest filter bank: 48 coefficients times the larger number of the reduced
/// ratio. It bounds a bank to 1 MiB and the time to design it to milliseconds.
pub const MAX_BANK_COEFFICIENTS: u64 = 1 << 18;

/// Shape of the Kaiser window: stopband 110 dB down (0.1102 * (110 - 8.7),
/// Kaiser's formula), well under the 98 dB that 16 bits resolve.
const KAISER_BETA: f64 = 11.16;
/// Largest integer factor that gets its own kernel.
pub(crate) const MAX_FACTOR: usize = 8;

/// How a bank's coefficients are laid out, and so which kernel reads them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// `out = in * factor`: row `r` is branch `r`, oldest tap first.
    Interpolate { factor: usize },
    /// `in = out * factor`: row `j` has the taps for every `factor`-th input
    /// from the `j`-th on, oldest first.
    Decimate { factor: usize },
    /// Any ratio: row `r` is branch `r`, oldest tap first, `taps` long.
    General { taps: usize },
}

/// The coefficients of one ratio.
#[derive(Debug)]
pub(crate) struct Bank {
    pub(crate) shape: Shape,
    /// Inputs that one output is made of.
    pub(crate) taps: usize,
    coefficients: Vec<f32>,
}

static BANKS: Mutex<BTreeMap<(u32, u32), Weak<Bank>>> = Mutex::new(BTreeMap::new());

impl Bank {
    /// The bank of `ratio`: the one in use, or a new one.
    pub(crate) fn shared(ratio: Ratio) -> Arc<Self> {
        let key = (ratio.up, ratio.down);
        if let Some(bank) = in_use(key) {
            return bank;
        }
        // Designed outside the lock: a long bank must not hold up the others.
        let designed = Arc::new(Self::design(ratio));
        let mut banks = BANKS.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bank) = banks.get(&key).and_then(Weak::upgrade) {
            return bank;
        }
        banks.retain(|_, bank| bank.strong_count() > 0);
        banks.insert(key, Arc::downgrade(&designed));
        designed
    }

    /// Taps of one row for the integer factors.
    pub(crate) fn row(&self, row: usize) -> &[f32; TAPS] {
        &self.coefficients.as_chunks::<TAPS>().0[row]
    }

    /// Taps of one branch for any other ratio.
    pub(crate) fn branch(&self, branch: usize) -> &[[f32; LANES]] {
        let groups = self.taps / LANES;
        &self.coefficients.as_chunks::<LANES>().0[branch * groups..][..groups]
    }

    fn design(ratio: Ratio) -> Self {
        let (up, down) = (ratio.up as usize, ratio.down as usize);
        let shape = match (up, down) {
            (factor @ 2..=MAX_FACTOR, 1) => Shape::Interpolate { factor },
            (1, factor @ 2..=MAX_FACTOR) => Shape::Decimate { factor },
            _ => Shape::General {
                taps: (SPAN as usize * up.max(down))
                    .div_ceil(up)
                    .next_multiple_of(LANES),
            },
        };
        let taps = match shape {
            Shape::Interpolate { .. } => TAPS,
            Shape::Decimate { factor } => TAPS * factor,
            Shape::General { taps } => taps,
        };
        let prototype = prototype(up.max(down));
        let mut coefficients = vec![0.0; up * taps];
        for branch in 0..up {
            let tap = |age: usize| prototype.get(branch + age * up).copied().unwrap_or(0.0);
            let gain: f64 = (0..taps).map(tap).sum();
            for age in 0..taps {
                let oldest_first = taps - 1 - age;
                let at = match shape {
                    Shape::Decimate { factor } => {
                        oldest_first % factor * TAPS + oldest_first / factor
                    }
                    _ => branch * taps + oldest_first,
                };
                coefficients[at] = (tap(age) / gain) as f32;
            }
        }
        Self {
            shape,
            taps,
            coefficients,
        }
    }
}

fn in_use(key: (u32, u32)) -> Option<Arc<Bank>> {
    let banks = BANKS.lock().unwrap_or_else(PoisonError::into_inner);
    banks.get(&key).and_then(Weak::upgrade)
}

/// The windowed sinc at the common rate, `factor` samples between its zeros.
fn prototype(factor: usize) -> Vec<f64> {
    let half = DELAY_SAMPLES as usize * factor;
    let peak = bessel_i0(KAISER_BETA);
    let mut taps = vec![0.0; 2 * half];
    taps[half] = 1.0;
    for distance in 1..half {
        let along = distance as f64 / half as f64;
        let window = bessel_i0(KAISER_BETA * (1.0 - along * along).sqrt()) / peak;
        let sinc = sin_pi(distance, factor) / (PI * distance as f64 / factor as f64);
        taps[half - distance] = sinc * window;
        taps[half + distance] = sinc * window;
    }
    taps
}

/// `sin(pi * numerator / denominator)`, exactly 0 where it should be.
fn sin_pi(numerator: usize, denominator: usize) -> f64 {
    let turn = numerator % (2 * denominator);
    let half_turn = turn % denominator;
    let angle = PI * half_turn.min(denominator - half_turn) as f64 / denominator as f64;
    // Up to pi/2 the Taylor series is at full precision after fourteen terms.
    let (mut term, mut sum) = (angle, angle);
    for k in 1..14 {
        term *= -angle * angle / f64::from(2 * k * (2 * k + 1));
        sum += term;
    }
    if turn < denominator { sum } else { -sum }
}

/// Modified Bessel function of the first kind, order 0, by its power series.
fn bessel_i0(x: f64) -> f64 {
    let quarter = x * x / 4.0;
    let (mut term, mut sum) = (1.0, 1.0);
    for k in 1..64 {
        term *= quarter / f64::from(k * k);
        sum += term;
        if term < sum * f64::EPSILON / 4.0 {
            break;
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ratio(in_rate: u32, out_rate: u32) -> Ratio {
        Ratio::new(in_rate, out_rate).expect("supported")
    }

    #[test]
    fn sine_and_bessel_are_right() {
        for n in 0..4_000 {
            let expected = (PI * n as f64 / 441.0).sin();
            assert!((sin_pi(n, 441) - expected).abs() < 1e-12);
        }
        assert_eq!(sin_pi(3 * 441, 441).abs().to_bits(), 0);
        // Abramowitz and Stegun, table 9.8: e^-10 I0(10) = 0.12783 33372.
        assert!((bessel_i0(10.0) * (-10.0_f64).exp() - 0.127_833_337_2).abs() < 1e-10);
    }

    #[test]
    fn phase_0_of_an_interpolator_is_a_unit_delay() {
        for factor in [2, 3, 6] {
            let bank = Bank::shared(ratio(8_000, 8_000 * factor));
            let mut unit = [0.0_f32; TAPS];
            unit[TAPS - 1 - DELAY_SAMPLES as usize] = 1.0;
            // Zeros may be negative ones.
            let magnitudes = bank.row(0).map(|tap| tap.abs().to_bits());
            assert_eq!(magnitudes, unit.map(f32::to_bits));
        }
    }

    #[test]
    fn every_branch_has_gain_1_at_dc() {
        for (from, to) in [(8_000, 48_000), (44_100, 8_000), (8_000, 11_025)] {
            let bank = Bank::design(ratio(from, to));
            for branch in bank.coefficients.chunks(bank.taps) {
                let gain: f64 = branch.iter().copied().map(f64::from).sum();
                assert!((gain - 1.0).abs() < 1e-6);
            }
        }
        let bank = Bank::design(ratio(48_000, 8_000));
        let gain: f64 = bank.coefficients.iter().copied().map(f64::from).sum();
        assert!((gain - 1.0).abs() < 1e-6);
    }

    #[test]
    fn a_bank_is_shared_while_used_and_gone_after() {
        let odd = ratio(1_013, 1_019);
        let first = Bank::shared(odd);
        assert!(Arc::ptr_eq(&first, &Bank::shared(odd)));
        drop(first);
        assert!(in_use((odd.up, odd.down)).is_none());
        let _other = Bank::shared(ratio(1_021, 1_019));
        let banks = BANKS.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(!banks.contains_key(&(odd.up, odd.down)));
    }
}
