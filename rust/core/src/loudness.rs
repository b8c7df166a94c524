//! [`SlidingEnergy`]: the energy of filtered audio over the newest blocks of a stream.
//!
//! A loudness meter filters the audio of a measurement interval from a filter state of zero and
//! sums the squares of the output. Consecutive measurement intervals overlap, so a meter that
//! filters each interval separately filters the same samples several times. The filter is linear,
//! which allows a faster computation with the same result: each block is filtered only once, from a
//! state of zero, and the results of the blocks of an interval are then combined.
//!
//! With the state `s` at the start of a block, the output is the sum of the output `y` from a state
//! of zero and of the free response `f(s)`, which is the output for silent input. Both are linear.
//! The energy of the block is therefore
//! `sum(y * y) + 2 * s . cross + s . gram . s`, where `cross` and `gram` are the sums of the
//! products of the free responses with `y` and with each other. The state after the block is
//! the state at the end of the zero-state response plus `transition . s`.
//!
//! Rules: all sums are f64 and in a fixed order, without fused operations, so that they are
//! the same on every machine.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Largest number of blocks in a measurement interval.
pub const MAX_BLOCKS: usize = 64;

/// Number of state variables of two second-order sections.
const STATES: usize = 4;
type State = [f64; STATES];
const ZERO: State = [0.0; STATES];

/// A second-order filter section with a leading denominator coefficient of 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Section {
    /// Numerator coefficients of the current input and of the two previous inputs.
    pub numerator: [f64; 3],
    /// Denominator coefficients of the two previous outputs.
    pub denominator: [f64; 2],
}

impl Section {
    /// Returns whether all coefficients are finite and the section is stable.
    pub(crate) fn is_stable(&self) -> bool {
        let [a1, a2] = self.denominator;
        // The stability triangle of a second-order section; false for NaN.
        let stable = a2.abs() < 1.0 && a1.abs() < 1.0 + a2;
        stable && self.numerator.iter().all(|value| value.is_finite())
    }

    /// Filters one sample, in transposed direct form II.
    #[inline]
    fn filter(&self, input: f64, state: &mut [f64]) -> f64 {
        let output = self.numerator[0] * input + state[0];
        state[0] = self.numerator[1] * input - self.denominator[0] * output + state[1];
        state[1] = self.numerator[2] * input - self.denominator[1] * output;
        output
    }
}

/// The values that depend only on the filter and the length of a block. Streams that have the
/// same filter and block length share them.
#[derive(Debug)]
struct Design {
    sections: [Section; 2],
    /// For each sample of a block of zeros, and for each state variable: the output of the filter,
    /// if this variable is 1 and the other variables are 0 before the block (the free response).
    responses: Box<[State]>,
    /// For each state variable, the state after a block of zeros, if this variable is 1 and the
    /// other variables are 0 before the block.
    transition: [State; STATES],
    /// Sums of the products of the free responses.
    gram: [State; STATES],
}

static DESIGNS: Mutex<Vec<Weak<Design>>> = Mutex::new(Vec::new());

impl Design {
    /// Returns the existing design if another stream uses it, or a new design.
    fn shared(sections: [Section; 2], block: usize) -> Arc<Self> {
        let mut designs = DESIGNS.lock().unwrap_or_else(PoisonError::into_inner);
        designs.retain(|design| design.strong_count() > 0);
        let same =
            |design: &Arc<Self>| design.sections == sections && design.responses.len() == block;
        if let Some(found) = designs.iter().filter_map(Weak::upgrade).find(same) {
            return found;
        }
        let designed = Arc::new(Self::new(sections, block));
        designs.push(Arc::downgrade(&designed));
        designed
    }

    fn new(sections: [Section; 2], block: usize) -> Self {
        let mut responses = vec![ZERO; block].into_boxed_slice();
        let mut transition = [ZERO; STATES];
        for variable in 0..STATES {
            let mut state = ZERO;
            state[variable] = 1.0;
            for response in &mut responses {
                response[variable] = filter(&sections, 0.0, &mut state);
            }
            transition[variable] = state;
        }
        let mut gram = [ZERO; STATES];
        for response in &responses {
            for (row, left) in gram.iter_mut().zip(response) {
                for (sum, right) in row.iter_mut().zip(response) {
                    *sum += left * right;
                }
            }
        }
        Self {
            sections,
            responses,
            transition,
            gram,
        }
    }
}

#[inline]
fn filter(sections: &[Section; 2], input: f64, state: &mut State) -> f64 {
    let (first, second) = state.split_at_mut(2);
    let between = sections[0].filter(input, first);
    sections[1].filter(between, second)
}

/// The zero-state response of the filter to one block.
#[derive(Clone, Copy, Debug, Default)]
struct Block {
    energy: f64,
    /// Sums of the products of the output with the free responses.
    cross: State,
    /// State at the end of the block.
    state: State,
}

/// The energy of filtered audio over the newest blocks of a stream.
///
/// The filter starts with a state of zero at the oldest sample of the measurement interval. The
/// energy is 0 until the stream has as many blocks as a measurement interval.
#[derive(Clone, Debug)]
pub(crate) struct SlidingEnergy {
    design: Arc<Design>,
    /// Number of blocks in a measurement interval.
    blocks: usize,
    complete: VecDeque<Block>,
    current: Block,
    /// Number of samples in the current block.
    filled: usize,
}

