//! Expected lengths, delays and errors for two rates. The arithmetic differs from the crate's.

use audiohook_audio::{AudioError, MAX_BANK_COEFFICIENTS, MAX_FACTOR};

/// Returns the error that the crate must return for two rates, or `None` if the crate supports the
/// rates.
#[must_use]
pub fn refusal(in_rate: u32, out_rate: u32) -> Option<AudioError> {
    for (parameter, rate) in [("in_rate", in_rate), ("out_rate", out_rate)] {
        if rate == 0 {
            return Some(AudioError::RateOutOfRange { parameter, rate: 0 });
        }
    }
    let (low, high) = (in_rate.min(out_rate), in_rate.max(out_rate));
    if u64::from(high) > u64::from(low) * u64::from(MAX_FACTOR) {
        return Some(AudioError::RatesTooFarApart { in_rate, out_rate });
    }
    let (up, down) = reduced(in_rate, out_rate);
    let coefficients = 48 * up.max(down);
    (coefficients > MAX_BANK_COEFFICIENTS).then_some(AudioError::BankTooLarge {
        in_rate,
        out_rate,
        coefficients,
    })
}

/// Returns `out_rate / in_rate` as a reduced fraction.
#[must_use]
pub fn reduced(in_rate: u32, out_rate: u32) -> (u64, u64) {
    let (mut divisor, mut rest) = (u64::from(in_rate), u64::from(out_rate));
    while rest != 0 {
        (divisor, rest) = (rest, divisor % rest);
    }
    (u64::from(out_rate) / divisor, u64::from(in_rate) / divisor)
}

/// Returns the number of output samples after `inputs` input samples.
#[must_use]
pub fn due(in_rate: u32, out_rate: u32, inputs: usize) -> usize {
    let due = inputs as u128 * u128::from(out_rate) / u128::from(in_rate);
    due as usize
}

/// Returns the number of samples of a flush: the delay, rounded to the nearest integer; ties are
/// rounded to even.
#[must_use]
pub fn flushed(in_rate: u32, out_rate: u32) -> usize {
    if in_rate == out_rate {
        return 0;
    }
    let lower = u128::from(in_rate.min(out_rate));
    let delay = if is_six_times(in_rate, out_rate) {
        28
    } else {
        24
    };
    let (exact, half) = (delay * u128::from(out_rate), lower.div_ceil(2));
    let (whole, rest) = (exact / lower, exact % lower);
    let tie = lower.is_multiple_of(2) && rest == half;
    let up = if tie { whole % 2 == 1 } else { rest >= half };
    (whole + u128::from(up)) as usize
}

/// Returns whether one rate is six times the other; the conversion then uses two filters.
#[must_use]
pub fn is_six_times(in_rate: u32, out_rate: u32) -> bool {
    let (low, high) = (in_rate.min(out_rate), in_rate.max(out_rate));
    u64::from(high) == 6 * u64::from(low)
}

/// Returns a number of input samples that is large enough to push all samples of a flush out of the
/// filters.
#[must_use]
pub fn enough_silence(in_rate: u32, out_rate: u32) -> usize {
    30 * (in_rate / out_rate + 1) as usize
}
