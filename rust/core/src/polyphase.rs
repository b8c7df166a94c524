//! Resampling of one channel through one or two filters.
//!
//! Rule: this module divides the input into pieces, so that the scratch memory of the
//! stages does not grow with the input.

use std::fmt;

use crate::AudioError;
use crate::arch::{Kernels, kernels};
use crate::ratio::Ratio;
use crate::stage::{Scratch, Stage};

/// Function that fills a slice with the input samples from the given index on, shifted
/// right by the channel's [`input_shift`](Polyphase::input_shift).
pub(crate) type Load<'a> = dyn Fn(usize, &mut [i16]) + 'a;

/// Resampler of one channel.
#[derive(Clone)]
pub(crate) struct Polyphase {
    ratio: Ratio,
    kernels: &'static Kernels,
    /// `inputs * up mod down`, where `inputs` is the number of samples read so far.
    residue: u32,
    input_shift: u32,
    /// The one or two filters of the channel; empty for equal rates.
    stages: Box<[Stage]>,
}

impl Polyphase {
    /// Creates a channel. In each input sample, the lowest `unused_bits` bits are zero.
    pub(crate) fn new(ratio: Ratio, unused_bits: u32) -> Result<Self, AudioError> {
        let kernels = kernels()?;
        // Shifted inputs make only the interpolation in planes faster, so the inputs of other
        // conversions are not shifted.
        let input_shift = if ratio.down == 1 { unused_bits } else { 0 };
        let designs = ratio.designs(input_shift);
        let stages: Box<[Stage]> = designs.into_iter().map(Stage::new).collect();
        let input_shift = stages.first().map_or(0, Stage::input_shift);
        Ok(Self {
            ratio,
            kernels,
            residue: 0,
            input_shift,
            stages,
        })
    }

    pub(crate) fn kernels(&self) -> &'static Kernels {
        self.kernels
    }

    pub(crate) fn ratio(&self) -> Ratio {
        self.ratio
    }

    /// Returns the number of bits by which `load` shifts the samples right.
    pub(crate) fn input_shift(&self) -> u32 {
        self.input_shift
    }

    /// Returns the number of output samples for the next `inputs` samples.
    pub(crate) fn outputs(&self, inputs: usize) -> u128 {
        self.ratio.outputs(self.residue, inputs)
    }

    /// Reads `inputs` samples and fills `outputs`, whose length must be the number that
    /// [`outputs`](Self::outputs) returns.
    pub(crate) fn process(&mut self, inputs: usize, load: &Load<'_>, outputs: &mut [i16]) {
        let Self {
            kernels, stages, ..
        } = self;
        let mut outputs = Unwritten(outputs);
        match &mut **stages {
            [] => load(0, outputs.0),
            [only] => Scratch::with(|[scratch, _]| {
                for (from, count) in pieces(inputs, only.most_inputs()) {
                    load(from, only.inputs(scratch, count));
                    let outputs = outputs.take(only.outputs(count));
                    only.process(kernels, scratch, count, outputs);
                }
            }),
            [first, second, ..] => Scratch::with(|[scratch, between]| {
                let most = first.inputs_for(second.most_inputs());
                for (from, count) in pieces(inputs, most.min(first.most_inputs())) {
                    load(from, first.inputs(scratch, count));
                    let middle = first.outputs(count);
                    let inputs = second.inputs(between, middle);
                    first.process(kernels, scratch, count, inputs);
                    let outputs = outputs.take(second.outputs(middle));
                    second.process(kernels, between, middle, outputs);
                }
            }),
        }
        self.residue = self.ratio.advance(self.residue, inputs);
    }

    /// Writes the [`Ratio::delay_outputs`] samples that are still in the filters, then
    /// resets the channel.
    pub(crate) fn flush(&mut self, outputs: &mut [i16]) {
        if !self.stages.is_empty() {
            let zeros = self.ratio.inputs_for(self.residue, outputs.len());
            let silence = |_: usize, samples: &mut [i16]| samples.fill(0);
            // This number of zeros can give more outputs than `outputs` holds. The additional
            // outputs are dropped.
            let mut all = vec![0; self.outputs(zeros) as usize];
            self.process(zeros, &silence, &mut all);
            outputs.copy_from_slice(&all[..outputs.len()]);
        }
        self.reset();
    }

    /// Discards all audio in the filters.
    pub(crate) fn reset(&mut self) {
        self.residue = 0;
        self.stages.iter_mut().for_each(Stage::reset);
    }
}

impl fmt::Debug for Polyphase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Polyphase")
            .field("ratio", &self.ratio)
            .field("kernels", &self.kernels.name)
            .field("residue", &self.residue)
            .finish_non_exhaustive()
    }
}

/// Divides a number of inputs into pieces of at most `most` inputs. Returns the index of the first
/// input and the length of each piece.
fn pieces(inputs: usize, most: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..inputs)
        .step_by(most)
        .map(move |from| (from, most.min(inputs - from)))
}

/// The part of a slice that has not been written yet.
struct Unwritten<'a>(&'a mut [i16]);

impl<'a> Unwritten<'a> {
    fn take(&mut self, count: usize) -> &'a mut [i16] {
        let (front, rest) = std::mem::take(&mut self.0).split_at_mut(count);
        self.0 = rest;
        front
    }
}
