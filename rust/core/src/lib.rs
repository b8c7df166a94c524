//! Telephony audio for Genesys AudioHook. This crate does not depend on Python.
//!
//! ```text
//! wire, 8 kHz             InboundAudio                     application
//! PCMU or L16  -> decode -> one channel -> Resampler -> 16-bit PCM per channel
//!
//! application             OutboundAudio                    wire, 8 kHz
//! 16-bit PCM   -> Resampler -> encode                  -> PCMU or L16, mono
//! ```
//!
//! The rules of the crate:
//!
//! * Input and output are bytes, because sockets and Python hold bytes. "PCM" alone
//!   means signed 16-bit little-endian samples.
//! * The output length of a method call is exact and known before the call
//!   ([`Resampler::output_len`] and similar methods), so the caller allocates the only
//!   buffer that is written.
//! * A method that returns an error does not change the stream's state.
//! * The output samples are the same on every machine, with every instruction set and
//!   for every division of the input into method calls, because sums are of integers. Only
//!   [`SpeechDetector`] computes with floats: its loudness is a sum of f64, in a fixed order, and
//!   its probabilities are sums of f32, which differ by rounding errors.

#![deny(unsafe_code)]

mod arch;
mod bank;
mod error;
mod g711;
mod inbound;
mod layout;
mod loudness;
mod outbound;
mod pcm;
mod polyphase;
mod quantize;
mod ratio;
mod resample;
mod speech_detector;
mod speech_model;
mod speech_windows;
mod stage;
mod wire;

pub use arch::{SIMD_VARIABLE, instruction_set};
pub use bank::MAX_BANK_COEFFICIENTS;
pub use error::AudioError;
pub use g711::{pcm_to_ulaw, pcm_to_ulaw_len, ulaw_decode, ulaw_encode, ulaw_to_pcm};
pub use inbound::InboundAudio;
pub use layout::{
    merge_stereo, mix_stereo, split_stereo, stereo_channel_len, stereo_merged_len, stereo_mixed_len,
};
pub use loudness::{MAX_BLOCKS, Section};
pub use outbound::OutboundAudio;
pub use pcm::ByteOrder;
pub use ratio::MAX_FACTOR;
pub use resample::Resampler;
pub use speech_detector::{SpeechDetector, SpeechWindow};
pub use speech_model::{SpeechModel, SpeechWeights};
pub use wire::{WIRE_RATE, WireFormat};
