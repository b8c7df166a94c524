//! [`InboundAudio`]: conversion of wire audio to PCM for the application, in one pass.

use crate::AudioError;
use crate::pcm::{SAMPLE_BYTES, byte_length, exact_output, whole_frames, with_samples};
use crate::polyphase::Polyphase;
use crate::ratio::Ratio;
use crate::wire::{WIRE_RATE, WireFormat};

/// Decodes, splits and resamples AudioHook audio (8 kHz PCMU or L16, one or two
/// interleaved channels) to one PCM buffer per channel.
///
/// Output length, delay and quality are the same as with [`Resampler`](crate::Resampler). The
/// channels are processed independently of each other.
#[derive(Clone, Debug)]
pub struct InboundAudio {
    format: WireFormat,
    channels: Vec<Polyphase>,
}

impl InboundAudio {
    /// Creates a stream that converts `channels` (1 or 2) wire channels to `out_rate` Hz.
    ///
    /// # Errors
    /// [`AudioError::ChannelCount`] for another number of channels, and the errors of
    /// [`Resampler::new`](crate::Resampler::new).
    pub fn new(format: WireFormat, channels: usize, out_rate: u32) -> Result<Self, AudioError> {
        if !(1..=2).contains(&channels) {
            return Err(AudioError::ChannelCount {
                channels: i64::try_from(channels).unwrap_or(i64::MAX),
            });
        }
        let channel = Polyphase::new(Ratio::new(WIRE_RATE, out_rate)?, format.unused_bits())?;
        Ok(Self {
            format,
            channels: vec![channel; channels],
        })
    }

    /// Returns the encoding of the input.
    #[must_use]
    pub fn format(&self) -> WireFormat {
        self.format
    }

    /// Returns the number of channels: 1 or 2.
    #[must_use]
    pub fn channels(&self) -> usize {
        self.channels.len()
    }

    /// Returns the sample rate of the output in Hz.
    #[must_use]
    pub fn out_rate(&self) -> u32 {
        self.channels[0].ratio().out_rate
    }

    /// Returns the delay from input to output in seconds.
    #[must_use]
    pub fn delay_seconds(&self) -> f64 {
        self.channels[0].ratio().delay_seconds()
    }

    /// Returns the length in bytes of each channel's output for the next `length` bytes of
    /// input.
    pub fn output_len(&self, length: usize) -> Result<usize, AudioError> {
        let frames = whole_frames(length, self.frame_bytes())?;
        byte_length(self.channels[0].outputs(frames), SAMPLE_BYTES)
    }

    /// Returns the number of bytes per channel that [`flush_into`](Self::flush_into) writes.
    #[must_use]
    pub fn flush_len(&self) -> usize {
        self.channels[0].ratio().delay_outputs() * SAMPLE_BYTES
    }

    /// Converts wire bytes into one output buffer per channel. Each buffer must have
    /// [`output_len`](Self::output_len) bytes.
    pub fn process_into(
        &mut self,
        wire: &[u8],
        outputs: &mut [&mut [u8]],
    ) -> Result<(), AudioError> {
        self.check_outputs(self.output_len(wire.len())?, outputs)?;
        let (format, count) = (self.format, self.channels.len());
        let (frame, frames) = (self.frame_bytes(), wire.len() / self.frame_bytes());
        for (index, (channel, output)) in self.channels.iter_mut().zip(outputs).enumerate() {
            let (kernels, shift) = (channel.kernels(), channel.input_shift());
            let load = |from: usize, block: &mut [i16]| {
                format.decode(kernels, &wire[from * frame..], (index, count), shift, block);
            };
            with_samples(output, |samples| channel.process(frames, &load, samples));
        }
        Ok(())
    }

    /// Converts wire bytes and returns one new vector per channel.
    pub fn process(&mut self, wire: &[u8]) -> Result<Vec<Vec<u8>>, AudioError> {
        let length = self.output_len(wire.len())?;
        let mut outputs = vec![vec![0; length]; self.channels.len()];
        let mut slices: Vec<&mut [u8]> = outputs.iter_mut().map(Vec::as_mut_slice).collect();
        self.process_into(wire, &mut slices)?;
        Ok(outputs)
    }

    /// Writes the [`flush_len`](Self::flush_len) bytes that are still in each channel's
    /// filter, as if silence followed, and resets the stream.
    pub fn flush_into(&mut self, outputs: &mut [&mut [u8]]) -> Result<(), AudioError> {
        self.check_outputs(self.flush_len(), outputs)?;
        for (channel, output) in self.channels.iter_mut().zip(outputs) {
            with_samples(output, |samples| channel.flush(samples));
        }
        Ok(())
    }

    /// Discards all audio in the filters. The next frame starts a new stream.
    pub fn reset(&mut self) {
        for channel in &mut self.channels {
            channel.reset();
        }
    }

    fn frame_bytes(&self) -> usize {
        self.format.sample_width() * self.channels.len()
    }

    fn check_outputs(&self, length: usize, outputs: &[&mut [u8]]) -> Result<(), AudioError> {
        if outputs.len() != self.channels.len() {
            return Err(AudioError::OutputCount {
                expected: self.channels.len(),
                actual: outputs.len(),
            });
        }
        outputs
            .iter()
            .try_for_each(|output| exact_output(length, output.len()))
    }
}
