//! What the fuzz targets share: their input, and the laws that every stream keeps.
//!
//! Rules: what is expected is computed here by other means than the crate's, or from
//! a stream that was given everything at once; a broken law is a panic.

pub mod input;
pub mod laws;
pub mod rates;
