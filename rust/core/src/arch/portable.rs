//! The kernels in plain Rust, for any CPU.
//!
//! Rule: the code is the shortest code that the compiler turns into fast machine code for
//! the baseline instruction set of the target.

use super::Kernels;
use super::dense::{self, Dense, PANEL, Rows};
use super::row::{self, Accumulator, Branches, GROUP, OutputPositions, Segment, Taps};
use crate::g711::{decode_14_bits, ulaw_encode};

pub(super) static KERNELS: Kernels = Kernels {
    name: "portable",
    convolve,
    polyphase,
    interleave2,
    interleave3,
    deinterleave2,
    deinterleave3,
    ulaw_decode,
    ulaw_decode_pairs,
    ulaw_encode: encode,
    dense,
    lstm_cell: dense::lstm_cell,
};

pub(super) fn convolve(segments: &[Segment<'_>], scales: Accumulator, outputs: &mut [i16]) {
    convolve_from(0, segments, scales, outputs);
}

/// Number of sums per block.
const BLOCK: usize = 64;

/// Computes the outputs of `convolve` from index `done` on.
pub(super) fn convolve_from(
    done: usize,
    segments: &[Segment<'_>],
    scales: Accumulator,
    outputs: &mut [i16],
) {
    row::check(segments, outputs.len());
    let mut at = done;
    for outputs in outputs[done..].chunks_mut(BLOCK) {
        let mut sums = [scales.start(); BLOCK];
        let sums = &mut sums[..outputs.len()];
        for Segment { inputs, row } in segments {
            accumulate(sums, &row.fine, &inputs[at..]);
        }
        for sum in &mut *sums {
            *sum >>= scales.to_coarse();
        }
        for Segment { inputs, row } in segments {
            accumulate(sums, &row.coarse, &inputs[at..]);
        }
        for (output, sum) in outputs.iter_mut().zip(&*sums) {
            let sample = sum >> scales.to_sample();
            *output = sample.clamp(i32::from(i16::MIN), i32::from(i16::MAX)) as i16;
        }
        at += outputs.len();
    }
}

fn accumulate(sums: &mut [i32], taps: &Taps, inputs: &[i16]) {
    if taps.single.is_empty() {
        return;
    }
    let windows = inputs[taps.first_single..].windows(taps.single.len());
    for (sum, inputs) in sums.iter_mut().zip(windows) {
        *sum += dot_product(&taps.single, inputs);
    }
}

/// Computes a dot product in groups of constant length. The compiler turns a group into
/// multiplications of pairs, but only while this function is not inlined.
#[inline(never)]
fn dot_product(taps: &[i16], inputs: &[i16]) -> i32 {
    let product = |(&tap, &input): (&i16, &i16)| i32::from(tap) * i32::from(input);
    let (groups, rest) = taps.as_chunks::<GROUP>();
    let (input_groups, input_rest) = inputs.as_chunks::<GROUP>();
    let mut sum = rest.iter().zip(input_rest).map(product).sum();
    for (taps, inputs) in groups.iter().zip(input_groups) {
        sum += taps.iter().zip(inputs).map(product).sum::<i32>();
    }
    sum
}

fn polyphase(branches: &Branches, positions: OutputPositions, inputs: &[i16], outputs: &mut [i16]) {
    for (output, (branch, oldest)) in outputs.iter_mut().zip(positions) {
        let (fine, coarse) = branches.branch(branch);
        let parts = fine.chunks(Branches::SUMMED);
        let parts = parts.zip(coarse.chunks(Branches::SUMMED));
        let sums = parts.zip(inputs[oldest..].chunks(Branches::SUMMED));
        let sum = sums.map(|((fine, coarse), inputs)| {
            let coarse = i64::from(dot_product(coarse, inputs));
            (coarse << Branches::TO_FINE) + i64::from(dot_product(fine, inputs))
        });
        *output = Branches::round(sum.sum());
    }
}

pub(super) fn interleave2([first, second]: [&[i16]; 2], shift: u32, outputs: &mut [i16]) {
    let frames = outputs.as_chunks_mut::<2>().0;
    for ((frame, &first), &second) in frames.iter_mut().zip(first).zip(second) {
        *frame = [first << shift, second];
    }
}

pub(super) fn interleave3([first, second, third]: [&[i16]; 3], shift: u32, outputs: &mut [i16]) {
    let frames = outputs.as_chunks_mut::<3>().0;
    let planes = first.iter().zip(second).zip(third);
    for (frame, ((&first, &second), &third)) in frames.iter_mut().zip(planes) {
        *frame = [first << shift, second, third];
    }
}

pub(super) fn deinterleave2(inputs: &[i16], [first, second]: [&mut [i16]; 2]) {
    let frames = inputs.as_chunks::<2>().0;
    for ((frame, first), second) in frames.iter().zip(first).zip(second) {
        [*first, *second] = *frame;
    }
}

pub(super) fn deinterleave3(inputs: &[i16], [first, second, third]: [&mut [i16]; 3]) {
    let planes = first.iter_mut().zip(second).zip(third);
    for (frame, ((first, second), third)) in inputs.as_chunks::<3>().0.iter().zip(planes) {
        [*first, *second, *third] = *frame;
    }
}

pub(super) fn ulaw_decode(codes: &[u8], shift: u32, samples: &mut [i16]) {
    for (sample, &code) in samples.iter_mut().zip(codes) {
        *sample = decode_14_bits(code) << shift;
    }
}

pub(super) fn ulaw_decode_pairs(
    frames: &[[u8; 2]],
    channel: usize,
    shift: u32,
    samples: &mut [i16],
) {
    for (sample, frame) in samples.iter_mut().zip(frames) {
        *sample = decode_14_bits(frame[channel]) << shift;
    }
}

pub(super) fn encode(samples: &[i16], codes: &mut [u8]) {
    for (code, &sample) in codes.iter_mut().zip(samples) {
        *code = ulaw_encode(sample);
    }
}

pub(super) fn dense(
    layer: &Dense,
    inputs: &[f32],
    from: Rows,
    outputs: &mut [f32],
    to: Rows,
    rows: usize,
) {
    for (panel, (weights, bias)) in layer.panels().enumerate() {
        for row in 0..rows {
            let mut sums = *bias;
            let inputs = &inputs[from.start(row)..][..weights.len()];
            for (weights, &input) in weights.iter().zip(inputs) {
                for (sum, weight) in sums.iter_mut().zip(weights) {
                    *sum += weight * input;
                }
            }
            let outputs = &mut outputs[to.start(row) + panel * PANEL..][..PANEL];
            for (output, sum) in outputs.iter_mut().zip(sums) {
                *output = if layer.rectify { sum.max(0.0) } else { sum };
            }
        }
    }
}
