//! The laws that all streams keep, whatever their kind.

use audiohook_audio::{AudioError, InboundAudio, OutboundAudio, Resampler};

use crate::input::Step;
use crate::rates;

/// What the laws need to know of a stream.
pub struct Shape {
    /// Sample rate of the input, in Hz.
    pub in_rate: u32,
    /// Sample rate of the output, in Hz.
    pub out_rate: u32,
    /// Bytes of one sample of every input channel.
    pub frame: usize,
    /// Output buffers.
    pub channels: usize,
    /// Bytes of one sample of the output.
    pub width: usize,
    /// The byte that is silence in the input.
    pub silence: u8,
}

/// Steps in one run: more would be slow and find the same.
const MOST_STEPS: usize = 32;

/// One output buffer for each channel.
pub type Outputs = Vec<Box<[u8]>>;

/// A stream of any kind.
pub trait Stream: Clone {
    /// Bytes that each channel's next output has.
    fn output_len(&self, length: usize) -> Result<usize, AudioError>;
    /// Bytes that each channel's flush has.
    fn flush_len(&self) -> usize;
    /// Processes into buffers.
    fn process_into(&mut self, input: &[u8], outputs: &mut [&mut [u8]]) -> Result<(), AudioError>;
    /// Processes into new vectors.
    fn process(&mut self, input: &[u8]) -> Result<Vec<Vec<u8>>, AudioError>;
    /// Flushes into buffers.
    fn flush_into(&mut self, outputs: &mut [&mut [u8]]) -> Result<(), AudioError>;
    /// Forgets all audio.
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

/// A stream of one channel, whose buffer is not in a list.
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

/// Holds a new stream to all laws: it gets the audio in the steps given, and what is
/// left of it at the end. Returns what came out of a stream that got it all at once.
///
/// # Panics
/// If a law is broken.
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
        // Every other buffer begins at an odd address.
        let offset = index % 2;
        match *step {
            Step::Take(frames) => run.take(frames.into(), offset),
            Step::TakeFew(frames) => run.take(frames.into(), offset),
            Step::PartialFrame(frames, over) => run.refuses_partial_frame(frames, over),
            Step::WrongOutput(frames, by) => run.refuses_wrong_output(frames, by),
            Step::Flush => run.flush(offset),
            Step::Reset => {
                run.compare();
                run.stream.reset();
                run.begin_again();
            }
            Step::Clone => run.stream = run.stream.clone(),
        }
    }
    run.take(usize::MAX, 0);
    run.compare();
    new.clone().process(audio).expect("whole frames")
}

/// A stream in use, and what it has been given since it was new, flushed or reset.
struct Run<'a, S> {
    new: &'a S,
    shape: &'a Shape,
    stream: S,
    rest: &'a [u8],
    read: Vec<u8>,
    written: Vec<Vec<u8>>,
}

impl<'a, S: Stream> Run<'a, S> {
    /// The next frames of the audio, as many as there are.
    fn front(&self, frames: usize) -> &'a [u8] {
        let frames = frames.min(self.rest.len() / self.shape.frame);
        &self.rest[..frames * self.shape.frame]
    }

    /// Bytes of each channel that are due for so many bytes more.
    fn due(&self, length: usize) -> usize {
        let Shape {
            in_rate, out_rate, ..
        } = *self.shape;
        let due = |bytes: usize| rates::due(in_rate, out_rate, bytes / self.shape.frame);
        (due(self.read.len() + length) - due(self.read.len())) * self.shape.width
    }

    /// Processes frames. The outputs must be as long as the law says, in any buffer.
    fn take(&mut self, frames: usize, offset: usize) {
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

    /// Too many bytes are refused, by name, and change nothing: that shows later.
    fn refuses_partial_frame(&mut self, frames: u8, over: u8) {
        let frame = self.shape.frame;
        if frame == 1 {
            return;
        }
        let over = 1 + usize::from(over) % (frame - 1);
        let input = vec![0x55; usize::from(frames) * frame + over];
        let length = input.len();
        let refused = AudioError::PartialFrame { length, frame };
        assert_eq!(self.stream.output_len(length), Err(refused.clone()));
        assert_eq!(self.stream.process(&input), Err(refused));
    }

    /// The same for buffers that do not fit.
    fn refuses_wrong_output(&mut self, frames: u8, by: i8) {
        let input = self.front(frames.into());
        let wrong = |expected: usize| expected.saturating_add_signed(by.into());
        for (expected, flush) in [
            (self.due(input.len()), false),
            (self.stream.flush_len(), true),
        ] {
            let actual = wrong(expected);
            let mut buffers = buffers(self.shape.channels, expected);
            // The last one, so that the first is not written before it is seen.
            buffers[self.shape.channels - 1] = vec![UNTOUCHED; actual].into();
            let mut outputs = after(&mut buffers, 0);
            if actual != expected {
                let refused = Err(AudioError::OutputLength { expected, actual });
                if flush {
                    assert_eq!(self.stream.flush_into(&mut outputs), refused);
                } else {
                    assert_eq!(self.stream.process_into(input, &mut outputs), refused);
                }
            }
            assert!(buffers.iter().flatten().all(|&byte| byte == UNTOUCHED));
        }
    }

    /// A flush gives what silence would have brought out, and then the stream is new.
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
            assert!(buffer[offset..] == due[..length], "not what silence brings");
        }
        self.begin_again();
    }

    fn begin_again(&mut self) {
        self.read.clear();
        self.written.iter_mut().for_each(Vec::clear);
    }

    /// The division into calls makes no difference, nor does what was before.
    fn compare(&self) {
        let whole = self.new.clone().process(&self.read).expect("whole frames");
        assert!(self.written == whole, "the calls make a difference");
    }
}

/// What buffers hold before anything is written to them.
const UNTOUCHED: u8 = 0xa5;

/// A copy that begins so far into its memory and ends with it, so that a read past the
/// end is seen by the sanitizer.
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
