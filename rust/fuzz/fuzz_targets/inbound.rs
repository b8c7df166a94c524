//! Fuzz target: `InboundAudio`. The stream must pass the checks of `properties`. Its output must
//! equal the output of separate decoding and resampling.

#![no_main]

use arbitrary::Arbitrary;
use audiohook_audio::{AudioError, InboundAudio, Resampler, ulaw_decode};
use audiohook_audio_fuzz::input::{Audio, Format, Rate, Step};
use audiohook_audio_fuzz::properties::{self, Shape};
use audiohook_audio_fuzz::rates;
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Input {
    format: Format,
    channels: Channels,
    out_rate: Rate,
    steps: Vec<Step>,
    audio: Audio,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Channels {
    One,
    Two,
    Any(usize),
}

const WIRE_RATE: u32 = 8_000;

fuzz_target!(|input: Input| {
    let (format, Rate(out_rate)) = (input.format, input.out_rate);
    let channels = match input.channels {
        Channels::One => 1,
        Channels::Two => 2,
        Channels::Any(count) => count,
    };
    let refusal = if matches!(channels, 1 | 2) {
        rates::refusal(WIRE_RATE, out_rate)
    } else {
        let channels = channels.try_into().unwrap_or(i64::MAX);
        Some(AudioError::ChannelCount { channels })
    };
    let inbound = match (
        InboundAudio::new(format.wire(), channels, out_rate),
        refusal,
    ) {
        (Ok(inbound), None) => inbound,
        (result, refusal) => return assert_eq!(result.err(), refusal),
    };
    let frame = channels * format.width();
    let shape = Shape {
        in_rate: WIRE_RATE,
        out_rate,
        frame,
        channels,
        width: 2,
        silence: match format {
            Format::Pcmu => 0xff,
            Format::Little | Format::Big => 0,
        },
    };
    let wire = input.audio.bytes();
    let outputs = properties::check(&inbound, &shape, &wire, &input.steps);
    for (channel, output) in outputs.iter().enumerate() {
        let mut resampler = Resampler::new(WIRE_RATE, out_rate).expect("the same rates");
        let pcm = decoded(format, wire.chunks_exact(frame), channel);
        assert!(
            resampler.process(&pcm).as_ref() == Ok(output),
            "channel {channel}"
        );
    }
    let mut too_many: Vec<&mut [u8]> = (0..=channels).map(|_| &mut [][..]).collect();
    assert_eq!(
        inbound.clone().process_into(&[], &mut too_many),
        Err(AudioError::OutputCount {
            expected: channels,
            actual: channels + 1,
        })
    );
});

/// Decodes one channel of the frames to PCM, sample by sample.
fn decoded<'a>(format: Format, frames: impl Iterator<Item = &'a [u8]>, channel: usize) -> Vec<u8> {
    let samples = frames.map(|frame| match format {
        Format::Pcmu => ulaw_decode(frame[channel]).to_le_bytes(),
        Format::Little => [frame[2 * channel], frame[2 * channel + 1]],
        Format::Big => [frame[2 * channel + 1], frame[2 * channel]],
    });
    samples.flatten().collect()
}
