//! The queues and files of recordings, and functions for all calls of a process.

use std::io;
use std::mem;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use audiohook_recorder as recorder;
use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyList, PyTuple};
use recorder::{Audio, Content};

/// The messages of one call that wait to be written, and the file of the call.
///
/// Audio messages are tuples: the time in seconds, the size in bytes, and the content. The size is
/// negative if the server sent the message. The content is `bytes`, or an int, which is the byte of
/// silence that replaces the audio, or None if the audio is not recorded. Other messages can be any
/// objects.
///
/// Args:
///     max_messages: Maximum number of waiting messages.
///     max_bytes: A message is not queued if the waiting messages have more bytes than this.
#[pyclass(frozen, module = "pipecat_genesys._native")]
pub(crate) struct RecordingQueue {
    max_messages: usize,
    max_bytes: usize,
    waiting: Mutex<Waiting>,
    file: Mutex<Option<recorder::RecordingFile>>,
}

#[derive(Default)]
struct Waiting {
    messages: Vec<Message>,
    bytes: usize,
}

/// A waiting message. A message holds references to Python objects, so it is dropped only while the
/// GIL is held.
enum Message {
    Audio(AudioMessage),
    Other(Py<PyAny>),
}

struct AudioMessage {
    at: f64,
    size: i64,
    sound: Sound,
}

/// The content of an audio message, as it is recorded.
enum Sound {
    Recorded(PyBackedBytes),
    Silence(u8),
    Omitted,
}

#[pymethods]
impl RecordingQueue {
    #[new]
    #[pyo3(signature = (max_messages, max_bytes))]
    fn new(max_messages: usize, max_bytes: usize) -> Self {
        Self {
            max_messages,
            max_bytes,
            waiting: Mutex::default(),
            file: Mutex::default(),
        }
    }

    /// Queue an audio message.
    ///
    /// Returns:
    ///     Whether the message was queued; False if too many messages or bytes are waiting.
    #[pyo3(signature = (at, size, content, /))]
    fn put_audio(&self, at: f64, size: i64, content: &Bound<'_, PyAny>) -> PyResult<bool> {
        let sound = Sound::extract(content)?;
        let bytes = sound.len();
        Ok(self.put(Message::Audio(AudioMessage { at, size, sound }), bytes))
    }

    /// Queue another message.
    ///
    /// Args:
    ///     message: The message; any object that is not the tuple of an audio message.
    ///     size: Size of the message in bytes.
    ///
    /// Returns:
    ///     Whether the message was queued; False if too many messages or bytes are waiting.
    #[pyo3(signature = (message, size, /))]
    fn put_other(&self, message: Py<PyAny>, size: usize) -> bool {
        self.put(Message::Other(message), size)
    }

    /// Remove and return all waiting messages.
    fn take<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyAny>>> {
        let waiting = mem::take(&mut *lock(&self.waiting));
        waiting
            .messages
            .into_iter()
            .map(|message| match message {
                Message::Other(message) => Ok(message.into_bound(py)),
                Message::Audio(AudioMessage { at, size, sound }) => {
                    let content = sound.into_python(py)?;
                    Ok((at, size, content).into_pyobject(py)?.into_any())
                }
            })
            .collect()
    }

    /// Create the file with mode 0600, and lock it until it is closed.
    ///
    /// Raises:
    ///     OSError: The file exists already, or it cannot be created.
    #[pyo3(signature = (path, /))]
    fn create_file(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        let file = py
            .detach(|| recorder::RecordingFile::create(&path))
            .map_err(|error| os_error(error, Some(path)))?;
        *lock(&self.file) = Some(file);
        Ok(())
    }

    /// Close the file. Calling this method again has no effect.
    fn close_file(&self, py: Python<'_>) {
        py.detach(|| lock(&self.file).take());
    }

    /// Append lines to the file. If writing fails, the lines that were written are removed again.
    ///
    /// Args:
    ///     lines: Complete lines as `bytes`, and audio messages.
    ///
    /// Returns:
    ///     The number of bytes that were appended.
    ///
    /// Raises:
    ///     OSError: The file is closed, or it cannot be written.
    #[pyo3(signature = (lines, /))]
    fn append(&self, py: Python<'_>, lines: &Bound<'_, PyList>) -> PyResult<usize> {
        let mut text = Vec::new();
        for line in lines {
            if let Ok(bytes) = line.cast::<PyBytes>() {
                text.extend_from_slice(bytes.as_bytes());
            } else {
                let line = line.cast::<PyTuple>()?;
                let (at, size, content): (f64, i64, Bound<'_, PyAny>) = line.extract()?;
                let sound = Sound::extract(&content)?;
                AudioMessage { at, size, sound }.push(&mut text);
            }
        }
        py.detach(|| self.append_text(&text))
            .map_err(|error| os_error(error, None))
    }
}

impl RecordingQueue {
    fn put(&self, message: Message, bytes: usize) -> bool {
        let mut waiting = lock(&self.waiting);
        if waiting.messages.len() >= self.max_messages || waiting.bytes > self.max_bytes {
            return false;
        }
        waiting.bytes += bytes;
        waiting.messages.push(message);
        true
    }

