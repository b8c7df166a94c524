//! Tests of every kernel of every instruction set of this CPU, at many lengths and
//! alignments, against reference functions. The reference functions compute plain sums in 64
//! bits, and share only the taps with the kernels.

use std::panic::catch_unwind;

use super::dense::{Dense, PANEL, Rows, tanh};
use super::row::{Accumulator, Branches, OutputPositions, Row, Segment};
use super::{Kernels, select};
use crate::g711;

/// Lengths that cover every number of vectors and blocks, with every remainder.
const LENGTHS: std::ops::RangeInclusive<usize> = 0..=600;

/// Returns full-scale noise that contains the smallest and the largest sample value. The noise is
/// the same in every run.
fn noise(seed: usize, count: usize) -> Vec<i16> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64.wrapping_add((seed as u64) << 17);
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        match state >> 60 {
            0 => i16::MIN,
            1 => i16::MAX,
            _ => (state >> 33) as i16,
        }
    };
    (0..count).map(|_| next()).collect()
}

fn bytes(seed: usize, count: usize) -> Vec<u8> {
    let samples = noise(seed, count);
    samples.iter().map(|sample| (sample >> 5) as u8).collect()
}

/// Runs a check with every instruction set of this CPU and names the instruction set for which the
/// check fails.
fn for_each_instruction_set(check: impl Fn(&Kernels) + std::panic::RefUnwindSafe) {
    for kernels in select::available() {
        let outcome = catch_unwind(|| check(kernels));
        assert!(
            outcome.is_ok(),
            "the check above failed with {}",
            kernels.name
        );
    }
}

/// Returns a vector of `by` fillers, followed by the data. The data therefore begins at an
/// arbitrary address.
fn shifted<T: Clone>(data: &[T], by: usize, filler: &T) -> Vec<T> {
    let mut all = vec![filler.clone(); by];
    all.extend_from_slice(data);
    all
}

/// The fine and the coarse parts of a row's taps.
type Parts = (Vec<i16>, Vec<i16>);

/// Returns one example of each form of row in a filter bank: a row with coarse parts only in the
/// middle, a row with a single tap, and a row whose length is not a multiple of the group length.
fn rows() -> Vec<Parts> {
    let scaled = |seed, count, shift: u32| -> Vec<i16> {
        noise(seed, count).iter().map(|tap| tap >> shift).collect()
    };
    let middle = |mut taps: Vec<i16>, width: usize| {
        let around = (taps.len() - width) / 2;
        let length = taps.len();
        taps[..around].fill(0);
        taps[length - around..].fill(0);
        taps
    };
    vec![
        (scaled(1, 48, 6), middle(scaled(2, 48, 3), 12)),
        (middle(scaled(3, 48, 1), 2), middle(scaled(4, 48, 2), 1 + 1)),
        (scaled(5, 16, 5), middle(scaled(6, 16, 3), 6)),
        (scaled(7, 14, 5), scaled(8, 14, 5)),
        (vec![0; 48], middle(scaled(9, 48, 1), 2)),
    ]
}

/// Computes the convolution by its definition: the exact sum, rounded once.
fn reference_convolve(
    segments: &[(&[i16], &Parts)],
    scales: Accumulator,
    count: usize,
) -> Vec<i16> {
    let to_fine = scales.fine_bits - scales.coarse_bits;
    let shift = scales.fine_bits - scales.input_shift;
    (0..count)
        .map(|i| {
            let mut sum = 0_i64;
            for (inputs, (fine, coarse)) in segments {
                for (k, (&fine, &coarse)) in fine.iter().zip(coarse).enumerate() {
                    let tap = (i64::from(coarse) << to_fine) + i64::from(fine);
                    sum += tap * i64::from(inputs[i + k]);
                }
            }
            let rounded = (sum + (1 << (shift - 1))) >> shift;
            rounded.clamp(i64::from(i16::MIN), i64::from(i16::MAX)) as i16
        })
        .collect()
}

const SCALES: [Accumulator; 3] = [
    Accumulator {
        fine_bits: 19,
        coarse_bits: 15,
        input_shift: 0,
    },
    Accumulator {
        fine_bits: 18,
        coarse_bits: 14,
        input_shift: 0,
    },
    Accumulator {
        fine_bits: 19,
        coarse_bits: 15,
        input_shift: 2,
    },
];

