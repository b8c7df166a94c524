//! Quality of a resampler, measured on its 16-bit output: gain, images and aliases, and delay.

use std::f64::consts::PI;

use crate::resamplers::MakeResampler;

/// Tones in Hz, from one edge of the band to the other. The frequencies are even numbers, so that
/// half a second is a whole number of periods.
const TONES: [u32; 6] = [300, 438, 1_004, 2_202, 3_202, 3_400];
/// Two neighbouring tones in Hz; the difference of their phases gives the delay.
const PHASE_TONES: (u32, u32) = (1_004, 1_006);
/// Limits that our specification sets.
const RIPPLE_DB: f64 = 0.01;
const SPURIOUS_DBC: f64 = -95.0;
const AMPLITUDE: f64 = 29_204.0;

/// Quality of a resampler.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub(crate) struct Quality {
    /// The largest deviation of the gain from 1.
    ripple_db: f64,
    /// The loudest image or alias.
    spurious_dbc: f64,
    /// The average delay in ms. The delay is the time by which the filter shifts the signal, plus
    /// the duration of the input that has not been output after a packet.
    delay_mean_ms: f64,
    /// The largest delay in ms.
    delay_max_ms: f64,
    /// Whether ripple and spurious are within the limits.
    meets_limits: bool,
}

/// A conversion: rate of the input, rate of the output, input samples in a packet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    pub(crate) from: u32,
    pub(crate) to: u32,
    pub(crate) samples: u32,
}

/// Returns one second of a sine as 16-bit PCM.
pub(crate) fn sine(frequency: u32, rate: u32) -> Vec<u8> {
    (0..rate)
        .map(|n| 2.0 * PI * f64::from(frequency) / f64::from(rate) * f64::from(n))
        .flat_map(|angle| ((AMPLITUDE * angle.sin()).round() as i16).to_le_bytes())
        .collect()
}

/// Output of a resampler for a tone.
struct Response {
    samples: Vec<f64>,
    /// Seconds of audio held back after each packet.
    held: Vec<f64>,
    rate: u32,
}

impl Response {
    fn new(make_resampler: MakeResampler, case: Case, tone: u32) -> Self {
        let mut resampler = make_resampler(case.from, case.to, case.samples);
        let (mut out, mut held) = (Vec::new(), Vec::new());
        // The input is two seconds. One second of the tone is a whole number of periods, so it can
        // be repeated.
        let second = sine(tone, case.from);
        let pcm = [second.clone(), second].concat();
        for (number, packet) in pcm.chunks(2 * case.samples as usize).enumerate() {
            resampler.process(packet, &mut out);
            let input = (number + 1) as f64 * f64::from(case.samples) / f64::from(case.from);
            held.push(input - (out.len() / 2) as f64 / f64::from(case.to));
        }
        let pairs = out.as_chunks::<2>().0.iter();
        Self {
            samples: pairs.map(|&p| f64::from(i16::from_le_bytes(p))).collect(),
            held,
            rate: case.to,
        }
    }

    /// Returns the amplitude relative to the input, and the phase. Both are measured in the half
    /// second after the first second.
    fn at(&self, frequency: u32) -> (f64, f64) {
        let (begin, length) = (self.rate as usize, self.rate as usize / 2);
        let step = 2.0 * PI * f64::from(frequency) / f64::from(self.rate);
        let (mut real, mut imaginary) = (0.0, 0.0);
        for (n, sample) in self.samples[begin..][..length].iter().enumerate() {
            let (sine, cosine) = (step * (begin + n) as f64).sin_cos();
            real += sample * cosine;
            imaginary -= sample * sine;
        }
        let amplitude = 2.0 * f64::hypot(real, imaginary) / length as f64;
        // The level has a lower limit, because zero has no level in decibels.
        ((amplitude / AMPLITUDE).max(1e-10), imaginary.atan2(real))
    }

    fn decibels(&self, frequency: u32) -> f64 {
        20.0 * self.at(frequency).0.log10()
    }
}

/// Returns the frequencies up to half the higher rate that equal the tone at the lower rate.
fn mirror_frequencies(tone: u32, lower_rate: u32, higher_rate: u32) -> Vec<u32> {
    (1..=higher_rate / lower_rate)
        .map(|multiple| multiple * lower_rate)
        .flat_map(|centre| [centre - tone, centre + tone])
        .filter(|&mirror| mirror < higher_rate / 2)
        .collect()
}

/// Measures the quality of a resampler.
pub(crate) fn measure_quality(make_resampler: MakeResampler, case: Case) -> Quality {
    let (mut ripple_db, mut spurious_dbc) = (0.0, f64::NEG_INFINITY);
    for tone in TONES {
        let response = Response::new(make_resampler, case, tone);
        ripple_db = f64::max(ripple_db, response.decibels(tone).abs());
        let levels: Vec<f64> = if case.from < case.to {
            let images = mirror_frequencies(tone, case.from, case.to);
            images.iter().map(|&hz| response.decibels(hz)).collect()
        } else {
            let aliases = mirror_frequencies(tone, case.to, case.from);
            let level = |&hz: &u32| Response::new(make_resampler, case, hz).decibels(tone);
            aliases.iter().map(level).collect()
        };
        spurious_dbc = levels.into_iter().fold(spurious_dbc, f64::max);
    }
    let (lower, higher) = PHASE_TONES;
    let response = Response::new(make_resampler, case, lower);
    let higher_phase = Response::new(make_resampler, case, higher).at(higher).1;
    let phase_difference = response.at(lower).1 - higher_phase;
    let lag = phase_difference / (2.0 * PI) / f64::from(higher - lower);
    // The phases repeat every half second of lag. The lag can be negative if a stream holds back
    // audio, so the value nearest to zero is chosen.
    let lag = lag - (lag * 2.0).round() / 2.0;
    let held = &response.held[response.held.len() / 2..];
    let mean = held.iter().sum::<f64>() / held.len() as f64;
    let most = held.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    Quality {
        ripple_db,
        spurious_dbc,
        delay_mean_ms: 1_000.0 * (lag + mean),
        delay_max_ms: 1_000.0 * (lag + most),
        meets_limits: ripple_db <= RIPPLE_DB && spurious_dbc <= SPURIOUS_DBC,
    }
}
