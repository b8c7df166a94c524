"""Pipecat's `run_test`, with a limit for the start of a pipeline that a busy machine keeps."""

from __future__ import annotations

import functools
import inspect

from pipecat.tests.utils import run_test

# Pipecat's own limit is one second. Its early versions have neither a limit nor the parameter.
run_processor = (
    functools.partial(run_test, start_timeout=60.0)
    if "start_timeout" in inspect.signature(run_test).parameters
    else run_test
)
