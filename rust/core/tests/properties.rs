//! Property tests of the crate's public functions, with arbitrary sample rates, arbitrary audio and
//! arbitrary divisions of the audio into method calls.

mod common;

use audiohook_audio::{
    AudioError, ByteOrder, InboundAudio, OutboundAudio, Resampler, WireFormat, merge_stereo,
    pcm_to_ulaw, pcm_to_ulaw_len, split_stereo, stereo_channel_len, stereo_merged_len, ulaw_to_pcm,
};
use common::{bytes, noise};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

/// Generates sample rates: mostly rates that are frequent in telephony, and some arbitrary rates.
fn rate() -> impl Strategy<Value = u32> {
    prop_oneof![
        4 => select(vec![8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000]),
        2 => 1..300_u32,
        1 => 1..200_000_u32,
    ]
}

fn format() -> impl Strategy<Value = WireFormat> {
    select(vec![
        WireFormat::Pcmu,
        WireFormat::L16(ByteOrder::Little),
        WireFormat::L16(ByteOrder::Big),
    ])
}

/// Returns a resampler if the pair of rates is supported.
fn resampler(in_rate: u32, out_rate: u32) -> Option<Resampler> {
    Resampler::new(in_rate, out_rate).ok()
}

fn delay_outputs(in_rate: u32, out_rate: u32) -> usize {
    if in_rate == out_rate {
        return 0;
    }
    let six_times = in_rate == 6 * out_rate || out_rate == 6 * in_rate;
    let twice = if six_times { 56 } else { 48 } * u64::from(out_rate);
    let lower = u64::from(in_rate.min(out_rate));
    // The delay is `twice / (2 * lower)`, rounded to the nearest integer; ties are rounded to even.
    let floor = twice / (2 * lower);
    let rest = twice % (2 * lower);
    let up = rest > lower || (rest == lower && floor % 2 == 1);
    (floor + u64::from(up)) as usize
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn output_does_not_depend_on_the_division_of_the_input(
        in_rate in rate(),
        out_rate in rate(),
        cuts in vec(0..700_usize, 1..12),
    ) {
        let Some(mut whole) = resampler(in_rate, out_rate) else { return Ok(()); };
        let mut cut = whole.clone();
        let input = noise(cuts.iter().sum());
        let at_once = whole.process(&bytes(&input)).expect("even");
        let (mut read, mut pieces) = (0, Vec::new());
        for step in cuts {
            pieces.extend(cut.process(&bytes(&input[read..read + step])).expect("even"));
            read += step;
            let due = read as u128 * u128::from(out_rate) / u128::from(in_rate);
            prop_assert_eq!(pieces.len() as u128, 2 * due);
        }
        prop_assert!(pieces == at_once);
    }

    #[test]
    fn flush_returns_what_silence_would_and_starts_a_new_stream(
        in_rate in rate(),
        out_rate in rate(),
        length in 0..900_usize,
    ) {
        let Some(mut flushed) = resampler(in_rate, out_rate) else { return Ok(()); };
        let mut fed = flushed.clone();
        let input = bytes(&noise(length));
        prop_assert_eq!(flushed.process(&input), fed.process(&input));
        let tail = flushed.flush();
        prop_assert_eq!(tail.len(), 2 * delay_outputs(in_rate, out_rate));
        let enough = 50 * (in_rate as usize / out_rate as usize + 1);
        let silence = fed.process(&vec![0; 2 * enough]).expect("even");
        prop_assert!(tail == silence[..tail.len()]);
        let mut new = Resampler::new(in_rate, out_rate).expect("supported before");
        prop_assert!(flushed.process(&input) == new.process(&input));
    }

    #[test]
    fn reset_starts_a_new_stream(in_rate in rate(), out_rate in rate(), length in 0..900_usize) {
        let Some(mut used) = resampler(in_rate, out_rate) else { return Ok(()); };
        let mut new = used.clone();
        let input = bytes(&noise(length));
        used.process(&input).expect("even");
        used.reset();
        prop_assert!(used.process(&input) == new.process(&input));
    }

    #[test]
    fn a_rejected_call_does_not_panic_or_change_the_stream(
        format in format(),
        channels in 0..4_usize,
        rate in any::<u32>(),
        common in rate(),
        wire in vec(any::<u8>(), 0..400),
    ) {
        let _ = InboundAudio::new(format, channels, rate);
        let _ = OutboundAudio::new(format, rate);
        if let Ok(mut inbound) = InboundAudio::new(format, channels, common) {
            let mut untouched = inbound.clone();
            let frame = channels * format.sample_width();
            let whole = &wire[..wire.len() / frame * frame];
            let result = inbound.process(&wire);
            if whole.len() == wire.len() {
                prop_assert!(result.is_ok());
            } else {
                prop_assert_eq!(
                    result,
                    Err(AudioError::PartialFrame { length: wire.len(), frame })
                );
                prop_assert_eq!(inbound.process(whole), untouched.process(whole));
            }
        }
        if let Ok(mut outbound) = OutboundAudio::new(format, common) {
            let mut untouched = outbound.clone();
            let even = &wire[..wire.len() / 2 * 2];
            if outbound.process(&wire).is_err() {
                prop_assert_eq!(outbound.process(even), untouched.process(even));
            }
        }
    }

    #[test]
    fn channels_are_independent(
        format in format(),
        out_rate in select(vec![8_000, 16_000, 24_000, 48_000, 44_100]),
        left in vec(any::<u8>(), 400),
        right in vec(any::<u8>(), 400),
    ) {
        let mut stereo = vec![0; 800];
        merge_stereo(&left, &right, format.sample_width(), &mut stereo).expect("equal");
        let mut both = InboundAudio::new(format, 2, out_rate).expect("supported");
        let mut one = InboundAudio::new(format, 1, out_rate).expect("supported");
        let mut outputs = both.process(&stereo).expect("whole frames");
        prop_assert_eq!(&outputs.remove(0), &one.process(&left).expect("whole")[0]);
        one.reset();
        prop_assert_eq!(&outputs.remove(0), &one.process(&right).expect("whole")[0]);
    }

    #[test]
    fn splitting_a_merged_stereo_returns_the_channels(
        width in 1..=4_usize,
        mut left in vec(any::<u8>(), 0..200),
    ) {
        left.truncate(left.len() / width * width);
        let right: Vec<u8> = left.iter().rev().copied().collect();
        let length = stereo_merged_len(left.len(), right.len(), width).expect("equal");
        let mut stereo = vec![0; length];
        merge_stereo(&left, &right, width, &mut stereo).expect("equal");
        let half = stereo_channel_len(length, width).expect("whole");
        let (mut first, mut second) = (vec![0; half], vec![0; half]);
        split_stereo(&stereo, width, &mut first, &mut second).expect("whole");
        prop_assert_eq!((first, second), (left, right));
    }

    #[test]
    fn encoding_decoded_mu_law_again_gives_the_same_codes(pcm in vec(any::<u8>(), 0..400)) {
        let even = &pcm[..pcm.len() / 2 * 2];
        let mut codes = vec![0; pcm_to_ulaw_len(even.len()).expect("even")];
        pcm_to_ulaw(even, &mut codes).expect("even");
        let mut decoded = vec![0; even.len()];
        ulaw_to_pcm(&codes, &mut decoded).expect("exact");
        let mut again = codes.clone();
        pcm_to_ulaw(&decoded, &mut again).expect("even");
        // 0x7f is negative zero, which decodes to the same value as 0xff.
        for (code, again) in codes.iter().zip(again) {
            prop_assert_eq!(if *code == 0x7f { 0xff } else { *code }, again);
        }
    }
}

#[test]
fn wrong_output_buffers_are_rejected() {
    let mut inbound = InboundAudio::new(WireFormat::Pcmu, 2, 16_000).expect("supported");
    let mut only = [0; 4];
    assert_eq!(
        inbound.process_into(&[0xff; 2], &mut [&mut only]),
        Err(AudioError::OutputCount {
            expected: 2,
            actual: 1
        })
    );
    let mut resampler = Resampler::new(8_000, 16_000).expect("supported");
    assert_eq!(
        resampler.process_into(&[0; 4], &mut [0; 7]),
        Err(AudioError::OutputLength {
            expected: 8,
            actual: 7
        })
    );
    assert_eq!(
        resampler.flush_into(&mut [0; 1]),
        Err(AudioError::OutputLength {
            expected: 96,
            actual: 1
        })
    );
}
