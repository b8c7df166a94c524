"""Voice activity detection for telephone calls.

`TelephoneVADAnalyzer` replaces pipecat's `SileroVADAnalyzer`. It runs pipecat's Silero model at 8
kHz, the sample rate of the telephone, in native code. Importing this package imports pipecat.
"""

from .analyzer import TelephoneVADAnalyzer
from .model import VADModelError

__all__ = ["TelephoneVADAnalyzer", "VADModelError"]
