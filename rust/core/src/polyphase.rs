//! One channel's way through a filter bank.
//!
//! Output `m` is `sum over i of p[m * down - i * up] * x[i]`, with `p` the
//! prototype of [`crate::bank`]. It is written as soon as `ceil((m + 1) * down / up)`
//! samples have been read, which is the length law of [`crate::ratio`].
//!
//! Rules: the state is the last inputs, as they came, and the residue; the work
//! is cut into blocks, so that scratch memory does not grow with the input.

use std::sync::Arc;

use crate::bank::{Bank, MAX_FACTOR, Shape};
use crate::kernel::{BLOCK, LANES, REACH, TAPS, convolve, dot, round};
use crate::ratio::Ratio;

/// Outputs of one block when decimating, inputs of one block otherwise.
const CHUNK: usize = 16 * BLOCK;

/// Writes samples `from..` of the input to the slice.
pub(crate) type Load<'a> = dyn Fn(usize, &mut [i16]) + 'a;
/// Takes the next samples of the output.
pub(crate) type Store<'a> = dyn FnMut(&[i16]) + 'a;

/// A resampled channel: bank and history, or nothing at all for equal rates.
#[derive(Clone, Debug)]
pub(crate) struct Polyphase {
    ratio: Ratio,
    filter: Option<Filter>,
}

#[derive(Clone, Debug)]
struct Filter {
    bank: Arc<Bank>,
    /// `inputs read * up mod down`.
    residue: u32,
    /// The last inputs, oldest first; zeros before the first.
    history: Box<[i16]>,
}

impl Polyphase {
    pub(crate) fn new(ratio: Ratio) -> Self {
        let filter = (!ratio.is_identity()).then(|| {
            let bank = Bank::shared(ratio);
            // Up to this many inputs may lie past the next output's newest tap.
            let most_ahead = (ratio.up + ratio.down - 2) / ratio.up;
            let history = vec![0; bank.taps - 1 + most_ahead as usize].into();
            Filter {
                bank,
                residue: 0,
                history,
            }
        });
        Self { ratio, filter }
    }

    pub(crate) fn ratio(&self) -> Ratio {
        self.ratio
    }

    /// Samples that the next `inputs` samples become.
    pub(crate) fn outputs(&self, inputs: usize) -> u128 {
        let residue = self.filter.as_ref().map_or(0, |filter| filter.residue);
        self.ratio.outputs(residue, inputs)
    }

    /// Reads `inputs` samples, writes what the length law says.
    pub(crate) fn process(&mut self, inputs: usize, load: &Load<'_>, store: &mut Store<'_>) {
        if let Some(filter) = &mut self.filter {
            filter.process(self.ratio, inputs, load, store);
        } else {
            copy(inputs, load, store);
        }
    }

    /// Writes the samples still in the filter, then resets.
    pub(crate) fn flush(&mut self, store: &mut Store<'_>) {
        if let Some(filter) = &mut self.filter {
            let mut wanted = self.ratio.delay_outputs();
            let zeros = self.ratio.inputs_for(filter.residue, wanted);
            let silence = |_: usize, samples: &mut [i16]| samples.fill(0);
            filter.process(self.ratio, zeros, &silence, &mut |samples| {
                let taken = samples.len().min(wanted);
                wanted -= taken;
                store(&samples[..taken]);
            });
        }
        self.reset();
    }

    /// Forgets all audio.
    pub(crate) fn reset(&mut self) {
        if let Some(filter) = &mut self.filter {
            filter.residue = 0;
            filter.history.fill(0);
        }
    }
}

/// Equal rates: what comes in goes out.
fn copy(inputs: usize, load: &Load<'_>, store: &mut Store<'_>) {
    let mut samples = [0; CHUNK];
    for from in (0..inputs).step_by(CHUNK) {
        let block = &mut samples[..CHUNK.min(inputs - from)];
        load(from, block);
        store(block);
    }
}

impl Filter {
    fn process(&mut self, ratio: Ratio, inputs: usize, load: &Load<'_>, store: &mut Store<'_>) {
        if inputs == 0 {
            return;
        }
        let most = match self.bank.shape {
            Shape::Decimate { factor } => CHUNK * factor,
            Shape::Interpolate { .. } | Shape::General { .. } => CHUNK,
        };
        let history = self.history.len();
        // A block's kernel always makes BLOCK outputs; past the last input it
        // reads padding, and what comes of that is dropped.
        let mut window = vec![0.0; history + most.min(inputs) + BLOCK];
        widen(&self.history, &mut window);
        let mut planes = Vec::new();
        for from in (0..inputs).step_by(most) {
            let count = most.min(inputs - from);
            load_floats(load, from, &mut window[history..history + count]);
            match self.bank.shape {
                Shape::Interpolate { factor } => self.interpolate(factor, &window, count, store),
                Shape::Decimate { factor } => {
                    self.decimate(factor, &window, count, &mut planes, store);
                }
                Shape::General { .. } => self.general(ratio, &window, count, store),
            }
            self.residue = ratio.advance(self.residue, count);
            window.copy_within(count..count + history, 0);
        }
        for (sample, &value) in self.history.iter_mut().zip(&window) {
            *sample = value as i16;
        }
    }

