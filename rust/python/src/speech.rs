//! The Python classes of the speech model and of the speech detector. The detector is in a mutex.

use std::sync::{Arc, Mutex};

use audiohook_audio as core;
use pyo3::buffer::PyBuffer;
use pyo3::prelude::*;

use crate::arguments;
use crate::buffers::Input;
use crate::errors::raise;
use crate::streams::lock;

/// The Silero model at 8 kHz. All streams of a process share one model.
///
/// Args:
///     weights: The constants of the model as buffers of native floats, in this order: the Fourier
///         basis; weights and bias of each of the four convolutions; weights of the LSTM for its
///         input and for its hidden state; bias of the LSTM for its input and for its hidden
///         state; weights and bias of the output.
///
/// Raises:
///     AudioError: A constant has the wrong length.
///     TypeError: A constant is not a buffer of floats.
///     ValueError: The number of constants is not 15.
#[pyclass(frozen, module = "pipecat_genesys._native")]
pub(crate) struct SpeechModel {
    model: Arc<core::SpeechModel>,
}

#[pymethods]
impl SpeechModel {
    #[new]
    #[pyo3(signature = (weights, /))]
    fn new(py: Python<'_>, weights: [PyBuffer<f32>; 15]) -> PyResult<Self> {
        let mut constants = Vec::with_capacity(weights.len());
        for buffer in &weights {
            constants.push(buffer.to_vec(py)?);
        }
        let constant = |number: usize| constants[number].as_slice();
        let model = core::SpeechModel::new(&core::SpeechWeights {
            basis: constant(0),
            convolutions: std::array::from_fn(|n| [constant(1 + 2 * n), constant(2 + 2 * n)]),
            input_weights: constant(9),
            hidden_weights: constant(10),
            input_bias: constant(11),
            hidden_bias: constant(12),
            output_weights: constant(13),
            output_bias: constant(14),
        })
        .map_err(raise)?;
        Ok(Self {
            model: Arc::new(model),
        })
    }
}

/// The probability of speech and the loudness of each window of 32 ms of a stream.
///
/// A window has 256 samples at 8000 Hz or 512 samples at 16000 Hz. Audio at 16000 Hz is resampled
/// to 8000 Hz, which delays it by 3 ms; its loudness is measured at 16000 Hz.
///
/// Args:
///     model: The model that computes the probabilities.
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
pub(crate) struct SpeechDetector {
    in_rate: u32,
    detector: Mutex<core::SpeechDetector>,
}

type Coefficients = (f64, f64, f64, f64, f64);

fn section((b0, b1, b2, a1, a2): Coefficients) -> core::Section {
    core::Section {
        numerator: [b0, b1, b2],
        denominator: [a1, a2],
    }
}

/// Smallest number of windows for which the GIL is released while the model runs. Fewer windows
/// take less than 0.2 ms. A call that releases the GIL may have to wait 5 ms to get the GIL back;
/// see `buffers::Work`.
const DETACH_WINDOWS: usize = 17;

#[pymethods]
impl SpeechDetector {
    #[new]
    #[pyo3(signature = (model, in_rate, sections, half_windows))]
    fn new(
        model: &SpeechModel,
        in_rate: &Bound<'_, PyAny>,
        sections: (Coefficients, Coefficients),
        half_windows: usize,
    ) -> PyResult<Self> {
        let in_rate = arguments::rate(in_rate, "in_rate")?;
        let sections = [section(sections.0), section(sections.1)];
        let model = Arc::clone(&model.model);
        let detector =
            core::SpeechDetector::new(model, in_rate, sections, half_windows).map_err(raise)?;
        Ok(Self {
            in_rate,
            detector: Mutex::new(detector),
        })
    }

    /// Sample rate of the input in Hz.
    #[getter]
    fn in_rate(&self) -> u32 {
        self.in_rate
    }

    /// Add audio, and run the layers before the LSTM for the windows that the audio completes.
    ///
    /// The GIL is released if the audio completes more than 16 windows.
    ///
    /// Args:
    ///     data: Signed 16-bit little-endian mono samples at `in_rate`.
    ///
    /// Returns:
    ///     The number of windows that `next_window` can return.
    ///
    /// Raises:
    ///     AudioError: The length is odd. The stream has not changed.
    #[pyo3(signature = (data, /))]
    fn process(&self, py: Python<'_>, data: Input<'_>) -> PyResult<usize> {
        let pcm = data.as_slice();
        let mut guard = lock(py, &self.detector);
        let detector = &mut *guard;
        let windows = detector.windows_due(pcm.len()).map_err(raise)?;
        if windows < DETACH_WINDOWS {
            detector.process(pcm)
        } else {
            py.detach(|| detector.process(pcm))
        }
        .map_err(raise)
    }

    /// Run the LSTM for the next window and return its results, or None if there is no window.
    ///
    /// Returns:
    ///     The probability of speech, and the energy of the loudness: the sum of the squares of
    ///     the filtered samples in the newest `half_windows` half windows, or 0.0 if the stream has
    ///     fewer half windows.
    fn next_window(&self, py: Python<'_>) -> Option<(f32, f64)> {
        let window = lock(py, &self.detector).next_window()?;
        Some((window.probability, window.energy))
    }

    /// Set the state of the model, and the context of the next window, to zero. The context is the
    /// 32 samples before the window.
    fn reset_model(&self, py: Python<'_>) {
        lock(py, &self.detector).reset_model();
    }

    fn __repr__(&self) -> String {
        format!("SpeechDetector(in_rate={})", self.in_rate)
    }
}
