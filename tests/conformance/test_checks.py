"""Tests that a check passes on a valid server, and fails on a server that breaks its rule."""

from __future__ import annotations

import asyncio

import pytest
from pipecat_genesys.conformance import (
    CATALOGUE,
    CheckResult,
    Outcome,
    Target,
    Timeouts,
    run_checks,
)
from pipecat_genesys.simulator import CallMode
from reference_server import KEY, SECRET, ReferenceCall, reference_server

from .mutations import MUTATIONS

# The servers answer immediately, so each check can use a short time limit.
SHORT = Timeouts(connect=5, open=2, pong=0.5, close=0.5, observation=0.2, conversation=1)
_CONCURRENT_SERVERS = 12


def mode_of(name: str) -> CallMode:
    return CallMode.BOT if CallMode.BOT in CATALOGUE[name].modes else CallMode.MONITOR


async def run_on(
    call_class: type[ReferenceCall], names: list[str], mode: CallMode
) -> list[CheckResult]:
    is_bot = mode is CallMode.BOT
    secret = SECRET if any(CATALOGUE[name].signed for name in names) else None
    async with reference_server(call_class, is_bot=is_bot, secret=secret) as url:
        target = Target(url=url, mode=mode, api_key=KEY, secret=secret, timeouts=SHORT)
        return await run_checks(target, [CATALOGUE[name] for name in names])


def test_every_check_has_a_server_that_breaks_its_rule() -> None:
    assert set(MUTATIONS) == set(CATALOGUE)


async def test_every_check_fails_on_the_server_that_breaks_its_rule() -> None:
    slots = asyncio.Semaphore(_CONCURRENT_SERVERS)

    async def run_on_mutation(name: str) -> CheckResult:
        async with slots:
            (result,) = await run_on(MUTATIONS[name], [name], mode_of(name))
            return result

    results = await asyncio.gather(*map(run_on_mutation, CATALOGUE))
    assert [result for result in results if result.outcome is not Outcome.FAILED] == []
    assert all(result.detail for result in results)


@pytest.mark.parametrize("mode", CallMode)
async def test_every_check_passes_on_a_server_that_keeps_the_protocol(mode: CallMode) -> None:
    results = await run_on(ReferenceCall, list(CATALOGUE), mode)
    assert len(results) == sum(mode in check.modes for check in CATALOGUE.values())
    assert [result for result in results if result.outcome is not Outcome.PASSED] == []


def test_every_check_states_its_rule_in_a_sentence() -> None:
    for check in CATALOGUE.values():
        assert check.rule.endswith("."), check.id
        assert "\n" not in check.rule, check.id
