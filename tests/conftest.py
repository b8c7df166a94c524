"""How the workers of pytest-xdist share the tests of `make test`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from xdist.scheduler import LoadScopeScheduling

# The tests of these files use one fixture that makes all their calls at once.
ONE_WORKER = ("tests/conformance/test_checks.py", "tests/e2e/test_faults.py")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling | None:
    """Give a free worker the next test; the files of `ONE_WORKER` go to one worker as a whole.

    pytest-xdist 3.8 has `--dist loadgroup` for this, which has no effect with pytest 9.2.
    """
    if config.getoption("dist") != "load":
        return None  # asked for on the command line
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return file if file in ONE_WORKER else nodeid

    return Scheduling(config, log)
