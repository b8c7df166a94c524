"""Tests of the results of checks: table, files, exit status of `check`, pytest plugin."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from click.testing import Result
from pipecat_genesys.cli.app import app
from pipecat_genesys.conformance import (
    CATALOGUE,
    CheckResult,
    Target,
    Timeouts,
    as_json,
    as_junit,
    failures,
    run_checks,
)
from pipecat_genesys.conformance.report import summary
from pipecat_genesys.protocol import Draft, events, server_messages
from pipecat_genesys.simulator import CallMode
from reference_server import KEY, SECRET, ReferenceCall, reference_server
from typer.testing import CliRunner

from .mutations import MUTATIONS

pytest_plugins = ["pytester"]

SHORT = Timeouts(open=2, pong=0.5, close=0.5, observation=0.2, conversation=1)
# The check `closed-empty` has the severity `warning`. The check `signed` needs a client secret.
SOME = ("opened-in-time", "closed-empty", "signed", "dtmf")


async def results_of(
    call_class: type[ReferenceCall], *names: str
) -> tuple[Target, list[CheckResult]]:
    async with reference_server(call_class) as url:
        target = Target(url=url, timeouts=SHORT)
        return target, await run_checks(target, [CATALOGUE[name] for name in names])


async def test_a_warning_is_a_failure_only_if_strict() -> None:
    _, results = await results_of(MUTATIONS["closed-empty"], *SOME)
    assert failures(results) == []
    assert [result.check.id for result in failures(results, strict=True)] == ["closed-empty"]
    assert summary(results) == "2 passed, 1 failed (1 warning), 1 skipped"


async def test_json_report_lists_all_checks_in_order() -> None:
    target, results = await results_of(ReferenceCall, *SOME)
    report = json.loads(as_json(target, results))
    assert [check["id"] for check in report["checks"]] == list(SOME)
    assert report["checks"][2]["outcome"] == "skipped"
    assert report["checks"][0]["rule"] == CATALOGUE["opened-in-time"].rule


async def test_junit_report_is_valid_xml_even_with_control_characters_from_the_server() -> None:
    class SendsControlCharacters(ReferenceCall):
        async def send_message(self, message: Any) -> None:
            await super().send_message(message | {"version": "\x00\x1b<&"})

    target, results = await results_of(SendsControlCharacters, "message-version", *SOME)
    suite = ElementTree.fromstring(as_junit(target, results))
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("5", "1", "1")
    (failure,) = suite.iter("failure")
    assert "<&" in failure.get("message", "")


class SendsEntitiesAsNumber(ReferenceCall):
    async def on_dtmf(self, event: events.DtmfReceived) -> None:
        await self.send(Draft(server_messages.barge_in().type, {"entities": 5}))


async def test_a_check_that_cannot_read_a_message_fails_alone() -> None:
    _, results = await results_of(SendsEntitiesAsNumber, "barge-in-idle", "dtmf")
    assert [result.outcome for result in results] == ["failed", "passed"]
    assert "could not read" in results[0].detail


async def test_parameters_that_are_no_object_fail_only_the_checks_that_need_them() -> None:
    class SendsParametersAsList(ReferenceCall):
        async def send_message(self, message: Any) -> None:
            if message["type"] == "opened":
                message = message | {"parameters": [1]}
            await super().send_message(message)

    names = ("opened-media-offered", "opened-in-time", "pong-in-time")
    _, results = await results_of(SendsParametersAsList, *names)
    assert [result.outcome for result in results] == ["failed", "passed", "passed"]


@pytest.fixture
async def server_url() -> AsyncIterator[str]:
    """Run a server that fails one check, of severity `warning`."""
    async with reference_server(MUTATIONS["closed-empty"], secret=SECRET) as url:
        yield url


async def run_command(*arguments: str, **environment: str) -> Result:
    """Run `check` in a thread, because the command starts its own event loop."""
    variables = {"GENESYS_API_KEY": KEY, "GENESYS_CLIENT_SECRET": SECRET} | environment
    return await asyncio.to_thread(CliRunner().invoke, app, ["check", *arguments], env=variables)


async def test_check_prints_the_findings_and_writes_the_files(
    server_url: str, tmp_path: Path
) -> None:
    json_file, junit_file = tmp_path / "out.json", tmp_path / "out.xml"
    only = [f"--only={name}" for name in SOME]
    result = await run_command(server_url, *only, f"--json={json_file}", f"--junit={junit_file}")
    assert result.exit_code == 0, result.output
    assert "3 passed, 1 failed (1 warning), 0 skipped" in result.output
    assert "closed-empty" in result.output
    assert "opened-in-time" not in result.output
    assert json.loads(json_file.read_text())["summary"].startswith("3 passed")
    assert ElementTree.parse(junit_file).getroot().get("tests") == "4"


async def test_check_with_strict_exits_with_1_on_a_warning(server_url: str) -> None:
    only = [f"--only={name}" for name in ("opened-in-time", "closed-empty")]
    strict = await run_command(server_url, *only, "--strict")
    assert strict.exit_code == 1
    without = await run_command(server_url, *only, "--strict", "--without=closed-empty", "-v")
    assert without.exit_code == 0
    assert "opened-in-time" in without.output


async def test_check_without_a_server_exits_with_3() -> None:
    result = await run_command("ws://127.0.0.1:1/audiohook")
    assert result.exit_code == 3
    assert "127.0.0.1:1" in result.output


async def test_check_does_not_print_a_wrong_secret() -> None:
    result = await run_command("ws://127.0.0.1:1/audiohook", GENESYS_CLIENT_SECRET="no base64!")
    assert result.exit_code == 2
    assert "no base64!" not in result.output


async def test_check_names_an_unknown_check() -> None:
    result = await run_command("ws://127.0.0.1:1/audiohook", "--only=such")
    assert result.exit_code == 2
    assert "such" in result.output


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--only=signed", "--only=unsigned"], "need the client secret"),
        (["--only=silent-monitor"], "no selected check applies"),
    ],
)
async def test_check_refuses_to_run_no_check(arguments: list[str], reason: str) -> None:
    result = await run_command("ws://127.0.0.1:1/audiohook", *arguments, GENESYS_CLIENT_SECRET="")
    assert result.exit_code == 2
    assert reason in result.output


async def test_check_lists_the_catalogue() -> None:
    result = await run_command("--list")
    assert result.exit_code == 0
    assert all(name in result.output for name in CATALOGUE)


async def run_pytest(
    pytester: pytest.Pytester, url: str, *names: str, api_key: str = ""
) -> pytest.RunResult:
    """Run the named checks and one ordinary test in a new pytest process."""
    pytester.makepyfile("def test_of_the_user(): pass")
    return await asyncio.to_thread(
        pytester.runpytest_subprocess,
        f"--audiohook-url={url}",
        f"--audiohook-api-key={api_key}",
        f"-k={' or '.join(names)}",
        "-rx",
        *load_plugin(),
    )


async def test_pytest_plugin_reports_every_outcome(pytester: pytest.Pytester) -> None:
    class RefusesKeys(MUTATIONS["closed-empty"]):  # type: ignore[misc]
        async def on_dtmf(self, event: events.DtmfReceived) -> None:
            await self.send(server_messages.disconnect("error"))

    names = ("opened-in-time", "dtmf", "closed-empty", "signed-again")
    async with reference_server(RefusesKeys) as url:
        run = await run_pytest(pytester, url, *names)
    unselected = len(bot_checks()) - len(names) + 1
    run.assert_outcomes(passed=1, failed=1, xfailed=1, skipped=1, deselected=unselected)
    run.stdout.fnmatch_lines(["*The server accepts `dtmf` for every key of a telephone.*"])
    run.stdout.no_fnmatch_line("*Traceback*")


async def test_pytest_plugin_fails_one_check_if_the_server_refuses_all_calls(
    server_url: str, pytester: pytest.Pytester
) -> None:
    run = await run_pytest(pytester, server_url, "opened-in-time", "dtmf", "closed-empty")
    run.assert_outcomes(failed=1, skipped=2, deselected=len(bot_checks()) - 3 + 1)


@pytest.mark.parametrize(("api_key", "passed"), [(KEY, 2), ("another key", 0)])
async def test_pytest_plugin_signs_with_the_given_key(
    server_url: str,
    pytester: pytest.Pytester,
    monkeypatch: pytest.MonkeyPatch,
    api_key: str,
    passed: int,
) -> None:
    monkeypatch.setenv("GENESYS_CLIENT_SECRET", SECRET)
    run = await run_pytest(pytester, server_url, "opened-in-time", "dtmf", api_key=api_key)
    assert run.parseoutcomes().get("passed", 0) == passed


async def test_pytest_plugin_runs_each_check_once_under_xdist(pytester: pytest.Pytester) -> None:
    opened: list[str] = []

    class CountingCall(ReferenceCall):
        def opened(self, event: events.OpenReceived) -> Draft:
            opened.append(event.raw["id"])
            return super().opened(event)

    selected = ("opened-in-time", "pong-in-time", "closed-empty")
    async with reference_server(CountingCall) as url:
        run = await asyncio.to_thread(
            pytester.runpytest_subprocess,
            "--numprocesses=2",
            f"--audiohook-url={url}",
            f"-k={' or '.join(selected)}",
            *load_plugin(),
        )
    run.assert_outcomes(passed=len(selected))
    # A worker process of pytest-xdist runs each check separately. Each run makes two calls: a plain
    # call, and the call of the check.
    assert len(opened) == 2 * len(selected)


def bot_checks() -> list[str]:
    return [name for name, check in CATALOGUE.items() if CallMode.BOT in check.modes]


def load_plugin() -> list[str]:
    """Return the pytest option that loads the plugin, unless its entry point is installed."""
    installed = {found.value for found in entry_points(group="pytest11")}
    name = "pipecat_genesys.conformance.plugin"
    return [] if name in installed else ["-p", name]
