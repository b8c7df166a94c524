//! The functions of the module, which have no state.

use audiohook_audio as core;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::arguments;
use crate::buffers::{Input, Work, output, output_pair, run};
use crate::errors::raise;

/// Decode G.711 mu-law to 16-bit PCM.
///
/// Args:
///     data: Mu-law codes, one byte per sample.
///
/// Returns:
///     Signed 16-bit little-endian samples, two bytes per code.
#[pyfunction]
#[pyo3(signature = (data, /))]
pub(crate) fn ulaw_decode<'py>(py: Python<'py>, data: Input<'_>) -> PyResult<Bound<'py, PyBytes>> {
    let codes = data.as_slice();
    let length = codes.len().saturating_mul(2);
    output(py, length, |pcm| {
        run(py, Work::Convert, 3 * codes.len(), || {
            core::ulaw_to_pcm(codes, pcm)
        })
        .map_err(raise)
    })
}

/// Encode 16-bit PCM to G.711 mu-law.
///
/// Args:
///     data: Signed 16-bit little-endian samples.
///
/// Returns:
///     Mu-law codes, one byte per sample.
///
/// Raises:
///     AudioError: The length is odd.
#[pyfunction]
#[pyo3(signature = (data, /))]
pub(crate) fn ulaw_encode<'py>(py: Python<'py>, data: Input<'_>) -> PyResult<Bound<'py, PyBytes>> {
    let pcm = data.as_slice();
    let length = core::pcm_to_ulaw_len(pcm.len()).map_err(raise)?;
    output(py, length, |codes| {
        run(py, Work::Convert, 3 * length, || {
            core::pcm_to_ulaw(pcm, codes)
        })
        .map_err(raise)
    })
}

/// Split interleaved stereo into its channels.
///
/// Args:
///     data: Interleaved samples, left sample first, in any encoding.
///     sample_width: Length of one sample in bytes: 1 to 4.
///
/// Returns:
///     The left channel and the right channel.
///
/// Raises:
///     AudioError: The length is not a multiple of `2 * sample_width`, or the
///         width is not 1 to 4.
#[pyfunction]
#[pyo3(signature = (data, sample_width))]
pub(crate) fn split_stereo<'py>(
    py: Python<'py>,
    data: Input<'_>,
    sample_width: &Bound<'py, PyAny>,
) -> PyResult<(Bound<'py, PyBytes>, Bound<'py, PyBytes>)> {
    let width = arguments::sample_width(sample_width)?;
    let stereo = data.as_slice();
    let length = core::stereo_channel_len(stereo.len(), width).map_err(raise)?;
    output_pair(py, length, |left, right| {
        let split = || core::split_stereo(stereo, width, left, right);
        run(py, Work::Convert, 4 * length, split).map_err(raise)
    })
}

/// Interleave two channels.
///
/// Args:
///     left: Samples of the left channel, in any encoding.
///     right: Samples of the right channel, of the same length.
///     sample_width: Length of one sample in bytes: 1 to 4.
///
/// Returns:
///     Interleaved samples, left sample first.
///
/// Raises:
///     AudioError: The channels differ in length, a channel ends in the middle of a
///         sample, or the width is not 1 to 4.
#[pyfunction]
#[pyo3(signature = (left, right, sample_width))]
pub(crate) fn merge_stereo<'py>(
    py: Python<'py>,
    left: Input<'_>,
    right: Input<'_>,
    sample_width: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyBytes>> {
    let width = arguments::sample_width(sample_width)?;
    let (left, right) = (left.as_slice(), right.as_slice());
    let length = core::stereo_merged_len(left.len(), right.len(), width).map_err(raise)?;
    output(py, length, |stereo| {
        let merge = || core::merge_stereo(left, right, width, stereo);
        run(py, Work::Convert, 2 * length, merge).map_err(raise)
    })
}

/// Mix stereo down to mono.
///
/// Args:
///     data: Interleaved signed 16-bit little-endian samples.
///
/// Returns:
///     The average of the two channels, rounded down.
///
/// Raises:
///     AudioError: The length is not a multiple of 4.
#[pyfunction]
#[pyo3(signature = (data, /))]
pub(crate) fn mix_stereo<'py>(py: Python<'py>, data: Input<'_>) -> PyResult<Bound<'py, PyBytes>> {
    let stereo = data.as_slice();
    let length = core::stereo_mixed_len(stereo.len()).map_err(raise)?;
    output(py, length, |mono| {
        run(py, Work::Convert, 3 * length, || {
            core::mix_stereo(stereo, mono)
        })
        .map_err(raise)
    })
}

/// Return the name of the instruction set in use.
///
/// All instruction sets give the same bytes.
///
/// Returns:
///     "avx512", "avx2", "sse2", "neon" or "portable": the fastest instruction set that the CPU
///     has, or the instruction set that the environment variable PIPECAT_GENESYS_SIMD named when
///     this module was imported.
#[pyfunction]
pub(crate) fn instruction_set() -> PyResult<&'static str> {
    core::instruction_set().map_err(raise)
}
