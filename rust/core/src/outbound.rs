//! [`OutboundAudio`]: conversion of the application's PCM to wire audio, in one pass.

use crate::AudioError;
use crate::pcm::{ByteOrder, SAMPLE_BYTES, byte_length, exact_output, whole_frames};
use crate::polyphase::Polyphase;
use crate::ratio::Ratio;
use crate::wire::{WIRE_RATE, WireFormat};

/// Number of samples encoded per block.
const BLOCK: usize = 1_600;

/// Resamples mono PCM and encodes it as AudioHook audio: 8 kHz PCMU or L16.
///
/// Output length, delay and quality are the same as with [`Resampler`](crate::Resampler). Digital
/// silence becomes the silence of the format (0xFF in PCMU).
#[derive(Clone, Debug)]
pub struct OutboundAudio {
    format: WireFormat,
    channel: Polyphase,
}

impl OutboundAudio {
    /// Creates a stream that takes PCM at `in_rate` Hz.
    ///
    /// # Errors
    /// The errors of [`Resampler::new`](crate::Resampler::new).
    pub fn new(format: WireFormat, in_rate: u32) -> Result<Self, AudioError> {
        let channel = Polyphase::new(Ratio::new(in_rate, WIRE_RATE)?, 0)?;
        Ok(Self { format, channel })
    }

    /// Returns the encoding of the output.
    #[must_use]
    pub fn format(&self) -> WireFormat {
        self.format
    }

    /// Returns the sample rate of the input in Hz.
    #[must_use]
    pub fn in_rate(&self) -> u32 {
        self.channel.ratio().in_rate
    }

    /// Returns the delay from input to output in seconds.
    #[must_use]
    pub fn delay_seconds(&self) -> f64 {
        self.channel.ratio().delay_seconds()
    }

    /// Returns the number of wire bytes for the next `length` bytes of PCM.
    pub fn output_len(&self, length: usize) -> Result<usize, AudioError> {
        let samples = whole_frames(length, SAMPLE_BYTES)?;
        byte_length(self.channel.outputs(samples), self.format.sample_width())
    }

    /// Returns the number of bytes that [`flush_into`](Self::flush_into) writes.
    #[must_use]
    pub fn flush_len(&self) -> usize {
        self.channel.ratio().delay_outputs() * self.format.sample_width()
    }

    /// Converts PCM into a buffer, which must have [`output_len`](Self::output_len) bytes.
    pub fn process_into(&mut self, pcm: &[u8], wire: &mut [u8]) -> Result<(), AudioError> {
        exact_output(self.output_len(pcm.len())?, wire.len())?;
        let mut block = [0; BLOCK];
        let ratio = self.channel.ratio();
        let most = (BLOCK as u64 * u64::from(ratio.down) / u64::from(ratio.up)) as usize;
        // `most` input samples give at most BLOCK output samples, in every state of the
        // resampler.
        let mut rest = wire;
        for pcm in pcm.chunks(most.clamp(1, BLOCK * 6) * SAMPLE_BYTES) {
            let inputs = pcm.len() / SAMPLE_BYTES;
            let load = |from: usize, samples: &mut [i16]| {
                ByteOrder::Little.read(&pcm[from * SAMPLE_BYTES..], samples);
            };
            let samples = &mut block[..self.channel.outputs(inputs) as usize];
            self.channel.process(inputs, &load, samples);
            let width = self.format.sample_width();
            let (piece, after) = rest.split_at_mut(samples.len() * width);
            self.format.encode(self.channel.kernels(), samples, piece);
            rest = after;
        }
        Ok(())
    }

    /// Converts PCM and returns a new vector of wire bytes.
    pub fn process(&mut self, pcm: &[u8]) -> Result<Vec<u8>, AudioError> {
        let mut wire = vec![0; self.output_len(pcm.len())?];
        self.process_into(pcm, &mut wire)?;
        Ok(wire)
    }

    /// Writes the [`flush_len`](Self::flush_len) bytes that are still in the filter, as if
    /// silence followed, and resets the stream.
    pub fn flush_into(&mut self, wire: &mut [u8]) -> Result<(), AudioError> {
        exact_output(self.flush_len(), wire.len())?;
        let mut samples = vec![0; wire.len() / self.format.sample_width()];
        self.channel.flush(&mut samples);
        self.format.encode(self.channel.kernels(), &samples, wire);
        Ok(())
    }

    /// Discards all audio in the filter. The next sample starts a new stream.
    pub fn reset(&mut self) {
        self.channel.reset();
    }
}