#[test]
fn convolve_rounds_the_exact_sum() {
    for_each_instruction_set(|kernels| {
        for scales in SCALES {
            for parts in rows() {
                let row = Row::new(&parts.0, &parts.1);
                for count in LENGTHS {
                    let offset = count % 37;
                    let inputs: Vec<i16> = noise(count, count + row.reach())
                        .iter()
                        .map(|sample| sample >> scales.input_shift)
                        .collect();
                    let placed = shifted(&inputs, offset, &0x55);
                    let inputs = &placed[offset..];
                    let segment = Segment { inputs, row: &row };
                    let mut outputs = vec![0x55; count + offset + 1];
                    (kernels.convolve)(&[segment], scales, &mut outputs[offset..][..count]);
                    let expected = reference_convolve(&[(inputs, &parts)], scales, count);
                    assert_eq!(outputs[offset..][..count], expected, "{count} {scales:?}");
                    assert!(outputs[..offset].iter().all(|&sample| sample == 0x55));
                    assert_eq!(outputs[offset + count], 0x55);
                }
            }
        }
    });
}

#[test]
fn convolve_adds_all_segments() {
    for_each_instruction_set(|kernels| {
        for together in 0..=8 {
            let taps = |seed| -> Vec<i16> {
                let taps = noise(seed, 48);
                taps.iter().map(|tap| tap >> 8).collect()
            };
            let parts = (0..together).map(|r| (taps(2 * r), taps(2 * r + 1)));
            let parts: Vec<Parts> = parts.collect();
            let rows: Vec<Row> = parts.iter().map(|(f, c)| Row::new(f, c)).collect();
            for count in [0, 1, 31, 80, 97, 160, 233] {
                let planes: Vec<_> = (0..together).map(|r| noise(r, count + 48)).collect();
                let pairs = planes.iter().zip(&rows);
                let segments: Vec<_> = pairs.map(|(inputs, row)| Segment { inputs, row }).collect();
                let mut outputs = vec![0; count];
                (kernels.convolve)(&segments, SCALES[0], &mut outputs);
                let planes: Vec<_> = planes.iter().map(Vec::as_slice).zip(&parts).collect();
                assert_eq!(outputs, reference_convolve(&planes, SCALES[0], count));
            }
        }
    });
}

#[test]
fn convolve_panics_if_there_are_too_few_inputs() {
    for_each_instruction_set(|kernels| {
        let (fine, coarse) = &rows()[0];
        let row = Row::new(fine, coarse);
        for count in [1, 16, 32, 80, 160, 200] {
            let inputs = vec![0; count + row.reach() - 1];
            let outcome = catch_unwind(|| {
                let segment = Segment {
                    inputs: &inputs,
                    row: &row,
                };
                (kernels.convolve)(&[segment], SCALES[0], &mut vec![1; count]);
            });
            assert!(outcome.is_err(), "{count}");
        }
    });
}

#[test]
fn polyphase_rounds_the_exact_sum() {
    for_each_instruction_set(|kernels| {
        for (taps, up, down) in [
            (48, 3, 2),
            (64, 5, 7),
            (240, 2, 11),
            (512, 1, 13),
            (784, 3, 31),
        ] {
            let fine: Vec<i16> = noise(1, taps * up).iter().map(|tap| tap >> 8).collect();
            let coarse: Vec<i16> = noise(2, taps * up).iter().map(|tap| tap >> 9).collect();
            let branches = Branches {
                taps,
                fine: fine.clone().into(),
                coarse: coarse.clone().into(),
            };
            for count in [0, 1, 2, 5, 40] {
                for oldest in 0..17 {
                    let positions = OutputPositions::new((up, down), oldest % up, oldest);
                    let inputs = noise(count, oldest + (count * down).div_ceil(up) + 1 + taps);
                    let mut outputs = vec![0; count];
                    (kernels.polyphase)(&branches, positions, &inputs, &mut outputs);
                    let expected: Vec<i16> = (0..count)
                        .map(|m| {
                            let position = oldest % up + m * down;
                            let (branch, first) = (position % up, oldest + position / up);
                            let sum: i64 = (0..taps)
                                .map(|k| {
                                    let at = branch * taps + k;
                                    let tap = (i64::from(coarse[at]) << 8) + i64::from(fine[at]);
                                    tap * i64::from(inputs[first + k])
                                })
                                .sum();
                            let rounded = (sum + (1 << 21)) >> 22;
                            rounded.clamp(i64::from(i16::MIN), i64::from(i16::MAX)) as i16
                        })
                        .collect();
                    assert_eq!(outputs, expected, "{taps} {up} {down} {count} {oldest}");
                }
            }
        }
    });
}

