//! Two sample rates as a reduced ratio; output lengths and delays.
//!
//! Length rule: let `up / down` be the reduced `out_rate / in_rate`. A stream that has
//! read `n` samples has written exactly `floor(n * up / down)` samples.
//!
//! No counter grows with the stream. The only state is the residue `n * up mod down`, so
//! the length rule holds for streams of any length.

use crate::AudioError;
use crate::bank::{Design, MAX_BANK_COEFFICIENTS};

/// Delay of a filter, in samples at the lower of its two rates.
const DELAY_SAMPLES: u32 = 24;
/// Delay of the filter between twice and six times the lower rate, in samples at twice the
/// lower rate. The filter can be short because the distance between the speech and its
/// first image is large.
const SHORT_DELAY_SAMPLES: u32 = 8;
/// Largest supported quotient of two rates.
pub const MAX_FACTOR: u32 = 64;

/// A supported pair of sample rates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ratio {
    pub(crate) in_rate: u32,
    pub(crate) out_rate: u32,
    /// `out_rate` divided by the greatest common divisor of the rates.
    pub(crate) up: u32,
    /// `in_rate` divided by the greatest common divisor of the rates.
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
        if up / down >= MAX_FACTOR && up != MAX_FACTOR * down
            || down / up >= MAX_FACTOR && down != MAX_FACTOR * up
        {
            return Err(AudioError::RatesTooFarApart { in_rate, out_rate });
        }
        let coefficients = u64::from(2 * DELAY_SAMPLES) * u64::from(up.max(down));
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

    /// Returns the number of samples that are written for the next `inputs` samples.
    pub(crate) fn outputs(self, residue: u32, inputs: usize) -> u128 {
        (u128::from(residue) + inputs as u128 * u128::from(self.up)) / u128::from(self.down)
    }

    /// Returns the residue after the next `inputs` samples.
    pub(crate) fn advance(self, residue: u32, inputs: usize) -> u32 {
        let total = u128::from(residue) + inputs as u128 * u128::from(self.up);
        (total % u128::from(self.down)) as u32
    }

    /// Returns the filters of the conversion in processing order; no filter for equal rates.
    ///
    /// A factor of six is split into factors of two and three. Two filters take less than
    /// half the work of one, because the second filter is only a third as long.
    pub(crate) fn designs(self, input_shift: u32) -> Vec<Design> {
        let (up, down) = (self.up as usize, self.down as usize);
        let design = |up, down, delay: u32, input_shift| Design {
            up,
            down,
            span: 2 * delay as usize,
            input_shift,
        };
        match (up, down) {
            (1, 1) => vec![],
            (6, 1) => vec![
                design(2, 1, DELAY_SAMPLES, input_shift),
                design(3, 1, SHORT_DELAY_SAMPLES, 0),
            ],
            (1, 6) => vec![
                design(1, 3, SHORT_DELAY_SAMPLES, input_shift),
                design(1, 2, DELAY_SAMPLES, 0),
            ],
            _ => vec![design(up, down, DELAY_SAMPLES, input_shift)],
        }
    }

    /// Returns the delay of the conversion in samples at the lower rate.
    fn delay_samples(self) -> u32 {
        match (self.up, self.down) {
            (1, 1) => 0,
            // The short filter's delay is in samples at twice the lower rate.
            (6, 1) | (1, 6) => DELAY_SAMPLES + SHORT_DELAY_SAMPLES / 2,
            _ => DELAY_SAMPLES,
        }
    }

    /// Returns the delay of the conversion in seconds, which is the same at all frequencies.
    pub(crate) fn delay_seconds(self) -> f64 {
        f64::from(self.delay_samples()) / f64::from(self.in_rate.min(self.out_rate))
    }

    /// Returns the delay in output samples, rounded to the nearest integer; ties are rounded to
    /// even.
    pub(crate) fn delay_outputs(self) -> usize {
        if self.up <= self.down {
            return self.delay_samples() as usize;
        }
        let (numerator, denominator) = (self.delay_samples() * self.up, self.down);
        let (whole, twice_rest) = (numerator / denominator, numerator % denominator * 2);
        let round_up = twice_rest > denominator || (twice_rest == denominator && whole % 2 == 1);
        (whole + u32::from(round_up)) as usize
    }

    /// Returns the smallest number of input samples that give `outputs` more output samples.
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
    fn a_ratio_is_reduced() {
        let ratio = Ratio::new(44_100, 8_000).expect("supported");
        assert_eq!((ratio.up, ratio.down), (80, 441));
    }

    #[test]
    fn the_length_rule_holds_for_any_division_of_the_input() {
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
    fn extreme_rates_and_lengths_do_not_overflow() {
        let ratio = Ratio::new(1, 64).expect("the largest factor");
        assert_eq!(ratio.outputs(0, usize::MAX), usize::MAX as u128 * 64);
        assert_eq!(ratio.advance(0, usize::MAX), 0);
        assert!(Ratio::new(5_461, 5_460).is_ok());
        assert!(Ratio::new(5_462, 5_461).is_err());
        for (low, high) in [(1, 65), (2, 129), (100, 6_401), (1, u32::MAX)] {
            let too_far = |in_rate, out_rate| AudioError::RatesTooFarApart { in_rate, out_rate };
            assert_eq!(Ratio::new(low, high), Err(too_far(low, high)));
            assert_eq!(Ratio::new(high, low), Err(too_far(high, low)));
        }
        assert!(Ratio::new(u32::MAX, u32::MAX).is_ok());
        assert!(Ratio::new(u32::MAX, u32::MAX - 1).is_err());
    }

    #[test]
    fn the_error_names_the_rate_that_is_zero() {
        assert_eq!(
            Ratio::new(8_000, 0),
            Err(AudioError::RateOutOfRange {
                parameter: "out_rate",
                rate: 0
            })
        );
    }

    #[test]
    fn the_delay_is_3_ms_at_8_khz_and_3_5_ms_for_a_factor_of_six() {
        for rate in [16_000, 24_000, 32_000, 44_100] {
            for ratio in [Ratio::new(8_000, rate), Ratio::new(rate, 8_000)] {
                let ratio = ratio.expect("supported");
                assert_eq!(ratio.delay_seconds().to_bits(), 0.003_f64.to_bits());
            }
        }
        for (in_rate, out_rate) in [(8_000, 48_000), (48_000, 8_000)] {
            let ratio = Ratio::new(in_rate, out_rate).expect("supported");
            assert_eq!(ratio.delay_seconds().to_bits(), 0.0035_f64.to_bits());
        }
        let ties = Ratio::new(16_000, 17_000).expect("supported");
        assert_eq!(ties.delay_outputs(), 26);
        let ties = Ratio::new(16_000, 19_000).expect("supported");
        assert_eq!(ties.delay_outputs(), 28);
    }
}
