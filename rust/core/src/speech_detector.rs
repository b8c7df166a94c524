//! [`SpeechDetector`]: computes probabilities of speech from PCM.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::AudioError;
use crate::loudness::Section;
use crate::speech_model::{Gates, SpeechModel, SpeechState};
use crate::speech_windows::{CONTEXT_SAMPLES, Row, SpeechWindows};

/// The results for one window of a stream.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SpeechWindow {
    /// Probability of speech in the window.
    pub probability: f32,
    /// Loudness at the end of the window, as an energy.
    pub energy: f64,
}

/// The probability of speech in each window of 32 ms of a stream of PCM.
///
/// [`process`](Self::process) computes the layers before the LSTM for all windows that a packet
/// completes. [`next_window`](Self::next_window) computes the LSTM for one window per call.
/// [`reset_model`](Self::reset_model) may be called between two windows.
#[derive(Debug)]
pub struct SpeechDetector {
    model: Arc<SpeechModel>,
    windows: SpeechWindows,
    /// State of the model after the newest window that `next_window` returned.
    state: SpeechState,
    /// Frames of the windows that `process` completed.
    rows: Vec<Row>,
    /// Input of the LSTM for these windows.
    gates: Vec<Gates>,
    /// Number of these windows that `next_window` has returned.
    returned: usize,
    /// Loudness of the windows that `next_window` has not returned.
    energies: VecDeque<f64>,
}

impl SpeechDetector {
    /// Creates a stream of mono samples at `in_rate`.
    ///
    /// `sections` is the weighting filter of the loudness at `in_rate`. The loudness of a
    /// window is the energy of the newest `blocks` half windows.
    ///
    /// # Errors
    /// [`AudioError::SpeechRate`] unless the rate is 8000 or 16000 Hz,
    /// [`AudioError::LoudnessFilter`] if a section is unstable or `blocks` is not from 1 to 64.
    pub fn new(
        model: Arc<SpeechModel>,
        in_rate: u32,
        sections: [Section; 2],
        blocks: usize,
    ) -> Result<Self, AudioError> {
        Ok(Self {
            model,
            windows: SpeechWindows::new(in_rate, sections, blocks)?,
            state: SpeechState::NEW,
            rows: Vec::new(),
            gates: Vec::new(),
            returned: 0,
            energies: VecDeque::new(),
        })
    }

    /// Returns the number of windows that the next `length` bytes of input complete.
    pub fn windows_due(&self, length: usize) -> Result<usize, AudioError> {
        self.windows.windows_due(length)
    }

    /// Adds PCM to the stream. Returns the number of windows that [`next_window`](Self::next_window)
    /// can return.
    ///
    /// # Errors
    /// [`AudioError::PartialFrame`] if the length is odd.
    pub fn process(&mut self, pcm: &[u8]) -> Result<usize, AudioError> {
        let known = self.rows.len();
        self.windows
            .process(pcm, &mut self.rows, &mut self.energies)?;
        self.model.gates(&self.rows[known..], &mut self.gates);
        Ok(self.energies.len())
    }

    /// Returns the results of the next window, or `None` if no complete window is left.
    pub fn next_window(&mut self) -> Option<SpeechWindow> {
        let energy = self.energies.pop_front()?;
        let gates = &self.gates[self.returned];
        let probability = self.model.probability(gates, &mut self.state);
        self.returned += 1;
        if self.energies.is_empty() {
            // Free the memory, because a stream waits for its next packet most of the time.
            (self.rows, self.gates, self.returned) = (Vec::new(), Vec::new(), 0);
        }
        Some(SpeechWindow {
            probability,
            energy,
        })
    }

    /// Sets the state of the model to zero, and also the samples before the next window.
    pub fn reset_model(&mut self) {
        self.state = SpeechState::NEW;
        match self.rows.get_mut(self.returned) {
            Some(row) => {
                row[..CONTEXT_SAMPLES].fill(0.0);
                let mut gates = Vec::with_capacity(1);
                self.model
                    .gates(&self.rows[self.returned..=self.returned], &mut gates);
                self.gates[self.returned] = gates[0];
            }
            None => self.windows.clear_context(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::speech_model::tests::Constants;

    const IDENTITY: Section = Section {
        numerator: [1.0, 0.0, 0.0],
        denominator: [0.0, 0.0],
    };

    fn detector() -> SpeechDetector {
        let model = SpeechModel::new(&Constants::new().weights()).expect("a model");
        SpeechDetector::new(Arc::new(model), 8_000, [IDENTITY; 2], 2).expect("a supported rate")
    }

    fn pcm(samples: usize) -> Vec<u8> {
        let sample = |n: usize| (((n * 7_919) % 60_011) as i32 - 30_000) as i16;
        (0..samples).flat_map(|n| sample(n).to_le_bytes()).collect()
    }

    fn rest(detector: &mut SpeechDetector) -> Vec<SpeechWindow> {
        std::iter::from_fn(|| detector.next_window()).collect()
    }

    #[test]
    fn windows_are_returned_in_order_with_their_loudness() {
        let pcm = pcm(256 * 20 + 100);
        let mut whole = detector();
        assert_eq!(whole.process(&pcm), Ok(20));
        let expected = rest(&mut whole);
        assert_eq!(expected.len(), 20);
        let (mut parts, mut found) = (detector(), Vec::new());
        for part in pcm.chunks(2 * 700) {
            assert!(parts.process(part).is_ok());
            // At most one window is taken after each part, so some windows are taken later.
            found.extend(parts.next_window());
        }
        found.extend(rest(&mut parts));
        for (found, expected) in found.iter().zip(&expected) {
            assert!((found.probability - expected.probability).abs() < 1e-5);
            assert_eq!(found.energy.to_bits(), expected.energy.to_bits());
        }
        assert_eq!(found.len(), 20);
    }

    #[test]
    fn a_reset_model_begins_anew_with_the_next_window() {
        for taken in [0, 1, 5, 6] {
            let pcm = pcm(256 * 12);
            let mut used = detector();
            assert_eq!(used.process(&pcm[..512 * 6]), Ok(6));
            for _ in 0..taken {
                assert!(used.next_window().is_some());
            }
            used.reset_model();
            assert!(used.process(&pcm[512 * 6..]).is_ok());
            let found = rest(&mut used);
            let mut new = detector();
            assert!(new.process(&pcm[512 * taken..]).is_ok());
            let expected = rest(&mut new);
            assert_eq!(found.len(), expected.len());
            for (found, expected) in found.iter().zip(expected) {
                assert!((found.probability - expected.probability).abs() < 1e-5);
            }
        }
    }

    #[test]
    fn an_odd_length_is_rejected_and_changes_nothing() {
        let mut detector = detector();
        assert!(detector.process(&[0; 511]).is_err());
        assert_eq!(detector.process(&[0; 512]), Ok(1));
        assert!(detector.next_window().is_some());
        assert_eq!(detector.next_window(), None);
    }
}
