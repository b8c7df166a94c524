//! The fused directions on mu-law, per packet of 160, 800 and 1600 wire bytes;
//! checked against their separate steps before the clock starts.

use std::hint::black_box;

use audiohook_audio::{
    InboundAudio, OutboundAudio, Resampler, WireFormat, pcm_to_ulaw, ulaw_to_pcm,
};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

#[path = "../../rust/core/tests/common/mod.rs"]
mod common;

const RATES: [u32; 4] = [8_000, 16_000, 24_000, 48_000];
const WIRE_BYTES: [usize; 3] = [160, 800, 1_600];

fn inbound(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("inbound");
    for rate in RATES {
        for length in WIRE_BYTES {
            let wire: Vec<u8> = (0..length).map(|i| (i * 89 % 256) as u8).collect();
            let mut pcm = vec![0; 2 * length];
            ulaw_to_pcm(&wire, &mut pcm).expect("exact buffer");
            let mut resampler = Resampler::new(8_000, rate).expect("supported");
            let mut stream = InboundAudio::new(WireFormat::Pcmu, 1, rate).expect("supported");
            let output = stream.process(&wire).expect("whole frames");
            assert_eq!(output, [resampler.process(&pcm).expect("even")]);

            let mut out = vec![0; stream.output_len(length).expect("whole frames")];
            group.throughput(Throughput::Bytes(length as u64));
            group.bench_function(BenchmarkId::new(rate.to_string(), length), |bencher| {
                bencher.iter(|| stream.process_into(black_box(&wire), &mut [&mut out]));
            });
        }
    }
    group.finish();
}

fn outbound(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("outbound");
    for rate in RATES {
        for length in WIRE_BYTES {
            let pcm = common::bytes(&common::noise(length * rate as usize / 8_000));
            let mut resampler = Resampler::new(rate, 8_000).expect("supported");
            let mut expected = vec![0; length];
            pcm_to_ulaw(&resampler.process(&pcm).expect("even"), &mut expected)
                .expect("exact buffer");
            let mut stream = OutboundAudio::new(WireFormat::Pcmu, rate).expect("supported");
            assert_eq!(stream.process(&pcm).expect("even"), expected);

            let mut wire = vec![0; length];
            group.throughput(Throughput::Bytes(length as u64));
            group.bench_function(BenchmarkId::new(rate.to_string(), length), |bencher| {
                bencher.iter(|| stream.process_into(black_box(&pcm), &mut wire));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, inbound, outbound);
criterion_main!(benches);
