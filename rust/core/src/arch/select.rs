//! Which instruction set is used: the best there is, or the one asked for.

use std::sync::OnceLock;

use super::{Kernels, portable};
use crate::AudioError;

/// The environment variable that asks for an instruction set by name.
pub const SIMD_VARIABLE: &str = "PIPECAT_GENESYS_SIMD";

/// The kernels of this process, chosen once.
///
/// # Errors
/// [`AudioError::InstructionSet`] if the environment asks for one that is not there.
pub(crate) fn kernels() -> Result<&'static Kernels, AudioError> {
    static CHOSEN: OnceLock<Result<&'static Kernels, AudioError>> = OnceLock::new();
    CHOSEN
        .get_or_init(|| {
            let wanted = std::env::var_os(SIMD_VARIABLE);
            choose(
                wanted
                    .as_ref()
                    .map(|name| name.to_string_lossy())
                    .as_deref(),
            )
        })
        .clone()
}

/// Name of the instruction set in use: `avx512`, `avx2`, `sse2`, `neon` or `portable`.
///
/// It is the best that the CPU has, unless the environment variable
/// [`SIMD_VARIABLE`] named another when audio was first handled.
///
/// # Errors
/// [`AudioError::InstructionSet`] if it named one that the CPU does not have.
pub fn instruction_set() -> Result<&'static str, AudioError> {
    kernels().map(|kernels| kernels.name)
}

fn choose(wanted: Option<&str>) -> Result<&'static Kernels, AudioError> {
    let mut available = available();
    match wanted.map(str::trim).filter(|name| !name.is_empty()) {
        None => Ok(available.remove(0)),
        Some(name) => available
            .iter()
            .find(|kernels| kernels.name == name)
            .copied()
            .ok_or_else(|| AudioError::InstructionSet {
                name: name.into(),
                available: available.iter().map(|kernels| kernels.name).collect(),
            }),
    }
}

/// The kernels that can run on this CPU, the best first.
pub(super) fn available() -> Vec<&'static Kernels> {
    let mut available = Vec::new();
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512bw") && is_x86_feature_detected!("avx512vnni") {
            // SAFETY: it has just been asked for; AVX-512BW implies AVX-512F and AVX2.
            available.push(unsafe { super::avx512::kernels() });
        }
        if is_x86_feature_detected!("avx2") {
            // SAFETY: it has just been asked for.
            available.push(unsafe { super::avx2::kernels() });
        }
        available.push(super::sse2::kernels());
    }
    #[cfg(target_arch = "aarch64")]
    available.push(super::neon::kernels());
    available.push(&portable::KERNELS);
    available
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_is_taken_and_any_can_be_asked_for() {
        let best = available()[0].name;
        for nothing in [None, Some(""), Some("  ")] {
            assert_eq!(choose(nothing).map(|kernels| kernels.name), Ok(best));
        }
        for kernels in available() {
            let chosen = choose(Some(kernels.name)).map(|chosen| chosen.name);
            assert_eq!(chosen, Ok(kernels.name));
        }
        assert_eq!(choose(Some(" portable ")).map(|k| k.name), Ok("portable"));
    }

    #[test]
    fn what_is_not_there_is_refused_by_name() {
        let chosen = choose(Some("mmx")).map(|kernels| kernels.name);
        let error = chosen.expect_err("no CPU of ours has it alone");
        let text = error.to_string();
        for part in [SIMD_VARIABLE, "mmx", "portable", available()[0].name] {
            assert!(text.contains(part), "{part} missing in {text}");
        }
    }
}
