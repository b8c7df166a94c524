//! [`SpeechModel`]: the Silero model at 8 kHz, which computes the probability of speech in a window.
//!
//! ```text
//! row of 4 frames -> spectrum -> magnitude -> 4 convolutions -> features     any number of windows
//! features        -> LSTM -> probability                                     one after the other
//! ```
//!
//! Only the LSTM has a state. The layers before it are computed for all windows of a packet
//! together, so that their weights are read from memory once for each packet.
//!
//! A convolution is a dense layer whose inputs are the consecutive frames that its kernel covers.
//! The second and the third convolution have a stride of two frames.

use crate::AudioError;
use crate::arch::{Dense, Kernels, Rows, kernels};
use crate::speech_windows::{FRAME_SAMPLES, FRAMES, ROW_SAMPLES, Row};

/// Number of hidden units, of cells of the LSTM, and of features of a window.
const UNITS: usize = 128;
/// Number of gates of the LSTM for each cell.
const GATES: usize = 4;
/// Number of frames that a convolution covers.
const TAPS: usize = 3;
/// Number of frequencies in the spectrum of a frame.
const BINS: usize = FRAME_SAMPLES / 2 + 1;
/// Number of output channels of each convolution.
const CHANNELS: [usize; 4] = [128, 64, 64, UNITS];

/// Number of values for the real parts, and for the imaginary parts, of a spectrum in memory.
const PADDED_BINS: usize = 80;
/// The weighted sums of the LSTM's input for one window, one sum for each gate and cell. The sums
/// include the bias.
pub(crate) type Gates = [f32; GATES * UNITS];

/// Number of windows of which the layers before the LSTM are computed together. The values of
/// this number of windows fit in the second-level cache, together with the weights of a layer.
const BLOCK: usize = 8;

