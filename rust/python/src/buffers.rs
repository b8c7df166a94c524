//! Bytes in, bytes out, and when to let other threads run.

use pyo3::buffer::PyBuffer;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

/// What a call does with each byte, in and out together, which decides from how
/// many bytes on it releases the GIL.
///
/// Measured by `benches/measure_gil.py`; the table is in docs/performance.md. Releasing costs
/// 0.1 us if nobody wants the GIL, but the interpreter's switch interval, 5 ms, if a
/// thread that runs Python takes it, which happens to calls of a few microseconds already. So it is
/// kept as long as others wait for a small part of that, 0.1 to 0.2 ms.
/// A packet of 200 ms, at most 20 800 bytes, takes 2 to 10 us.
#[derive(Clone, Copy)]
pub(crate) enum Work {
    /// Resampling: 0.2 to 0.6 ns a byte with AVX2, 1.0 to 1.5 ns without; odd ratios take 3 ns.
    Filter,
    /// Coding or moving samples: 0.05 to 0.15 ns a byte.
    Convert,
}

impl Work {
    const fn detach_from_bytes(self) -> usize {
        if cfg!(feature = "always-detach") {
            return 0;
        }
        match self {
            Self::Filter => 256 * 1024,
            Self::Convert => 2 * 1024 * 1024,
        }
    }
}

/// Input of a call: `bytes` as they are, any other buffer as a copy, for its
/// owner may write to it while the GIL is released.
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

/// New `bytes` of `length`, filled by `write`.
pub(crate) fn output(
    py: Python<'_>,
    length: usize,
    write: impl FnOnce(&mut [u8]) -> PyResult<()>,
) -> PyResult<Bound<'_, PyBytes>> {
    PyBytes::new_with(py, length, write)
}

/// Two new `bytes` of `length` each, filled together, so that a failure to
/// allocate the second comes before any work.
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

/// Runs `call` on `bytes` bytes, without the GIL if there are enough of them.
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
