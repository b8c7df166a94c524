//! The Python exception `AudioError`, and the conversion of core errors into it.

use audiohook_audio::AudioError;
use pyo3::PyErr;

mod exception {
    //! The class is defined in Python, because PyO3 cannot create a class with several base
    //! classes.
    #![allow(missing_docs, unreachable_pub)]

    pyo3::import_exception!(pipecat_genesys.errors, AudioError);
}

pub(crate) use exception::AudioError as PyAudioError;

/// Converts a core error into the Python exception.
pub(crate) fn raise(error: AudioError) -> PyErr {
    PyAudioError::new_err(error.to_string())
}
