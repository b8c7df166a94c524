"""Benchmarks of voice activity detection: CPU time, latency, memory and accuracy.

`python -m vad`, run from `benches`, runs all these benchmarks.
"""

OURS_8, OURS_16 = "ours, 8 kHz", "ours, 16 kHz"
PIPECAT_8, PIPECAT_16 = "pipecat, 8 kHz", "pipecat, 16 kHz"
NAMES = (OURS_8, OURS_16, PIPECAT_8, PIPECAT_16)
"""Names of the measured analyzers. A name contains the sample rate of the pipeline."""

FRAME_NAMES = (OURS_8, OURS_16, PIPECAT_16)
"""Names of the analyzers whose probabilities are compared with the labels. Pipecat's analyzer at
8 kHz has the same states as ours and is left out."""

OURS_SOONER = "ours, 8 kHz, 160 ms"
"""Our analyzer in a pipeline of 8 kHz, with `stop_secs=0.16` instead of the default of 0.2."""

JUDGED_NAMES = (OURS_8, OURS_SOONER, OURS_16, PIPECAT_16)
"""Names of the analyzers whose delays are measured."""