#[test]
fn planes_are_interleaved_and_deinterleaved() {
    for_each_instruction_set(|kernels| {
        for count in LENGTHS {
            for shift in [0, 2] {
                let planes = [0, 1, 2].map(|seed| noise(seed, count));
                let [a, b, c] = planes.each_ref().map(Vec::as_slice);
                // The output slices are longer than the whole frames. The samples after the last
                // whole frame must stay unchanged.
                let mut two = vec![0x55; 2 * count + 1];
                (kernels.interleave2)([a, b], shift, &mut two);
                let mut three = vec![0x55; 3 * count + 2];
                (kernels.interleave3)([a, b, c], shift, &mut three);
                for i in 0..count {
                    assert_eq!(two[2 * i..][..2], [a[i] << shift, b[i]]);
                    assert_eq!(three[3 * i..][..3], [a[i] << shift, b[i], c[i]]);
                }
                assert_eq!((two[2 * count], three[3 * count]), (0x55, 0x55));
            }
            let inputs = noise(3, 3 * count + 2);
            let [mut a, mut b, mut c] = [0; 3].map(|_: i32| vec![0x55; count + 1]);
            let outputs = [&mut a[..count], &mut b[..count]];
            (kernels.deinterleave2)(&inputs, outputs);
            for i in 0..count {
                assert_eq!([a[i], b[i]], inputs[2 * i..][..2]);
            }
            let outputs = [&mut a[..count], &mut b[..count], &mut c[..count]];
            (kernels.deinterleave3)(&inputs, outputs);
            for i in 0..count {
                assert_eq!([a[i], b[i], c[i]], inputs[3 * i..][..3]);
            }
            assert_eq!([a[count], b[count], c[count]], [0x55; 3]);
        }
    });
}

#[test]
fn mu_law_kernels_equal_the_scalar_functions_at_every_length() {
    for_each_instruction_set(|kernels| {
        for count in LENGTHS {
            let codes = bytes(count, 2 * count);
            let pairs = codes.as_chunks::<2>().0;
            for shift in [0, 2] {
                let mut samples = vec![0x55; count + 1];
                (kernels.ulaw_decode)(&codes[count..], shift, &mut samples[..count]);
                for (sample, &code) in samples.iter().zip(&codes[count..]) {
                    assert_eq!(*sample, g711::ulaw_decode(code) >> (2 - shift));
                }
                for channel in [0, 1] {
                    (kernels.ulaw_decode_pairs)(pairs, channel, shift, &mut samples[..count]);
                    for (sample, pair) in samples.iter().zip(pairs) {
                        assert_eq!(*sample, g711::ulaw_decode(pair[channel]) >> (2 - shift));
                    }
                }
                assert_eq!(samples[count], 0x55);
            }
            let samples = noise(count, count);
            let mut codes = vec![0x55; count + 1];
            (kernels.ulaw_encode)(&samples, &mut codes[..count]);
            for (&code, &sample) in codes.iter().zip(&samples) {
                assert_eq!(code, g711::ulaw_encode(sample));
            }
            assert_eq!(codes[count], 0x55);
        }
    });
}

#[test]
fn mu_law_kernels_equal_the_scalar_functions_for_every_value() {
    for_each_instruction_set(|kernels| {
        let all: Vec<i16> = (i16::MIN..=i16::MAX).collect();
        let mut codes = vec![0; all.len()];
        (kernels.ulaw_encode)(&all, &mut codes);
        for (&sample, &code) in all.iter().zip(&codes) {
            assert_eq!(code, g711::ulaw_encode(sample), "{sample}");
        }
        let all: Vec<u8> = (0..=u8::MAX).collect();
        let mut samples = vec![0; all.len()];
        (kernels.ulaw_decode)(&all, 2, &mut samples);
        for (&code, &sample) in all.iter().zip(&samples) {
            assert_eq!(sample, g711::ulaw_decode(code), "{code:#x}");
        }
    });
}

