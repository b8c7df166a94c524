//! [`SpeechWindows`]: converts PCM to the input of the speech model.

use std::collections::VecDeque;

use crate::loudness::{MAX_BLOCKS, Section, SlidingEnergy};
use crate::pcm::{SAMPLE_BYTES, whole_frames};
use crate::wire::WIRE_RATE;
use crate::{AudioError, Resampler};

/// Number of samples in a window: 32 ms at 8 kHz.
pub(crate) const WINDOW_SAMPLES: usize = 256;
/// The second supported input rate in Hz; the first is 8000 Hz.
const WIDEBAND_RATE: u32 = 2 * WIRE_RATE;
/// Number of samples of the context, which is the last audio before the window.
pub(crate) const CONTEXT_SAMPLES: usize = 32;
/// Number of samples of the mirror image of the window's end, which follows the window.
const MIRRORED_SAMPLES: usize = 32;
/// Number of samples that the model reads for a window: the context, the window and the mirror
/// image.
const VIEW_SAMPLES: usize = CONTEXT_SAMPLES + WINDOW_SAMPLES + MIRRORED_SAMPLES;
/// Number of samples in a frame.
pub(crate) const FRAME_SAMPLES: usize = 128;
/// Number of samples from the start of a frame to the start of the next frame.
const FRAME_STEP: usize = 64;
/// Number of frames of a window.
pub(crate) const FRAMES: usize = (VIEW_SAMPLES - FRAME_SAMPLES) / FRAME_STEP + 1;
/// Number of samples in one row of output.
pub(crate) const ROW_SAMPLES: usize = FRAMES * FRAME_SAMPLES;
/// The frames of one window.
pub(crate) type Row = [f32; ROW_SAMPLES];

/// Number of blocks per window in the measurement of loudness.
const BLOCKS_PER_WINDOW: usize = 2;
/// Factor from 16-bit samples to the model's input from -1 to 1.
const SCALE: f32 = 1.0 / 32_768.0;

/// A stream of PCM that becomes rows of input for a speech model, with the loudness at the
/// end of each row's window.
///
/// The model reads 320 samples for each window: the 32 samples before the window, the 256
/// samples of the window, and the 32 samples before its last sample in reverse order. A row has
/// these samples in four frames of 128 samples, which begin 64 samples apart. Samples are f32
/// from -1 to 1 at 8 kHz. There is no gap and no overlap between windows. Audio at 16 kHz is
/// resampled to 8 kHz, which delays the audio by 3 ms.
#[derive(Clone, Debug)]
pub(crate) struct SpeechWindows {
    /// Number of input samples in a window.
    window_inputs: usize,
    resampler: Option<Resampler>,
    loudness: SlidingEnergy,
    /// The window in progress: context, samples of the window, space for the mirror image.
    view: [f32; VIEW_SAMPLES],
    /// Number of samples in the window in progress.
    filled: usize,
    /// Number of input samples that belong to the window in progress.
    inputs: usize,
}

impl SpeechWindows {
    /// Creates a stream.
    ///
    /// `sections` is the weighting filter of the loudness at `in_rate`. The loudness of a
    /// window is the energy of the newest `blocks` half windows.
    ///
    /// # Errors
    /// [`AudioError::SpeechRate`] unless the rate is 8000 or 16000 Hz,
    /// [`AudioError::LoudnessFilter`] if a section is unstable or `blocks` is not from 1 to 64.
    pub(crate) fn new(
        in_rate: u32,
        sections: [Section; 2],
        blocks: usize,
    ) -> Result<Self, AudioError> {
        let (factor, resampler) = match in_rate {
            WIRE_RATE => (1, None),
            WIDEBAND_RATE => (2, Some(Resampler::new(in_rate, WIRE_RATE)?)),
            _ => return Err(AudioError::SpeechRate { in_rate }),
        };
        if !sections.iter().all(Section::is_stable) || !(1..=MAX_BLOCKS).contains(&blocks) {
            return Err(AudioError::LoudnessFilter);
        }
        let window_inputs = WINDOW_SAMPLES * factor;
        let block = window_inputs / BLOCKS_PER_WINDOW;
        Ok(Self {
            window_inputs,
            resampler,
            loudness: SlidingEnergy::new(sections, block, blocks),
            view: [0.0; VIEW_SAMPLES],
            filled: 0,
            inputs: 0,
        })
    }

