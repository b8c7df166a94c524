//! Code that the fuzz targets share: their inputs, and checks that every type of audio stream must
//! pass.
//!
//! Rules: expected values come from a computation that shares no code with the crate, or
//! from a stream that gets the whole input in one call. A check that fails panics.

pub mod input;
pub mod properties;
pub mod rates;
