//! The one exception, and the one way a core error becomes it.

use audiohook_audio::AudioError;
use pyo3::PyErr;

mod exception {
    //! The macro's items cannot carry documentation of their own kind.
    #![allow(missing_docs, unreachable_pub)]

    pyo3::create_exception!(
        pipecat_genesys.audio,
        AudioError,
        pyo3::exceptions::PyValueError,
        "A value the audio core cannot work with; the message says which, why and what to do."
    );
}

pub(crate) use exception::AudioError as PyAudioError;

/// The exception for a core error.
pub(crate) fn raise(error: AudioError) -> PyErr {
    PyAudioError::new_err(error.to_string())
}
