//! Checks that every type of audio stream must pass.

use audiohook_audio::{AudioError, InboundAudio, OutboundAudio, Resampler};

use crate::input::Step;
use crate::rates;

/// The parameters of a stream that the checks need.
pub struct Shape {
    /// Sample rate of the input, in Hz.
    pub in_rate: u32,
    /// Sample rate of the output, in Hz.
    pub out_rate: u32,
    /// Length in bytes of one input frame: one sample of each channel.
    pub frame: usize,
    /// Number of output buffers.
    pub channels: usize,
    /// Length in bytes of one output sample.
    pub width: usize,
    /// The value of every byte of a silent input.
    pub silence: u8,
}

/// Largest number of steps in one run. More steps are slower and find no other faults.
const MOST_STEPS: usize = 32;

/// The output buffers, one per channel.
pub type Outputs = Vec<Box<[u8]>>;

/// The common interface of the three stream types.
pub trait Stream: Clone {
    /// Returns the number of output bytes per channel for `length` bytes of input.
    fn output_len(&self, length: usize) -> Result<usize, AudioError>;
    /// Returns the number of bytes per channel that a flush writes.
    fn flush_len(&self) -> usize;
    /// Processes the input and writes the output to the given buffers, one buffer per channel.
    fn process_into(&mut self, input: &[u8], outputs: &mut [&mut [u8]]) -> Result<(), AudioError>;
    /// Processes the input and returns one new vector per channel.
    fn process(&mut self, input: &[u8]) -> Result<Vec<Vec<u8>>, AudioError>;
    /// Flushes the stream into the given buffers.
    fn flush_into(&mut self, outputs: &mut [&mut [u8]]) -> Result<(), AudioError>;
    /// Resets the stream.
    fn reset(&mut self);
}

impl Stream for InboundAudio {
    fn output_len(&self, length: usize) -> Result<usize, AudioError> {
        self.output_len(length)
    }
    fn flush_len(&self) -> usize {
        self.flush_len()
    }
    fn process_into(&mut self, input: &[u8], outputs: &mut [&mut [u8]]) -> Result<(), AudioError> {
        self.process_into(input, outputs)
    }
    fn process(&mut self, input: &[u8]) -> Result<Vec<Vec<u8>>, AudioError> {
        self.process(input)
    }
    fn flush_into(&mut self, outputs: &mut [&mut [u8]]) -> Result<(), AudioError> {
        self.flush_into(outputs)
    }
    fn reset(&mut self) {
        self.reset();
    }
}

/// Implements [`Stream`] for a type with one channel.
macro_rules! mono_stream {
    ($kind:ty) => {
        impl Stream for $kind {
            fn output_len(&self, length: usize) -> Result<usize, AudioError> {
                self.output_len(length)
            }
            fn flush_len(&self) -> usize {
                self.flush_len()
            }
            fn process_into(
                &mut self,
                input: &[u8],
                outputs: &mut [&mut [u8]],
            ) -> Result<(), AudioError> {
                self.process_into(input, outputs[0])
            }
            fn process(&mut self, input: &[u8]) -> Result<Vec<Vec<u8>>, AudioError> {
                self.process(input).map(|output| vec![output])
            }
            fn flush_into(&mut self, outputs: &mut [&mut [u8]]) -> Result<(), AudioError> {
                self.flush_into(outputs[0])
            }
            fn reset(&mut self) {
                self.reset();
            }
        }
    };
}

mono_stream!(OutboundAudio);
mono_stream!(Resampler);

/// Runs all checks on a new stream. The stream gets the audio in the given steps, and
/// the remaining audio at the end. Returns the output of a second stream that gets the whole
/// audio in one call.
///
/// # Panics
/// If a check fails.
pub fn check<S: Stream>(new: &S, shape: &Shape, audio: &[u8], steps: &[Step]) -> Vec<Vec<u8>> {
    let audio = &audio[..audio.len() / shape.frame * shape.frame];
    let mut run = Run {
        new,
        shape,
        stream: new.clone(),
        rest: audio,
        read: Vec::new(),
        written: vec![Vec::new(); shape.channels],
    };
    for (index, step) in steps.iter().take(MOST_STEPS).enumerate() {
        // Every other buffer starts at an odd address.
        let offset = index % 2;
        match *step {
            Step::Process(frames) => run.process(frames.into(), offset),
            Step::ProcessFew(frames) => run.process(frames.into(), offset),
            Step::PartialFrame(frames, excess) => run.rejects_partial_frame(frames, excess),
            Step::WrongOutput(frames, by) => run.rejects_wrong_output(frames, by),
            Step::Flush => run.flush(offset),
            Step::Reset => {
                run.compare();
                run.stream.reset();
                run.start_again();
            }
            Step::Clone => run.stream = run.stream.clone(),
        }
    }
    run.process(usize::MAX, 0);
    run.compare();
    new.clone().process(audio).expect("whole frames")
}

/// A stream under test, with its input and its output since its creation, its last flush or its
/// last reset.
struct Run<'a, S> {
    new: &'a S,
    shape: &'a Shape,
    stream: S,
    /// The audio that the stream has not read yet.
    rest: &'a [u8],
    read: Vec<u8>,
    written: Vec<Vec<u8>>,
}

