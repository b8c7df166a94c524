"""Benchmarks of voice activity detection: CPU time, latency, memory and accuracy.

`python -m vad`, run from `benches`, runs all these benchmarks.
"""

OURS_8, OURS_16 = "ours, 8 kHz", "ours, 16 kHz"
PIPECAT_8, PIPECAT_16 = "pipecat, 8 kHz", "pipecat, 16 kHz"
NAMES = (OURS_8, OURS_16, PIPECAT_8, PIPECAT_16)
"""The measured analyzers, by the sample rate of the pipeline."""

JUDGED_NAMES = (OURS_8, OURS_16, PIPECAT_16)
"""The analyzers whose accuracy is measured. At 8 kHz, pipecat's has the same states as ours."""
