"""What is told of the results: on the screen, in files, to pytest, and by the exit status."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from pipecat_genesys.cli.app import app
from pipecat_genesys.conformance import (
    CATALOGUE,
    Patience,
    Target,
    as_json,
    as_junit,
    failures,
    run,
)
from pipecat_genesys.conformance.report import summary
from pipecat_genesys.simulator import CallMode
from reference_server import KEY, SECRET, Conversation, reference_server
from typer.testing import CliRunner

from .mutations import MUTATIONS

pytest_plugins = ["pytester"]

SOME = ("opened-in-time", "message-position", "closed-empty", "signed", "dtmf")
QUICK = Patience(open=2, pong=0.5, close=0.5, settle=0.2, talk=1)


async def results(kind: type[Conversation], *names: str, **target: Any) -> Any:
    async with reference_server(kind) as url:
        server = Target(url=url, patience=QUICK, **target)
        return server, await run(server, [CATALOGUE[name] for name in names])


async def test_a_warning_counts_only_where_one_is_strict() -> None:
    _, found = await results(MUTATIONS["message-position"], *SOME)
    assert failures(found) == []
    assert [result.check.id for result in failures(found, strict=True)] == ["message-position"]
    assert summary(found) == "3 passed, 1 failed (1 warnings), 1 skipped"


async def test_json_has_every_check_in_order() -> None:
    target, found = await results(Conversation, *SOME)
    told = json.loads(as_json(target, found))
    assert [check["id"] for check in told["checks"]] == list(SOME)
    assert told["checks"][3]["outcome"] == "skipped"
    assert told["checks"][0]["rule"] == CATALOGUE["opened-in-time"].rule


async def test_junit_counts_what_it_lists_and_holds_whatever_a_server_sends() -> None:
    class Odd(Conversation):
        async def write(self, message: Any) -> None:
            await super().write(message | {"version": "\x00\x1b<&"})

    target, found = await results(Odd, "message-version", *SOME)
    suite = ElementTree.fromstring(as_junit(target, found))
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("6", "1", "1")
    (failure,) = suite.iter("failure")
    assert "<&" in failure.get("message", "")


async def test_a_server_that_sends_what_no_check_thought_of_fails_it_and_only_it() -> None:
    class Odd(Conversation):
        async def write(self, message: Any) -> None:
            if message["type"] == "opened":
                message["parameters"] = ["media"]
            await super().write(message)

    _, found = await results(Odd, "opened-media-offered", "message-version")
    assert [result.outcome for result in found] == ["failed", "passed"]


@pytest.fixture
async def server_url() -> AsyncIterator[str]:
    async with reference_server(MUTATIONS["closed-empty"], secret=SECRET) as url:
        yield url


async def command(*arguments: str, **environment: str) -> Any:
    """Run the command in a thread, as it has an event loop of its own."""
    options = {"GENESYS_API_KEY": KEY, "GENESYS_CLIENT_SECRET": SECRET} | environment
    return await asyncio.to_thread(CliRunner().invoke, app, ["check", *arguments], env=options)


async def test_command(server_url: str, tmp_path: Path) -> None:
    files = (tmp_path / "out.json", tmp_path / "out.xml")
    only = [f"--only={name}" for name in SOME]
    done = await command(server_url, *only, f"--json={files[0]}", f"--junit={files[1]}")
    assert done.exit_code == 0, done.output
    assert "4 passed, 1 failed (1 warnings), 0 skipped" in done.output
    assert "closed-empty" in done.output
    assert "opened-in-time" not in done.output
    assert json.loads(files[0].read_text())["summary"].startswith("4 passed")
    assert ElementTree.parse(files[1]).getroot().get("tests") == "5"

    strict = await command(server_url, *only, "--strict")
    assert strict.exit_code == 1
    without = await command(server_url, *only, "--strict", "--without=closed-empty", "--verbose")
    assert without.exit_code == 0
    assert "opened-in-time" in without.output


async def test_command_without_a_server_or_with_a_wrong_secret() -> None:
    nobody = await command("ws://127.0.0.1:1/audiohook")
    assert nobody.exit_code == 3
    assert "127.0.0.1:1" in nobody.output
    wrong = await command("ws://127.0.0.1:1/audiohook", GENESYS_CLIENT_SECRET="no base64!")
    assert wrong.exit_code == 2
    assert "no base64!" not in wrong.output
    unknown = await command("ws://127.0.0.1:1/audiohook", "--only=such")
    assert unknown.exit_code == 2
    assert "such" in unknown.output


async def test_command_lists_the_catalogue() -> None:
    done = await command("--list")
    assert done.exit_code == 0
    assert all(name in done.output for name in CATALOGUE)


async def test_pytest_plugin(server_url: str, pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_of_the_users_own(): pass")
    done = await asyncio.to_thread(
        pytester.runpytest_subprocess,
        f"--audiohook-url={server_url}",
        f"--audiohook-api-key={KEY}",
        "-k=opened-in-time or dtmf or closed-empty",
        "-rx",
        *plugin_unless_installed(),
    )
    # Without the secret the server refuses everyone.
    done.assert_outcomes(failed=2, xfailed=1, deselected=len(in_bot_mode()) - 3 + 1)
    done.stdout.fnmatch_lines(["*'opened' answers 'open' within 5 s*"])
    done.stdout.no_fnmatch_line("*Traceback*")


async def test_pytest_plugin_finds_a_good_server_good(pytester: pytest.Pytester) -> None:
    async with reference_server() as url:
        done = await asyncio.to_thread(
            pytester.runpytest_subprocess,
            f"--audiohook-url={url}",
            "-k=opened or signed-again",
            *plugin_unless_installed(),
        )
    opened = [name for name in in_bot_mode() if "opened" in name]
    done.assert_outcomes(
        passed=len(opened), skipped=1, deselected=len(in_bot_mode()) - len(opened) - 1
    )


def in_bot_mode() -> list[str]:
    return [name for name, check in CATALOGUE.items() if CallMode.BOT in check.modes]


def plugin_unless_installed() -> list[str]:
    """The option that loads the plugin where the package was installed before it had one."""
    installed = {found.value for found in entry_points(group="pytest11")}
    name = "pipecat_genesys.conformance.plugin"
    return [] if name in installed else ["-p", name]