    /// Returns the number of windows that the next `length` bytes of input complete.
    pub(crate) fn windows_due(&self, length: usize) -> Result<usize, AudioError> {
        let samples = whole_frames(length, SAMPLE_BYTES)?;
        Ok((self.inputs + samples) / self.window_inputs)
    }

    /// Adds PCM to the stream.
    ///
    /// For each window that the PCM completes, appends its row to `rows`, and its loudness, as an
    /// energy, to `energies`.
    pub(crate) fn process(
        &mut self,
        pcm: &[u8],
        rows: &mut Vec<Row>,
        energies: &mut VecDeque<f64>,
    ) -> Result<(), AudioError> {
        whole_frames(pcm.len(), SAMPLE_BYTES)?;
        self.measure(pcm, energies);
        let narrow;
        let pcm = match &mut self.resampler {
            Some(resampler) => {
                narrow = resampler.process(pcm)?;
                narrow.as_slice()
            }
            None => pcm,
        };
        let mut samples = samples(pcm);
        loop {
            let window = &mut self.view[CONTEXT_SAMPLES..CONTEXT_SAMPLES + WINDOW_SAMPLES];
            let missing = WINDOW_SAMPLES - self.filled;
            let mut added = 0;
            for (place, sample) in window[self.filled..]
                .iter_mut()
                .zip(samples.by_ref().take(missing))
            {
                *place = f32::from(sample) * SCALE;
                added += 1;
            }
            self.filled += added;
            if self.filled < WINDOW_SAMPLES {
                return Ok(());
            }
            rows.push(self.complete_row());
        }
    }

    /// Replaces the context of the next window by zeros. The context is the samples before the
    /// window.
    pub(crate) fn clear_context(&mut self) {
        self.view[..CONTEXT_SAMPLES].fill(0.0);
    }

    /// Adds the samples to the loudness measurement. Appends the energy at the end of each window.
    fn measure(&mut self, mut pcm: &[u8], energies: &mut VecDeque<f64>) {
        while !pcm.is_empty() {
            let missing = (self.window_inputs - self.inputs) * SAMPLE_BYTES;
            let (now, later) = pcm.split_at(missing.min(pcm.len()));
            self.loudness.extend(samples(now));
            self.inputs += now.len() / SAMPLE_BYTES;
            if self.inputs == self.window_inputs {
                energies.push_back(self.loudness.energy());
                self.inputs = 0;
            }
            pcm = later;
        }
    }

    /// Returns the row of the complete window and begins the next window.
    fn complete_row(&mut self) -> Row {
        let end = CONTEXT_SAMPLES + WINDOW_SAMPLES;
        for distance in 0..MIRRORED_SAMPLES {
            self.view[end + distance] = self.view[end - 2 - distance];
        }
        let mut row = [0.0; ROW_SAMPLES];
        let frames = self.view.windows(FRAME_SAMPLES).step_by(FRAME_STEP);
        for (place, frame) in row.chunks_exact_mut(FRAME_SAMPLES).zip(frames) {
            place.copy_from_slice(frame);
        }
        self.view.copy_within(end - CONTEXT_SAMPLES..end, 0);
        self.filled = 0;
        row
    }
}

