//! One filter of a channel: its bank, and the inputs that it still needs.
//!
//! Output `m` is `sum over i of p[m * down - i * up] * x[i]`, with `p` the
//! prototype of [`crate::bank`]. It is written as soon as `ceil((m + 1) * down / up)`
//! samples have been read, which is the length law of [`crate::ratio`].
//!
//! Rules: the state is the last inputs and the residue; the caller cuts the work into
//! pieces of [`Stage::most_inputs`], so that scratch memory does not grow with it.

use std::cell::RefCell;
use std::sync::Arc;

use crate::arch::{Accumulator, Kernels, Row, Segment, Walk};
use crate::bank::{Bank, Design, MAX_PLANES};

/// Samples of scratch memory: enough for a packet of 200 ms in one piece where that is
/// a multiple of 160, and for all of it to stay in the first-level cache.
const SCRATCH: usize = 4_096;
/// Inputs of one piece of work for filters too long for that.
const LONG_PIECE: usize = 1_024;

/// A filter in the middle of a stream.
#[derive(Clone, Debug)]
pub(crate) struct Stage {
    design: Design,
    bank: Arc<Bank>,
    /// `inputs read * up mod down`.
    residue: usize,
    /// The last inputs, oldest first; zeros before the first.
    history: Box<[i16]>,
}

/// Memory for one piece of work at a time, of any stage.
pub(crate) struct Scratch {
    short: [i16; SCRATCH],
    long: Vec<i16>,
}

/// Scratch memory for two stages.
pub(crate) type Scratches = [Scratch; 2];

thread_local! {
    /// One for each thread, as clearing new memory in each call would take as long as
    /// decoding a packet does.
    static SCRATCHES: RefCell<Scratches> =
        const { RefCell::new([const { Scratch { short: [0; SCRATCH], long: Vec::new() } }; 2]) };
}

impl Scratch {
    /// Lets `work` use this thread's scratch memory; its content is whatever was left.
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
        // Up to this many inputs may lie past the next output's newest tap.
        let most_ahead = (design.up + design.down - 2) / design.up;
        let history = vec![0; bank.taps(design) - 1 + most_ahead].into();
        Self {
            design,
            bank,
            residue: 0,
            history,
        }
    }

    /// How far the inputs are shifted right.
    pub(crate) fn input_shift(&self) -> u32 {
        match &*self.bank {
            Bank::Interpolate { scales, .. } | Bank::Decimate { scales, .. } => scales.input_shift,
            Bank::General(_) => 0,
        }
    }

    /// How many inputs [`process`](Self::process) takes at the most: as many as
    /// leave room in the scratch memory for the planes.
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

    /// The most inputs that become at most as many outputs, whatever came before.
    pub(crate) fn inputs_for(&self, outputs: usize) -> usize {
        outputs * self.design.down / self.design.up
    }

    /// Samples that the next `inputs` samples become.
    pub(crate) fn outputs(&self, inputs: usize) -> usize {
        (self.residue + inputs * self.design.up) / self.design.down
    }

    /// Where the next `count` inputs are to be written before
    /// [`process`](Self::process) is called.
    pub(crate) fn inputs<'a>(&self, scratch: &'a mut Scratch, count: usize) -> &'a mut [i16] {
        let length = self.history.len() + count;
        let samples = scratch.samples(length + 1);
        samples[..self.history.len()].copy_from_slice(&self.history);
        &mut samples[self.history.len()..length]
    }

    /// Takes `count` inputs from the scratch memory and writes the outputs that are
    /// due, which is as many as the slice has.
    pub(crate) fn process(
        &mut self,
        kernels: &Kernels,
        scratch: &mut Scratch,
        count: usize,
        outputs: &mut [i16],
    ) {
        let length = self.history.len() + count;
        // One more than there are, for the tap of zero after the last.
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
                // The next output's newest input is `ahead` inputs back, its branch what
                // that overshoots: both follow from `ahead * up - branch = residue`.
                let ahead = self.residue.div_ceil(up);
                let oldest = self.history.len() - ahead - (branches.taps - 1);
                let walk = Walk::new((up, down), ahead * up - self.residue, oldest);
                (kernels.polyphase)(branches, walk, window, outputs);
            }
        }
        self.history.copy_from_slice(&window[count..length]);
        self.residue = (self.residue + count * self.design.up) % self.design.down;
    }

    /// Forgets all audio.
    pub(crate) fn reset(&mut self) {
        self.residue = 0;
        self.history.fill(0);
    }
}

/// Fewer outputs, if that makes them whole blocks for the kernels, wide ones or narrow.
fn whole_blocks(outputs: usize) -> usize {
    let block = if outputs < 160 { 80 } else { 160 };
    outputs / block * block
}

/// As many outputs for each input as there are phases; the first is the delayed
/// input itself.
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

/// One output for as many inputs as there are rows: the inputs are dealt out to
/// planes, each of which is convolved with its own row.
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
                let dealt = window[index..].iter().step_by(factor);
                for (slot, &input) in plane.iter_mut().zip(dealt) {
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
