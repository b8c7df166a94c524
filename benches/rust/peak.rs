//! The most that the core's own instruction could do: multiply and add pairs, nothing
//! else, on as many sums at once as hide its latency. What a percentage of peak refers to.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};

/// Turns of the loop in one call.
#[cfg(target_arch = "x86_64")]
const TURNS: u64 = 10_000;

/// The compiler would notice that nothing comes of it, so the loop is written out.
#[cfg(target_arch = "x86_64")]
mod loops {
    use super::TURNS;
    use std::arch::asm;

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
    pub(crate) unsafe fn avx2() {
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
    pub(crate) unsafe fn avx512() {
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

fn peak(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("peak");
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx2") {
            group.throughput(Throughput::Elements(TURNS * 8 * 16));
            // SAFETY: it has just been asked for.
            group.bench_function("avx2", |bencher| bencher.iter(|| unsafe { loops::avx2() }));
        }
        if is_x86_feature_detected!("avx512vnni") {
            group.throughput(Throughput::Elements(TURNS * 12 * 32));
            // SAFETY: it has just been asked for.
            group.bench_function("avx512", |bencher| {
                // SAFETY: as above.
                bencher.iter(|| unsafe { loops::avx512() });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, peak);
criterion_main!(benches);
