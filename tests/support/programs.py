"""Programs that tests start."""

from __future__ import annotations

import os
import shutil
import sys

import pytest


def require(program: str) -> str:
    """Return the path of a program. If it is missing, skip the test; in CI on Linux, fail."""
    # Debian installs servers in directories that only root has in the PATH.
    found = shutil.which(program) or shutil.which(program, path="/usr/sbin:/usr/local/sbin")
    if found is None:
        missing = f"{program} is not on PATH; `make services` installs it (Debian's package)"
        if os.environ.get("CI") and sys.platform == "linux":
            pytest.fail(missing, pytrace=False)
        pytest.skip(missing)
    return found
