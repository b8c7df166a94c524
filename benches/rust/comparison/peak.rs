//! Loops that contain only multiply-and-add instructions. The speed of these loops is the CPU's
//! peak. The benchmark compares our speed with this peak.
//!
//! A loop multiplies and adds pairs of 16-bit integers, with enough independent sums to hide the
//! latency of the instruction.

/// A loop for one instruction set.
#[derive(Clone, Copy)]
pub(crate) struct PeakLoop {
    /// Name of the instruction set, as in the core.
    pub(crate) instruction_set: &'static str,
    /// Number of multiplications in one call.
    pub(crate) products: u64,
    call: unsafe fn(),
}

impl PeakLoop {
    pub(crate) fn run(self) {
        // SAFETY: `peak_loops` returns only loops whose instructions the CPU has.
        unsafe { (self.call)() }
    }
}

/// Returns the loops that this CPU can run.
pub(crate) fn peak_loops() -> Vec<PeakLoop> {
    let mut found = Vec::new();
    #[cfg(target_arch = "x86_64")]
    {
        let mut add = |supported: bool, instruction_set, products, call| {
            if supported {
                found.push(PeakLoop {
                    instruction_set,
                    products,
                    call,
                });
            }
        };
        let avx2 = is_x86_feature_detected!("avx2");
        add(
            avx2,
            "avx2",
            loops::ITERATIONS * 8 * 16,
            loops::avx2 as unsafe fn(),
        );
        let avx512 = is_x86_feature_detected!("avx512vnni");
        add(avx512, "avx512", loops::ITERATIONS * 12 * 32, loops::avx512);
    }
    found
}

/// Loops in assembly: a compiler would remove a loop whose result is not used.
#[cfg(target_arch = "x86_64")]
mod loops {
    use std::arch::asm;

    /// Iterations of the loop in one call.
    pub(super) const ITERATIONS: u64 = 2_000;

    macro_rules! repeat {
        ([$($register:tt)*] $($line:tt)*) => {{
            // SAFETY: the code changes only the named registers, and the caller guarantees that the
            // CPU has the instructions.
            unsafe {
                asm!(
                    "2:", $($line,)* "dec {iterations}", "jnz 2b",
                    iterations = inout(reg) ITERATIONS => _, $(out($register) _,)*
                    options(nomem, nostack),
                );
            }
        }};
    }

    /// # Safety
    /// The CPU must have AVX2.
    pub(super) unsafe fn avx2() {
        repeat!(
            ["ymm0" "ymm1" "ymm2" "ymm3" "ymm4" "ymm5" "ymm6" "ymm7"
            "ymm8" "ymm9" "ymm10" "ymm11" "ymm14" "ymm15"]
            "vpmaddwd ymm8, ymm14, ymm15" "vpaddd ymm0, ymm0, ymm8"
            "vpmaddwd ymm9, ymm14, ymm15" "vpaddd ymm1, ymm1, ymm9"
            "vpmaddwd ymm10, ymm14, ymm15" "vpaddd ymm2, ymm2, ymm10"
            "vpmaddwd ymm11, ymm14, ymm15" "vpaddd ymm3, ymm3, ymm11"
            "vpmaddwd ymm8, ymm14, ymm15" "vpaddd ymm4, ymm4, ymm8"
            "vpmaddwd ymm9, ymm14, ymm15" "vpaddd ymm5, ymm5, ymm9"
            "vpmaddwd ymm10, ymm14, ymm15" "vpaddd ymm6, ymm6, ymm10"
            "vpmaddwd ymm11, ymm14, ymm15" "vpaddd ymm7, ymm7, ymm11"
        );
    }

    /// # Safety
    /// The CPU must have AVX-512VNNI.
    pub(super) unsafe fn avx512() {
        repeat!(
            ["zmm0" "zmm1" "zmm2" "zmm3" "zmm4" "zmm5" "zmm6" "zmm7"
            "zmm8" "zmm9" "zmm10" "zmm11" "zmm14" "zmm15"]
            "vpdpwssd zmm0, zmm14, zmm15" "vpdpwssd zmm1, zmm14, zmm15"
            "vpdpwssd zmm2, zmm14, zmm15" "vpdpwssd zmm3, zmm14, zmm15"
            "vpdpwssd zmm4, zmm14, zmm15" "vpdpwssd zmm5, zmm14, zmm15"
            "vpdpwssd zmm6, zmm14, zmm15" "vpdpwssd zmm7, zmm14, zmm15"
            "vpdpwssd zmm8, zmm14, zmm15" "vpdpwssd zmm9, zmm14, zmm15"
            "vpdpwssd zmm10, zmm14, zmm15" "vpdpwssd zmm11, zmm14, zmm15"
        );
    }
}
