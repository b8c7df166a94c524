//! Integer filter taps in the layout that the kernels read.
//!
//! A single 16-bit integer is too coarse for a tap: images would be at -85 dBc. A tap is
//! therefore the sum of a coarse part and a fine part of 16 bits each. A convolution first
//! adds the products of the fine parts, then shifts that sum to the coarse scale, then adds
//! the products of the coarse parts. Only the taps near the middle of a filter are large
//! enough to need a coarse part.
//!
//! Rule: no sum overflows 32 bits for any input. [`crate::quantize`] asserts this rule for the taps
//! that it makes.

/// Scales of the taps and sums of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Accumulator {
    /// Fine taps are in units of `2^-fine_bits`.
    pub(crate) fine_bits: u32,
    /// Coarse taps are in units of `2^-coarse_bits`.
    pub(crate) coarse_bits: u32,
    /// Number of bits by which the 16-bit inputs are shifted right.
    pub(crate) input_shift: u32,
}

/// Panics if a segment does not have enough inputs for `outputs` outputs.
pub(super) fn check(segments: &[Segment<'_>], outputs: usize) {
    for Segment { inputs, row } in segments {
        assert!(
            inputs.len() >= outputs + row.reach(),
            "{outputs} outputs need {} inputs, got {}",
            outputs + row.reach(),
            inputs.len()
        );
    }
}

impl Accumulator {
    /// Returns the initial value of a sum: half a step of the output samples. With this value, the
    /// two shifts round the exact sum to the nearest integer. Each shift rounds down, and rounding
    /// down twice gives the same result as rounding down once.
    pub(super) fn start(self) -> i32 {
        1 << (self.fine_bits - self.input_shift - 1)
    }

    /// Returns the shift from the fine scale to the coarse scale in bits.
    pub(super) fn to_coarse(self) -> u32 {
        self.fine_bits - self.coarse_bits
    }

    /// Returns the shift from the coarse scale to 16-bit samples in bits.
    pub(super) fn to_sample(self) -> u32 {
        self.coarse_bits - self.input_shift
    }
}

/// The taps of one polyphase branch. The tap of the oldest input comes first.
#[derive(Debug)]
pub(crate) struct Row {
    pub(super) fine: Taps,
    pub(super) coarse: Taps,
    reach: usize,
}

impl Row {
    /// Creates a row from the fine and the coarse parts of an even number of taps.
    pub(crate) fn new(fine: &[i16], coarse: &[i16]) -> Self {
        assert!(fine.len() == coarse.len() && fine.len().is_multiple_of(2));
        Self {
            fine: Taps::new(fine),
            coarse: Taps::new(coarse),
            reach: fine.len(),
        }
    }

    /// Returns the number of inputs minus the number of outputs of a convolution.
    pub(crate) fn reach(&self) -> usize {
        self.reach
    }
}

/// The fine or the coarse parts of a row's taps. Zeros at both ends are removed, except those that
/// fill the first and the last pair or group.
#[derive(Debug)]
pub(super) struct Taps {
    /// The taps in pairs, for kernels that multiply pairs of inputs.
    pub(super) pairs: Box<[Pair]>,
    /// Index of the first input of the first pair.
    pub(super) first: usize,
    /// The same taps as single values. These values fill whole groups if the row's length is a
    /// multiple of [`GROUP`].
    pub(super) single: Box<[i16]>,
    /// Index of the first input of `single`.
    pub(super) first_single: usize,
}

/// Two taps packed into one `i32`, the earlier tap in the low half. `even` is for outputs of
/// even index. `odd` is for outputs of odd index, whose inputs start one sample later.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pair {
    pub(super) even: i32,
    pub(super) odd: i32,
}

/// Group length for which the compiler generates fast code for a sum of products.
pub(crate) const GROUP: usize = 16;

impl Taps {
    fn new(row: &[i16]) -> Self {
        let used = |tap: &i16| *tap != 0;
        let first = row.iter().position(used).unwrap_or(0) & !1;
        let end = row.iter().rposition(used).map_or(0, |last| last + 1);
        let tap = |index: usize| row.get(index).copied().unwrap_or(0);
        let before = |index: usize| if index == 0 { 0 } else { tap(index - 1) };
        // The outputs of odd index need one more pair, for the last tap.
        let pairs = (first..=end.next_multiple_of(2))
            .step_by(2)
            .filter(|_| end > 0)
            .map(|at| Pair {
                even: pair(tap(at), tap(at + 1)),
                odd: pair(before(at), before(at + 1)),
            })
            .collect();
        let single = if row.len().is_multiple_of(GROUP) {
            first / GROUP * GROUP..end.next_multiple_of(GROUP)
        } else {
            first..end
        };
        Self {
            pairs,
            first,
            first_single: single.start,
            single: row[single].into(),
        }
    }
}

fn pair(low: i16, high: i16) -> i32 {
    i32::from(low.cast_unsigned()) | i32::from(high) << 16
}

/// A row of taps, and the inputs that are convolved with the row. A decimating convolution adds the
/// products of several segments.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment<'a> {
    pub(crate) inputs: &'a [i16],
    pub(crate) row: &'a Row,
}

/// The branches of a filter for any ratio, stored one after the other. Each tap has a fine and a
/// coarse part; the tap of the oldest input comes first.
#[derive(Debug)]
pub(crate) struct Branches {
    /// Number of taps per branch: a multiple of [`GROUP`].
    pub(crate) taps: usize,
    pub(crate) fine: Box<[i16]>,
    pub(crate) coarse: Box<[i16]>,
}

impl Branches {
    /// Fine taps are in units of `2^-FINE_BITS`.
    pub(crate) const FINE_BITS: u32 = 22;
    /// Shift from the coarse scale to the fine scale in bits.
    pub(crate) const TO_FINE: u32 = 8;
    /// Number of products that are summed in 32 bits. [`crate::quantize`] asserts that this
    /// sum cannot overflow.
    pub(crate) const SUMMED: usize = 256;

    /// Returns the fine and the coarse taps of one branch.
    pub(super) fn branch(&self, branch: usize) -> (&[i16], &[i16]) {
        let taps = branch * self.taps..(branch + 1) * self.taps;
        (&self.fine[taps.clone()], &self.coarse[taps])
    }

    /// Converts a sum in the fine scale to a sample, rounded and saturated.
    pub(super) fn round(sum: i64) -> i16 {
        let sample = (sum + (1 << (Self::FINE_BITS - 1))) >> Self::FINE_BITS;
        sample.clamp(i64::from(i16::MIN), i64::from(i16::MAX)) as i16
    }
}

/// Iterator over the branch and the index of the oldest input of each output.
#[derive(Clone, Debug)]
pub(crate) struct OutputPositions {
    up: usize,
    /// Distance between two outputs: the number of whole inputs, and the remainder as a number of
    /// branches.
    step: (usize, usize),
    branch: usize,
    oldest: usize,
}

impl OutputPositions {
    /// Creates an iterator. Its first output uses the branch `branch` and the inputs from `oldest`
    /// on.
    pub(crate) fn new((up, down): (usize, usize), branch: usize, oldest: usize) -> Self {
        Self {
            up,
            step: (down / up, down % up),
            branch,
            oldest,
        }
    }
}

impl Iterator for OutputPositions {
    type Item = (usize, usize);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let position = (self.branch, self.oldest);
        self.oldest += self.step.0;
        self.branch += self.step.1;
        // A division would take half as long as the computation of one output sample, so the next
        // position is found by addition and comparison.
        if self.branch >= self.up {
            self.branch -= self.up;
            self.oldest += 1;
        }
        Some(position)
    }
}
