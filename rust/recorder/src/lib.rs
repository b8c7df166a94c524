//! Writes recordings of calls.
//!
//! A recording is a capture file: one line of JSON for each message. This crate formats the lines
//! of audio messages, which are nearly all lines, and appends lines to files. The lines of other
//! messages are formatted in Python.

#![forbid(unsafe_code)]

mod file;
mod line;

pub use file::RecordingFile;
pub use line::{Audio, Content, max_size, push_audio};
