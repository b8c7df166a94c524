//! Other crates' resamplers beside ours, all from and to 16-bit PCM, per packet of 20
//! and 200 ms. Who does not keep the band (gain, images and aliases, measured on the 16
//! bits) as our contract has it is left out, which is said on standard error.

use std::f64::consts::PI;
use std::hint::black_box;

use audiohook_audio::Resampler as Ours;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use resampler::{Attenuation, Latency, ResamplerFir};
use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::{Fft, FixedSync, Resampler, WindowFunction};

const PAIRS: [(u32, u32); 6] = [
    (8_000, 16_000),
    (8_000, 24_000),
    (8_000, 48_000),
    (16_000, 8_000),
    (24_000, 8_000),
    (48_000, 8_000),
];
const MILLISECONDS: [u32; 2] = [20, 200];
/// The band's edges at 8000 Hz, and what is between. Even, so that half a second
/// is whole periods.
const TONES: [u32; 6] = [300, 438, 1_004, 2_202, 3_202, 3_400];
const RIPPLE_DB: f64 = 0.01;
const SPURIOUS_DBC: f64 = -95.0;
const AMPLITUDE: f64 = 29_204.0;

/// PCM in, PCM out; what is there is appended.
trait Stream {
    fn process(&mut self, pcm: &[u8], out: &mut Vec<u8>);
}

struct Exact(Ours);

impl Stream for Exact {
    fn process(&mut self, pcm: &[u8], out: &mut Vec<u8>) {
        out.resize(self.0.output_len(pcm.len()).expect("even"), 0);
        self.0.process_into(pcm, out).expect("even");
    }
}

/// Floats on the way, as both crates want them.
struct Floats<T> {
    resampler: T,
    input: Vec<f32>,
    output: Vec<f32>,
}

impl<T> Floats<T> {
    fn new(resampler: T, output: usize) -> Self {
        Self {
            resampler,
            input: Vec::new(),
            output: vec![0.0; output],
        }
    }

    fn take(&mut self, pcm: &[u8]) {
        self.input.clear();
        let samples = pcm.as_chunks::<2>().0.iter();
        self.input
            .extend(samples.map(|&pair| f32::from(i16::from_le_bytes(pair)) / 32_768.0));
    }

    fn give(&self, count: usize, out: &mut Vec<u8>) {
        for sample in &self.output[..count] {
            let rounded = (sample * 32_768.0).round_ties_even() as i16;
            out.extend_from_slice(&rounded.to_le_bytes());
        }
    }
}

impl Stream for Floats<Fft<f32>> {
    fn process(&mut self, pcm: &[u8], out: &mut Vec<u8>) {
        self.take(pcm);
        let due = self.output.len();
        let input = InterleavedSlice::new(&self.input, 1, self.input.len()).expect("mono");
        let mut output = InterleavedSlice::new_mut(&mut self.output, 1, due).expect("mono");
        let (read, count) = self
            .resampler
            .process_into_buffer(&input, &mut output, None)
            .expect("a packet is a chunk");
        assert_eq!(read, self.input.len());
        self.give(count, out);
    }
}

impl Stream for Floats<ResamplerFir> {
    fn process(&mut self, pcm: &[u8], out: &mut Vec<u8>) {
        self.take(pcm);
        let mut begin = 0;
        while begin < self.input.len() {
            let (read, count) = self
                .resampler
                .resample(&self.input[begin..], &mut self.output)
                .expect("mono");
            begin += read;
            self.give(count, out);
        }
    }
}

type Make = fn(u32, u32, u32) -> Box<dyn Stream>;

/// In blocks of 20 ms, the shortest packet, which is long enough a filter.
fn rubato(from: u32, to: u32, frames: u32) -> Box<dyn Stream> {
    let blocks = (frames * 50 / from) as usize;
    let [from, to, frames] = [from, to, frames].map(|n| n as usize);
    let window = WindowFunction::BlackmanHarris2;
    let fft = Fft::new_custom(from, to, frames, blocks, 1, window, FixedSync::Input);
    let fft = fft.expect("supported");
    let most = fft.output_frames_max();
    Box::new(Floats::new(fft, most))
}

fn fir(latency: Latency, from: u32, to: u32) -> Box<dyn Stream> {
    let fir = ResamplerFir::new_from_hz(1, from, to, latency, Attenuation::Db120);
    let most = fir.buffer_size_output();
    Box::new(Floats::new(fir, most))
}

const STREAMS: [(&str, Make); 4] = [
    ("ours", |from, to, _| {
        Box::new(Exact(Ours::new(from, to).expect("supported")))
    }),
    ("rubato Fft", rubato),
    ("resampler Fir 64", |from, to, _| {
        fir(Latency::Sample64, from, to)
    }),
    ("resampler Fir 32", |from, to, _| {
        fir(Latency::Sample32, from, to)
    }),
];

