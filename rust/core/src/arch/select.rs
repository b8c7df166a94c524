//! Selection of the instruction set: the fastest instruction set of the CPU, or a requested one.

use std::sync::OnceLock;

use super::{Kernels, portable};
use crate::AudioError;

/// Name of the environment variable that selects an instruction set.
pub const SIMD_VARIABLE: &str = "PIPECAT_GENESYS_SIMD";

/// Returns the kernels of this process, which are selected when this function is first called.
///
/// # Errors
/// [`AudioError::InstructionSet`] if the environment variable names an instruction set
/// that this CPU or this build does not have.
pub(crate) fn kernels() -> Result<&'static Kernels, AudioError> {
    static CHOSEN: OnceLock<Result<&'static Kernels, AudioError>> = OnceLock::new();
    CHOSEN
        .get_or_init(|| {
            let wanted = std::env::var_os(SIMD_VARIABLE).filter(|name| !name.is_empty());
            choose(
                wanted
                    .as_ref()
                    .map(|name| name.to_string_lossy())
                    .as_deref(),
            )
        })
        .clone()
}

/// Returns the name of the instruction set in use: `avx512`, `avx2`, `sse2`, `neon` or
/// `portable`.
///
/// The environment variable [`SIMD_VARIABLE`] selects the instruction set at the first use of the
/// crate. By default, the fastest instruction set of the CPU is used.
///
/// # Errors
/// [`AudioError::InstructionSet`] if the variable named an instruction set that this CPU
/// or this build does not have.
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

/// Returns the kernels that can run on this CPU, the fastest first.
pub(super) fn available() -> Vec<&'static Kernels> {
    let mut available = Vec::new();
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            if is_x86_feature_detected!("avx512bw") && is_x86_feature_detected!("avx512vnni") {
                // SAFETY: the CPU has AVX-512BW, which implies AVX-512F and AVX2, and VNNI and FMA.
                available.push(unsafe { super::avx512::kernels() });
            }
            // SAFETY: the CPU has AVX2 and FMA.
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
    fn the_fastest_instruction_set_is_the_default_and_any_other_can_be_selected() {
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
    fn the_error_names_the_unknown_instruction_set_and_the_known_ones() {
        let chosen = choose(Some("mmx")).map(|kernels| kernels.name);
        let error = chosen.expect_err("there are no MMX kernels");
        let text = error.to_string();
        for part in [SIMD_VARIABLE, "mmx", "portable", available()[0].name] {
            assert!(text.contains(part), "{part} missing in {text}");
        }
    }
}
