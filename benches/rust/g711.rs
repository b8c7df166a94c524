//! G.711 mu-law, per packet of 20, 100 and 200 ms at 8 kHz.

use std::hint::black_box;

use audiohook_audio::{pcm_to_ulaw, ulaw_to_pcm};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

/// ITU-T G.711, table 2a, step by step.
fn decode_by_the_table(code: u8) -> i16 {
    let inverted = !code;
    let segment = u32::from((inverted >> 4) & 7);
    let magnitude = (((2 * i32::from(inverted & 15) + 33) << segment) - 33) << 2;
    let signed = if inverted & 0x80 == 0 {
        magnitude
    } else {
        -magnitude
    };
    signed as i16
}

fn g711(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("g711");
    for samples in [160_usize, 800, 1_600] {
        // Every code in turn, except negative zero, which encodes to zero's.
        let codes: Vec<u8> = (0..=u8::MAX)
            .filter(|&code| code != 0x7f)
            .cycle()
            .take(samples)
            .collect();
        let expected: Vec<u8> = codes
            .iter()
            .flat_map(|&code| decode_by_the_table(code).to_le_bytes())
            .collect();
        let (mut pcm, mut encoded) = (vec![0; 2 * samples], vec![0; samples]);
        ulaw_to_pcm(&codes, &mut pcm).expect("exact buffers");
        pcm_to_ulaw(&pcm, &mut encoded).expect("exact buffers");
        assert_eq!(pcm, expected);
        assert_eq!(encoded, codes);

        group.throughput(Throughput::Elements(samples as u64));
        group.bench_function(BenchmarkId::new("decode", samples), |bencher| {
            bencher.iter(|| ulaw_to_pcm(black_box(&codes), &mut pcm));
        });
        group.bench_function(BenchmarkId::new("encode", samples), |bencher| {
            bencher.iter(|| pcm_to_ulaw(black_box(&expected), &mut encoded));
        });
    }
    group.finish();
}

criterion_group!(benches, g711);
criterion_main!(benches);
