//! Two sample rates as a reduced ratio, and the laws that follow from it.
//!
//! With `up / down` the reduced `out_rate / in_rate`, a stream that has read `n`
//! samples has written exactly `floor(n * up / down)`. Rule: no counter grows
//! with the stream. All that the law needs of the past is the residue
//! `n * up mod down`, so it holds for streams of any length.

use crate::AudioError;
use crate::bank::MAX_BANK_COEFFICIENTS;

/// Delay of every filter, in samples at the lower of the two rates.
pub(crate) const DELAY_SAMPLES: u32 = 24;
/// Length of every filter, in samples at the lower of the two rates.
pub(crate) const SPAN: u32 = 2 * DELAY_SAMPLES;

/// A pair of sample rates that can be converted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ratio {
    pub(crate) in_rate: u32,
    pub(crate) out_rate: u32,
    /// `out_rate` over the greatest common divisor of the rates.
    pub(crate) up: u32,
    /// `in_rate` over the greatest common divisor of the rates.
    pub(crate) down: u32,
}

impl Ratio {
    pub(crate) fn new(in_rate: u32, out_rate: u32) -> Result<Self, AudioError> {
        for (parameter, rate) in [("in_rate", in_rate), ("out_rate", out_rate)] {
            if rate == 0 {
                return Err(AudioError::RateOutOfRange { parameter, rate: 0 });
            }
        }
        let divisor = greatest_common_divisor(in_rate, out_rate);
        let (up, down) = (out_rate / divisor, in_rate / divisor);
        let coefficients = u64::from(SPAN) * u64::from(up.max(down));
        if coefficients > MAX_BANK_COEFFICIENTS {
            return Err(AudioError::BankTooLarge {
                in_rate,
                out_rate,
                coefficients,
            });
        }
        Ok(Self {
            in_rate,
            out_rate,
            up,
            down,
        })
    }

    pub(crate) fn is_identity(self) -> bool {
        self.up == self.down
    }

    /// Samples written for the next `inputs` samples read.
    pub(crate) fn outputs(self, residue: u32, inputs: usize) -> u128 {
        (u128::from(residue) + inputs as u128 * u128::from(self.up)) / u128::from(self.down)
    }

    /// The residue after the next `inputs` samples read.
    pub(crate) fn advance(self, residue: u32, inputs: usize) -> u32 {
        let total = u128::from(residue) + inputs as u128 * u128::from(self.up);
        (total % u128::from(self.down)) as u32
    }

    /// Delay of the conversion in seconds, constant over frequency and time.
    pub(crate) fn delay_seconds(self) -> f64 {
        if self.is_identity() {
            0.0
        } else {
            f64::from(DELAY_SAMPLES) / f64::from(self.in_rate.min(self.out_rate))
        }
    }

    /// The delay in output samples, to the nearest, ties to even.
    pub(crate) fn delay_outputs(self) -> usize {
        if self.is_identity() {
            return 0;
        }
        if self.up < self.down {
            return DELAY_SAMPLES as usize;
        }
        let (numerator, denominator) = (DELAY_SAMPLES * self.up, self.down);
        let (whole, twice_rest) = (numerator / denominator, numerator % denominator * 2);
        let round_up = twice_rest > denominator || (twice_rest == denominator && whole % 2 == 1);
        (whole + u32::from(round_up)) as usize
    }

    /// Fewest samples to read before `outputs` more can be written.
    pub(crate) fn inputs_for(self, residue: u32, outputs: usize) -> usize {
        let needed = (outputs as u64 * u64::from(self.down)).saturating_sub(u64::from(residue));
        needed.div_ceil(u64::from(self.up)) as usize
    }
}

fn greatest_common_divisor(mut a: u32, mut b: u32) -> u32 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reduces() {
        let ratio = Ratio::new(44_100, 8_000).expect("supported");
        assert_eq!((ratio.up, ratio.down), (80, 441));
    }

    #[test]
    fn the_residue_keeps_the_law_over_any_division() {
        let ratio = Ratio::new(44_100, 8_000).expect("supported");
        let (mut residue, mut read, mut written) = (0, 0_u128, 0_u128);
        for step in (0..5_000).map(|i| i * 7 % 523) {
            written += ratio.outputs(residue, step);
            residue = ratio.advance(residue, step);
            read += step as u128;
            assert_eq!(written, read * 80 / 441);
        }
    }

    #[test]
    fn extremes_do_not_overflow() {
        let ratio = Ratio::new(1, 5_461).expect("the largest bank");
        assert_eq!(ratio.outputs(0, usize::MAX), usize::MAX as u128 * 5_461);
        assert_eq!(ratio.advance(0, usize::MAX), 0);
        assert!(Ratio::new(1, 5_462).is_err());
        assert!(Ratio::new(u32::MAX, u32::MAX).is_ok());
        assert!(Ratio::new(u32::MAX, u32::MAX - 1).is_err());
    }

    #[test]
    fn zero_is_named() {
        assert_eq!(
            Ratio::new(8_000, 0),
            Err(AudioError::RateOutOfRange {
                parameter: "out_rate",
                rate: 0
            })
        );
    }

    #[test]
    fn delay_is_three_milliseconds_against_8_khz() {
        for rate in [16_000, 24_000, 48_000, 44_100] {
            for ratio in [Ratio::new(8_000, rate), Ratio::new(rate, 8_000)] {
                let ratio = ratio.expect("supported");
                assert_eq!(ratio.delay_seconds().to_bits(), 0.003_f64.to_bits());
            }
        }
        let ties = Ratio::new(16_000, 17_000).expect("supported");
        assert_eq!(ties.delay_outputs(), 26);
        let ties = Ratio::new(16_000, 19_000).expect("supported");
        assert_eq!(ties.delay_outputs(), 28);
    }
}