/// The constants of the model, in the order of the model file.
#[derive(Clone, Copy, Debug)]
pub struct SpeechWeights<'a> {
    /// Real parts of the Fourier basis, then imaginary parts: 130 vectors of 128 samples.
    pub basis: &'a [f32],
    /// Weights and bias of each of the four convolutions. The shape of the weights is (output
    /// channels, input channels, 3). The shape of the bias is (output channels).
    pub convolutions: [[&'a [f32]; 2]; 4],
    /// Weights of the LSTM for its input, of shape (512, 128). The order of the gates is input,
    /// forget, cell, output.
    pub input_weights: &'a [f32],
    /// Weights of the LSTM for its hidden state, of shape (512, 128).
    pub hidden_weights: &'a [f32],
    /// Bias of the LSTM for its input: 512 values.
    pub input_bias: &'a [f32],
    /// Bias of the LSTM for its hidden state: 512 values.
    pub hidden_bias: &'a [f32],
    /// Weights of the output: 128 values.
    pub output_weights: &'a [f32],
    /// Bias of the output: one value.
    pub output_bias: &'a [f32],
}

/// The recurrent state of the model for one stream.
#[derive(Clone, Debug)]
pub(crate) struct SpeechState {
    hidden: [f32; UNITS],
    cell: [f32; UNITS],
}

impl SpeechState {
    pub(crate) const NEW: Self = Self {
        hidden: [0.0; UNITS],
        cell: [0.0; UNITS],
    };
}

/// The Silero model at 8 kHz. Any number of streams can share one model.
#[derive(Debug)]
pub struct SpeechModel {
    kernels: &'static Kernels,
    spectrum: Dense,
    convolutions: [Dense; 4],
    lstm_input: Dense,
    lstm_hidden: Dense,
    output_weights: [f32; UNITS],
    output_bias: f32,
}

impl SpeechModel {
    /// Creates a model.
    ///
    /// # Errors
    /// [`AudioError::SpeechWeights`] if a constant does not have the expected length,
    /// [`AudioError::InstructionSet`] under the same conditions as in
    /// [`instruction_set`](crate::instruction_set).
    pub fn new(weights: &SpeechWeights<'_>) -> Result<Self, AudioError> {
        let lstm_bias = sized("LSTM bias", weights.input_bias, GATES * UNITS)?;
        let hidden_bias = sized("LSTM bias", weights.hidden_bias, GATES * UNITS)?;
        let bias: Vec<f32> = lstm_bias
            .iter()
            .zip(hidden_bias)
            .map(|(a, b)| a + b)
            .collect();
        let mut output_weights = [0.0; UNITS];
        output_weights.copy_from_slice(sized("output", weights.output_weights, UNITS)?);
        Ok(Self {
            kernels: kernels()?,
            spectrum: spectrum(weights.basis)?,
            convolutions: [
                convolution(0, BINS, 0..TAPS, weights)?,
                convolution(1, CHANNELS[0], 0..TAPS, weights)?,
                // Two frames with a stride of two give one frame, whose first input is padding.
                convolution(2, CHANNELS[1], 1..TAPS, weights)?,
                // One frame gives one frame, whose first and last input are padding.
                convolution(3, CHANNELS[2], 1..2, weights)?,
            ],
            lstm_input: lstm("LSTM input", weights.input_weights, &bias)?,
            lstm_hidden: lstm("LSTM hidden", weights.hidden_weights, &[0.0; GATES * UNITS])?,
            output_weights,
            output_bias: sized("output bias", weights.output_bias, 1)?[0],
        })
    }

    /// Appends the input of the LSTM for each row to `gates`.
    pub(crate) fn gates(&self, rows: &[Row], gates: &mut Vec<Gates>) {
        let known = gates.len();
        gates.resize(known + rows.len(), [0.0; GATES * UNITS]);
        let mut values = Values::new(rows.len().min(BLOCK));
        for (rows, gates) in rows.chunks(BLOCK).zip(gates[known..].chunks_mut(BLOCK)) {
            self.encode(rows, &mut values, gates);
        }
    }

    fn encode(&self, rows: &[Row], values: &mut Values, gates: &mut [Gates]) {
        let windows = rows.len();
        let dense = self.kernels.dense;
        dense(
            &self.spectrum,
            rows.as_flattened(),
            Rows {
                first: 0,
                step: FRAME_SAMPLES,
                group: FRAMES,
                group_step: ROW_SAMPLES,
            },
            values.spectrum.as_flattened_mut().as_flattened_mut(),
            Rows::packed(2 * PADDED_BINS),
            windows * FRAMES,
        );
        for (spectra, magnitudes) in values.spectrum.iter().zip(&mut values.magnitudes) {
            let magnitudes = magnitudes[BINS..].chunks_exact_mut(BINS);
            for (spectrum, magnitudes) in spectra.iter().zip(magnitudes) {
                let (real, imaginary) = spectrum.split_at(PADDED_BINS);
                for ((magnitude, real), imaginary) in magnitudes.iter_mut().zip(real).zip(imaginary)
                {
                    *magnitude = (real * real + imaginary * imaginary).sqrt();
                }
            }
        }
        dense(
            &self.convolutions[0],
            values.magnitudes.as_flattened(),
            Rows {
                first: 0,
                step: BINS,
                group: FRAMES,
                group_step: PADDED_FRAMES * BINS,
            },
            values.first.as_flattened_mut(),
            Rows {
                first: CHANNELS[0],
                step: CHANNELS[0],
                group: FRAMES,
                group_step: (1 + FRAMES) * CHANNELS[0],
            },
            windows * FRAMES,
        );
        dense(
            &self.convolutions[1],
            values.first.as_flattened(),
            Rows {
                first: 0,
                step: 2 * CHANNELS[0],
                group: FRAMES / 2,
                group_step: (1 + FRAMES) * CHANNELS[0],
            },
            values.second.as_flattened_mut(),
            Rows::packed(CHANNELS[1]),
            windows * FRAMES / 2,
        );
        dense(
            &self.convolutions[2],
            values.second.as_flattened(),
            Rows::packed(FRAMES / 2 * CHANNELS[1]),
            values.third.as_flattened_mut(),
            Rows::packed(CHANNELS[2]),
            windows,
        );
        dense(
            &self.convolutions[3],
            values.third.as_flattened(),
            Rows::packed(CHANNELS[2]),
            values.features.as_flattened_mut(),
            Rows::packed(UNITS),
            windows,
        );
        dense(
            &self.lstm_input,
            values.features.as_flattened(),
            Rows::packed(UNITS),
            gates.as_flattened_mut(),
            Rows::packed(GATES * UNITS),
            windows,
        );
    }

    /// Computes the probability of speech in the next window of a stream, and the state after it.
    pub(crate) fn probability(&self, input: &Gates, state: &mut SpeechState) -> f32 {
        let mut gates = [0.0; GATES * UNITS];
        (self.kernels.dense)(
            &self.lstm_hidden,
            &state.hidden,
            Rows::packed(UNITS),
            &mut gates,
            Rows::packed(GATES * UNITS),
            1,
        );
        for (gate, input) in gates.iter_mut().zip(input) {
            *gate += input;
        }
        (self.kernels.lstm_cell)(&gates, &mut state.cell, &mut state.hidden);
        let output = state.hidden.iter().zip(&self.output_weights);
        let logit: f32 = output.map(|(value, weight)| value.max(0.0) * weight).sum();
        1.0 / (1.0 + (-(logit + self.output_bias)).exp())
    }
}

/// Number of frames in the input of the first convolution: one frame of zeros before and after.
const PADDED_FRAMES: usize = FRAMES + 2;

/// The values between the layers, for a block of windows. The frames of padding stay zero.
struct Values {
    spectrum: Vec<[[f32; 2 * PADDED_BINS]; FRAMES]>,
    magnitudes: Vec<[f32; PADDED_FRAMES * BINS]>,
    first: Vec<[f32; (1 + FRAMES) * CHANNELS[0]]>,
    second: Vec<[f32; FRAMES / 2 * CHANNELS[1]]>,
    third: Vec<[f32; CHANNELS[2]]>,
    features: Vec<[f32; UNITS]>,
}

impl Values {
    fn new(windows: usize) -> Self {
        Self {
            spectrum: vec![[[0.0; 2 * PADDED_BINS]; FRAMES]; windows],
            magnitudes: vec![[0.0; PADDED_FRAMES * BINS]; windows],
            first: vec![[0.0; (1 + FRAMES) * CHANNELS[0]]; windows],
            second: vec![[0.0; FRAMES / 2 * CHANNELS[1]]; windows],
            third: vec![[0.0; CHANNELS[2]]; windows],
            features: vec![[0.0; UNITS]; windows],
        }
    }
}

fn sized<'a>(
    name: &'static str,
    values: &'a [f32],
    expected: usize,
) -> Result<&'a [f32], AudioError> {
    if values.len() == expected {
        Ok(values)
    } else {
        Err(AudioError::SpeechWeights {
            name,
            expected,
            actual: values.len(),
        })
    }
}

