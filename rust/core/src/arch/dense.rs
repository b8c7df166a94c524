//! The layers of the speech model: a dense layer, generic over the vector type of an instruction
//! set, and the cell of an LSTM.
//!
//! The weights of a dense layer are in panels. A panel has the weights of [`PANEL`] outputs, in the
//! order of the inputs. A kernel reads a panel once for a few rows of inputs, and keeps the sums of
//! all outputs of the panel in registers.
//!
//! Sums are of f32, and their order differs between instruction sets.

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
    /// Creates a layer. `weight` returns the weight of an input for an output. The length of `bias`
    /// is the number of outputs, and must be a multiple of [`PANEL`].
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

/// The places of rows in a slice. Rows are in groups; within a group, and from group to group, rows
/// are at equal distances. Rows may overlap.
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

/// A vector of floats.
///
/// # Safety
///
/// The caller of any method must ensure that the CPU has the instruction set.
pub(super) unsafe trait Floats: Copy {
    /// Number of floats in a vector.
    const LANES: usize;

    /// Loads the first floats of the slice.
    ///
    /// # Safety
    /// The slice must have `LANES` floats.
    unsafe fn load(values: &[f32]) -> Self;
    /// Stores the floats at the start of the slice.
    ///
    /// # Safety
    /// The slice must have room for `LANES` floats.
    unsafe fn store(self, values: &mut [f32]);
    /// Returns a vector with the same value in every lane.
    unsafe fn splat(value: f32) -> Self;
    /// Adds the products of `weights` and `inputs`.
    unsafe fn multiply_add(self, weights: Self, inputs: Self) -> Self;
    /// Returns the sums of the lanes.
    unsafe fn add(self, other: Self) -> Self;
    /// Returns the larger value of each lane.
    unsafe fn max(self, other: Self) -> Self;
}

/// Computes [`super::Kernels::dense`], with at most `ROWS` rows at a time. `VECTORS` vectors make a
/// panel.
///
/// # Safety
/// The CPU must have the instruction set of `V`.
#[inline(always)]
pub(super) unsafe fn dense<V: Floats, const VECTORS: usize, const ROWS: usize>(
    layer: &Dense,
    inputs: &[f32],
    from: Rows,
    outputs: &mut [f32],
    to: Rows,
    rows: usize,
) {
    for (panel, (weights, bias)) in layer.panels().enumerate() {
        let mut row = 0;
        // SAFETY: the caller ensures the instruction set.
        unsafe {
            while rows - row >= ROWS {
                let sums = block::<V, VECTORS, ROWS, 1>(weights, bias, inputs, from, row);
                store(sums, layer.rectify, outputs, to, row, panel);
                row += ROWS;
            }
            while rows - row >= 2 {
                let sums = block::<V, VECTORS, 2, 1>(weights, bias, inputs, from, row);
                store(sums, layer.rectify, outputs, to, row, panel);
                row += 2;
            }
            if row < rows {
                // One row has few sums, so that each is split in two to hide the latency.
                let sums = block::<V, VECTORS, 1, 2>(weights, bias, inputs, from, row);
                store(sums, layer.rectify, outputs, to, row, panel);
            }
        }
    }
}

/// Returns the sums of a panel for `ROWS` rows. Each sum is computed in `PARTS` parts.
///
/// # Safety
/// The CPU must have the instruction set of `V`.
#[inline(always)]
unsafe fn block<V: Floats, const VECTORS: usize, const ROWS: usize, const PARTS: usize>(
    weights: &[[f32; PANEL]],
    bias: &[f32; PANEL],
    inputs: &[f32],
    from: Rows,
    row: usize,
) -> [[V; VECTORS]; ROWS] {
    const { assert!(VECTORS * V::LANES == PANEL) };
    let count = weights.len();
    let rows: [&[f32]; ROWS] =
        std::array::from_fn(|number| &inputs[from.start(row + number)..][..count]);
    // SAFETY: the caller ensures the instruction set; a panel has `VECTORS` vectors, and each row has
    // an input for each row of weights.
    unsafe {
        let mut sums = [[[V::splat(0.0); VECTORS]; ROWS]; PARTS];
        for (vector, lanes) in bias.chunks_exact(V::LANES).enumerate() {
            for row in &mut sums[0] {
                row[vector] = V::load(lanes);
            }
        }
        let mut at = 0;
        while at + PARTS <= count {
            for (part, sums) in sums.iter_mut().enumerate() {
                accumulate(sums, weights.get_unchecked(at + part), &rows, at + part);
            }
            at += PARTS;
        }
        while at < count {
            accumulate(&mut sums[0], weights.get_unchecked(at), &rows, at);
            at += 1;
        }
        let mut total = sums[0];
        for part in &sums[1..] {
            for (total, part) in total.iter_mut().zip(part) {
                for (total, part) in total.iter_mut().zip(part) {
                    *total = total.add(*part);
                }
            }
        }
        total
    }
}

/// Adds the products of one input of each row and its weights.
///
/// # Safety
/// The CPU must have the instruction set of `V`, and each row must have the input `at`.
#[inline(always)]
unsafe fn accumulate<V: Floats, const VECTORS: usize, const ROWS: usize>(
    sums: &mut [[V; VECTORS]; ROWS],
    weights: &[f32; PANEL],
    rows: &[&[f32]; ROWS],
    at: usize,
) {
    // SAFETY: the caller ensures the instruction set and the length of the rows.
    unsafe {
        let mut lanes = [V::splat(0.0); VECTORS];
        for (vector, weights) in lanes.iter_mut().zip(weights.chunks_exact(V::LANES)) {
            *vector = V::load(weights);
        }
        for (sums, row) in sums.iter_mut().zip(rows) {
            let input = V::splat(*row.get_unchecked(at));
            for (sum, weights) in sums.iter_mut().zip(lanes) {
                *sum = sum.multiply_add(weights, input);
            }
        }
    }
}

/// Stores the sums of a panel.
///
/// # Safety
/// The CPU must have the instruction set of `V`.
#[inline(always)]
unsafe fn store<V: Floats, const VECTORS: usize, const ROWS: usize>(
    sums: [[V; VECTORS]; ROWS],
    rectify: bool,
    outputs: &mut [f32],
    to: Rows,
    row: usize,
    panel: usize,
) {
    for (number, sums) in sums.into_iter().enumerate() {
        let outputs = &mut outputs[to.start(row + number) + panel * PANEL..][..PANEL];
        for (sum, outputs) in sums.into_iter().zip(outputs.chunks_exact_mut(V::LANES)) {
            // SAFETY: the caller ensures the instruction set, and the chunk has `LANES` floats.
            unsafe {
                let sum = if rectify { sum.max(V::splat(0.0)) } else { sum };
                sum.store(outputs);
            }
        }
    }
}

/// Computes [`super::Kernels::lstm_cell`]. A caller that enables an instruction set gets code for it.
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
/// The quotient of two polynomials is the approximation of Eigen and of onnxruntime. It has only
/// operations that the compiler can turn into vector instructions.
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
    // The function is 1, in f32, from here on.
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
