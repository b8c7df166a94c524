"""Every check passes on a server that keeps the protocol, and fails on one that breaks its rule."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pipecat_genesys.conformance import CATALOGUE, Outcome, Patience, Result, Target, run
from pipecat_genesys.simulator import CallMode
from reference_server import KEY, SECRET, Conversation, reference_server

from .mutations import MUTATIONS

# Genesys's own are long; what is tested here is what is said, not how late it may be.
PATIENCE = Patience(connect=5, open=2, pong=0.5, close=0.5, settle=0.2, talk=1)
_AT_ONCE = 8


def _mode(name: str) -> CallMode:
    return CallMode.BOT if CallMode.BOT in CATALOGUE[name].modes else CallMode.MONITOR


async def _judge(kind: Any, names: list[str], mode: CallMode) -> list[Result]:
    is_bot = mode is CallMode.BOT
    secret = SECRET if any(CATALOGUE[name].signed for name in names) else None
    async with reference_server(kind, is_bot=is_bot, secret=secret) as url:
        target = Target(url=url, mode=mode, api_key=KEY, secret=secret, patience=PATIENCE)
        return await run(target, [CATALOGUE[name] for name in names])


@pytest.fixture(scope="module")
def on_mutated_servers() -> dict[str, Result]:
    """The result of each check on the server that breaks its rule."""

    async def judge_all() -> list[Result]:
        slots = asyncio.Semaphore(_AT_ONCE)

        async def judge(name: str) -> Result:
            async with slots:
                (result,) = await _judge(MUTATIONS[name], [name], _mode(name))
                return result

        return await asyncio.gather(*map(judge, CATALOGUE))

    return {result.check.id: result for result in asyncio.run(judge_all())}


def test_there_is_a_mutation_for_every_check() -> None:
    assert set(MUTATIONS) == set(CATALOGUE)


@pytest.mark.parametrize("name", CATALOGUE)
def test_it_fails_where_its_rule_is_broken(
    name: str, on_mutated_servers: dict[str, Result]
) -> None:
    result = on_mutated_servers[name]
    assert result.outcome is Outcome.FAILED, result
    assert result.detail


@pytest.mark.parametrize("mode", CallMode)
async def test_all_pass_where_the_protocol_is_kept(mode: CallMode) -> None:
    results = await _judge(Conversation, list(CATALOGUE), mode)
    assert len(results) == sum(mode in check.modes for check in CATALOGUE.values())
    assert [result for result in results if result.outcome is not Outcome.PASSED] == []