fn samples(pcm: &[u8]) -> impl Iterator<Item = i16> {
    pcm.chunks_exact(SAMPLE_BYTES)
        .map(|bytes| i16::from_le_bytes([bytes[0], bytes[1]]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDENTITY: Section = Section {
        numerator: [1.0, 0.0, 0.0],
        denominator: [0.0, 0.0],
    };

    fn pcm(samples: usize) -> Vec<u8> {
        let sample = |n: usize| (((n * 7_919) % 60_011) as i32 - 30_000) as i16;
        (0..samples).flat_map(|n| sample(n).to_le_bytes()).collect()
    }

    fn stream(rate: u32) -> SpeechWindows {
        SpeechWindows::new(rate, [IDENTITY, IDENTITY], 2).expect("a supported rate")
    }

    /// Passes audio in parts and returns all rows, joined, and energies.
    fn rows(stream: &mut SpeechWindows, pcm: &[u8], part: usize) -> (Vec<f32>, VecDeque<f64>) {
        let (mut all, mut energies) = (Vec::new(), VecDeque::new());
        for part in pcm.chunks(part * SAMPLE_BYTES) {
            stream
                .process(part, &mut all, &mut energies)
                .expect("whole samples");
        }
        (all.into_flattened(), energies)
    }

    #[test]
    fn a_row_has_frames_of_context_window_and_mirror_image() {
        let pcm = pcm(3 * WINDOW_SAMPLES + 100);
        let (rows, _) = rows(&mut stream(8_000), &pcm, usize::MAX / 4);
        assert_eq!(rows.len(), 3 * ROW_SAMPLES);
        let expected: Vec<f32> = samples(&pcm)
            .map(|sample| f32::from(sample) / 32_768.0)
            .collect();
        for (number, row) in rows.chunks_exact(ROW_SAMPLES).enumerate() {
            for (place, &value) in row.iter().enumerate() {
                // Stream position of the sample at index `place` of the row. The samples after
                // the end of the window mirror the samples before the last sample of the window.
                let last = (number + 1) * WINDOW_SAMPLES - 1;
                let seen = place / FRAME_SAMPLES * FRAME_STEP + place % FRAME_SAMPLES;
                let at = (number * WINDOW_SAMPLES + seen).checked_sub(CONTEXT_SAMPLES);
                let at = at.map(|at| if at > last { 2 * last - at } else { at });
                let sample = at.map_or(0.0, |at| expected[at]);
                assert_eq!(
                    value.to_bits(),
                    sample.to_bits(),
                    "row {number}, place {place}"
                );
            }
        }
    }

    #[test]
    fn rows_do_not_depend_on_the_division_into_calls() {
        for rate in [8_000, 16_000] {
            let pcm = pcm(5_000);
            let whole = rows(&mut stream(rate), &pcm, 5_000);
            for part in [1, 37, 255, 256, 257, 1_600] {
                assert_eq!(rows(&mut stream(rate), &pcm, part), whole);
            }
        }
    }

    #[test]
    fn wideband_audio_is_resampled_and_its_loudness_is_measured_at_its_own_rate() {
        let wide = pcm(8_192);
        let narrow = Resampler::new(16_000, 8_000)
            .and_then(|mut resampler| resampler.process(&wide))
            .expect("supported rates");
        let (expected, _) = rows(&mut stream(8_000), &narrow, 4_096);
        let (actual, energies) = rows(&mut stream(16_000), &wide, 4_096);
        assert_eq!(actual, expected);
        let last: f64 = samples(&wide[wide.len() - 1_024..])
            .map(|sample| f64::from(sample).powi(2))
            .sum();
        let measured = energies.back().copied().unwrap_or_default();
        assert!((measured - last).abs() <= 1e-12 * last);
    }

    #[test]
    fn a_cleared_context_is_silence() {
        let pcm = pcm(2 * WINDOW_SAMPLES);
        let mut stream = stream(16_000);
        rows(&mut stream, &pcm, 100);
        stream.clear_context();
        let (second, _) = rows(&mut stream, &pcm, 100);
        let (context, window) = second.split_at(CONTEXT_SAMPLES);
        assert!(context.iter().all(|&sample| sample == 0.0));
        assert!(window.iter().any(|&sample| sample != 0.0));
    }

    #[test]
    fn unusable_arguments_are_rejected() {
        for in_rate in [0, 1, 8_001, 11_025, 24_000, 32_000] {
            let error = SpeechWindows::new(in_rate, [IDENTITY; 2], 2).err();
            assert_eq!(error, Some(AudioError::SpeechRate { in_rate }));
        }
        for blocks in [0, MAX_BLOCKS + 1] {
            let error = SpeechWindows::new(8_000, [IDENTITY; 2], blocks).err();
            assert_eq!(error, Some(AudioError::LoudnessFilter));
        }
        let mut stream = stream(8_000);
        let partial = AudioError::PartialFrame {
            length: 3,
            frame: 2,
        };
        let short = stream.process(&[0; 3], &mut Vec::new(), &mut VecDeque::new());
        assert_eq!(short, Err(partial));
        assert_eq!(stream.windows_due(510), Ok(0));
    }
}
