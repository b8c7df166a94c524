//! Filter banks: designed once per ratio, shared by every stream that uses it.
//!
//! The prototype is a sinc cut off (-6 dB) at half the lower rate, under a Kaiser
//! window. Its zeros fall on the samples of the lower rate (a Nyquist filter), so an
//! interpolator's phase 0 is a pure delay. Each branch is scaled to a gain of exactly
//! 1 at DC, which puts a zero of the response on every image of DC. The taps then
//! become integers ([`crate::quantize`]).
//!
//! Rules: design in f64 with nothing but IEEE-exact operations (no `sin` of the
//! platform's), so that banks are the same on every machine; no entry outlives
//! the last stream that uses it, so odd ratios cannot pile up.

use std::collections::BTreeMap;
use std::f64::consts::PI;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::arch::{Accumulator, Branches, GROUP, Row};
use crate::quantize;

/// Largest filter bank: 48 coefficients times the larger number of the reduced
/// ratio. It bounds a bank to 1 MiB and the time to design it to milliseconds.
pub const MAX_BANK_COEFFICIENTS: u64 = 1 << 18;

/// Shape of the Kaiser window: stopband 110 dB down (0.1102 * (110 - 8.7),
/// Kaiser's formula), well under the 98 dB that 16 bits resolve.
const KAISER_BETA: f64 = 11.16;
/// Largest integer factor that is convolved in planes.
pub(crate) const MAX_PLANES: usize = 8;

/// What a bank is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Design {
    /// Reduced ratio of the rates.
    pub(crate) up: usize,
    /// Reduced ratio of the rates.
    pub(crate) down: usize,
    /// Length of the filter in samples at the lower rate: twice its delay.
    pub(crate) span: usize,
    /// The inputs are 16-bit samples shifted right by this.
    pub(crate) input_shift: u32,
}

/// The coefficients of one design, in the form its kernel reads.
#[derive(Debug)]
pub(crate) enum Bank {
    /// `out = in * factor`: a row for each phase but the first, which is a delay.
    Interpolate {
        rows: Box<[Row]>,
        scales: Accumulator,
    },
    /// `in = out * factor`: a row for each plane that inputs are dealt out to.
    Decimate {
        rows: Box<[Row]>,
        scales: Accumulator,
    },
    /// Any ratio.
    General(Branches),
}

static BANKS: Mutex<BTreeMap<Design, Weak<Bank>>> = Mutex::new(BTreeMap::new());

impl Bank {
    /// The bank of a design: the one in use, or a new one.
    pub(crate) fn shared(design: Design) -> Arc<Self> {
        if let Some(bank) = in_use(design) {
            return bank;
        }
        // Designed outside the lock: a long bank must not hold up the others.
        let designed = Arc::new(Self::design(design));
        let mut banks = BANKS.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bank) = banks.get(&design).and_then(Weak::upgrade) {
            return bank;
        }
        banks.retain(|_, bank| bank.strong_count() > 0);
        banks.insert(design, Arc::downgrade(&designed));
        designed
    }

    /// Inputs that one output is made of.
    pub(crate) fn taps(&self, design: Design) -> usize {
        match self {
            Self::Interpolate { .. } => design.span,
            Self::Decimate { rows, .. } => design.span * rows.len(),
            Self::General(branches) => branches.taps,
        }
    }

    fn design(design: Design) -> Self {
        let Design {
            up,
            down,
            span,
            input_shift,
        } = design;
        match (up, down) {
            (2..=MAX_PLANES, 1) => {
                let branches = branches(design, span);
                let rows = &branches[1..];
                // A row for each phase, none of which adds to another's sums.
                let (rows, scales) = quantize::rows(rows, 1, input_shift);
                Self::Interpolate { rows, scales }
            }
            (1, 2..=MAX_PLANES) => {
                let taps = &branches(design, span * down)[0];
                let rows: Vec<Vec<f64>> = (0..down)
                    .map(|plane| taps.iter().skip(plane).step_by(down).copied().collect())
                    .collect();
                let (rows, scales) = quantize::rows(&rows, down, input_shift);
                Self::Decimate { rows, scales }
            }
            _ => {
                let taps = (span * up.max(down)).div_ceil(up).next_multiple_of(GROUP);
                Self::General(quantize::branches(&branches(design, taps)))
            }
        }
    }
}

fn in_use(design: Design) -> Option<Arc<Bank>> {
    let banks = BANKS.lock().unwrap_or_else(PoisonError::into_inner);
    banks.get(&design).and_then(Weak::upgrade)
}

/// The branches of the prototype, `taps` long, oldest tap first, each of gain 1.
fn branches(design: Design, taps: usize) -> Vec<Vec<f64>> {
    let prototype = prototype(design.up.max(design.down), design.span / 2);
    let branch = |branch: usize| {
        let tap = |age: usize| {
            let at = branch + age * design.up;
            prototype.get(at).copied().unwrap_or(0.0)
        };
        let gain: f64 = (0..taps).map(tap).sum();
        (0..taps).rev().map(|age| tap(age) / gain).collect()
    };
    (0..design.up).map(branch).collect()
}

/// The windowed sinc at the common rate, `factor` samples between its zeros, of
/// which it has `zeros` on either side.
fn prototype(factor: usize, zeros: usize) -> Vec<f64> {
    let half = zeros * factor;
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

    fn design(up: usize, down: usize) -> Design {
        Design {
            up,
            down,
            span: 48,
            input_shift: 0,
        }
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
    fn every_branch_has_gain_1_at_dc() {
        for (up, down) in [(6, 1), (80, 441), (441, 320), (1, 6)] {
            let design = design(up, down);
            for branch in branches(design, 48 * down.div_ceil(up)) {
                let gain: f64 = branch.iter().sum();
                assert!((gain - 1.0).abs() < 1e-12);
            }
        }
    }

    #[test]
    fn phase_0_of_an_interpolator_is_a_unit_delay() {
        for up in [2, 3, 6, 12] {
            let branch = &branches(design(up, 1), 48)[0];
            for (age, tap) in branch.iter().rev().enumerate() {
                let expected = if age == 24 { 1.0 } else { 0.0 };
                assert!((tap - expected).abs() < 1e-15);
            }
        }
    }

    #[test]
    fn a_bank_is_shared_while_used_and_gone_after() {
        let odd = design(1_019, 1_013);
        let first = Bank::shared(odd);
        assert!(Arc::ptr_eq(&first, &Bank::shared(odd)));
        drop(first);
        assert!(in_use(odd).is_none());
        let _other = Bank::shared(design(1_019, 1_021));
        let banks = BANKS.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(!banks.contains_key(&odd));
    }
}
