//! Conversion of buffers, and the release of the GIL.

use pyo3::buffer::PyBuffer;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

/// Kind of work that a function does per byte of input and output. The kind determines the number
/// of bytes above which the function releases the GIL.
///
/// Releasing the GIL costs 0.1 us if no other thread waits for the GIL. If another thread takes the
/// GIL, the function gets the GIL back only after the interpreter's switch interval of 5 ms. A
/// function therefore keeps the GIL if its work takes less than 0.1 to 0.2 ms. A packet of 200 ms
/// (at most 20 800 bytes) takes 2 to 10 us. `docs/performance.md` has the measurements.
#[derive(Clone, Copy)]
pub(crate) enum Work {
    /// Resampling: 0.2 to 0.6 ns per byte with AVX2, 1.0 to 1.5 ns without; 3 ns for ratios
    /// of large numbers.
    Filter,
    /// Encoding, decoding or moving samples: 0.05 to 0.15 ns per byte.
    Convert,
}

impl Work {
    const fn detach_from_bytes(self) -> usize {
        match self {
            Self::Filter => 256 * 1024,
            Self::Convert => 2 * 1024 * 1024,
        }
    }
}

/// The input of a function. A `bytes` object is borrowed. Any other buffer is copied, because
/// another thread could write to it while the GIL is released.
pub(crate) enum Input<'a> {
    Borrowed(&'a [u8]),
    Copied(Vec<u8>),
}

impl Input<'_> {
    pub(crate) fn as_slice(&self) -> &[u8] {
        match self {
            Self::Borrowed(bytes) => bytes,
            Self::Copied(bytes) => bytes,
        }
    }
}

impl<'a, 'py> FromPyObject<'a, 'py> for Input<'a> {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        if let Ok(bytes) = <&[u8]>::extract(object) {
            return Ok(Self::Borrowed(bytes));
        }
        let buffer = PyBuffer::<u8>::get(&object).map_err(|_| {
            let kind = object.get_type();
            PyTypeError::new_err(format!("audio must be a buffer of bytes, not {kind}"))
        })?;
        Ok(Self::Copied(buffer.to_vec(object.py())?))
    }
}

/// Returns a new `bytes` object with `length` bytes, which `write` fills.
pub(crate) fn output(
    py: Python<'_>,
    length: usize,
    write: impl FnOnce(&mut [u8]) -> PyResult<()>,
) -> PyResult<Bound<'_, PyBytes>> {
    PyBytes::new_with(py, length, write)
}

/// Returns two new `bytes` objects with `length` bytes each. Both objects are allocated before
/// `write` fills them.
pub(crate) fn output_pair(
    py: Python<'_>,
    length: usize,
    write: impl FnOnce(&mut [u8], &mut [u8]) -> PyResult<()>,
) -> PyResult<(Bound<'_, PyBytes>, Bound<'_, PyBytes>)> {
    let mut second = None;
    let first = PyBytes::new_with(py, length, |first| {
        second = Some(PyBytes::new_with(py, length, |second| {
            write(first, second)
        })?);
        Ok(())
    })?;
    second
        .map(|second| (first, second))
        .ok_or_else(|| unreachable!("new_with calls its closure or fails"))
}

/// Runs `call`, which processes `bytes` bytes. The GIL is released for large inputs.
pub(crate) fn run<T: Send>(
    py: Python<'_>,
    work: Work,
    bytes: usize,
    call: impl FnOnce() -> T + Send,
) -> T {
    if bytes < work.detach_from_bytes() {
        call()
    } else {
        py.detach(call)
    }
}
