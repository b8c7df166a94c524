"""Load tests: many simultaneous simulated calls to any AudioHook server.

`run_load` places the calls in this process, and measures the delays and gaps of the bots' audio.
`find_failures` compares the result with `Criteria`, the limits of the test. No module of
this package imports pipecat. The package needs the extra `simulator`, and numpy, which pipecat
installs.
"""

from .criteria import Criteria, find_failures
from .plan import LoadPlan
from .results import LoadResult, Percentiles
from .run import LoadProgress, run_load
from .talk import Expect, Talk

__all__ = [
    "Criteria",
    "Expect",
    "LoadPlan",
    "LoadProgress",
    "LoadResult",
    "Percentiles",
    "Talk",
    "find_failures",
    "run_load",
]