    /// `factor` outputs for each input; the first is the delayed input itself.
    fn interpolate(&self, factor: usize, window: &[f32], count: usize, store: &mut Store<'_>) {
        let mut outputs = [0; BLOCK * MAX_FACTOR];
        for from in (0..count).step_by(BLOCK) {
            let inputs = reach(window, from);
            for phase in 0..factor {
                let mut sums = [0.0; BLOCK];
                if phase == 0 {
                    sums.copy_from_slice(&inputs[TAPS / 2 - 1..][..BLOCK]);
                } else {
                    convolve(self.bank.row(phase), inputs, &mut sums);
                }
                let slots = outputs[phase..].iter_mut().step_by(factor);
                for (output, sum) in slots.zip(sums) {
                    *output = round(sum);
                }
            }
            store(&outputs[..BLOCK.min(count - from) * factor]);
        }
    }

    /// One output for each `factor` inputs: the inputs are dealt out to `factor`
    /// planes, each of which is convolved with its own row.
    fn decimate(
        &self,
        factor: usize,
        window: &[f32],
        count: usize,
        planes: &mut Vec<f32>,
        store: &mut Store<'_>,
    ) {
        let ahead = self.residue as usize;
        let ready = (ahead + count) / factor;
        let oldest = self.history.len() - ahead - (self.bank.taps - 1);
        let used = ready + TAPS - 1;
        let plane_len = used + BLOCK;
        planes.resize(plane_len * factor, 0.0);
        for (j, plane) in planes.chunks_exact_mut(plane_len).enumerate() {
            let dealt = window[oldest + j..].iter().step_by(factor);
            for (slot, &input) in plane[..used].iter_mut().zip(dealt) {
                *slot = input;
            }
        }
        for from in (0..ready).step_by(BLOCK) {
            let mut sums = [0.0; BLOCK];
            for (j, plane) in planes.chunks_exact(plane_len).enumerate() {
                convolve(self.bank.row(j), reach(plane, from), &mut sums);
            }
            let outputs = sums.map(round);
            store(&outputs[..BLOCK.min(ready - from)]);
        }
    }

    /// Any ratio: one dot product for each output.
    fn general(&self, ratio: Ratio, window: &[f32], count: usize, store: &mut Store<'_>) {
        let (up, down) = (ratio.up as usize, ratio.down as usize);
        // The next output's newest input is `ahead` inputs back, its branch what
        // that overshoots: both follow from `ahead * up - branch = residue`.
        let residue = self.residue as usize;
        let ahead = residue.div_ceil(up);
        let mut branch = ahead * up - residue;
        let mut oldest = self.history.len() - ahead - (self.bank.taps - 1);
        let ready = (residue + count * up) / down;
        let mut outputs = [0; BLOCK];
        for from in (0..ready).step_by(BLOCK) {
            let block = &mut outputs[..BLOCK.min(ready - from)];
            for output in block.iter_mut() {
                let inputs = &window[oldest..oldest + self.bank.taps];
                let sum = dot(self.bank.branch(branch), inputs.as_chunks::<LANES>().0);
                *output = round(sum);
                branch += down;
                oldest += branch / up;
                branch %= up;
            }
            store(block);
        }
    }
}

/// The inputs that a block of outputs beginning at `from` reaches.
fn reach(inputs: &[f32], from: usize) -> &[f32; REACH] {
    inputs[from..]
        .first_chunk()
        .expect("planes and windows are padded by a block")
}

fn widen(samples: &[i16], floats: &mut [f32]) {
    for (float, &sample) in floats.iter_mut().zip(samples) {
        *float = f32::from(sample);
    }
}

fn load_floats(load: &Load<'_>, from: usize, floats: &mut [f32]) {
    let mut samples = [0; CHUNK];
    for (index, floats) in floats.chunks_mut(CHUNK).enumerate() {
        let samples = &mut samples[..floats.len()];
        load(from + index * CHUNK, samples);
        widen(samples, floats);
    }
}
