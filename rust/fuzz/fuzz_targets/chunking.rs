//! The resampler between any two rates: the laws, and the formula it is defined by.

#![no_main]

use arbitrary::Arbitrary;
use audiohook_audio::Resampler;
use audiohook_audio_fuzz::input::{Audio, Rate, Step};
use audiohook_audio_fuzz::laws::{self, Shape};
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
    let output = laws::check(&resampler, &shape, &pcm, &input.steps);
    follows_the_formula(in_rate, out_rate, &pcm, &output[0]);
});

/// Inputs that are compared with the formula, which takes its time.
const COMPARED: usize = 1_200;

fn follows_the_formula(in_rate: u32, out_rate: u32, pcm: &[u8], output: &[u8]) {
    let (up, down) = rates::reduced(in_rate, out_rate);
    if up.max(down) > 160 {
        return;
    }
    let inputs = common::samples(pcm);
    let inputs = &inputs[..inputs.len().min(COMPARED)];
    // The reduced ratio gives the same, sooner.
    let exact = common::resample(down as u32, up as u32, inputs);
    let farthest = farthest(in_rate, out_rate);
    for (m, (got, want)) in common::samples(output).into_iter().zip(exact).enumerate() {
        let error = (f64::from(got) - common::clip(want)).abs();
        assert!(error <= farthest, "output {m}: {got} instead of {want}");
    }
}

/// How far an output can be from the formula's, in steps of 16 bits, whatever the
/// input: rounding it costs half a step; rounding a tap to 19 bits at the most
/// unlucky full-scale input a 32nd, and what keeps the sum of the taps at 1 may cost
/// as much again. Where there are two filters, the second one has taps of 18 bits,
/// a third as many, and passes on at most thrice the first one's error.
fn farthest(in_rate: u32, out_rate: u32) -> f64 {
    let taps = 48.0 * (f64::from(in_rate) / f64::from(out_rate)).max(1.0);
    let one = 0.5 + taps / 16.0;
    if rates::is_six_times(in_rate, out_rate) {
        4.0 * one
    } else {
        one
    }
}
