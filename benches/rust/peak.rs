//! The most that the core's own instruction could do.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};

mod peak_loops;

fn peak(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("peak");
    for peak in peak_loops::peaks() {
        group.throughput(Throughput::Elements(peak.products));
        group.bench_function(peak.name, |bencher| bencher.iter(|| peak.run()));
    }
    group.finish();
}

criterion_group!(benches, peak);
criterion_main!(benches);
