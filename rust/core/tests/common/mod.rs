//! A reference resampler in f64 that shares no code with the crate.
#![allow(dead_code)] // Each test binary uses only some of these functions.

use std::f64::consts::PI;

/// Returns the coefficients of the low-pass filter: a sinc with a Kaiser window, sampled at the
/// least common multiple of the two rates. The sinc has `zeros` zeros on each side of its centre,
/// `larger` samples apart.
fn prototype(larger: u64, zeros: u64) -> Vec<f64> {
    let half = (zeros * larger) as i64;
    let i0 = |x: f64| {
        (1..80).fold((1.0, 1.0), |(sum, term), k| {
            let term = term * (x / 2.0 / f64::from(k)).powi(2);
            (sum + term, term)
        })
    };
    (0..2 * half)
        .map(|j| {
            let distance = (j - half) as f64;
            let along = distance / half as f64;
            let window = i0(11.16 * (1.0 - along * along).sqrt()).0 / i0(11.16).0;
            let angle = PI * distance / larger as f64;
            let sinc = if j == half { 1.0 } else { angle.sin() / angle };
            sinc * window
        })
        .collect()
}

/// Returns all output samples for `inputs`, computed in f64 with the coefficients of [`prototype`]
/// and not rounded.
pub(crate) fn resample(in_rate: u32, out_rate: u32, inputs: &[i16]) -> Vec<f64> {
    let inputs: Vec<f64> = inputs.iter().copied().map(f64::from).collect();
    // A conversion by a factor of six has two filters. The samples between the two filters are
    // clipped to the range of 16 bits.
    let clipped = |samples: Vec<f64>| -> Vec<f64> { samples.into_iter().map(clip).collect() };
    if out_rate == 6 * in_rate {
        let between = clipped(step(in_rate, 2 * in_rate, &inputs, 24));
        step(2 * in_rate, out_rate, &between, 8)
    } else if in_rate == 6 * out_rate {
        let between = clipped(step(in_rate, 2 * out_rate, &inputs, 8));
        step(2 * out_rate, out_rate, &between, 24)
    } else {
        step(in_rate, out_rate, &inputs, 24)
    }
}

/// Saturates a sample to the range of 16 bits.
pub(crate) fn clip(sample: f64) -> f64 {
    sample.clamp(-32_768.0, 32_767.0)
}

fn step(in_rate: u32, out_rate: u32, inputs: &[f64], zeros: u64) -> Vec<f64> {
    let divisor = (1..=in_rate.min(out_rate))
        .rev()
        .find(|d| in_rate.is_multiple_of(*d) && out_rate.is_multiple_of(*d))
        .unwrap_or(1);
    let (up, down) = (u64::from(out_rate / divisor), u64::from(in_rate / divisor));
    if up == down {
        return inputs.to_vec();
    }
    let taps = prototype(up.max(down), zeros);
    let gains: Vec<f64> = (0..up as usize)
        .map(|branch| taps[branch..].iter().step_by(up as usize).sum())
        .collect();
    (0..inputs.len() as u64 * up / down)
        .map(|m| {
            let position = m * down;
            let newest = position / up;
            let branch = (position % up) as usize;
            let sum: f64 = (0..=newest)
                .rev()
                .map_while(|i| Some((i, taps.get((position - i * up) as usize)?)))
                .map(|(i, tap)| tap * inputs[i as usize])
                .sum();
            sum / gains[branch]
        })
        .collect()
}

/// Converts samples to PCM bytes.
pub(crate) fn bytes(samples: &[i16]) -> Vec<u8> {
    samples.iter().flat_map(|s| s.to_le_bytes()).collect()
}

/// Converts PCM bytes to samples.
pub(crate) fn samples(bytes: &[u8]) -> Vec<i16> {
    bytes
        .as_chunks::<2>()
        .0
        .iter()
        .map(|&pair| i16::from_le_bytes(pair))
        .collect()
}

/// Returns uniform noise over the whole range, with the same values in every run.
pub(crate) fn noise(count: usize) -> Vec<i16> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    (0..count)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as i16
        })
        .collect()
}
