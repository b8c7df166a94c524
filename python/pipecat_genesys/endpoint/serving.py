"""The application as ``pipecat-genesys serve`` runs it, in each of its processes.

uvicorn imports `application` by name, in processes of its own; the environment says which
application it stands for.
"""

from __future__ import annotations

import gc
import os
from typing import Any

from uvicorn.importer import import_from_string

APP_VARIABLE = "PIPECAT_GENESYS_APP"
"""Names the application: ``module:attribute``."""

# What importing pipecat leaves is some 300,000 objects that live as long as the process. Out of
# the collector's sight, what is left to look at are the calls; with the thresholds it looks when
# there is something to find.
_THRESHOLDS = (10_000, 20, 20)


def application() -> Any:
    """Import the application, and tune the garbage collector to it."""
    app = import_from_string(os.environ[APP_VARIABLE])
    tune_collector()
    return app


def tune_collector() -> None:
    """Have the garbage collector look at calls, and seldom; for a process that only takes calls."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)
