"""The simulator stands alone: it must be able to test servers that do not use pipecat."""

from __future__ import annotations

import subprocess
import sys

PROBE = """
import sys
import pipecat_genesys.simulator as simulator
forbidden = ("pipecat", "pipecat_genesys.serializer", "pipecat_genesys.transport")
loaded = [name for name in sys.modules if name in forbidden]
missing = [name for name in simulator.__all__ if not hasattr(simulator, name)]
sys.exit(f"loaded {loaded}, missing {missing}" if loaded or missing else 0)
"""


def test_importing_the_simulator_does_not_import_pipecat() -> None:
    done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
