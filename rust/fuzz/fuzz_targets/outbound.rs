//! Fuzz target: `OutboundAudio`. The stream must pass the checks of `properties`. Its output must
//! equal the output of separate resampling and encoding.

#![no_main]

use arbitrary::Arbitrary;
use audiohook_audio::{OutboundAudio, Resampler, ulaw_encode};
use audiohook_audio_fuzz::input::{Audio, Format, Rate, Step};
use audiohook_audio_fuzz::properties::{self, Shape};
use audiohook_audio_fuzz::rates;
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Input {
    format: Format,
    in_rate: Rate,
    steps: Vec<Step>,
    audio: Audio,
}

const WIRE_RATE: u32 = 8_000;

fuzz_target!(|input: Input| {
    let (format, Rate(in_rate)) = (input.format, input.in_rate);
    let refusal = rates::refusal(in_rate, WIRE_RATE);
    let outbound = match (OutboundAudio::new(format.wire(), in_rate), refusal) {
        (Ok(outbound), None) => outbound,
        (result, refusal) => return assert_eq!(result.err(), refusal),
    };
    let shape = Shape {
        in_rate,
        out_rate: WIRE_RATE,
        frame: 2,
        channels: 1,
        width: format.width(),
        silence: 0,
    };
    let pcm = input.audio.bytes();
    let output = properties::check(&outbound, &shape, &pcm, &input.steps);
    let mut resampler = Resampler::new(in_rate, WIRE_RATE).expect("the same rates");
    let narrow = resampler.process(&pcm[..pcm.len() / 2 * 2]).expect("even");
    assert!(output[0] == encoded(format, &narrow));
});

/// Encodes PCM for the wire, sample by sample.
fn encoded(format: Format, pcm: &[u8]) -> Vec<u8> {
    let samples = pcm.as_chunks::<2>().0.iter();
    match format {
        Format::Pcmu => samples
            .map(|&sample| ulaw_encode(i16::from_le_bytes(sample)))
            .collect(),
        Format::Little => pcm.to_vec(),
        Format::Big => samples.flat_map(|&[low, high]| [high, low]).collect(),
    }
}
