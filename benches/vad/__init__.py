"""Benchmarks of voice activity detection: CPU time, latency, memory and accuracy.

`python -m vad`, run from `benches`, runs all of them.
"""
