"""Many simulated calls at once against any AudioHook server, and a judgement of the result.

`run_load` places the calls in this process and measures what the callers notice. `find_failures`
compares the result with `Criteria`. Nothing here imports pipecat. Needs the extra `simulator` and
numpy, which pipecat brings.
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
