"""The order of the tests, their distribution by pytest-xdist, and logs during collection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings
from loguru import logger

if TYPE_CHECKING:
    from xdist.scheduler import LoadScopeScheduling

# The tests of these files share a fixture that takes seconds of processor time, or each starts a
# browser.
ONE_WORKER = (
    "tests/e2e/test_faults.py",
    "tests/endpoint/test_front_door.py",
    "tests/inspector/test_page.py",
)

# These tests measure delays, or record audio in real time. They run last, when no other test needs
# much processor time.
SENSITIVE_TO_LOAD = (
    "tests/conformance/test_servers.py",
    "tests/e2e/",
    "tests/endpoint/test_bots.py",
    "tests/endpoint/test_faults.py",
    "tests/endpoint/test_gc_tuning.py",
    "tests/inspector/test_page.py",
    "tests/pipecat_contract/",
    "tests/transport/",
)

# The time of an example depends on the load of the machine.
settings.register_profile("without deadlines", deadline=None)
settings.load_profile("without deadlines")

# Pipecat logs a line when it is imported. If a conftest.py imports pipecat, pytest would print this
# line after the summary of all tests.
logger.disable("pipecat")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Move the tests that need a machine with free processor time to the end."""
    items.sort(key=lambda item: item.nodeid.startswith(SENSITIVE_TO_LOAD))


def pytest_collection_finish() -> None:
    """Enable pipecat's log again, so that tests can read it."""
    logger.enable("pipecat")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling | None:
    """Distribute single tests to free workers, but keep the tests of some files together.

    All tests of a file in `ONE_WORKER` run in the same worker. pytest-xdist 3.8 has the option
    `--dist loadgroup` for this purpose, but the option has no effect with pytest 9.2.
    """
    if config.getoption("dist") != "load":
        return None  # the user requested this distribution on the command line
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return file if file in ONE_WORKER else nodeid

    return Scheduling(config, log)
