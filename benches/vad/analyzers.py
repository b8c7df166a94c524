"""The measured analyzers: our analyzer and pipecat's analyzer, in pipelines of 8 and 16 kHz."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pipecat.audio.vad.silero import SileroVADAnalyzer
from pipecat.audio.vad.vad_analyzer import VADAnalyzer, VADParams, VADState
from pipecat_genesys.vad import TelephoneVADAnalyzer

from . import OURS_8, OURS_16, OURS_SOONER, PIPECAT_8, PIPECAT_16


@dataclass(frozen=True)
class Configuration:
    """An analyzer and the sample rate of its pipeline.

    Attributes:
        name: Name in the tables.
        rate: Input sample rate of the pipeline in Hz.
        make: Returns a new analyzer.
    """

    name: str
    rate: int
    make: Callable[[], VADAnalyzer]

    def ready(self) -> VADAnalyzer:
        """Return an analyzer whose sample rate is set."""
        analyzer = self.make()
        analyzer.set_sample_rate(self.rate)
        return analyzer


CONFIGURATIONS = (
    Configuration(OURS_8, 8000, TelephoneVADAnalyzer),
    Configuration(OURS_16, 16000, TelephoneVADAnalyzer),
    Configuration(PIPECAT_8, 8000, SileroVADAnalyzer),
    Configuration(PIPECAT_16, 16000, SileroVADAnalyzer),
)
BY_NAME = {configuration.name: configuration for configuration in CONFIGURATIONS}
BY_NAME[OURS_SOONER] = Configuration(
    OURS_SOONER, 8000, lambda: TelephoneVADAnalyzer(params=VADParams(stop_secs=0.16))
)


async def states_of(analyzer: VADAnalyzer, packets: list[bytes]) -> list[VADState]:
    """Return the `VADState` of the analyzer after each packet."""
    return [await analyzer.analyze_audio(packet) for packet in packets]
