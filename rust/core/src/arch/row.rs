//! Integer filter taps, in the two scales and the order that the kernels read.
//!
//! A 16-bit tap alone is too coarse: it puts images at -85 dBc. So a tap is the
//! sum of a coarse part and a fine one, each 16 bits. The fine parts come first;
//! their sum is scaled down to the coarse scale, where the coarse parts are added.
//! Only the taps near the middle are large enough to need a coarse part.
//!
//! Rule: nothing overflows 32 bits, whatever the input. [`Row`]s say how much of an
//! accumulator they can use, and [`crate::bank`] asserts it when it makes them.

/// Scales of a convolution's sums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Accumulator {
    /// Fine taps are in units of `2^-fine_bits`.
    pub(crate) fine_bits: u32,
    /// Coarse taps are in units of `2^-coarse_bits`.
    pub(crate) coarse_bits: u32,
    /// The inputs are 16-bit samples shifted right by this.
    pub(crate) input_shift: u32,
}

/// Panics unless each segment has the inputs that so many outputs need.
pub(super) fn check(segments: &[Segment<'_>], outputs: usize) {
    for Segment { inputs, row } in segments {
        assert!(
            inputs.len() >= outputs + row.reach(),
            "{outputs} outputs need {} inputs, there are {}",
            outputs + row.reach(),
            inputs.len()
        );
    }
}

impl Accumulator {
    /// What a sum begins with: half a sample. Shifting twice then rounds the exact sum,
    /// for shifts round down, and rounding down twice is the same as once.
    pub(super) fn start(self) -> i32 {
        1 << (self.fine_bits - self.input_shift - 1)
    }

    /// Shift from the fine scale to the coarse one.
    pub(super) fn to_coarse(self) -> u32 {
        self.fine_bits - self.coarse_bits
    }

    /// Shift from the coarse scale to 16-bit samples.
    pub(super) fn to_sample(self) -> u32 {
        self.coarse_bits - self.input_shift
    }
}

/// The taps of one polyphase branch, oldest input first.
#[derive(Debug)]
pub(crate) struct Row {
    pub(super) fine: Taps,
    pub(super) coarse: Taps,
    reach: usize,
}

impl Row {
    /// A row of an even number of taps, the parts in their own scales.
    pub(crate) fn new(fine: &[i16], coarse: &[i16]) -> Self {
        assert!(fine.len() == coarse.len() && fine.len().is_multiple_of(2));
        Self {
            fine: Taps::new(fine),
            coarse: Taps::new(coarse),
            reach: fine.len(),
        }
    }

    /// Inputs that a convolution reads beyond the number of its outputs.
    pub(crate) fn reach(&self) -> usize {
        self.reach
    }
}

/// One part of a row's taps, without most of the zeros at the ends.
#[derive(Debug)]
pub(super) struct Taps {
    /// What multiplies each pair of inputs.
    pub(super) pairs: Box<[Pair]>,
    /// Index of the first pair's first input.
    pub(super) first: usize,
    /// The same taps one by one, in whole groups where the row is long enough.
    pub(super) single: Box<[i16]>,
    /// Index of the first of these.
    pub(super) first_single: usize,
}

/// Two taps in one `i32` each, the earlier in the low half: for outputs of even
/// index, and for those of odd index, which lie one input later.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pair {
    pub(super) even: i32,
    pub(super) odd: i32,
}

/// What the compiler makes of a sum of products is fast for multiples of this.
pub(crate) const GROUP: usize = 16;

impl Taps {
    fn new(row: &[i16]) -> Self {
        let used = |tap: &i16| *tap != 0;
        let first = row.iter().position(used).unwrap_or(0) & !1;
        let end = row.iter().rposition(used).map_or(0, |last| last + 1);
        let tap = |index: usize| row.get(index).copied().unwrap_or(0);
        let before = |index: usize| if index == 0 { 0 } else { tap(index - 1) };
        // One pair more than there are, for the last tap of the odd ones.
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

/// The inputs of one row. A convolution adds several where it decimates.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment<'a> {
    pub(crate) inputs: &'a [i16],
    pub(crate) row: &'a Row,
}

/// The branches of any ratio, one after the other: both parts of every tap, oldest
/// input first.
#[derive(Debug)]
pub(crate) struct Branches {
    /// Taps of one branch: a multiple of [`GROUP`].
    pub(crate) taps: usize,
    pub(crate) fine: Box<[i16]>,
    pub(crate) coarse: Box<[i16]>,
}

impl Branches {
    /// Scale of the fine taps.
    pub(crate) const FINE_BITS: u32 = 22;
    /// Shift from the coarse scale to the fine one.
    pub(crate) const TO_FINE: u32 = 8;
    /// Products that are summed in 32 bits; [`crate::quantize`] makes taps for which
    /// that cannot overflow.
    pub(crate) const SUMMED: usize = 256;

    /// The parts of one branch.
    pub(super) fn branch(&self, branch: usize) -> (&[i16], &[i16]) {
        let taps = branch * self.taps..(branch + 1) * self.taps;
        (&self.fine[taps.clone()], &self.coarse[taps])
    }

    /// A sum in the fine scale as a sample, rounded and saturated.
    pub(super) fn round(sum: i64) -> i16 {
        let sample = (sum + (1 << (Self::FINE_BITS - 1))) >> Self::FINE_BITS;
        sample.clamp(i64::from(i16::MIN), i64::from(i16::MAX)) as i16
    }
}

/// Where the outputs of any ratio lie in their inputs: branch and first input of each.
#[derive(Clone, Debug)]
pub(crate) struct Walk {
    up: usize,
    /// Whole inputs from one output to the next, and branches beyond that.
    step: (usize, usize),
    branch: usize,
    oldest: usize,
}

impl Walk {
    /// Begins at an output of branch `branch`, whose first input is `oldest`.
    pub(crate) fn new((up, down): (usize, usize), branch: usize, oldest: usize) -> Self {
        Self {
            up,
            step: (down / up, down % up),
            branch,
            oldest,
        }
    }
}

impl Iterator for Walk {
    type Item = (usize, usize);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let here = (self.branch, self.oldest);
        self.oldest += self.step.0;
        self.branch += self.step.1;
        // Not a division, which would take as long as half an output.
        if self.branch >= self.up {
            self.branch -= self.up;
            self.oldest += 1;
        }
        Some(here)
    }
}
