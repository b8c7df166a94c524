//! The three stream classes. Each holds a core object in a mutex.
//!
//! A thread detaches from the interpreter while it waits for a stream's mutex. Therefore no
//! deadlock is possible if another thread holds the mutex in [`run`] without the GIL. A
//! poisoned mutex is ignored: the state of a stream consists of numbers, and any numbers are
//! valid.

use std::sync::{Mutex, MutexGuard, PoisonError};

use audiohook_audio as core;
use pyo3::prelude::*;
use pyo3::sync::MutexExt;
use pyo3::types::{PyBytes, PyTuple};

use crate::arguments;
use crate::buffers::{Input, Work, output, output_pair, run};
use crate::errors::raise;

/// A streaming sample-rate converter for 16-bit mono PCM.
///
/// After n input samples, exactly floor(n * out_rate / in_rate) samples have been returned. The
/// output does not depend on the division of the input into calls of `process`.
///
/// Args:
///     in_rate: Sample rate of the input in Hz.
///     out_rate: Sample rate of the output in Hz.
///
/// Raises:
///     AudioError: A rate is out of range, one rate is more than 64 times the other, or
///         the reduced ratio needs a filter bank above the limit. The message names the
///         limit.
///     TypeError: A rate is not an int.
#[pyclass(frozen, module = "pipecat_genesys.audio")]
pub(crate) struct Resampler {
    in_rate: u32,
    out_rate: u32,
    delay_seconds: f64,
    stream: Mutex<core::Resampler>,
}

#[pymethods]
impl Resampler {
    #[new]
    #[pyo3(signature = (in_rate, out_rate))]
    fn new(in_rate: &Bound<'_, PyAny>, out_rate: &Bound<'_, PyAny>) -> PyResult<Self> {
        let in_rate = arguments::rate(in_rate, "in_rate")?;
        let out_rate = arguments::rate(out_rate, "out_rate")?;
        let stream = core::Resampler::new(in_rate, out_rate).map_err(raise)?;
        Ok(Self {
            in_rate,
            out_rate,
            delay_seconds: stream.delay_seconds(),
            stream: Mutex::new(stream),
        })
    }

    /// Sample rate of the input in Hz.
    #[getter]
    fn in_rate(&self) -> u32 {
        self.in_rate
    }

    /// Sample rate of the output in Hz.
    #[getter]
    fn out_rate(&self) -> u32 {
        self.out_rate
    }

    /// Delay from input to output in seconds: 24 samples at the lower rate, or 28 samples if one
    /// rate is six times the other, or 0 for equal rates.
    #[getter]
    fn delay_seconds(&self) -> f64 {
        self.delay_seconds
    }

    /// Convert the next samples.
    ///
    /// Args:
    ///     data: Signed 16-bit little-endian mono samples.
    ///
    /// Returns:
    ///     The output samples, in the format of the input. Can be empty.
    ///
    /// Raises:
    ///     AudioError: The length is odd. The stream has not changed.
    #[pyo3(signature = (data, /))]
    fn process<'py>(&self, py: Python<'py>, data: Input<'_>) -> PyResult<Bound<'py, PyBytes>> {
        let pcm = data.as_slice();
        let mut guard = lock(py, &self.stream);
        let stream = &mut *guard;
        let length = stream.output_len(pcm.len()).map_err(raise)?;
        output(py, length, |out| {
            run(py, Work::Filter, pcm.len() + length, || {
                stream.process_into(pcm, out)
            })
            .map_err(raise)
        })
    }

    /// Return the round(delay_seconds * out_rate) samples that are still in the filter, as
    /// if silence followed, and reset the stream.
    fn flush<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let mut stream = lock(py, &self.stream);
        output(py, stream.flush_len(), |out| {
            stream.flush_into(out).map_err(raise)
        })
    }

    /// Discard all audio in the filter. The next sample starts a new stream.
    fn reset(&self, py: Python<'_>) {
        lock(py, &self.stream).reset();
    }

    fn __repr__(&self) -> String {
        format!(
            "Resampler(in_rate={}, out_rate={})",
            self.in_rate, self.out_rate
        )
    }
}

