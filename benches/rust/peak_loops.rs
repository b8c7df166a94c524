//! The most that the core's own instruction could do: multiply and add pairs, nothing
//! else, on as many sums at once as hide its latency. What a percentage of peak refers to.

/// A loop, and how many products it adds up in one call.
#[derive(Clone, Copy)]
pub(crate) struct Peak {
    /// The instruction set, as the core names it.
    pub(crate) name: &'static str,
    pub(crate) products: u64,
    call: unsafe fn(),
}

impl Peak {
    /// Runs the loop.
    pub(crate) fn run(self) {
        // SAFETY: `peaks` gives those alone whose instructions the CPU has.
        unsafe { (self.call)() }
    }
}

/// Those that this CPU can run.
pub(crate) fn peaks() -> Vec<Peak> {
    let mut found = Vec::new();
    #[cfg(target_arch = "x86_64")]
    {
        let mut add = |there: bool, name, products, call| {
            if there {
                found.push(Peak {
                    name,
                    products,
                    call,
                });
            }
        };
        let avx2 = is_x86_feature_detected!("avx2");
        add(
            avx2,
            "avx2",
            loops::TURNS * 8 * 16,
            loops::avx2 as unsafe fn(),
        );
        let avx512 = is_x86_feature_detected!("avx512vnni");
        add(avx512, "avx512", loops::TURNS * 12 * 32, loops::avx512);
    }
    found
}

/// The compiler would notice that nothing comes of it, so the loop is written out.
#[cfg(target_arch = "x86_64")]
mod loops {
    use std::arch::asm;

    /// Turns of the loop in one call.
    pub(super) const TURNS: u64 = 2_000;

    macro_rules! turns {
        ([$($register:tt)*] $($line:tt)*) => {{
            // SAFETY: nothing but the registers named is touched, and the caller has the
            // instructions.
            unsafe {
                asm!(
                    "2:", $($line,)* "dec {turns}", "jnz 2b",
                    turns = inout(reg) TURNS => _, $(out($register) _,)*
                    options(nomem, nostack),
                );
            }
        }};
    }

    /// # Safety
    /// The CPU must have AVX2.
    pub(super) unsafe fn avx2() {
        turns!(
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
        turns!(
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
