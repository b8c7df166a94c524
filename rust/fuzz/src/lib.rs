//! The shared parts of the fuzz targets: their input, and the properties of every stream.
//!
//! Rules: expected values come from a computation that shares no code with the crate, or
//! from a stream that gets the whole input in one call. A violated property is a panic.

pub mod input;
pub mod properties;
pub mod rates;