/// Decodes audio from Genesys, splits it into channels and resamples it in one pass.
///
/// The sample rate of the input is 8000 Hz. Output length, delay and quality are those of
/// `Resampler`.
///
/// Args:
///     format: Encoding of the input: "PCMU" or "L16".
///     channels: Number of interleaved channels of the input: 1 or 2.
///     out_rate: Sample rate of the output in Hz.
///     byteorder: Byte order of L16: "little" or "big". Ignored for PCMU.
///
/// Raises:
///     AudioError: An argument has an unsupported value.
///     TypeError: An argument has the wrong type.
#[pyclass(frozen, module = "pipecat_genesys.audio")]
pub(crate) struct InboundAudio {
    format: core::WireFormat,
    channels: usize,
    out_rate: u32,
    delay_seconds: f64,
    stream: Mutex<core::InboundAudio>,
}

#[pymethods]
impl InboundAudio {
    #[new]
    #[pyo3(signature = (format, channels, out_rate, *, byteorder = "little"))]
    fn new(
        format: &str,
        channels: &Bound<'_, PyAny>,
        out_rate: &Bound<'_, PyAny>,
        byteorder: &str,
    ) -> PyResult<Self> {
        let format = arguments::format(format, byteorder)?;
        let channels = arguments::channels(channels)?;
        let out_rate = arguments::rate(out_rate, "out_rate")?;
        let stream = core::InboundAudio::new(format, channels, out_rate).map_err(raise)?;
        Ok(Self {
            format,
            channels,
            out_rate,
            delay_seconds: stream.delay_seconds(),
            stream: Mutex::new(stream),
        })
    }

    /// Encoding of the input: "PCMU" or "L16".
    #[getter]
    fn format(&self) -> &'static str {
        self.format.name()
    }

    /// Number of channels of the input, which is also the number of output buffers.
    #[getter]
    fn channels(&self) -> usize {
        self.channels
    }

    /// Sample rate of the output in Hz.
    #[getter]
    fn out_rate(&self) -> u32 {
        self.out_rate
    }

    /// Delay from input to output in seconds: 24 samples at the lower rate, or 28 samples if one
    /// rate is six times the other, or 0 for equal rates.
    #[getter]
    fn delay_seconds(&self) -> f64 {
        self.delay_seconds
    }

    /// Convert the audio of one or more binary messages.
    ///
    /// Args:
    ///     data: Whole frames in the wire format. A frame is one sample of each channel.
    ///
    /// Returns:
    ///     One buffer per channel with signed 16-bit little-endian samples at `out_rate`.
    ///
    /// Raises:
    ///     AudioError: The length is not a whole number of frames. The stream has not
    ///         changed.
    #[pyo3(signature = (data, /))]
    fn process<'py>(&self, py: Python<'py>, data: Input<'_>) -> PyResult<Bound<'py, PyTuple>> {
        let wire = data.as_slice();
        let mut guard = lock(py, &self.stream);
        let stream = &mut *guard;
        let length = stream.output_len(wire.len()).map_err(raise)?;
        self.outputs(py, length, |outputs| {
            let bytes = wire.len() + length * outputs.len();
            run(py, Work::Filter, bytes, || {
                stream.process_into(wire, outputs)
            })
            .map_err(raise)
        })
    }

    /// Return, for each channel, the round(delay_seconds * out_rate) samples that are still
    /// in the filter, as if silence followed, and reset the stream.
    fn flush<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let mut stream = lock(py, &self.stream);
        self.outputs(py, stream.flush_len(), |outputs| {
            stream.flush_into(outputs).map_err(raise)
        })
    }

    /// Discard all audio in the filters. The next frame starts a new stream.
    fn reset(&self, py: Python<'_>) {
        lock(py, &self.stream).reset();
    }

    fn __repr__(&self) -> String {
        format!(
            "InboundAudio(format='{}', channels={}, out_rate={})",
            self.format.name(),
            self.channels,
            self.out_rate
        )
    }
}

