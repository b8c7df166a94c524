//! Our resampler and the resamplers of other crates as streams of 16-bit PCM, with as little
//! additional code as possible.

use audiohook_audio::Resampler as Ours;
use resampler::{Attenuation, Latency, ResamplerFft, ResamplerFir, SampleRate};
use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::{
    Async, Fft, FixedAsync, FixedSync, Resampler, SincInterpolationParameters,
    SincInterpolationType, WindowFunction,
};

/// A resampler with its state.
pub(crate) trait PcmResampler {
    /// Resamples a packet and appends the available output.
    fn process(&mut self, pcm: &[u8], out: &mut Vec<u8>);
}

/// Makes a resampler from the rate of the input, the rate of the output, and the input samples in
/// a packet.
pub(crate) type MakeResampler = fn(u32, u32, u32) -> Box<dyn PcmResampler>;

/// Resamplers by name. For each crate, there are the fastest settings that are within our quality
/// limits, and the next faster settings, which are outside the limits.
pub(crate) const RESAMPLERS: [(&str, MakeResampler); 7] = [
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

struct OurResampler(Ours);

impl PcmResampler for OurResampler {
    fn process(&mut self, pcm: &[u8], out: &mut Vec<u8>) {
        let begin = out.len();
        out.resize(
            begin + self.0.output_len(pcm.len()).expect("whole samples"),
            0,
        );
        let result = self.0.process_into(pcm, &mut out[begin..]);
        result.expect("exact buffer");
    }
}

fn ours(from: u32, to: u32, _: u32) -> Box<dyn PcmResampler> {
    Box::new(OurResampler(Ours::new(from, to).expect("supported rates")))
}

/// A crate's resampler, which works on `f32`, with conversions from and to PCM.
struct FloatResampler<T> {
    resampler: T,
    /// Input samples that the resampler has not read yet.
    input: Vec<f32>,
    output: Vec<f32>,
}

impl<T> FloatResampler<T>
where
    Self: PcmResampler + 'static,
{
    fn boxed(resampler: T, output: usize) -> Box<dyn PcmResampler> {
        Box::new(Self {
            resampler,
            input: Vec::new(),
            output: vec![0.0; output],
        })
    }
}

impl<T> FloatResampler<T> {
    /// Appends PCM to `input`.
    fn read_pcm(&mut self, pcm: &[u8]) {
        let samples = pcm.as_chunks::<2>().0.iter();
        self.input
            .extend(samples.map(|&pair| f32::from(i16::from_le_bytes(pair)) / 32_768.0));
    }

    /// Appends the first `count` samples of `output` as PCM.
    ///
    /// Adding 1.5 x 2^23 rounds to an integer; compilers can vectorise it on any CPU.
    fn write_pcm(&self, count: usize, out: &mut Vec<u8>) {
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

/// Resamples a packet with a resampler of rubato, whose chunk length is the packet length. Returns
/// the number of output samples.
fn process_chunk<T: Resampler<f32>>(floats: &mut FloatResampler<T>, pcm: &[u8]) -> usize {
    floats.read_pcm(pcm);
    let (capacity, samples) = (floats.output.len(), floats.input.len());
    let input = InterleavedSlice::new(&floats.input, 1, samples).expect("mono");
    let mut output = InterleavedSlice::new_mut(&mut floats.output, 1, capacity).expect("mono");
    let result = floats
        .resampler
        .process_into_buffer(&input, &mut output, None);
    let (read, count) = result.expect("a packet is a chunk");
    assert_eq!(read, samples);
    floats.input.clear();
    count
}

impl PcmResampler for FloatResampler<Fft<f32>> {
    fn process(&mut self, pcm: &[u8], out: &mut Vec<u8>) {
        let count = process_chunk(self, pcm);
        self.write_pcm(count, out);
    }
}

impl PcmResampler for FloatResampler<Async<f32>> {
    fn process(&mut self, pcm: &[u8], out: &mut Vec<u8>) {
        let count = process_chunk(self, pcm);
        self.write_pcm(count, out);
    }
}

/// Makes rubato's FFT resampler with a given number of blocks per second. A block must not be
/// longer than a packet.
fn rubato_fft(from: u32, to: u32, frames: u32, per_second: u32) -> Box<dyn PcmResampler> {
    let blocks = (frames * per_second / from) as usize;
    let [from, to, frames] = [from, to, frames].map(|n| n as usize);
    let window = WindowFunction::BlackmanHarris2;
    let fft = Fft::new_custom(from, to, frames, blocks, 1, window, FixedSync::Input);
    let fft = fft.expect("supported rates");
    let most = fft.output_frames_max();
    FloatResampler::boxed(fft, most)
}

/// Makes rubato's sinc resampler. The filter bank has a branch for every phase, so nothing is
/// interpolated; the filter is long enough for our quality limits.
fn rubato_sinc(from: u32, to: u32, frames: u32) -> Box<dyn PcmResampler> {
    let length = 192 * from.div_ceil(to) as usize;
    let parameters = SincInterpolationParameters::new(length, WindowFunction::BlackmanHarris2)
        .oversampling_factor(6)
        .interpolation(SincInterpolationType::Nearest);
    let ratio = f64::from(to) / f64::from(from);
    let fixed = FixedAsync::Input;
    let sinc = Async::new_sinc(ratio, 1.0, &parameters, frames as usize, 1, fixed);
    let sinc = sinc.expect("supported rates");
    let most = sinc.output_frames_max();
    FloatResampler::boxed(sinc, most)
}

impl PcmResampler for FloatResampler<ResamplerFir> {
    fn process(&mut self, pcm: &[u8], out: &mut Vec<u8>) {
        self.read_pcm(pcm);
        let mut begin = 0;
        while begin < self.input.len() {
            let (read, count) = self
                .resampler
                .resample(&self.input[begin..], &mut self.output)
                .expect("mono");
            begin += read;
            self.write_pcm(count, out);
        }
        self.input.clear();
    }
}

fn resampler_fir(
    latency: Latency,
    attenuation: Attenuation,
    from: u32,
    to: u32,
) -> Box<dyn PcmResampler> {
    let fir = ResamplerFir::new_from_hz(1, from, to, latency, attenuation);
    let most = fir.buffer_size_output();
    FloatResampler::boxed(fir, most)
}

impl PcmResampler for FloatResampler<ResamplerFft> {
    fn process(&mut self, pcm: &[u8], out: &mut Vec<u8>) {
        self.read_pcm(pcm);
        let chunk = self.resampler.chunk_size_input();
        let mut begin = 0;
        while self.input.len() - begin >= chunk {
            self.resampler
                .resample(&self.input[begin..], &mut self.output)
                .expect("a whole chunk");
            begin += chunk;
            self.write_pcm(self.output.len(), out);
        }
        self.input.drain(..begin);
    }
}

/// Makes the FFT resampler of the crate `resampler`. This crate does not support 8000 Hz, so the
/// rates are doubled, which gives the same ratio.
fn resampler_fft(from: u32, to: u32, _: u32) -> Box<dyn PcmResampler> {
    let rate = |hz| match hz {
        8_000 => SampleRate::Hz16000,
        16_000 => SampleRate::Hz32000,
        24_000 => SampleRate::Hz48000,
        48_000 => SampleRate::Hz96000,
        other => unreachable!("{other} Hz is not compared"),
    };
    let fft = ResamplerFft::new(1, rate(from), rate(to));
    let most = fft.chunk_size_output();
    FloatResampler::boxed(fft, most)
}
