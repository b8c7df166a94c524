//! `pipecat_genesys._native`: the audio core as Python sees it.
//!
//! Rules: conversion and nothing else. Arguments become Rust values, one core
//! call does the work, the result is written in place into the `bytes` that
//! Python gets, and the core's error becomes the one exception.

#![forbid(unsafe_code)]
// Arguments that come from Python are converted into values and end with the call.
#![allow(clippy::needless_pass_by_value)]
// Documentation of what Python sees is a Python docstring, not Markdown.
#![allow(clippy::doc_markdown)]

mod arguments;
mod buffers;
mod errors;
mod functions;
mod streams;

/// G.711, channel layout and length-exact resampling for Genesys AudioHook.
#[pyo3::pymodule(name = "_native")]
mod native {
    #[pymodule_export]
    use crate::functions::{
        instruction_set, merge_stereo, mix_stereo, split_stereo, ulaw_decode, ulaw_encode,
    };
    #[pymodule_export]
    use crate::streams::{InboundAudio, OutboundAudio, Resampler};

    /// A misspelt instruction set is reported at once, not by the first call's audio.
    #[pymodule_init]
    fn init(_module: &pyo3::Bound<'_, pyo3::types::PyModule>) -> pyo3::PyResult<()> {
        instruction_set().map(drop)
    }
}
