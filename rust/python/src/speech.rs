//! The stream of speech windows: a core object behind a mutex.

use std::sync::Mutex;

use audiohook_audio as core;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::arguments;
use crate::buffers::{Input, Work, output, run};
use crate::errors::raise;
use crate::streams::lock;

/// PCM as the input windows of a speech model at 8 kHz, with the loudness of each window.
///
/// A window is 32 ms: 256 samples at 8000 Hz or 512 samples at 16000 Hz. Audio at 16000 Hz
/// is resampled to 8000 Hz, which delays it by 3 ms; its loudness is measured at 16000 Hz.
///
/// Args:
///     in_rate: Sample rate of the input in Hz: 8000 or 16000.
///     sections: The loudness filter at `in_rate`: two second-order sections, each the
///         coefficients b0, b1, b2, a1 and a2 (a0 is 1).
///     half_windows: Number of half windows over which a loudness is measured: 1 to 64.
///
/// Raises:
///     AudioError: The rate is not supported, a section is unstable, or `half_windows` is
///         out of range.
///     TypeError: An argument has the wrong type.
#[pyclass(frozen, module = "pipecat_genesys._native")]
pub(crate) struct SpeechWindows {
    in_rate: u32,
    stream: Mutex<core::SpeechWindows>,
}

type Coefficients = (f64, f64, f64, f64, f64);

fn section((b0, b1, b2, a1, a2): Coefficients) -> core::Section {
    core::Section {
        numerator: [b0, b1, b2],
        denominator: [a1, a2],
    }
}

#[pymethods]
impl SpeechWindows {
    #[new]
    #[pyo3(signature = (in_rate, sections, half_windows))]
    fn new(
        in_rate: &Bound<'_, PyAny>,
        sections: (Coefficients, Coefficients),
        half_windows: usize,
    ) -> PyResult<Self> {
        let in_rate = arguments::rate(in_rate, "in_rate")?;
        let sections = [section(sections.0), section(sections.1)];
        let stream = core::SpeechWindows::new(in_rate, sections, half_windows).map_err(raise)?;
        Ok(Self {
            in_rate,
            stream: Mutex::new(stream),
        })
    }

    /// Sample rate of the input in Hz.
    #[getter]
    fn in_rate(&self) -> u32 {
        self.in_rate
    }

    /// Add audio and return the windows that it completes.
    ///
    /// Args:
    ///     data: Signed 16-bit little-endian mono samples at `in_rate`.
    ///
    /// Returns:
    ///     The windows, possibly none, and for each window the energy of its loudness: the
    ///     sum of the squares of the filtered samples in the newest `half_windows` half
    ///     windows, or 0.0 if there are fewer. A window is returned as a row of 512 native floats
    ///     from -1 to 1. The row has four frames of 128 samples, which begin 64 samples apart in a
    ///     sequence of 320 samples: the 32 samples before the window, the 256 samples of the
    ///     window, and the 32 samples before its last sample in reverse order.
    ///
    /// Raises:
    ///     AudioError: The length is odd. The stream has not changed.
    #[pyo3(signature = (data, /))]
    fn process<'py>(
        &self,
        py: Python<'py>,
        data: Input<'_>,
    ) -> PyResult<(Bound<'py, PyBytes>, Vec<f64>)> {
        let pcm = data.as_slice();
        let mut guard = lock(py, &self.stream);
        let stream = &mut *guard;
        let length = stream.rows_len(pcm.len()).map_err(raise)?;
        let mut energies = Vec::new();
        let rows = output(py, length, |rows| {
            run(py, Work::Speech, pcm.len(), || {
                stream.process_into(pcm, rows, &mut energies)
            })
            .map_err(raise)
        })?;
        Ok((rows, energies))
    }

    /// Replace the context of the next window by zeros. The context is the 32 samples before the
    /// window.
    fn clear_context(&self, py: Python<'_>) {
        lock(py, &self.stream).clear_context();
    }

    fn __repr__(&self) -> String {
        format!("SpeechWindows(in_rate={})", self.in_rate)
    }
}