impl InboundAudio {
    /// Returns a tuple with one new `bytes` object per channel. `write` fills all of them.
    fn outputs<'py>(
        &self,
        py: Python<'py>,
        length: usize,
        write: impl FnOnce(&mut [&mut [u8]]) -> PyResult<()>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        if self.channels == 1 {
            let mono = output(py, length, |mono| write(&mut [mono]))?;
            PyTuple::new(py, [mono])
        } else {
            let (left, right) = output_pair(py, length, |left, right| write(&mut [left, right]))?;
            PyTuple::new(py, [left, right])
        }
    }
}

/// Resamples mono PCM and encodes it for Genesys in one pass.
///
/// The output is mono at 8000 Hz. Output length, delay and quality are those of
/// `Resampler`.
///
/// Args:
///     format: Encoding of the output: "PCMU" or "L16".
///     in_rate: Sample rate of the input in Hz.
///     byteorder: Byte order of L16: "little" or "big". Ignored for PCMU.
///
/// Raises:
///     AudioError: An argument has an unsupported value.
///     TypeError: An argument has the wrong type.
#[pyclass(frozen, module = "pipecat_genesys.audio")]
pub(crate) struct OutboundAudio {
    format: core::WireFormat,
    in_rate: u32,
    delay_seconds: f64,
    stream: Mutex<core::OutboundAudio>,
}

#[pymethods]
impl OutboundAudio {
    #[new]
    #[pyo3(signature = (format, in_rate, *, byteorder = "little"))]
    fn new(format: &str, in_rate: &Bound<'_, PyAny>, byteorder: &str) -> PyResult<Self> {
        let format = arguments::format(format, byteorder)?;
        let in_rate = arguments::rate(in_rate, "in_rate")?;
        let stream = core::OutboundAudio::new(format, in_rate).map_err(raise)?;
        Ok(Self {
            format,
            in_rate,
            delay_seconds: stream.delay_seconds(),
            stream: Mutex::new(stream),
        })
    }

    /// Encoding of the output: "PCMU" or "L16".
    #[getter]
    fn format(&self) -> &'static str {
        self.format.name()
    }

    /// Sample rate of the input in Hz.
    #[getter]
    fn in_rate(&self) -> u32 {
        self.in_rate
    }

    /// Delay from input to output in seconds: 24 samples at the lower rate, or 28 samples if one
    /// rate is six times the other, or 0 for equal rates.
    #[getter]
    fn delay_seconds(&self) -> f64 {
        self.delay_seconds
    }

    /// Convert the next samples.
    ///
    /// Args:
    ///     data: Signed 16-bit little-endian mono samples at `in_rate`.
    ///
    /// Returns:
    ///     The output samples in the wire format. Can be empty.
    ///
    /// Raises:
    ///     AudioError: The length is odd. The stream has not changed.
    #[pyo3(signature = (data, /))]
    fn process<'py>(&self, py: Python<'py>, data: Input<'_>) -> PyResult<Bound<'py, PyBytes>> {
        let pcm = data.as_slice();
        let mut guard = lock(py, &self.stream);
        let stream = &mut *guard;
        let length = stream.output_len(pcm.len()).map_err(raise)?;
        output(py, length, |wire| {
            run(py, Work::Filter, pcm.len() + length, || {
                stream.process_into(pcm, wire)
            })
            .map_err(raise)
        })
    }

    /// Return the round(delay_seconds * 8000) samples that are still in the filter, encoded,
    /// as if silence followed, and reset the stream.
    fn flush<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let mut stream = lock(py, &self.stream);
        output(py, stream.flush_len(), |wire| {
            stream.flush_into(wire).map_err(raise)
        })
    }

    /// Discard all audio in the filter. The next sample starts a new stream.
    fn reset(&self, py: Python<'_>) {
        lock(py, &self.stream).reset();
    }

    fn __repr__(&self) -> String {
        format!(
            "OutboundAudio(format='{}', in_rate={})",
            self.format.name(),
            self.in_rate
        )
    }
}

pub(crate) fn lock<'a, T>(py: Python<'_>, stream: &'a Mutex<T>) -> MutexGuard<'a, T> {
    stream
        .lock_py_attached(py)
        .unwrap_or_else(PoisonError::into_inner)
}
