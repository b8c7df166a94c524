"""The pytest plugin: the checks as tests, and fixtures that place calls.

`pytest --audiohook-url=ws://...` adds a test for each check. The fixture `audiohook_caller` lets a
test place calls to a server and check expectations.

pytest loads this module wherever the package is installed. The module therefore imports the rest of
the package only if the option `--audiohook-url` is given, or if a test uses the fixture.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pipecat_genesys.errors import PipecatGenesysError

if TYPE_CHECKING:
    from pipecat_genesys.simulator import CallOptions, Scenario, Verdict

    from .check import Check
    from .runner import CheckResult
    from .target import Target

_SECRET_VARIABLE = "GENESYS_CLIENT_SECRET"  # noqa: S105 - this is the variable's name, not a secret


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("audiohook", "AudioHook conformance")
    group.addoption(
        "--audiohook-url",
        metavar="URL",
        help="check the AudioHook server at this ws:// or wss:// URL",
    )
    group.addoption(
        "--audiohook-mode",
        choices=("bot", "monitor"),
        default="bot",
        help="whether the server is a bot or only listens (default: bot)",
    )
    group.addoption(
        "--audiohook-api-key",
        metavar="KEY",
        default="conformance",
        help="API key, sent as X-API-KEY; the client secret is read from the environment variable "
        f"{_SECRET_VARIABLE}",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker of the checks."""
    config.addinivalue_line("markers", "audiohook: a conformance check, added by --audiohook-url")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(
    session: pytest.Session, config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Add a test for each check, before other plugins select tests."""
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
        secret=os.environ.get(_SECRET_VARIABLE) or None,
    )
    suite = Suite.from_parent(session, name="audiohook", target=target)
    tests = [
        CheckItem.from_parent(suite, name=check.id, check=check)
        for check in CATALOGUE.values()
        if target.mode in check.modes
    ]
    items += tests
    # pytest counts only items that are listed in a collection report.
    config.hook.pytest_collectreport(
        report=pytest.CollectReport(suite.nodeid, "passed", None, list(tests))
    )


class Suite(pytest.Collector):
    """The checks of one server.

    All selected checks run together when the first result is needed. In a worker of pytest-xdist
    each check runs alone, because another worker may run the next check.
    """

    def __init__(self, *, target: Target, **options: Any) -> None:
        super().__init__(**options)
        self.target = target
        self._results: dict[str, CheckResult] = {}

    def collect(self) -> list[pytest.Item]:
        """Return no items; `pytest_collection_modifyitems` adds them."""
        return []

    def result(self, name: str) -> CheckResult:
        """Return the result of a check. The check is run if it has no result yet."""
        if name not in self._results:
            from .runner import run_checks

            selected = [
                item.check
                for item in self.session.items
                if isinstance(item, CheckItem) and item.parent is self
            ]
            if hasattr(self.config, "workerinput"):
                selected = [check for check in selected if check.id == name]
            results = asyncio.run(run_checks(self.target, selected))
            self._results |= {result.check.id: result for result in results}
        return self._results[name]


class CheckItem(pytest.Item):
    """The pytest test of one check."""

    def __init__(self, *, check: Check, **options: Any) -> None:
        super().__init__(**options)
        self.check = check
        self.add_marker(pytest.mark.audiohook)

    def runtest(self) -> None:
        """Report the result to pytest. A failed check of severity `warning` is an xfail."""
        from .runner import Outcome

        assert isinstance(self.parent, Suite)
        result = self.parent.result(self.name)
        if result.outcome is Outcome.SKIPPED:
            pytest.skip(result.detail)
        if result.outcome is Outcome.FAILED:
            text = f"{result.check.rule}\n{result.detail}\n({result.check.source})"
            if result.check.severity == "warning":
                pytest.xfail(text)
            raise _TestFailedError(text)

    def repr_failure(self, excinfo: Any, style: Any = None) -> Any:
        """Return the message of a failed check without a traceback of this package."""
        if isinstance(excinfo.value, _TestFailedError):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[str, None, str]:
        """Return the name under which pytest lists the check."""
        return "audiohook", None, f"audiohook: {self.name}"


class _TestFailedError(PipecatGenesysError):
    """A check failed; pytest reports the message."""


@pytest.fixture
def audiohook_url(request: pytest.FixtureRequest) -> str:
    """The URL of the server that `audiohook_caller` calls: the value of `--audiohook-url`.

    Override this fixture to start a server, and to return its URL.
    """
    url: str | None = request.config.getoption("audiohook_url")
    if not url:
        pytest.fail(
            "no server to call: override the fixture audiohook_url so that it returns the URL of "
            "your server, or give --audiohook-url",
            pytrace=False,
        )
    return url


@pytest.fixture
def audiohook_caller(request: pytest.FixtureRequest, audiohook_url: str) -> AudioHookCaller:
    """An `AudioHookCaller` for the server at `audiohook_url`."""
    return AudioHookCaller(
        audiohook_url,
        folder=request.path.parent,
        api_key=request.config.getoption("audiohook_api_key"),
        client_secret=os.environ.get(_SECRET_VARIABLE) or None,
    )


class AudioHookCaller:
    """Places calls to a server, as Genesys Cloud would, and checks their expectations.

    The fixture `audiohook_caller` returns an object of this class::

        def test_bot_answers_in_time(audiohook_caller):
            verdict = audiohook_caller.call(
                "wait:bot", "wait:quiet", 'say:"Hello?"', "wait:bot", "hang-up",
                expect=["answered within 800 ms"],
            )
            assert verdict.passed, str(verdict)

    Args:
        url: URL of the server.
        folder: The folder to which the paths of scripts and WAV files are relative.
        api_key: Value of `X-API-KEY`.
        client_secret: Client secret in base64, to sign the requests; None for no signature.

    Attributes:
        url: URL of the server.
        folder: The folder to which the paths of scripts and WAV files are relative.
    """

    def __init__(
        self,
        url: str,
        folder: Path,
        *,
        api_key: str = "conformance",
        client_secret: str | None = None,
    ) -> None:
        self.url = url
        self.folder = folder
        self._api_key = api_key
        self._client_secret = client_secret

    def call(
        self,
        *steps: str,
        script: str | os.PathLike[str] | None = None,
        expect: Sequence[str] = (),
        fault: str | None = None,
        options: CallOptions | None = None,
        **fields: object,
    ) -> Verdict:
        """Place a call, and check the expectations. In a coroutine, await `place` instead.

        Args:
            *steps: The steps of the caller; by default the steps of the script.
            script: A file, see `read_scenario`.
            expect: Expectations, in addition to the expectations of the script.
            fault: Name of a fault that the client makes.
            options: Credentials, timeouts and network delay; by default `api_key` and
                `client_secret` of this object.
            **fields: Other fields of `Scenario`, such as `language` and `input`.

        Raises:
            RuntimeError: If the test is a coroutine.
            ConnectFailedError: If the WebSocket cannot be established.
            ValueError: If a step, an expectation, the script or a field is not valid.
        """
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            pass
        else:
            raise RuntimeError("this test is a coroutine: await audiohook_caller.place(...)")
        placed = self.place(
            *steps, script=script, expect=expect, fault=fault, options=options, **fields
        )
        return asyncio.run(placed)

    async def place(
        self,
        *steps: str,
        script: str | os.PathLike[str] | None = None,
        expect: Sequence[str] = (),
        fault: str | None = None,
        options: CallOptions | None = None,
        **fields: object,
    ) -> Verdict:
        """Place a call, and check the expectations, in the event loop of the test. See `call`.

        Cancelling this method hangs up.
        """
        from pipecat_genesys.simulator import CallOptions, find_fault, place_call

        return await place_call(
            self.url,
            self._scenario(steps, script, expect, fields),
            options=options
            or CallOptions(api_key=self._api_key, client_secret=self._client_secret),
            fault=None if fault is None else find_fault(fault),
        )

    def _scenario(
        self,
        steps: Sequence[str],
        script: str | os.PathLike[str] | None,
        expect: Sequence[str],
        fields: dict[str, object],
    ) -> Scenario:
        from pipecat_genesys.simulator import Scenario, read_scenario

        if script is None:
            scenario = Scenario(folder=self.folder)
        else:
            scenario = read_scenario(self.folder / script)
        given = fields | {"expect": [*scenario.expect, *expect]}
        return scenario.replace(**given | ({"steps": steps} if steps else {}))