impl<'a, S: Stream> Run<'a, S> {
    /// Returns the next `frames` frames of the audio, or all remaining frames if there are fewer.
    fn front(&self, frames: usize) -> &'a [u8] {
        let frames = frames.min(self.rest.len() / self.shape.frame);
        &self.rest[..frames * self.shape.frame]
    }

    /// Returns the expected number of output bytes per channel for `length` more bytes.
    fn due(&self, length: usize) -> usize {
        let Shape {
            in_rate, out_rate, ..
        } = *self.shape;
        let due = |bytes: usize| rates::due(in_rate, out_rate, bytes / self.shape.frame);
        (due(self.read.len() + length) - due(self.read.len())) * self.shape.width
    }

    /// Processes frames and checks the output length. The input and the outputs begin `offset`
    /// bytes after the start of their allocations.
    fn process(&mut self, frames: usize, offset: usize) {
        let input = self.front(frames);
        let length = self.due(input.len());
        assert_eq!(self.stream.output_len(input.len()), Ok(length));
        let input = placed(input, offset);
        let mut buffers = buffers(self.shape.channels, length + offset);
        let mut outputs = after(&mut buffers, offset);
        let done = self.stream.process_into(&input[offset..], &mut outputs);
        assert_eq!(done, Ok(()));
        for (written, buffer) in self.written.iter_mut().zip(&buffers) {
            assert!(buffer[..offset].iter().all(|&byte| byte == UNTOUCHED));
            written.extend(&buffer[offset..]);
        }
        self.read.extend(&input[offset..]);
        self.rest = &self.rest[input.len() - offset..];
    }

    /// Checks that a partial frame is rejected. The next steps check that the stream has not
    /// changed.
    fn rejects_partial_frame(&mut self, frames: u8, excess: u8) {
        let frame = self.shape.frame;
        if frame == 1 {
            return;
        }
        let excess = 1 + usize::from(excess) % (frame - 1);
        let input = vec![0x55; usize::from(frames) * frame + excess];
        let length = input.len();
        let error = AudioError::PartialFrame { length, frame };
        assert_eq!(self.stream.output_len(length), Err(error.clone()));
        assert_eq!(self.stream.process(&input), Err(error));
    }

    /// Checks that output buffers of a wrong length are rejected and not written.
    fn rejects_wrong_output(&mut self, frames: u8, by: i8) {
        let input = self.front(frames.into());
        let wrong = |expected: usize| expected.saturating_add_signed(by.into());
        for (expected, flush) in [
            (self.due(input.len()), false),
            (self.stream.flush_len(), true),
        ] {
            let actual = wrong(expected);
            let mut buffers = buffers(self.shape.channels, expected);
            // Only the last buffer has a wrong length; no buffer may be written.
            buffers[self.shape.channels - 1] = vec![UNTOUCHED; actual].into();
            let mut outputs = after(&mut buffers, 0);
            if actual != expected {
                let error = Err(AudioError::OutputLength { expected, actual });
                if flush {
                    assert_eq!(self.stream.flush_into(&mut outputs), error);
                } else {
                    assert_eq!(self.stream.process_into(input, &mut outputs), error);
                }
            }
            assert!(buffers.iter().flatten().all(|&byte| byte == UNTOUCHED));
        }
    }

    /// Checks that a flush returns the output that silence would give, and that the stream then
    /// behaves like a new stream.
    fn flush(&mut self, offset: usize) {
        self.compare();
        let Shape {
            in_rate,
            out_rate,
            frame,
            channels,
            width,
            silence,
        } = *self.shape;
        let length = rates::flushed(in_rate, out_rate) * width;
        assert_eq!(self.stream.flush_len(), length);
        let mut buffers = buffers(channels, length + offset);
        let flushed = self.stream.flush_into(&mut after(&mut buffers, offset));
        assert_eq!(flushed, Ok(()));

        let mut fed = self.new.clone();
        fed.process(&self.read).expect("whole frames");
        let silence = vec![silence; rates::enough_silence(in_rate, out_rate) * frame];
        let due = fed.process(&silence).expect("whole frames");
        for (buffer, due) in buffers.iter().zip(due) {
            assert!(buffer[..offset].iter().all(|&byte| byte == UNTOUCHED));
            let same = buffer[offset..] == due[..length];
            assert!(same, "a flush differs from the output for silence");
        }
        self.start_again();
    }

    fn start_again(&mut self) {
        self.read.clear();
        self.written.iter_mut().for_each(Vec::clear);
    }

    /// Checks that the output equals the output of a new stream that gets the input in one call.
    fn compare(&self) {
        let whole = self.new.clone().process(&self.read).expect("whole frames");
        let same = self.written == whole;
        assert!(
            same,
            "the output depends on the division of the input into calls"
        );
    }
}

/// The byte that fills buffers before a stream writes to them.
const UNTOUCHED: u8 = 0xa5;

/// Returns `offset` filler bytes, followed by a copy of the bytes. The allocation ends with the
/// copy, so that the sanitizer detects a read beyond the end.
fn placed(bytes: &[u8], offset: usize) -> Box<[u8]> {
    let filler = std::iter::repeat_n(UNTOUCHED, offset);
    filler.chain(bytes.iter().copied()).collect()
}

fn buffers(count: usize, length: usize) -> Outputs {
    vec![vec![UNTOUCHED; length].into(); count]
}

fn after(buffers: &mut Outputs, offset: usize) -> Vec<&mut [u8]> {
    let slices = buffers.iter_mut().map(|buffer| &mut buffer[offset..]);
    slices.collect()
}
