"""The checks as tests of pytest's: ``pytest --audiohook-url=ws://...``.

Loaded into every pytest run where this package is installed, so nothing is imported before the
option asks for it.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

import pytest

from pipecat_genesys.errors import PipecatGenesysError

if TYPE_CHECKING:
    from .checking import Check
    from .runner import Result
    from .target import Target

_SECRET_VARIABLE = "GENESYS_CLIENT_SECRET"  # noqa: S105 - where it is, not what


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("audiohook", "AudioHook conformance")
    group.addoption("--audiohook-url", metavar="URL", help="check this server, ws:// or wss://")
    group.addoption(
        "--audiohook-mode",
        choices=("bot", "monitor"),
        default="bot",
        help="what it is used for (default: bot)",
    )
    group.addoption(
        "--audiohook-api-key",
        metavar="KEY",
        default="conformance",
        help=f"X-API-KEY to send; the client secret is read from {_SECRET_VARIABLE}",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Say what the marker is."""
    config.addinivalue_line("markers", "audiohook: a conformance check, from --audiohook-url")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(
    session: pytest.Session, config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Add a test for each check, before others choose among them."""
    url: str | None = config.getoption("audiohook_url")
    if not url:
        return
    from pipecat_genesys.simulator import CallMode

    from .catalogue import CATALOGUE
    from .target import Target

    target = Target(
        url=url,
        mode=CallMode(config.getoption("audiohook_mode")),
        api_key=config.getoption("audiohook_api_key"),
        secret=os.environ.get(_SECRET_VARIABLE),
    )
    suite = Suite.from_parent(session, name="audiohook", target=target)
    tests = [
        CheckItem.from_parent(suite, name=check.id, check=check)
        for check in CATALOGUE.values()
        if target.mode in check.modes
    ]
    items += tests
    # They count as collected, then.
    config.hook.pytest_collectreport(
        report=pytest.CollectReport(suite.nodeid, "passed", None, list(tests))
    )


class Suite(pytest.Collector):
    """The checks of one server. They run together when the first result is wanted."""

    def __init__(self, *, target: Target, **options: Any) -> None:
        super().__init__(**options)
        self.target = target
        self._results: dict[str, Result] | None = None

    def collect(self) -> list[pytest.Item]:
        """Nothing: the items are made beside it."""
        return []

    def result(self, name: str) -> Result:
        """The result of a check."""
        if self._results is None:
            from .runner import run

            mine = [
                item.check
                for item in self.session.items
                if isinstance(item, CheckItem) and item.parent is self
            ]
            found = asyncio.run(run(self.target, mine))
            self._results = {result.check.id: result for result in found}
        return self._results[name]


class CheckItem(pytest.Item):
    """One check."""

    def __init__(self, *, check: Check, **options: Any) -> None:
        super().__init__(**options)
        self.check = check
        self.add_marker(pytest.mark.audiohook)

    def runtest(self) -> None:
        """Fail, skip or warn as the check found."""
        from .runner import Outcome

        assert isinstance(self.parent, Suite)
        result = self.parent.result(self.name)
        if result.outcome is Outcome.SKIPPED:
            pytest.skip(result.detail)
        if result.outcome is Outcome.FAILED:
            text = f"{result.check.rule}\n{result.detail}\n({result.check.source})"
            if result.check.severity == "warning":
                pytest.xfail(text)
            raise _FailedError(text)

    def repr_failure(self, excinfo: Any, style: Any = None) -> Any:
        """What was broken, without a trace of our own code."""
        if isinstance(excinfo.value, _FailedError):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[str, None, str]:
        """Where it is listed."""
        return "audiohook", None, f"audiohook: {self.name}"


class _FailedError(PipecatGenesysError):
    """A check failed."""
