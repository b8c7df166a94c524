//! Instruction counts of the hot paths for each instruction set. `../instructions.py` runs this
//! program.
//!
//! A benchmark is one packet in the middle of a stream: filter banks, the choice of kernels and
//! buffers are made before counting begins.

// gungraun's macros make public items without documentation.
#![allow(missing_docs, unreachable_pub)]
// Streams are boxed, so that copying them is not counted.
#![allow(clippy::unnecessary_box_returns)]

use std::hint::black_box;

use audiohook_audio::{
    ByteOrder, InboundAudio, OutboundAudio, SIMD_VARIABLE, WireFormat, instruction_set,
    pcm_to_ulaw, ulaw_to_pcm,
};
use gungraun::prelude::*;

#[path = "../../rust/core/tests/common/mod.rs"]
mod common;

const PCMU: WireFormat = WireFormat::Pcmu;
const L16: WireFormat = WireFormat::L16(ByteOrder::Little);

struct Inbound {
    stream: InboundAudio,
    wire: Vec<u8>,
    outputs: Vec<Vec<u8>>,
}

/// Makes a stream that has converted one packet of `milliseconds`.
fn inbound_stream(
    format: WireFormat,
    channels: usize,
    out_rate: u32,
    milliseconds: usize,
) -> Box<Inbound> {
    check_instruction_set();
    let mut wire = bytes(8 * milliseconds * channels);
    if format == PCMU {
        wire.truncate(wire.len() / 2);
    }
    let mut stream =
        InboundAudio::new(format, channels, out_rate).expect("supported format and rate");
    let outputs = stream.process(&wire).expect("whole frames");
    Box::new(Inbound {
        stream,
        wire,
        outputs,
    })
}

#[library_benchmark(setup = inbound_stream)]
#[bench::pcmu_16k_200ms(PCMU, 1, 16_000, 200)]
#[bench::pcmu_24k_200ms(PCMU, 1, 24_000, 200)]
#[bench::pcmu_48k_200ms(PCMU, 1, 48_000, 200)]
#[bench::pcmu_16k_20ms(PCMU, 1, 16_000, 20)]
#[bench::pcmu_24k_20ms(PCMU, 1, 24_000, 20)]
#[bench::pcmu_48k_20ms(PCMU, 1, 48_000, 20)]
#[bench::pcmu_44k1_200ms(PCMU, 1, 44_100, 200)]
#[bench::pcmu_stereo_16k_200ms(PCMU, 2, 16_000, 200)]
#[bench::pcmu_stereo_24k_200ms(PCMU, 2, 24_000, 200)]
#[bench::l16_16k_200ms(L16, 1, 16_000, 200)]
#[bench::l16_stereo_16k_200ms(L16, 2, 16_000, 200)]
fn inbound(mut case: Box<Inbound>) -> Box<Inbound> {
    match &mut *case.outputs {
        [only] => case.stream.process_into(black_box(&case.wire), &mut [only]),
        [first, second, ..] => case
            .stream
            .process_into(black_box(&case.wire), &mut [first, second]),
        [] => Ok(()),
    }
    .expect("buffers fit");
    case
}

struct Outbound {
    stream: OutboundAudio,
    pcm: Vec<u8>,
    wire: Vec<u8>,
}

/// Makes a stream that has converted one packet of `milliseconds`.
fn outbound_stream(format: WireFormat, in_rate: u32, milliseconds: usize) -> Box<Outbound> {
    check_instruction_set();
    let pcm = bytes(in_rate as usize / 1_000 * milliseconds);
    let mut stream = OutboundAudio::new(format, in_rate).expect("supported format and rate");
    stream.process(&pcm).expect("whole samples");
    let wire = vec![0; stream.output_len(pcm.len()).expect("whole samples")];
    Box::new(Outbound { stream, pcm, wire })
}

#[library_benchmark(setup = outbound_stream)]
#[bench::pcmu_16k_200ms(PCMU, 16_000, 200)]
#[bench::pcmu_24k_200ms(PCMU, 24_000, 200)]
#[bench::pcmu_48k_200ms(PCMU, 48_000, 200)]
#[bench::pcmu_16k_20ms(PCMU, 16_000, 20)]
#[bench::pcmu_24k_20ms(PCMU, 24_000, 20)]
#[bench::pcmu_48k_20ms(PCMU, 48_000, 20)]
#[bench::pcmu_44k1_200ms(PCMU, 44_100, 200)]
#[bench::l16_16k_200ms(L16, 16_000, 200)]
fn outbound(mut case: Box<Outbound>) -> Box<Outbound> {
    case.stream
        .process_into(black_box(&case.pcm), &mut case.wire)
        .expect("buffer fits");
    case
}

struct Coded {
    codes: Vec<u8>,
    pcm: Vec<u8>,
}

/// Makes samples and their codes. The kernels are selected when the samples are encoded here.
fn coded(samples: usize) -> Box<Coded> {
    check_instruction_set();
    let (pcm, mut codes) = (bytes(samples), vec![0; samples]);
    pcm_to_ulaw(&pcm, &mut codes).expect("buffer fits");
    Box::new(Coded { codes, pcm })
}

#[library_benchmark(setup = coded)]
#[bench::samples_1600(1_600)]
#[bench::samples_160(160)]
fn decode(mut case: Box<Coded>) -> Box<Coded> {
    ulaw_to_pcm(black_box(&case.codes), &mut case.pcm).expect("buffer fits");
    case
}

#[library_benchmark(setup = coded)]
#[bench::samples_1600(1_600)]
#[bench::samples_160(160)]
fn encode(mut case: Box<Coded>) -> Box<Coded> {
    pcm_to_ulaw(black_box(&case.pcm), &mut case.codes).expect("buffer fits");
    case
}

/// Makes PCM noise.
fn bytes(samples: usize) -> Vec<u8> {
    common::bytes(&common::noise(samples))
}

/// Checks that the core uses the instruction set that the environment variable names.
fn check_instruction_set() {
    let requested = std::env::var(SIMD_VARIABLE);
    assert_eq!(instruction_set().map(String::from).ok(), requested.ok());
}

fn configured_with(instruction_set: &str) -> LibraryBenchmarkConfig {
    let mut config = LibraryBenchmarkConfig::default();
    config.env(SIMD_VARIABLE, instruction_set);
    config
}

library_benchmark_group!(
    name = avx2,
    config = configured_with("avx2"),
    benchmarks = [inbound, outbound, decode, encode]
);
library_benchmark_group!(
    name = sse2,
    config = configured_with("sse2"),
    benchmarks = [inbound, outbound, decode, encode]
);
library_benchmark_group!(
    name = portable,
    config = configured_with("portable"),
    benchmarks = [inbound, outbound, decode, encode]
);

main!(library_benchmark_groups = [avx2, sse2, portable]);
