//! What a stream is worth: gain, images and aliases, and delay, measured on its 16 bits.

use std::f64::consts::PI;

use crate::streams::Make;

/// The band's edges at 8000 Hz, and what is between. Even, so that half a second
/// is whole periods.
const TONES: [u32; 6] = [300, 438, 1_004, 2_202, 3_202, 3_400];
/// Two tones so near each other that between them the phase tells the delay.
const PHASE_TONES: (u32, u32) = (1_004, 1_006);
/// The contract's limits.
pub(crate) const RIPPLE_DB: f64 = 0.01;
pub(crate) const SPURIOUS_DBC: f64 = -95.0;
const AMPLITUDE: f64 = 29_204.0;

/// A stream's figures.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub(crate) struct Verdict {
    /// The worst deviation of the gain from 1.
    ripple_db: f64,
    /// The worst image or alias.
    spurious_dbc: f64,
    /// Of the content, plus what is held back after each packet, on average.
    delay_mean_ms: f64,
    delay_max_ms: f64,
    good_enough: bool,
}

/// From a rate, to a rate, samples in a packet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    pub(crate) from: u32,
    pub(crate) to: u32,
    pub(crate) frames: u32,
}

/// A second of a sine.
pub(crate) fn sine(frequency: u32, rate: u32) -> Vec<u8> {
    (0..rate)
        .map(|n| 2.0 * PI * f64::from(frequency) / f64::from(rate) * f64::from(n))
        .flat_map(|angle| ((AMPLITUDE * angle.sin()).round() as i16).to_le_bytes())
        .collect()
}

/// What a tone becomes.
struct Response {
    samples: Vec<f64>,
    /// After each packet, in seconds of output that were due and had not come.
    held: Vec<f64>,
    rate: u32,
}

impl Response {
    fn of(make: Make, case: Case, tone: u32) -> Self {
        let mut stream = make(case.from, case.to, case.frames);
        let (mut out, mut held) = (Vec::new(), Vec::new());
        let packets = sine(tone, case.from);
        // Twice, as a tone of whole periods in a second has no seam.
        let packets = [packets.clone(), packets].concat();
        for (number, packet) in packets.chunks(2 * case.frames as usize).enumerate() {
            stream.process(packet, &mut out);
            let due = (number + 1) as f64 * f64::from(case.frames) / f64::from(case.from);
            held.push(due - (out.len() / 2) as f64 / f64::from(case.to));
        }
        let pairs = out.as_chunks::<2>().0.iter();
        Self {
            samples: pairs.map(|&p| f64::from(i16::from_le_bytes(p))).collect(),
            held,
            rate: case.to,
        }
    }

    /// Amplitude relative to what went in, and phase, from a second after the first.
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
        // Silence has no decibels.
        ((amplitude / AMPLITUDE).max(1e-10), imaginary.atan2(real))
    }

    fn decibels(&self, frequency: u32) -> f64 {
        20.0 * self.at(frequency).0.log10()
    }
}

/// What sampling at the lower rate cannot tell from a tone, up to half the higher.
fn around(tone: u32, lower: u32, higher: u32) -> Vec<u32> {
    (1..=higher / lower)
        .map(|k| k * lower)
        .flat_map(|centre| [centre - tone, centre + tone])
        .filter(|&other| other < higher / 2)
        .collect()
}

/// Measures everything.
pub(crate) fn judge(make: Make, case: Case) -> Verdict {
    let (mut ripple_db, mut spurious_dbc) = (0.0, f64::NEG_INFINITY);
    for tone in TONES {
        let heard = Response::of(make, case, tone);
        ripple_db = f64::max(ripple_db, heard.decibels(tone).abs());
        let spurious = if case.from < case.to {
            let images = around(tone, case.from, case.to);
            images.iter().map(|&image| heard.decibels(image)).collect()
        } else {
            let others = around(tone, case.to, case.from);
            let alias = |&other: &u32| Response::of(make, case, other).decibels(tone);
            others.iter().map(alias).collect::<Vec<_>>()
        };
        spurious_dbc = spurious.into_iter().fold(spurious_dbc, f64::max);
    }
    let (one, other) = PHASE_TONES;
    let first = Response::of(make, case, one);
    let turned = first.at(one).1 - Response::of(make, case, other).at(other).1;
    let content = turned / (2.0 * PI) / f64::from(other - one);
    // Half a second is a turn, and what is held back can make the content early.
    let content = content - (content * 2.0).round() / 2.0;
    let held = &first.held[first.held.len() / 2..];
    let mean = held.iter().sum::<f64>() / held.len() as f64;
    let most = held.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    Verdict {
        ripple_db,
        spurious_dbc,
        delay_mean_ms: 1_000.0 * (content + mean),
        delay_max_ms: 1_000.0 * (content + most),
        good_enough: ripple_db <= RIPPLE_DB && spurious_dbc <= SPURIOUS_DBC,
    }
}
