"""Voice activity detection for telephone calls.

`TelephoneVADAnalyzer` replaces pipecat's `SileroVADAnalyzer`. It runs pipecat's Silero model at 8
kHz, the sample rate of the telephone. One run of the model computes the speech probabilities for
the waiting audio of all calls of a process. Importing this package imports pipecat.
"""

from .analyzer import TelephoneVADAnalyzer
from .model import VADModelError

__all__ = ["TelephoneVADAnalyzer", "VADModelError"]
