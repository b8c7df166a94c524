//! One filter of a channel: its coefficients and the recent inputs.
//!
//! Output `m` is `sum over i of p[m * down - i * up] * x[i]`, where `p` is the prototype
//! of [`crate::bank`]. Output `m` is written as soon as `ceil((m + 1) * down / up)`
//! samples have been read, which is the length rule of [`crate::ratio`].
//!
//! Rules: the state is the recent inputs and the residue, which [`crate::ratio`] defines. The
//! caller divides the input into pieces of at most [`Stage::most_inputs`], so that the scratch
//! memory does not grow with the input.

use std::cell::RefCell;
use std::sync::Arc;

use crate::arch::{Accumulator, Kernels, OutputPositions, Row, Segment};
use crate::bank::{Bank, Design, MAX_PLANES};

/// Size of the scratch memory in samples. A packet of 200 ms is processed as one piece if its
/// length is a multiple of 160 samples. The scratch memory is small enough for the first-level
/// cache.
const SCRATCH: usize = 4_096;
/// Minimum number of inputs in a piece, for general ratios. If [`SCRATCH`] has less space beside the
/// history of a long filter, the piece uses memory on the heap.
const LONG_PIECE: usize = 1_024;

/// A filter and its state.
#[derive(Clone, Debug)]
pub(crate) struct Stage {
    design: Design,
    bank: Arc<Bank>,
    /// `inputs * up mod down`, where `inputs` is the number of samples read so far.
    residue: usize,
    /// The most recent inputs, the oldest first. All of them are zero before the first input of the
    /// stream.
    history: Box<[i16]>,
}

/// Working memory for one piece of input of one stage.
pub(crate) struct Scratch {
    short: [i16; SCRATCH],
    long: Vec<i16>,
}

/// Scratch memory for two stages.
pub(crate) type Scratches = [Scratch; 2];

thread_local! {
    /// The scratch memory of each thread. It is reused for every packet, because clearing new
    /// memory takes as long as decoding a packet.
    static SCRATCHES: RefCell<Scratches> =
        const { RefCell::new([const { Scratch { short: [0; SCRATCH], long: Vec::new() } }; 2]) };
}

impl Scratch {
    /// Calls `work` with this thread's scratch memory, which is not cleared first.
    pub(crate) fn with(work: impl FnOnce(&mut Scratches)) {
        SCRATCHES.with_borrow_mut(work);
    }

    fn samples(&mut self, count: usize) -> &mut [i16] {
        if count <= SCRATCH {
            return &mut self.short;
        }
        if self.long.len() < count {
            self.long.resize(count, 0);
        }
        &mut self.long
    }
}

impl Stage {
    pub(crate) fn new(design: Design) -> Self {
        let bank = Bank::shared(design);
        // Maximum number of inputs that are read beyond the newest input of the next output.
        let most_ahead = (design.up + design.down - 2) / design.up;
        let history = vec![0; bank.taps(design) - 1 + most_ahead].into();
        Self {
            design,
            bank,
            residue: 0,
            history,
        }
    }

    /// Returns the number of bits by which the inputs are shifted right.
    pub(crate) fn input_shift(&self) -> u32 {
        match &*self.bank {
            Bank::Interpolate { scales, .. } | Bank::Decimate { scales, .. } => scales.input_shift,
            Bank::General(_) => 0,
        }
    }

    /// Returns the largest number of inputs that [`process`](Self::process) accepts: the
    /// scratch memory must hold the inputs and the planes.
    pub(crate) fn most_inputs(&self) -> usize {
        let around = self.history.len() + 1;
        match &*self.bank {
            Bank::Interpolate { rows, .. } => whole_blocks((SCRATCH - around) / (rows.len() + 1)),
            Bank::Decimate { rows, .. } => {
                let around = around + rows.len() * rows[0].reach();
                whole_blocks((SCRATCH - around) / (2 * rows.len())) * rows.len()
            }
            Bank::General(_) => SCRATCH.saturating_sub(around).max(LONG_PIECE),
        }
    }

    /// Returns the largest number of inputs that give at most `outputs` outputs, for every value of
    /// the residue.
    pub(crate) fn inputs_for(&self, outputs: usize) -> usize {
        outputs * self.design.down / self.design.up
    }

    /// Returns the number of output samples for the next `inputs` samples.
    pub(crate) fn outputs(&self, inputs: usize) -> usize {
        (self.residue + inputs * self.design.up) / self.design.down
    }