    /// Removes and returns the waiting audio messages before the first message that is not audio.
    fn take_audio(&self) -> Vec<AudioMessage> {
        let mut waiting = lock(&self.waiting);
        let is_audio = |message: &Message| matches!(message, Message::Audio(_));
        let count = waiting.messages.iter().take_while(|m| is_audio(m)).count();
        let audio: Vec<_> = waiting
            .messages
            .drain(..count)
            .filter_map(|message| match message {
                Message::Audio(audio) => Some(audio),
                Message::Other(_) => None,
            })
            .collect();
        waiting.bytes -= audio.iter().map(|audio| audio.sound.len()).sum::<usize>();
        audio
    }

    fn append_text(&self, text: &[u8]) -> io::Result<usize> {
        match &mut *lock(&self.file) {
            Some(file) => file.append(text).map(|()| text.len()),
            None => Err(io::Error::other("the file is closed")),
        }
    }
}

impl Sound {
    fn extract(content: &Bound<'_, PyAny>) -> PyResult<Self> {
        if let Ok(audio) = content.cast::<PyBytes>() {
            Ok(Self::Recorded(audio.clone().into()))
        } else if content.is_none() {
            Ok(Self::Omitted)
        } else {
            content.extract().map(Self::Silence)
        }
    }

    fn into_python(self, py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
        match self {
            Self::Recorded(audio) => Ok(audio.into_pyobject(py)?.into_any()),
            Self::Silence(byte) => Ok(byte.into_pyobject(py)?.into_any()),
            Self::Omitted => Ok(py.None().into_bound(py)),
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Recorded(audio) => audio.len(),
            Self::Silence(_) | Self::Omitted => 0,
        }
    }
}

impl AudioMessage {
    fn push(&self, text: &mut Vec<u8>) {
        let audio = Audio {
            at: self.at,
            is_to_server: self.size >= 0,
            size: self.size.unsigned_abs(),
            content: match &self.sound {
                Sound::Recorded(audio) => Content::Recorded(audio),
                Sound::Silence(byte) => Content::Silence(*byte),
                Sound::Omitted => Content::Omitted,
            },
        };
        recorder::push_audio(text, &audio);
    }
}

/// Return the total size of the waiting messages, and the queues that hold other messages or have
/// no file.
///
/// Returns:
///     An upper bound of the total size in bytes: for audio messages, their size in the file; for
///     other messages, their size in memory. And the index of each queue that has waiting messages
///     and either holds a message that is not audio or has no open file.
#[pyfunction]
#[pyo3(signature = (queues, /))]
pub(crate) fn waiting_recordings(queues: Vec<PyRef<'_, RecordingQueue>>) -> (usize, Vec<usize>) {
    let mut bytes = 0;
    let mut others = Vec::new();
    for (index, queue) in queues.iter().enumerate() {
        let waiting = lock(&queue.waiting);
        if waiting.messages.is_empty() {
            continue;
        }
        bytes += recorder::max_size(waiting.messages.len(), waiting.bytes);
        let is_other = |message: &Message| matches!(message, Message::Other(_));
        if waiting.messages.iter().any(is_other) || lock(&queue.file).is_none() {
            others.push(index);
        }
    }
    (bytes, others)
}

/// A failed write: the index of the queue, the time of the first lost message, the number of lost
/// messages, and the error.
type Failure<'py> = (usize, f64, usize, Bound<'py, PyAny>);

/// Append waiting audio messages of many queues to their files. The GIL is released for writing.
///
/// From each queue, the audio messages before the first message that is not audio are removed and
/// appended to the file.
///
/// Returns:
///     The total number of bytes that were appended. And for each queue whose messages could not be
///     written: the index of the queue, the time of the first lost message, the number of lost
///     messages, and the error.
#[pyfunction]
#[pyo3(signature = (queues, /))]
pub(crate) fn write_recordings(
    py: Python<'_>,
    queues: Vec<Py<RecordingQueue>>,
) -> (usize, Vec<Failure<'_>>) {
    let work: Vec<_> = queues
        .iter()
        .map(|queue| queue.get().take_audio())
        .collect();
    let mut total = 0;
    let mut failures = Vec::new();
    py.detach(|| {
        let mut text = Vec::new();
        for (index, audio) in work.iter().enumerate() {
            if audio.is_empty() {
                continue;
            }
            text.clear();
            for message in audio {
                message.push(&mut text);
            }
            match queues[index].get().append_text(&text) {
                Ok(length) => total += length,
                Err(error) => failures.push((index, audio[0].at, audio.len(), error)),
            }
        }
    });
    let failures = failures
        .into_iter()
        .map(|(index, at, lost, error)| {
            let error = os_error(error, None).into_value(py).into_bound(py);
            (index, at, lost, error.into_any())
        })
        .collect();
    (total, failures)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No method leaves the data in an invalid state if it panics.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Converts an error of the operating system to `OSError`, or to the subclass for its number.
fn os_error(error: io::Error, path: Option<PathBuf>) -> PyErr {
    #[cfg(unix)]
    if let Some(number) = error.raw_os_error() {
        let text = error.to_string();
        let reason = text
            .split(" (os error")
            .next()
            .unwrap_or_default()
            .to_owned();
        return match path {
            Some(path) => PyOSError::new_err((number, reason, path)),
            None => PyOSError::new_err((number, reason)),
        };
    }
    #[cfg(not(unix))]
    drop(path);
    error.into()
}
