//! Filter banks. All streams that use the same `Design` (ratio, length and input shift) share one
//! bank. The bank is designed when the first stream needs it.
//!
//! The prototype is a low-pass filter: a sinc with a Kaiser window, sampled at
//! the least common multiple of the two rates. The cutoff of the prototype (-6 dB) is half the
//! lower rate. The zeros of the sinc fall on the samples of the lower rate (a Nyquist filter). A
//! branch, or phase, has the taps of the prototype for one position of an output between two
//! inputs. Phase 0 of an interpolator is therefore a pure delay. Each branch is scaled to a gain of
//! exactly 1 at DC, which puts a zero of the response on every image of DC. [`crate::quantize`]
//! then converts the taps to integers.
//!
//! Rules: the design uses f64 and only IEEE-exact operations (not the platform's `sin`), so
//! that the banks are the same on every machine. A bank is freed with the last stream that
//! uses it, so that unusual ratios do not fill the memory.

use std::collections::BTreeMap;
use std::f64::consts::PI;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::arch::{Accumulator, Branches, GROUP, Row};
use crate::quantize;

/// Largest number of coefficients in a filter bank. The number of coefficients is 48 times the
/// numerator or the denominator of the reduced ratio, whichever is larger. The limit keeps a bank
/// below 1 MiB and its design time at a few milliseconds.
pub const MAX_BANK_COEFFICIENTS: u64 = 1 << 18;

/// Shape of the Kaiser window, for a stopband attenuation of 110 dB (Kaiser's formula: 0.1102 *
/// (110 - 8.7)). The dynamic range of 16 bits is 98 dB.
const KAISER_BETA: f64 = 11.16;
/// Largest integer ratio that is computed in planes. A plane has every `factor`-th sample of the
/// stream with the higher rate.
pub(crate) const MAX_PLANES: usize = 8;

/// The parameters of a filter bank.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Design {
    /// Numerator of the reduced ratio of output rate to input rate.
    pub(crate) up: usize,
    /// Denominator of the reduced ratio of output rate to input rate.
    pub(crate) down: usize,
    /// Length of the filter in samples at the lower rate: twice its delay.
    pub(crate) span: usize,
    /// Number of bits by which the 16-bit inputs are shifted right.
    pub(crate) input_shift: u32,
}

/// The coefficients of one filter bank, in the layout that its kernel reads.
#[derive(Debug)]
pub(crate) enum Bank {
    /// `out_rate = in_rate * factor`: one row per phase except the first, which is a delay.
    Interpolate {
        rows: Box<[Row]>,
        scales: Accumulator,
    },
    /// `in_rate = out_rate * factor`: one row per plane of deinterleaved inputs.
    Decimate {
        rows: Box<[Row]>,
        scales: Accumulator,
    },
    /// For any other ratio: one branch for each position of an output between two inputs.
    General(Branches),
}

static BANKS: Mutex<BTreeMap<Design, Weak<Bank>>> = Mutex::new(BTreeMap::new());

impl Bank {
    /// Returns the filter bank with these parameters: the existing bank if a stream uses it, or a
    /// new bank.
    pub(crate) fn shared(design: Design) -> Arc<Self> {
        if let Some(bank) = in_use(design) {
            return bank;
        }
        // The lock is not held during the design, so that other streams do not wait for it.
        let designed = Arc::new(Self::design(design));
        let mut banks = BANKS.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bank) = banks.get(&design).and_then(Weak::upgrade) {
            return bank;
        }
        banks.retain(|_, bank| bank.strong_count() > 0);
        banks.insert(design, Arc::downgrade(&designed));
        designed
    }

    /// Returns the number of inputs from which each output is computed.
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
                // Phase 0 is a delay and needs no row. Every other phase has one row, and each row
                // gives one output by itself, so one row makes one sum.
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

/// Returns the branches of the prototype. Each branch has `taps` taps, the tap of the oldest input
/// first, and a gain of 1.
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

/// Returns the windowed sinc at the least common multiple of the two rates. The sinc has `zeros`
/// zeros on each side of its centre. The distance between two zeros is `factor` samples.
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

/// Returns `sin(pi * numerator / denominator)`; exactly 0 at multiples of pi.
fn sin_pi(numerator: usize, denominator: usize) -> f64 {
    let turn = numerator % (2 * denominator);
    let half_turn = turn % denominator;
    let angle = PI * half_turn.min(denominator - half_turn) as f64 / denominator as f64;
    // Up to pi/2 the Taylor series has full precision after fourteen terms.
    let (mut term, mut sum) = (angle, angle);
    for k in 1..14 {
        term *= -angle * angle / f64::from(2 * k * (2 * k + 1));
        sum += term;
    }
    if turn < denominator { sum } else { -sum }
}

/// Returns the modified Bessel function of the first kind, order 0, from its power series.
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
    fn sine_and_bessel_function_have_their_known_values() {
        for n in 0..4_000 {
            let expected = (PI * n as f64 / 441.0).sin();
            assert!((sin_pi(n, 441) - expected).abs() < 1e-12);
        }
        assert_eq!(sin_pi(3 * 441, 441).abs().to_bits(), 0);
        // The expected value is from Abramowitz and Stegun, table 9.8:
        // e^-10 I0(10) = 0.12783 33372.
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
    fn a_bank_is_shared_while_in_use_and_freed_afterwards() {
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
