//! [`Resampler`]: sample rate conversion of PCM.

use crate::AudioError;
use crate::pcm::{ByteOrder, SAMPLE_BYTES, byte_length, exact_output, whole_frames, with_samples};
use crate::polyphase::Polyphase;
use crate::ratio::Ratio;

/// A streaming sample-rate converter for 16-bit mono PCM.
///
/// After `n` input samples, exactly `floor(n * out_rate / in_rate)` samples have been written. The
/// output samples do not depend on the division of the input into calls of
/// [`process`](Self::process).
///
/// The delay is the same at all frequencies: 24 samples at the lower rate (3 ms at 8 kHz), or 28
/// samples if one rate is six times the other. The delay is 0 if the rates are equal.
///
/// ```
/// # use audiohook_audio::{AudioError, Resampler};
/// # fn main() -> Result<(), AudioError> {
/// let mut resampler = Resampler::new(8_000, 16_000)?;
/// let pcm = [0; 320];
/// assert_eq!(resampler.process(&pcm)?.len(), 640);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Resampler {
    channel: Polyphase,
}

impl Resampler {
    /// Creates a converter between two rates in Hz.
    ///
    /// # Errors
    /// [`AudioError::RateOutOfRange`] if a rate is 0, [`AudioError::RatesTooFarApart`] if
    /// one rate is more than [`MAX_FACTOR`](crate::MAX_FACTOR) times the other,
    /// [`AudioError::BankTooLarge`] if the reduced ratio needs more than
    /// [`MAX_BANK_COEFFICIENTS`](crate::MAX_BANK_COEFFICIENTS) coefficients,
    /// [`AudioError::InstructionSet`] under the same conditions as in
    /// [`instruction_set`](crate::instruction_set).
    pub fn new(in_rate: u32, out_rate: u32) -> Result<Self, AudioError> {
        let channel = Polyphase::new(Ratio::new(in_rate, out_rate)?, 0)?;
        Ok(Self { channel })
    }

    /// Returns the sample rate of the input in Hz.
    #[must_use]
    pub fn in_rate(&self) -> u32 {
        self.channel.ratio().in_rate
    }

    /// Returns the sample rate of the output in Hz.
    #[must_use]
    pub fn out_rate(&self) -> u32 {
        self.channel.ratio().out_rate
    }

    /// Returns the delay from input to output in seconds.
    #[must_use]
    pub fn delay_seconds(&self) -> f64 {
        self.channel.ratio().delay_seconds()
    }

    /// Returns the number of output bytes for the next `length` bytes of input.
    pub fn output_len(&self, length: usize) -> Result<usize, AudioError> {
        let samples = whole_frames(length, SAMPLE_BYTES)?;
        byte_length(self.channel.outputs(samples), SAMPLE_BYTES)
    }

    /// Returns the number of bytes that [`flush_into`](Self::flush_into) writes.
    #[must_use]
    pub fn flush_len(&self) -> usize {
        self.channel.ratio().delay_outputs() * SAMPLE_BYTES
    }

    /// Converts PCM into a buffer, which must have [`output_len`](Self::output_len) bytes.
    pub fn process_into(&mut self, pcm: &[u8], output: &mut [u8]) -> Result<(), AudioError> {
        exact_output(self.output_len(pcm.len())?, output.len())?;
        let load = |from: usize, block: &mut [i16]| {
            ByteOrder::Little.read(&pcm[from * SAMPLE_BYTES..], block);
        };
        let channel = &mut self.channel;
        let inputs = pcm.len() / SAMPLE_BYTES;
        with_samples(output, |samples| channel.process(inputs, &load, samples));
        Ok(())
    }

    /// Converts PCM and returns a new vector of PCM.
    pub fn process(&mut self, pcm: &[u8]) -> Result<Vec<u8>, AudioError> {
        let mut output = vec![0; self.output_len(pcm.len())?];
        self.process_into(pcm, &mut output)?;
        Ok(output)
    }

    /// Writes the [`flush_len`](Self::flush_len) bytes that are still in the filter, as if
    /// silence followed, and resets the stream.
    pub fn flush_into(&mut self, output: &mut [u8]) -> Result<(), AudioError> {
        exact_output(self.flush_len(), output.len())?;
        with_samples(output, |samples| self.channel.flush(samples));
        Ok(())
    }

    /// Returns the bytes that are still in the filter in a new vector, and resets the stream.
    #[must_use]
    pub fn flush(&mut self) -> Vec<u8> {
        let mut output = vec![0; self.flush_len()];
        let written = self.flush_into(&mut output);
        debug_assert_eq!(written, Ok(()));
        output
    }

    /// Discards all audio in the filter. The next sample starts a new stream.
    pub fn reset(&mut self) {
        self.channel.reset();
    }
}
