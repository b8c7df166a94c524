//! Conversion of numbers and names from Python. This module checks the types; the core
//! checks the values.

use audiohook_audio::{AudioError, ByteOrder, WireFormat};
use pyo3::exceptions::{PyOverflowError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::PyBool;

use crate::errors::{PyAudioError, raise};

/// Converts a Python argument to a sample rate in Hz.
pub(crate) fn rate(value: &Bound<'_, PyAny>, parameter: &'static str) -> PyResult<u32> {
    let rate = integer(value, parameter)?;
    u32::try_from(rate).map_err(|_| raise(AudioError::RateOutOfRange { parameter, rate }))
}

/// Converts a Python argument to a number of channels.
pub(crate) fn channels(value: &Bound<'_, PyAny>) -> PyResult<usize> {
    let channels = integer(value, "channels")?;
    usize::try_from(channels).map_err(|_| raise(AudioError::ChannelCount { channels }))
}

/// Converts a Python argument to a sample width in bytes.
pub(crate) fn sample_width(value: &Bound<'_, PyAny>) -> PyResult<usize> {
    let sample_width = integer(value, "sample_width")?;
    usize::try_from(sample_width).map_err(|_| raise(AudioError::SampleWidth { sample_width }))
}

/// Converts the names of a wire format and of a byte order to a `WireFormat`.
pub(crate) fn format(name: &str, byteorder: &str) -> PyResult<WireFormat> {
    let order: ByteOrder = byteorder.parse().map_err(raise)?;
    let format: WireFormat = name.parse().map_err(raise)?;
    Ok(format.with_byte_order(order))
}

/// Converts an `int`, or an object with `__index__`, to an integer. A `bool` is rejected.
fn integer(value: &Bound<'_, PyAny>, parameter: &str) -> PyResult<i64> {
    if value.is_instance_of::<PyBool>() {
        return Err(PyTypeError::new_err(format!(
            "{parameter} must be an int, not a bool"
        )));
    }
    value.extract().map_err(|error: PyErr| {
        if error.is_instance_of::<PyOverflowError>(value.py()) {
            PyAudioError::new_err(format!("{parameter} is out of range"))
        } else {
            PyTypeError::new_err(format!(
                "{parameter} must be an int, not {}",
                value
                    .get_type()
                    .name()
                    .map_or_else(|_| "this".into(), |name| name.to_string())
            ))
        }
    })
}
