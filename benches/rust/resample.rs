//! The resampler, between 8 kHz and each rate in use, per packet of 20, 100 and
//! 200 ms; checked against the formula in f64 before the clock starts.

use std::hint::black_box;

use audiohook_audio::Resampler;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

#[path = "../../rust/core/tests/common/mod.rs"]
mod common;

const PAIRS: [(u32, u32); 9] = [
    (8_000, 8_000),
    (8_000, 16_000),
    (8_000, 24_000),
    (8_000, 48_000),
    (8_000, 44_100),
    (16_000, 8_000),
    (24_000, 8_000),
    (48_000, 8_000),
    (44_100, 8_000),
];

fn resample(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("resample");
    for (in_rate, out_rate) in PAIRS {
        for milliseconds in [20, 100, 200] {
            // Not so loud that something is clipped between the two filters of six times.
            let mut input = common::noise(in_rate as usize * milliseconds / 1_000);
            for sample in &mut input {
                *sample /= 4;
            }
            let pcm = common::bytes(&input);
            let mut resampler = Resampler::new(in_rate, out_rate).expect("supported");
            let output = common::samples(&resampler.process(&pcm).expect("even"));
            let exact = common::resample(in_rate, out_rate, &input);
            assert_eq!(output.len(), exact.len());
            for (&got, want) in output.iter().zip(exact) {
                assert!((f64::from(got) - want.clamp(-32_768.0, 32_767.0)).abs() < 1.6);
            }

            // Whole multiples of 20 ms: every call has as many outputs.
            let mut out = vec![0; resampler.output_len(pcm.len()).expect("even")];
            group.throughput(Throughput::Elements(input.len() as u64));
            let id = BenchmarkId::new(
                format!("{in_rate}-{out_rate}"),
                format!("{milliseconds} ms"),
            );
            group.bench_function(id, |bencher| {
                bencher.iter(|| resampler.process_into(black_box(&pcm), &mut out));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, resample);
criterion_main!(benches);