/// Returns the layer that computes the spectrum of a frame.
fn spectrum(basis: &[f32]) -> Result<Dense, AudioError> {
    let basis = sized("basis", basis, 2 * BINS * FRAME_SAMPLES)?;
    let (real, imaginary) = basis.split_at(BINS * FRAME_SAMPLES);
    let weight = |input: usize, output: usize| {
        let half = if output < PADDED_BINS {
            real
        } else {
            imaginary
        };
        let bin = output % PADDED_BINS;
        if bin < BINS {
            half[bin * FRAME_SAMPLES + input]
        } else {
            0.0
        }
    };
    Ok(Dense::new(
        FRAME_SAMPLES,
        &[0.0; 2 * PADDED_BINS],
        weight,
        false,
    ))
}

/// Returns a convolution that reads the taps of `range`.
fn convolution(
    number: usize,
    channels: usize,
    range: std::ops::Range<usize>,
    weights: &SpeechWeights<'_>,
) -> Result<Dense, AudioError> {
    const NAMES: [&str; 4] = [
        "convolution 0",
        "convolution 1",
        "convolution 2",
        "convolution 3",
    ];
    let [weights, bias] = weights.convolutions[number];
    let name = NAMES[number];
    let weights = sized(name, weights, CHANNELS[number] * channels * TAPS)?;
    let bias = sized(name, bias, CHANNELS[number])?;
    let weight = |input: usize, output: usize| {
        let (tap, channel) = (range.start + input / channels, input % channels);
        weights[(output * channels + channel) * TAPS + tap]
    };
    Ok(Dense::new(range.len() * channels, bias, weight, true))
}

