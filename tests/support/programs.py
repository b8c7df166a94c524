"""Programs that tests start, and Debian's package of each."""

from __future__ import annotations

import os
import shutil
import sys

import pytest


def require(program: str) -> str:
    """Where a program is. Without it the test is skipped; on Linux in CI it fails."""
    # Debian keeps servers where only root looks.
    found = shutil.which(program) or shutil.which(program, path="/usr/sbin:/usr/local/sbin")
    if found is None:
        missing = f"{program} is not on PATH; `make services` installs it (Debian's package)"
        if os.environ.get("CI") and sys.platform == "linux":
            pytest.fail(missing, pytrace=False)
        pytest.skip(missing)
    return found