/// Returns numbers from -1 to 1.
fn floats(seed: usize, count: usize) -> Vec<f32> {
    let samples = noise(seed, count);
    samples.iter().map(|&s| f32::from(s) / 32_768.0).collect()
}

#[test]
fn dense_layers_are_weighted_sums() {
    for (inputs, panels, rectify) in [(1, 1, false), (2, 3, true), (5, 2, false), (195, 4, true)] {
        let outputs = panels * PANEL;
        let (weights, bias) = (floats(1, inputs * outputs), floats(2, outputs));
        let layer = Dense::new(
            inputs,
            &bias,
            |input, output| weights[output * inputs + input],
            rectify,
        );
        for rows in 0..=9 {
            // The rows overlap, and are in groups of three.
            let from = Rows {
                first: 1,
                step: 2,
                group: 3,
                group_step: inputs + 9,
            };
            let start = |row: usize| 1 + row / 3 * (inputs + 9) + row % 3 * 2;
            let values = floats(3, start(rows) + inputs);
            for_each_instruction_set(|kernels| {
                let mut found = vec![f32::NAN; rows * outputs];
                (kernels.dense)(
                    &layer,
                    &values,
                    from,
                    &mut found,
                    Rows::packed(outputs),
                    rows,
                );
                for (place, found) in found.into_iter().enumerate() {
                    let (row, output) = (place / outputs, place % outputs);
                    let products = values[start(row)..].iter().zip(&weights[output * inputs..]);
                    let sum: f64 = products
                        .take(inputs)
                        .map(|(&a, &b)| f64::from(a) * f64::from(b))
                        .sum();
                    let sum = sum + f64::from(bias[output]);
                    let expected = if rectify { sum.max(0.0) } else { sum };
                    assert!((f64::from(found) - expected).abs() < 1e-5);
                }
            });
        }
    }
}

#[test]
fn rows_outside_the_slices_panic() {
    let layer = Dense::new(4, &[0.0; PANEL], |_, _| 1.0, false);
    for_each_instruction_set(|kernels| {
        let rows = |inputs: usize, outputs: usize| {
            catch_unwind(|| {
                let mut found = vec![0.0; outputs];
                let (from, to) = (Rows::packed(4), Rows::packed(PANEL));
                (kernels.dense)(&layer, &vec![0.0; inputs], from, &mut found, to, 3);
            })
        };
        assert!(rows(12, 3 * PANEL).is_ok());
        assert!(rows(11, 3 * PANEL).is_err());
        assert!(rows(12, 3 * PANEL - 1).is_err());
    });
}

#[test]
fn an_lstm_cell_keeps_adds_and_shows() {
    const UNITS: usize = 128;
    let scaled = |seed, count, scale| -> Vec<f32> {
        floats(seed, count)
            .iter()
            .map(|value| value * scale)
            .collect()
    };
    let sigmoid = |x: f32| 1.0 / (1.0 + (-f64::from(x)).exp());
    for scale in [0.1, 1.0, 10.0, 1000.0] {
        let gates = scaled(4, 4 * UNITS, scale);
        let before = scaled(5, UNITS, scale.min(4.0));
        for_each_instruction_set(|kernels| {
            let (mut cell, mut hidden) = (before.clone(), vec![f32::NAN; UNITS]);
            (kernels.lstm_cell)(&gates, &mut cell, &mut hidden);
            for unit in 0..UNITS {
                let [input, forget, new, output] =
                    std::array::from_fn(|gate| gates[gate * UNITS + unit]);
                let expected = sigmoid(forget) * f64::from(before[unit])
                    + sigmoid(input) * f64::from(new).tanh();
                assert!((f64::from(cell[unit]) - expected).abs() < 4e-6);
                let expected = sigmoid(output) * expected.tanh();
                assert!((f64::from(hidden[unit]) - expected).abs() < 4e-6);
            }
        });
    }
}

#[test]
fn tanh_is_exact_to_a_millionth() {
    for step in -200_000..=200_000 {
        let x = step as f32 / 10_000.0;
        assert!(
            (f64::from(tanh(x)) - f64::from(x).tanh()).abs() < 1e-6,
            "{x}"
        );
    }
    for (x, expected) in [(f32::MAX, 1.0), (f32::MIN, -1.0), (f32::INFINITY, 1.0)] {
        assert!((tanh(x) - expected).abs() < 1e-6);
    }
}
