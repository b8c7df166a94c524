//! Fuzz target: `Resampler` between any two rates. The stream must pass the checks of
//! `properties`. For ratios of small numbers, the first samples of the output must equal those of
//! an f64 reference, except for rounding errors.

#![no_main]

use arbitrary::Arbitrary;
use audiohook_audio::Resampler;
use audiohook_audio_fuzz::input::{Audio, Rate, Step};
use audiohook_audio_fuzz::properties::{self, Shape};
use audiohook_audio_fuzz::rates;
use libfuzzer_sys::fuzz_target;

#[path = "../../core/tests/common/mod.rs"]
mod common;

#[derive(Arbitrary, Debug)]
struct Input {
    in_rate: Rate,
    out_rate: Rate,
    steps: Vec<Step>,
    audio: Audio,
}

fuzz_target!(|input: Input| {
    let (Rate(in_rate), Rate(out_rate)) = (input.in_rate, input.out_rate);
    let resampler = match (
        Resampler::new(in_rate, out_rate),
        rates::refusal(in_rate, out_rate),
    ) {
        (Ok(resampler), None) => resampler,
        (result, refusal) => return assert_eq!(result.err(), refusal),
    };
    let shape = Shape {
        in_rate,
        out_rate,
        frame: 2,
        channels: 1,
        width: 2,
        silence: 0,
    };
    let pcm = input.audio.bytes();
    let output = properties::check(&resampler, &shape, &pcm, &input.steps);
    follows_the_formula(in_rate, out_rate, &pcm, &output[0]);
});

/// Number of input samples whose output is compared with the f64 reference, which is slow.
const COMPARED: usize = 1_200;

fn follows_the_formula(in_rate: u32, out_rate: u32, pcm: &[u8], output: &[u8]) {
    let (up, down) = rates::reduced(in_rate, out_rate);
    if up.max(down) > 160 {
        return;
    }
    let inputs = common::samples(pcm);
    let inputs = &inputs[..inputs.len().min(COMPARED)];
    // The reduced ratio gives the same result in less time.
    let exact = common::resample(down as u32, up as u32, inputs);
    let largest = largest_error(in_rate, out_rate);
    for (m, (got, want)) in common::samples(output).into_iter().zip(exact).enumerate() {
        let error = (f64::from(got) - common::clip(want)).abs();
        assert!(error <= largest, "output {m}: {got} instead of {want}");
    }
}

/// Returns the largest possible error of an output in 16-bit steps, for any input.
///
/// Rounding the output adds an error of half a step. Rounding a tap to 19 bits adds up to 1/32
/// of a step at full scale, and the correction of the sum of the taps can add the same amount.
/// If there are two filters, the second filter has one third of the taps, of 18 bits, and
/// multiplies the error of the first filter by at most three.
fn largest_error(in_rate: u32, out_rate: u32) -> f64 {
    let taps = 48.0 * (f64::from(in_rate) / f64::from(out_rate)).max(1.0);
    let one = 0.5 + taps / 16.0;
    if rates::is_six_times(in_rate, out_rate) {
        4.0 * one
    } else {
        one
    }
}
