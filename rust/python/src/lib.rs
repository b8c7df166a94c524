//! `pipecat_genesys._native`: the Python bindings of the audio core and of the recorder.
//!
//! Rule: the bindings only convert. A function converts its arguments to Rust values and
//! calls one function of the core, which writes its result directly into the returned `bytes`. Core
//! errors become the Python exception `AudioError`, and errors of files become `OSError`.

#![forbid(unsafe_code)]
// PyO3 passes converted arguments by value, so the functions must accept values.
#![allow(clippy::needless_pass_by_value)]
// The doc comments of Python functions and classes are Python docstrings, not Markdown.
#![allow(clippy::doc_markdown)]

mod arguments;
mod buffers;
mod errors;
mod functions;
mod recordings;
mod speech;
mod streams;

/// G.711, channel layout and length-exact resampling for Genesys AudioHook, and files of recordings.
#[pyo3::pymodule(name = "_native")]
mod native {
    #[pymodule_export]
    use crate::functions::{
        instruction_set, merge_stereo, mix_stereo, split_stereo, ulaw_decode, ulaw_encode,
    };
    #[pymodule_export]
    use crate::recordings::{RecordingQueue, waiting_recordings, write_recordings};
    #[pymodule_export]
    use crate::speech::{SpeechDetector, SpeechModel};
    #[pymodule_export]
    use crate::streams::{InboundAudio, OutboundAudio, Resampler};

    /// Selects the instruction set, so that importing the module fails if the environment variable
    /// names an unknown instruction set.
    #[pymodule_init]
    fn init(_module: &pyo3::Bound<'_, pyo3::types::PyModule>) -> pyo3::PyResult<()> {
        instruction_set().map(drop)
    }
}