fn lstm(name: &'static str, weights: &[f32], bias: &[f32]) -> Result<Dense, AudioError> {
    let weights = sized(name, weights, GATES * UNITS * UNITS)?;
    let weight = |input: usize, output: usize| weights[output * UNITS + input];
    Ok(Dense::new(UNITS, bias, weight, false))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The constants of a model for tests.
    pub(crate) struct Constants(Vec<Vec<f32>>);

    impl Constants {
        const LENGTHS: [usize; 15] = [
            16_640, 24_960, 128, 24_576, 64, 12_288, 64, 24_576, 128, 65_536, 65_536, 512, 512,
            128, 1,
        ];

        pub(crate) fn new() -> Self {
            let mut seed = 1_u32;
            let mut next = |scale: f32| {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                ((seed >> 8) as f32 / 8_388_608.0 - 1.0) * scale
            };
            let constant = |&length: &usize| (0..length).map(|_| next(0.2)).collect();
            Self(Self::LENGTHS.iter().map(constant).collect())
        }

        pub(crate) fn weights(&self) -> SpeechWeights<'_> {
            let constant = |number: usize| self.0[number].as_slice();
            SpeechWeights {
                basis: constant(0),
                convolutions: std::array::from_fn(|n| [constant(1 + 2 * n), constant(2 + 2 * n)]),
                input_weights: constant(9),
                hidden_weights: constant(10),
                input_bias: constant(11),
                hidden_bias: constant(12),
                output_weights: constant(13),
                output_bias: constant(14),
            }
        }
    }

    fn rows(count: usize) -> Vec<Row> {
        let sample = |n: usize| ((n * 7_919) % 60_011) as f32 / 30_000.0 - 1.0;
        let row = |row: usize| std::array::from_fn(|n| sample(row * ROW_SAMPLES + n));
        (0..count).map(row).collect()
    }

    /// Computes the layers as the model file defines them, with plain sums in f64.
    fn expected(weights: &SpeechWeights<'_>, rows: &[Row]) -> Vec<f64> {
        let (mut hidden, mut cell) = (vec![0.0; UNITS], vec![0.0_f64; UNITS]);
        let mut probabilities = Vec::new();
        for row in rows {
            // Each frame has one value for each channel.
            let mut frames: Vec<Vec<f64>> = row
                .chunks(FRAME_SAMPLES)
                .map(|frame| {
                    let part = |bin: usize| -> f64 {
                        let basis = &weights.basis[bin * FRAME_SAMPLES..];
                        let products = frame.iter().zip(basis);
                        products.map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
                    };
                    (0..BINS)
                        .map(|bin| part(bin).hypot(part(bin + BINS)))
                        .collect()
                })
                .collect();
            for ([weights, bias], stride) in weights.convolutions.into_iter().zip([1, 2, 2, 1]) {
                let channels = frames[0].len();
                let output = |frame: usize, output: usize| {
                    let mut sum = f64::from(bias[output]);
                    for tap in 0..TAPS {
                        let Some(input) = (frame + tap).checked_sub(1).and_then(|n| frames.get(n))
                        else {
                            continue;
                        };
                        for (channel, value) in input.iter().enumerate() {
                            let weight = weights[(output * channels + channel) * TAPS + tap];
                            sum += f64::from(weight) * value;
                        }
                    }
                    sum.max(0.0)
                };
                let convolved = (0..frames.len()).step_by(stride);
                frames = convolved
                    .map(|frame| (0..bias.len()).map(|n| output(frame, n)).collect())
                    .collect();
            }
            assert_eq!(frames.len(), 1);
            let gate = |gate: usize, hidden: &[f64]| {
                let products = |weights: &[f32], values: &[f64]| -> f64 {
                    let weights = weights[gate * UNITS..].iter().zip(values);
                    weights.map(|(&a, b)| f64::from(a) * b).sum()
                };
                products(weights.input_weights, &frames[0])
                    + products(weights.hidden_weights, hidden)
                    + f64::from(weights.input_bias[gate])
                    + f64::from(weights.hidden_bias[gate])
            };
            let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
            let before = hidden.clone();
            for unit in 0..UNITS {
                let [input, forget, new, output] =
                    std::array::from_fn(|n| gate(n * UNITS + unit, &before));
                cell[unit] = sigmoid(forget) * cell[unit] + sigmoid(input) * new.tanh();
                hidden[unit] = sigmoid(output) * cell[unit].tanh();
            }
            let output = hidden.iter().zip(weights.output_weights);
            let logit: f64 = output.map(|(a, &b)| a.max(0.0) * f64::from(b)).sum();
            probabilities.push(sigmoid(logit + f64::from(weights.output_bias[0])));
        }
        probabilities
    }

    #[test]
    fn probabilities_are_those_of_the_layers_in_f64() {
        let constants = Constants::new();
        let model = SpeechModel::new(&constants.weights()).expect("constants of the right length");
        // The number of rows is one more than two blocks have.
        let rows = rows(2 * BLOCK + 1);
        let (mut gates, mut state) = (Vec::new(), SpeechState::NEW);
        model.gates(&rows, &mut gates);
        for (gates, expected) in gates.iter().zip(expected(&constants.weights(), &rows)) {
            let probability = model.probability(gates, &mut state);
            assert!((f64::from(probability) - expected).abs() < 1e-5);
        }
    }

    #[test]
    fn constants_of_another_length_are_rejected() {
        for number in 0..Constants::LENGTHS.len() {
            let mut constants = Constants::new();
            constants.0[number].push(0.0);
            let error = SpeechModel::new(&constants.weights()).err();
            let expected = Constants::LENGTHS[number];
            let Some(AudioError::SpeechWeights {
                expected: named,
                actual,
                ..
            }) = error
            else {
                panic!("constant {number}: {error:?}")
            };
            assert_eq!((named, actual), (expected, expected + 1));
        }
    }
}
