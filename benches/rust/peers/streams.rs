//! Other crates' resamplers beside ours as streams of 16-bit PCM, the least work around each.

use audiohook_audio::Resampler as Ours;
use resampler::{Attenuation, Latency, ResamplerFft, ResamplerFir, SampleRate};
use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::{
    Async, Fft, FixedAsync, FixedSync, Resampler, SincInterpolationParameters,
    SincInterpolationType, WindowFunction,
};

/// PCM in, PCM out; what is there is appended.
pub(crate) trait Stream {
    fn process(&mut self, pcm: &[u8], out: &mut Vec<u8>);
}

/// From a rate, to a rate, samples in a packet.
pub(crate) type Make = fn(u32, u32, u32) -> Box<dyn Stream>;

/// Everyone, with the settings that make each fastest while it keeps the band as our contract
/// has it, and with those that come next and do not.
pub(crate) const STREAMS: [(&str, Make); 7] = [
    ("ours", ours),
    ("rubato Fft, 20 ms", |from, to, frames| {
        rubato_fft(from, to, frames, 50)
    }),
    ("rubato Fft, 10 ms", |from, to, frames| {
        rubato_fft(from, to, frames, 100)
    }),
    ("rubato sinc", rubato_sinc),
    ("resampler Fft", resampler_fft),
    ("resampler Fir 64", |from, to, _| {
        resampler_fir(Latency::Sample64, Attenuation::Db120, from, to)
    }),
    ("resampler Fir 32", |from, to, _| {
        resampler_fir(Latency::Sample32, Attenuation::Db90, from, to)
    }),
];

struct Exact(Ours);

impl Stream for Exact {
    fn process(&mut self, pcm: &[u8], out: &mut Vec<u8>) {
        let begin = out.len();
        out.resize(begin + self.0.output_len(pcm.len()).expect("even"), 0);
        self.0.process_into(pcm, &mut out[begin..]).expect("even");
    }
}

fn ours(from: u32, to: u32, _: u32) -> Box<dyn Stream> {
    Box::new(Exact(Ours::new(from, to).expect("supported")))
}

/// Floats on the way, as both crates want them.
struct Floats<T> {
    resampler: T,
    /// What has not been taken yet.
    input: Vec<f32>,
    output: Vec<f32>,
}

impl<T> Floats<T>
where
    Self: Stream + 'static,
{
    fn boxed(resampler: T, output: usize) -> Box<dyn Stream> {
        Box::new(Self {
            resampler,
            input: Vec::new(),
            output: vec![0.0; output],
        })
    }
}

impl<T> Floats<T> {
    fn take(&mut self, pcm: &[u8]) {
        let samples = pcm.as_chunks::<2>().0.iter();
        self.input
            .extend(samples.map(|&pair| f32::from(i16::from_le_bytes(pair)) / 32_768.0));
    }

    /// Rounds by adding 1.5 x 2^23, which compilers can do to many at a time on any CPU.
    fn give(&self, count: usize, out: &mut Vec<u8>) {
        const MAGIC: f32 = 12_582_912.0;
        let begin = out.len();
        out.resize(begin + 2 * count, 0);
        let pairs = out[begin..].as_chunks_mut::<2>().0.iter_mut();
        for (pair, sample) in pairs.zip(&self.output[..count]) {
            let scaled = (sample * 32_768.0).clamp(-32_768.0, 32_767.0) + MAGIC;
            *pair = (scaled.to_bits() as i16).to_le_bytes();
        }
    }
}

/// What is alike in rubato's: a packet is a chunk.
fn chunk<T: Resampler<f32>>(floats: &mut Floats<T>, pcm: &[u8]) -> usize {
    floats.take(pcm);
    let (due, given) = (floats.output.len(), floats.input.len());
    let input = InterleavedSlice::new(&floats.input, 1, given).expect("mono");
    let mut output = InterleavedSlice::new_mut(&mut floats.output, 1, due).expect("mono");
    let done = floats
        .resampler
        .process_into_buffer(&input, &mut output, None);
    let (read, count) = done.expect("a packet is a chunk");
    assert_eq!(read, given);
    floats.input.clear();
    count
}

impl Stream for Floats<Fft<f32>> {
    fn process(&mut self, pcm: &[u8], out: &mut Vec<u8>) {
        let count = chunk(self, pcm);
        self.give(count, out);
    }
}

impl Stream for Floats<Async<f32>> {
    fn process(&mut self, pcm: &[u8], out: &mut Vec<u8>) {
        let count = chunk(self, pcm);
        self.give(count, out);
    }
}

/// In blocks of so many a second; none may be longer than the shortest packet.
fn rubato_fft(from: u32, to: u32, frames: u32, per_second: u32) -> Box<dyn Stream> {
    let blocks = (frames * per_second / from) as usize;
    let [from, to, frames] = [from, to, frames].map(|n| n as usize);
    let window = WindowFunction::BlackmanHarris2;
    let fft = Fft::new_custom(from, to, frames, blocks, 1, window, FixedSync::Input);
    let fft = fft.expect("supported");
    let most = fft.output_frames_max();
    Floats::boxed(fft, most)
}

/// With a bank of as many branches as there are phases nothing is interpolated; so long that it
/// keeps the band.
fn rubato_sinc(from: u32, to: u32, frames: u32) -> Box<dyn Stream> {
    let length = 192 * from.div_ceil(to) as usize;
    let parameters = SincInterpolationParameters::new(length, WindowFunction::BlackmanHarris2)
        .oversampling_factor(6)
        .interpolation(SincInterpolationType::Nearest);
    let ratio = f64::from(to) / f64::from(from);
    let fixed = FixedAsync::Input;
    let sinc = Async::new_sinc(ratio, 1.0, &parameters, frames as usize, 1, fixed);
    let sinc = sinc.expect("supported");
    let most = sinc.output_frames_max();
    Floats::boxed(sinc, most)
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
        self.input.clear();
    }
}

fn resampler_fir(
    latency: Latency,
    attenuation: Attenuation,
    from: u32,
    to: u32,
) -> Box<dyn Stream> {
    let fir = ResamplerFir::new_from_hz(1, from, to, latency, attenuation);
    let most = fir.buffer_size_output();
    Floats::boxed(fir, most)
}

impl Stream for Floats<ResamplerFft> {
    fn process(&mut self, pcm: &[u8], out: &mut Vec<u8>) {
        self.take(pcm);
        let chunk = self.resampler.chunk_size_input();
        let mut begin = 0;
        while self.input.len() - begin >= chunk {
            self.resampler
                .resample(&self.input[begin..], &mut self.output)
                .expect("a chunk");
            begin += chunk;
            self.give(self.output.len(), out);
        }
        self.input.drain(..begin);
    }
}

/// It knows no 8000 Hz, but only the ratio matters.
fn resampler_fft(from: u32, to: u32, _: u32) -> Box<dyn Stream> {
    let rate = |hz| match hz {
        8_000 => SampleRate::Hz16000,
        16_000 => SampleRate::Hz32000,
        24_000 => SampleRate::Hz48000,
        48_000 => SampleRate::Hz96000,
        other => unreachable!("{other} Hz is not raced"),
    };
    let fft = ResamplerFft::new(1, rate(from), rate(to));
    let most = fft.chunk_size_output();
    Floats::boxed(fft, most)
}
