//! The layers of the speech model: the weights of a dense layer in memory, and the cell of an LSTM.
//!
//! The weights of a dense layer are in panels. A panel has the weights of [`PANEL`] outputs, in the
//! order of the inputs. A kernel reads a panel once for a few rows of inputs, and keeps the sums of
//! all outputs of the panel in registers.
//!
//! The sums are computed in f32. The order of the additions differs between instruction sets.

/// Number of outputs in a panel.
pub(crate) const PANEL: usize = 32;

/// A layer that computes each output as a weighted sum of all inputs, plus a bias.
#[derive(Debug)]
pub(crate) struct Dense {
    inputs: usize,
    /// Whether negative outputs become zero.
    pub(super) rectify: bool,
    /// For each panel and each input, the weights of the panel's outputs.
    weights: Vec<[f32; PANEL]>,
    /// The bias of each output, for each panel.
    bias: Vec<[f32; PANEL]>,
}

impl Dense {
    /// Creates a layer. `weight(input, output)` returns the weight of an input for an output. The
    /// length of `bias` is the number of outputs, and must be a multiple of [`PANEL`].
    pub(crate) fn new(
        inputs: usize,
        bias: &[f32],
        weight: impl Fn(usize, usize) -> f32,
        rectify: bool,
    ) -> Self {
        let (bias, rest) = bias.as_chunks::<PANEL>();
        assert!(rest.is_empty() && inputs > 0);
        let row = |panel: usize, input: usize| {
            std::array::from_fn(|lane| weight(input, panel * PANEL + lane))
        };
        let weights = (0..bias.len())
            .flat_map(|panel| (0..inputs).map(move |input| (panel, input)))
            .map(|(panel, input)| row(panel, input))
            .collect();
        Self {
            inputs,
            rectify,
            weights,
            bias: bias.to_vec(),
        }
    }

    pub(super) fn panels(&self) -> impl Iterator<Item = (&[[f32; PANEL]], &[f32; PANEL])> {
        self.weights.chunks_exact(self.inputs).zip(&self.bias)
    }
}

/// The positions of rows in a slice. The rows are in groups. All neighbouring rows of a group have
/// the same distance, and all neighbouring groups have the same distance. Rows may overlap.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rows {
    /// Index of the first value of the first row.
    pub(crate) first: usize,
    /// Distance between the rows of a group.
    pub(crate) step: usize,
    /// Number of rows in a group.
    pub(crate) group: usize,
    /// Distance between groups.
    pub(crate) group_step: usize,
}

impl Rows {
    /// Returns rows of `length` values without gaps.
    pub(crate) const fn packed(length: usize) -> Self {
        Self {
            first: 0,
            step: length,
            group: 1,
            group_step: length,
        }
    }

    pub(super) const fn start(self, row: usize) -> usize {
        self.first + row / self.group * self.group_step + row % self.group * self.step
    }
}

/// Computes [`super::Kernels::lstm_cell`]. This function is inlined, so it is compiled for the
/// instruction set that the caller enables.
#[inline(always)]
pub(super) fn lstm_cell(gates: &[f32], cell: &mut [f32], hidden: &mut [f32]) {
    let units = cell.len();
    let (input, rest) = gates.split_at(units);
    let (forget, rest) = rest.split_at(units);
    let (new, output) = rest.split_at(units);
    let gates = input.iter().zip(forget).zip(new).zip(output);
    for ((cell, hidden), (((input, forget), new), output)) in cell.iter_mut().zip(hidden).zip(gates)
    {
        *cell = sigmoid(*forget) * *cell + sigmoid(*input) * tanh(*new);
        *hidden = sigmoid(*output) * tanh(*cell);
    }
}

#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    0.5 * tanh(0.5 * x) + 0.5
}

/// Returns the hyperbolic tangent, with an error of less than 1e-6.
///
/// The quotient of two polynomials is the approximation of Eigen and of onnxruntime. The quotient
/// needs only operations that the compiler can turn into vector instructions.
#[inline(always)]
pub(super) fn tanh(x: f32) -> f32 {
    const ODD: [f32; 7] = [
        -2.760_768_5e-16,
        2.000_188e-13,
        -8.604_672e-11,
        5.122_297_1e-8,
        1.485_722_4e-5,
        6.372_619_3e-4,
        4.893_524_6e-3,
    ];
    const EVEN: [f32; 4] = [1.198_258_4e-6, 1.185_347e-4, 2.268_434_6e-3, 4.893_525e-3];
    // Beyond 9 and -9, the function differs from 1 and -1 by less than 1e-7.
    let x = x.clamp(-9.0, 9.0);
    let square = x * x;
    let odd = ODD
        .into_iter()
        .fold(0.0, |sum, factor| sum * square + factor);
    let even = EVEN
        .into_iter()
        .fold(0.0, |sum, factor| sum * square + factor);
    x * odd / even
}
