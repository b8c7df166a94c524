//! Tests that compare the output of the streams with an f64 reference.

mod common;

use audiohook_audio::{InboundAudio, OutboundAudio, Resampler, WireFormat};
use audiohook_audio::{ulaw_decode, ulaw_encode};
use common::{bytes, clip, noise, samples};

const PAIRS: [(u32, u32); 26] = [
    (8_000, 16_000),
    (8_000, 24_000),
    (8_000, 32_000),
    (8_000, 40_000),
    (8_000, 48_000),
    (8_000, 56_000),
    (8_000, 64_000),
    (8_000, 96_000),
    (16_000, 8_000),
    (24_000, 8_000),
    (32_000, 8_000),
    (40_000, 8_000),
    (48_000, 8_000),
    (56_000, 8_000),
    (64_000, 8_000),
    (96_000, 8_000),
    (192_000, 8_000),
    (8_000, 11_025),
    (11_025, 8_000),
    (8_000, 22_050),
    (22_050, 8_000),
    (8_000, 44_100),
    (44_100, 8_000),
    (12_000, 8_000),
    (44_100, 48_000),
    (1_021, 1_019),
];

/// Returns the largest allowed error of an output in 16-bit steps, for full-scale noise.
///
/// Rounding the output adds an error of half a step. The remaining error comes from the taps,
/// which are rounded to 18 bits or more. If there are two filters, the output of the first
/// filter is rounded too.
fn tolerance(in_rate: u32, out_rate: u32) -> f64 {
    if in_rate == 6 * out_rate || out_rate == 6 * in_rate {
        2.0
    } else {
        1.0
    }
}

#[test]
fn every_kind_of_ratio_follows_the_formula() {
    for (in_rate, out_rate) in PAIRS {
        let input = noise(3_000);
        let mut resampler = Resampler::new(in_rate, out_rate).expect("supported");
        let output = samples(&resampler.process(&bytes(&input)).expect("even"));
        let exact = common::resample(in_rate, out_rate, &input);
        assert_eq!(output.len(), exact.len(), "{in_rate} -> {out_rate}");
        for (m, (&got, &want)) in output.iter().zip(&exact).enumerate() {
            let error = (f64::from(got) - clip(want)).abs();
            assert!(
                error <= tolerance(in_rate, out_rate),
                "{in_rate} -> {out_rate} at {m}: {error}"
            );
        }
    }
}

#[test]
fn the_largest_banks_follow_the_formula() {
    for (in_rate, out_rate, count) in [(64, 1, 40_000), (5_461, 5_460, 2_000), (1, 64, 200)] {
        let input = noise(count);
        let mut resampler = Resampler::new(in_rate, out_rate).expect("the largest bank");
        let output = samples(&resampler.process(&bytes(&input)).expect("even"));
        let exact = common::resample(in_rate, out_rate, &input);
        assert_eq!(output.len(), exact.len());
        for (&got, want) in output.iter().zip(exact) {
            let error = (f64::from(got) - clip(want)).abs();
            assert!(error <= 1.0, "{in_rate} -> {out_rate}: {error}");
        }
    }
}

#[test]
fn an_integer_upsampler_contains_its_input_bit_exactly() {
    for factor in [2, 3, 6, 12] {
        let input = noise(1_000);
        let mut resampler = Resampler::new(8_000, 8_000 * factor).expect("supported");
        let output = samples(&resampler.process(&bytes(&input)).expect("even"));
        let kept: Vec<i16> = output.into_iter().step_by(factor as usize).collect();
        let delay = if factor == 6 { 28 } else { 24 };
        assert!(kept[..delay].iter().all(|&sample| sample == 0));
        assert_eq!(kept[delay..], input[..1_000 - delay]);
    }
}

#[test]
fn inbound_equals_decoding_splitting_and_resampling() {
    let wire: Vec<u8> = noise(2_000).iter().map(|s| s.to_le_bytes()[0]).collect();
    for out_rate in [8_000, 16_000, 24_000, 48_000, 44_100] {
        let mut inbound = InboundAudio::new(WireFormat::Pcmu, 2, out_rate).expect("supported");
        let channels = inbound.process(&wire).expect("whole frames");
        for (index, channel) in channels.iter().enumerate() {
            let codes = wire[index..].iter().step_by(2);
            let decoded: Vec<i16> = codes.map(|&code| ulaw_decode(code)).collect();
            let mut resampler = Resampler::new(8_000, out_rate).expect("supported");
            assert_eq!(*channel, resampler.process(&bytes(&decoded)).expect("even"));
        }
    }
}

#[test]
fn outbound_equals_resampling_and_encoding() {
    let pcm = bytes(&noise(5_000));
    for in_rate in [8_000, 16_000, 24_000, 48_000, 44_100] {
        let mut outbound = OutboundAudio::new(WireFormat::Pcmu, in_rate).expect("supported");
        let wire = outbound.process(&pcm).expect("even");
        let mut resampler = Resampler::new(in_rate, 8_000).expect("supported");
        let narrow = samples(&resampler.process(&pcm).expect("even"));
        let encoded: Vec<u8> = narrow.into_iter().map(ulaw_encode).collect();
        assert_eq!(wire, encoded);
    }
}

#[test]
fn digital_silence_stays_digital_silence() {
    for in_rate in [8_000, 16_000, 24_000, 48_000, 44_100] {
        let mut outbound = OutboundAudio::new(WireFormat::Pcmu, in_rate).expect("supported");
        let wire = outbound.process(&vec![0; 20_000]).expect("even");
        assert!(!wire.is_empty() && wire.iter().all(|&code| code == 0xff));
    }
}
