"""Tests of the pytest fixture `audiohook_caller`, in pytest processes that call a server."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from importlib.metadata import entry_points
from typing import Any

import pytest
from pipecat_genesys.conformance import plugin
from scripted import ScriptedCall, scripted

pytest_plugins = ["pytester"]

SCRIPT = """
steps = ["wait:bot", "wait:quiet", "hang-up"]
expect = ["hears at least 0.1 s"]
input = { tier = "gold" }
"""

TESTS = """
import pytest

def test_clean_call_with_expectations(audiohook_caller):
    verdict = audiohook_caller.call(
        "wait:bot", "wait:quiet", "hang-up", expect=["greets within 5 s"], language="de-DE"
    )
    assert verdict.passed, str(verdict)
    assert verdict.report.heard == pytest.approx(0.2)

def test_script_beside_the_test(audiohook_caller):
    verdict = audiohook_caller.call(script="calls/greeting.toml", expect=["no gaps"])
    assert verdict.passed, str(verdict)
    assert len(verdict.judgements) == 2

def test_fault(audiohook_caller):
    verdict = audiohook_caller.call("wait:1", fault="unknown-fields")
    assert verdict.passed, str(verdict)

def test_expectation_that_is_not_met(audiohook_caller):
    verdict = audiohook_caller.call("wait:bot", "hang-up", expect=["hears at least 60 s"])
    assert verdict.passed, str(verdict)

async def test_coroutine(audiohook_caller):
    verdict = await audiohook_caller.place(script="calls/greeting.toml")
    assert verdict.passed, str(verdict)

async def test_call_in_a_coroutine(audiohook_caller):
    audiohook_caller.call("hang-up")
"""


async def greet(call: ScriptedCall, message: dict[str, Any]) -> None:
    await call.accept(message)
    await call.socket.send(b"\x55" * 1600)


async def run_tests(pytester: pytest.Pytester, tests: str, *arguments: str) -> pytest.RunResult:
    """Run tests in a new pytest process."""
    installed = {found.value for found in entry_points(group="pytest11")}
    load = [] if plugin.__name__ in installed else ["-p", plugin.__name__]
    pytester.makepyfile(tests)
    pytester.mkdir("calls").joinpath("greeting.toml").write_text(SCRIPT)
    run: Callable[..., Awaitable[pytest.RunResult]] = asyncio.to_thread
    return await run(
        pytester.runpytest_subprocess, "-o", "asyncio_mode=auto", "-rf", *load, *arguments
    )


async def test_tests_place_calls_and_fail_with_the_text_of_the_verdict(
    pytester: pytest.Pytester,
) -> None:
    async with scripted(open=greet) as server:
        pytester.makeconftest(
            f"import pytest\n@pytest.fixture\ndef audiohook_url():\n    return {server.url!r}\n"
        )
        run = await run_tests(pytester, TESTS)
    run.assert_outcomes(passed=4, failed=2)
    run.stdout.fnmatch_lines(["*not met: hears at least 60 s (* s)*"])
    run.stdout.fnmatch_lines(["*RuntimeError: this test is a coroutine: await audiohook_caller.*"])
    opened = [call.received[0]["parameters"] for call in server.peers]
    assert [opening["language"] for opening in opened].count("de-DE") == 1
    assert [opening["inputVariables"] for opening in opened].count({"tier": "gold"}) == 2


async def test_url_and_credentials_of_the_options_are_used(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GENESYS_CLIENT_SECRET", "TXlTdXBlclNlY3JldEtleVRlbGxOby0xITJAMyM0JDU=")
    async with scripted(open=greet) as server:
        run = await run_tests(
            pytester,
            "def test_greeting(audiohook_caller):\n"
            "    assert audiohook_caller.call('wait:bot', 'hang-up').passed\n",
            f"--audiohook-url={server.url}",
            "--audiohook-api-key=a-key",
            "-mnot audiohook",
        )
    run.assert_outcomes(passed=1, deselected=run.parseoutcomes()["deselected"])
    request = server.peers[0].socket.request
    assert request is not None
    assert request.headers["X-API-KEY"] == "a-key"
    assert "Signature" in request.headers


async def test_without_a_url_the_test_fails_and_says_what_to_do(pytester: pytest.Pytester) -> None:
    run = await run_tests(pytester, "def test_call(audiohook_caller): pass")
    run.assert_outcomes(errors=1)
    run.stdout.fnmatch_lines(["*no server to call: override the fixture audiohook_url *"])
    run.stdout.no_fnmatch_line("*Traceback*")
