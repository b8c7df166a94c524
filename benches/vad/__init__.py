"""Benchmarks of voice activity detection: CPU time, latency, memory and accuracy.

`python -m vad`, run from `benches`, runs all these benchmarks.
"""

OURS_8, OURS_16 = "ours, 8 kHz", "ours, 16 kHz"
PIPECAT_8, PIPECAT_16 = "pipecat, 8 kHz", "pipecat, 16 kHz"
NAMES = (OURS_8, OURS_16, PIPECAT_8, PIPECAT_16)
"""The measured analyzers, by the sample rate of the pipeline."""

FRAME_NAMES = (OURS_8, OURS_16, PIPECAT_16)
"""The analyzers whose probabilities are compared with the labels. At 8 kHz, pipecat's has the same
states as ours."""

OURS_SOONER = "ours, 8 kHz, 160 ms"
"""Ours in a pipeline of 8 kHz, with `stop_secs=0.16` instead of pipecat's default of 0.2."""

JUDGED_NAMES = (OURS_8, OURS_SOONER, OURS_16, PIPECAT_16)
"""The analyzers whose delays are measured."""