impl SlidingEnergy {
    /// Creates a stream for measurement intervals of `blocks` blocks of `block` samples.
    pub(crate) fn new(sections: [Section; 2], block: usize, blocks: usize) -> Self {
        Self {
            design: Design::shared(sections, block),
            blocks,
            complete: VecDeque::with_capacity(blocks),
            current: Block::default(),
            filled: 0,
        }
    }

    /// Adds samples to the stream. Samples after the end of a block begin the next block.
    pub(crate) fn extend(&mut self, samples: impl Iterator<Item = i16>) {
        for sample in samples {
            let output = filter(
                &self.design.sections,
                f64::from(sample),
                &mut self.current.state,
            );
            self.current.energy += output * output;
            let responses = &self.design.responses[self.filled];
            for (sum, response) in self.current.cross.iter_mut().zip(responses) {
                *sum += output * response;
            }
            self.filled += 1;
            if self.filled == self.design.responses.len() {
                if self.complete.len() == self.blocks {
                    self.complete.pop_front();
                }
                self.complete.push_back(std::mem::take(&mut self.current));
                self.filled = 0;
            }
        }
    }

    /// Returns the sum of the squares of the filtered samples in the newest complete blocks.
    pub(crate) fn energy(&self) -> f64 {
        if self.complete.len() < self.blocks {
            return 0.0;
        }
        let (mut energy, mut state) = (0.0, ZERO);
        for block in &self.complete {
            let mut next = block.state;
            let mut added = block.energy;
            for variable in 0..STATES {
                added += 2.0 * state[variable] * block.cross[variable];
                for other in 0..STATES {
                    added += state[variable] * self.design.gram[variable][other] * state[other];
                    next[other] += state[variable] * self.design.transition[variable][other];
                }
            }
            energy += added;
            state = next;
        }
        // A sum of squares is not negative, but rounding errors can make the result negative.
        energy.max(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The K-weighting of ITU-R BS.1770 at 8 kHz, rounded to eight decimals.
    const SECTIONS: [Section; 2] = [
        Section {
            numerator: [1.312_479_39, -1.160_943_4, 0.428_466_67],
            denominator: [-0.700_640_64, 0.280_643_3],
        },
        Section {
            numerator: [1.0, -2.0, 1.0],
            denominator: [-1.941_083_58, 0.941_958_36],
        },
    ];

    fn noise(length: usize, amplitude: f64) -> Vec<i16> {
        let mut seed = 12_345_u32;
        let next = || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            ((f64::from(seed >> 8) / f64::from(1 << 23) - 1.0) * amplitude) as i16
        };
        std::iter::repeat_with(next).take(length).collect()
    }

    /// Returns the energy of the samples, filtered from a state of zero.
    fn direct(samples: &[i16]) -> f64 {
        let mut state = ZERO;
        let squares = samples.iter().map(|&sample| {
            let output = filter(&SECTIONS, f64::from(sample), &mut state);
            output * output
        });
        squares.sum()
    }

    #[test]
    fn energy_equals_that_of_a_stretch_filtered_from_a_state_of_zero() {
        for (block, blocks, offset) in
            [(128, 25, 0.0), (64, 4, 3_000.0), (256, 1, 0.0), (1, 7, 0.0)]
        {
            let mut stream = SlidingEnergy::new(SECTIONS, block, blocks);
            let samples: Vec<i16> = noise(block * (blocks + 20), 8_000.0)
                .iter()
                .map(|&sample| sample + offset as i16)
                .collect();
            for end in 1..=samples.len() / block {
                let part = &samples[(end - 1) * block..end * block];
                stream.extend(part.iter().copied());
                if end < blocks {
                    assert!(stream.energy().abs() < f64::MIN_POSITIVE);
                } else {
                    let expected = direct(&samples[(end - blocks) * block..end * block]);
                    let error = (stream.energy() - expected).abs();
                    assert!(error <= 1e-12 * expected, "{error} of {expected}");
                }
            }
        }
    }

    #[test]
    fn energy_does_not_depend_on_the_division_into_calls() {
        let samples = noise(2_000, 20_000.0);
        let mut whole = SlidingEnergy::new(SECTIONS, 128, 5);
        whole.extend(samples.iter().copied());
        let mut parts = SlidingEnergy::new(SECTIONS, 128, 5);
        for part in samples.chunks(37) {
            parts.extend(part.iter().copied());
        }
        assert_eq!(whole.energy().to_bits(), parts.energy().to_bits());
    }

    #[test]
    fn silence_has_no_energy() {
        let mut stream = SlidingEnergy::new(SECTIONS, 128, 2);
        stream.extend(std::iter::repeat_n(0, 256));
        assert_eq!(stream.energy().to_bits(), 0);
    }

    #[test]
    fn streams_of_one_filter_share_its_design() {
        let first = SlidingEnergy::new(SECTIONS, 96, 2);
        let second = SlidingEnergy::new(SECTIONS, 96, 5);
        assert!(Arc::ptr_eq(&first.design, &second.design));
        let other = SlidingEnergy::new(SECTIONS, 97, 2);
        assert!(!Arc::ptr_eq(&first.design, &other.design));
    }

    #[test]
    fn unstable_and_infinite_sections_are_recognised() {
        assert!(SECTIONS.iter().all(Section::is_stable));
        for denominator in [[0.0, 1.0], [-2.1, 0.9], [f64::NAN, 0.0]] {
            let section = Section {
                denominator,
                ..SECTIONS[0]
            };
            assert!(!section.is_stable());
        }
        let section = Section {
            numerator: [f64::INFINITY, 0.0, 0.0],
            ..SECTIONS[0]
        };
        assert!(!section.is_stable());
    }
}