fn sine(frequency: u32, rate: u32) -> Vec<u8> {
    (0..rate)
        .map(|n| 2.0 * PI * f64::from(frequency) / f64::from(rate) * f64::from(n))
        .flat_map(|angle| ((AMPLITUDE * angle.sin()).round() as i16).to_le_bytes())
        .collect()
}

/// Level of a frequency in half a second of what comes out, in dB below what went in.
fn level(
    make: Make,
    (in_rate, out_rate): (u32, u32),
    frames: u32,
    tone: u32,
    heard: &[u32],
) -> Vec<f64> {
    let mut stream = make(in_rate, out_rate, frames);
    let mut out = Vec::new();
    let mut packet = Vec::new();
    for piece in sine(tone, in_rate).chunks(2 * frames as usize) {
        packet.clear();
        stream.process(piece, &mut packet);
        out.extend_from_slice(&packet);
    }
    let begin = out_rate as usize / 4;
    let middle: Vec<f64> = out.as_chunks::<2>().0[begin..][..out_rate as usize / 2]
        .iter()
        .map(|&pair| f64::from(i16::from_le_bytes(pair)))
        .collect();
    heard
        .iter()
        .map(|&frequency| {
            // Goertzel's recurrence, in a quarter of the time that sines would take.
            let (sine, cosine) = (2.0 * PI * f64::from(frequency) / f64::from(out_rate)).sin_cos();
            let (last, before) = middle.iter().fold((0.0, 0.0), |(last, before), x| {
                (x + 2.0 * cosine * last - before, last)
            });
            let amplitude =
                2.0 * f64::hypot(last - before * cosine, before * sine) / middle.len() as f64;
            20.0 * (amplitude / AMPLITUDE).log10()
        })
        .collect()
}

/// What sampling at the lower rate cannot tell from a tone, up to half the higher.
fn around(tone: u32, lower: u32, higher: u32) -> Vec<u32> {
    (1..)
        .map(|k| k * lower)
        .take_while(|centre| centre - tone < higher / 2)
        .flat_map(|centre| [centre - tone, centre + tone])
        .filter(|&other| other < higher / 2)
        .collect()
}

/// The worst deviation of the gain and the worst image or alias, in dB.
fn quality(make: Make, pair: (u32, u32), frames: u32) -> (f64, f64) {
    let (in_rate, out_rate) = pair;
    let mut worst = (0.0, f64::NEG_INFINITY);
    for tone in TONES {
        let gain = level(make, pair, frames, tone, &[tone])[0];
        worst.0 = f64::max(worst.0, gain.abs());
        let spurious = if in_rate < out_rate {
            level(make, pair, frames, tone, &around(tone, in_rate, out_rate))
        } else {
            around(tone, out_rate, in_rate)
                .iter()
                .map(|&other| level(make, pair, frames, other, &[tone])[0])
                .collect()
        };
        worst.1 = spurious.into_iter().fold(worst.1, f64::max);
    }
    worst
}

fn peers(criterion: &mut Criterion) {
    for pair in PAIRS {
        let (in_rate, out_rate) = pair;
        let mut group = criterion.benchmark_group(format!("peer {in_rate}-{out_rate}"));
        for milliseconds in MILLISECONDS {
            let frames = in_rate * milliseconds / 1_000;
            let pcm = sine(1_004, in_rate)[..2 * frames as usize].to_vec();
            for (name, make) in STREAMS {
                let (ripple, spurious) = quality(make, pair, frames);
                if ripple > RIPPLE_DB || spurious > SPURIOUS_DBC {
                    assert_ne!(name, "ours", "{ripple} dB, {spurious} dBc");
                    #[allow(clippy::print_stderr)]
                    {
                        eprintln!(
                            "left out: {name}, {in_rate}-{out_rate}, {milliseconds} ms: \
                             ripple {ripple:.4} dB, spurious {spurious:.1} dBc"
                        );
                    }
                    continue;
                }
                let mut stream = make(in_rate, out_rate, frames);
                let mut out = Vec::new();
                group.throughput(Throughput::Elements(u64::from(frames)));
                let id = BenchmarkId::new(name, format!("{milliseconds} ms"));
                group.bench_function(id, |bencher| {
                    bencher.iter(|| {
                        out.clear();
                        stream.process(black_box(&pcm), &mut out);
                    });
                });
            }
        }
        group.finish();
    }
}

criterion_group!(benches, peers);
criterion_main!(benches);