    /// Returns the part of the scratch memory for the next `count` inputs. The caller must fill
    /// this part before calling [`process`](Self::process).
    pub(crate) fn inputs<'a>(&self, scratch: &'a mut Scratch, count: usize) -> &'a mut [i16] {
        let length = self.history.len() + count;
        let samples = scratch.samples(length + 1);
        samples[..self.history.len()].copy_from_slice(&self.history);
        &mut samples[self.history.len()..length]
    }

    /// Reads `count` inputs from the scratch memory and fills `outputs`, whose length must
    /// be the number that [`outputs`](Self::outputs) returns.
    pub(crate) fn process(
        &mut self,
        kernels: &Kernels,
        scratch: &mut Scratch,
        count: usize,
        outputs: &mut [i16],
    ) {
        let length = self.history.len() + count;
        // The slice has one sample more than the inputs, because some kernels multiply this sample
        // by zero.
        let (window, planes) = scratch.samples(length + 1).split_at_mut(length + 1);
        match &*self.bank {
            Bank::Interpolate { rows, scales } => {
                interpolate(kernels, rows, *scales, window, planes, outputs);
            }
            Bank::Decimate { rows, scales } => {
                let newest = self.history.len() - self.residue;
                let window = &window[newest - (self.bank.taps(self.design) - 1)..];
                decimate(kernels, rows, *scales, window, planes, outputs);
            }
            Bank::General(branches) => {
                let Design { up, down, .. } = self.design;
                // `ahead` is the number of inputs that have been read beyond the newest input of
                // the next output. `ahead` and the branch follow from `ahead * up - branch =
                // residue`.
                let ahead = self.residue.div_ceil(up);
                let oldest = self.history.len() - ahead - (branches.taps - 1);
                let branch = ahead * up - self.residue;
                let positions = OutputPositions::new((up, down), branch, oldest);
                (kernels.polyphase)(branches, positions, window, outputs);
            }
        }
        self.history.copy_from_slice(&window[count..length]);
        self.residue = (self.residue + count * self.design.up) % self.design.down;
    }

    /// Discards all audio in the filter.
    pub(crate) fn reset(&mut self) {
        self.residue = 0;
        self.history.fill(0);
    }
}

/// Rounds a number of outputs down to whole blocks of the kernels: blocks of 160, or of 80 if
/// there are fewer than 160 outputs.
fn whole_blocks(outputs: usize) -> usize {
    let block = if outputs < 160 { 80 } else { 160 };
    outputs / block * block
}

/// Writes `rows.len() + 1` outputs for each input: the delayed input, and then the convolution of
/// the inputs with each row of coefficients.
fn interpolate(
    kernels: &Kernels,
    rows: &[Row],
    scales: Accumulator,
    window: &[i16],
    planes: &mut [i16],
    outputs: &mut [i16],
) {
    let count = outputs.len() / (rows.len() + 1);
    let shift = scales.input_shift;
    let delayed = &window[rows[0].reach() / 2 - 1..][..count];
    for (index, row) in rows.iter().enumerate() {
        let segment = Segment {
            inputs: window,
            row,
        };
        let plane = &mut planes[index * count..][..count];
        (kernels.convolve)(&[segment], scales, plane);
    }
    let plane = |index: usize| &planes[index * count..][..count];
    match rows.len() {
        1 => (kernels.interleave2)([delayed, plane(0)], shift, outputs),
        2 => (kernels.interleave3)([delayed, plane(0), plane(1)], shift, outputs),
        others => {
            let frames = outputs.chunks_exact_mut(others + 1);
            for (i, (frame, &sample)) in frames.zip(delayed).enumerate() {
                frame[0] = sample << shift;
                for (index, output) in frame[1..].iter_mut().enumerate() {
                    *output = planes[index * count + i];
                }
            }
        }
    }
}

/// Writes one output for each group of `rows.len()` inputs. The inputs are deinterleaved into
/// planes: plane `i` has the input `i` of each group. The output is the sum of the convolutions of
/// each plane with its own row of coefficients.
fn decimate(
    kernels: &Kernels,
    rows: &[Row],
    scales: Accumulator,
    window: &[i16],
    planes: &mut [i16],
    outputs: &mut [i16],
) {
    let (factor, length) = (rows.len(), outputs.len() + rows[0].reach());
    let (first, others) = planes[..factor * length].split_at_mut(length);
    let (second, third) = others.split_at_mut(length);
    match factor {
        2 => (kernels.deinterleave2)(window, [first, second]),
        3 => (kernels.deinterleave3)(window, [first, second, third]),
        _ => {
            for (index, plane) in planes.chunks_exact_mut(length).take(factor).enumerate() {
                let every_nth = window[index..].iter().step_by(factor);
                for (slot, &input) in plane.iter_mut().zip(every_nth) {
                    *slot = input;
                }
            }
        }
    }
    let planes = planes.chunks_exact(length);
    let mut segments = [Segment {
        inputs: &[],
        row: &rows[0],
    }; MAX_PLANES];
    for ((segment, row), inputs) in segments.iter_mut().zip(rows).zip(planes) {
        *segment = Segment { inputs, row };
    }
    (kernels.convolve)(&segments[..factor], scales, outputs);
}
