"""Tests of the route in docs/security.md in a real server, with a real WebSocket client."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import pytest
from loopback import serving
from pipecat_genesys.auth import VerifiedRequest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from .signing import KEY, NONCE, ORGANIZATION, SECRET, RequestToSign

GUIDE = Path(__file__).parents[2] / "docs" / "security.md"
HOST = "bot.example.com"
REFUSED = "401b''"


class Route:
    """The route of the guide with a bot that records the caller, sends one message and ends."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("GENESYS_API_KEY", KEY)
        monkeypatch.setenv("GENESYS_CLIENT_SECRET", SECRET)
        snippet = re.search(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
        assert snippet is not None
        names: dict[str, Any] = {"run_bot": self._run_bot}
        exec(snippet[1], names)
        assert {HOST, ORGANIZATION} <= set(re.findall(r'"([^"]+)"', snippet[1]))
        self.app = names["app"]
        self.callers: list[VerifiedRequest] = []

    async def _run_bot(self, websocket: Any, caller: VerifiedRequest) -> None:
        self.callers.append(caller)
        await websocket.send_text("in")


def fresh(target: str, **changed: Any) -> RequestToSign:
    """Return an upgrade request to sign, which is valid from now on for 30 s."""
    now = int(time.time())
    call = RequestToSign(authority=HOST, target=target, **changed)
    return call.having(created=now, expires=now + 30)


async def connect_as_genesys(url: str, call: RequestToSign) -> str:
    """Connect; return the message of the bot, or the status and the body of the refusal."""
    headers = call.headers(host=None)
    try:
        async with connect(url, additional_headers=headers, proxy=None) as socket:
            return str(await socket.recv())
    except InvalidStatus as refused:
        return f"{refused.response.status_code}{bytes(refused.response.body or b'')!r}"


@pytest.mark.parametrize("query", ["", "?connector=1&a[]=%2F+%20&&b", "?x=/?y"])
async def test_the_route_of_the_guide_accepts_only_genuine_new_requests(
    monkeypatch: pytest.MonkeyPatch, query: str
) -> None:
    route = Route(monkeypatch)
    async with serving(route.app) as url:
        call = fresh(f"/audiohook{query}")
        assert await connect_as_genesys(url + query, call) == "in"
        assert await connect_as_genesys(url + query, call) == REFUSED  # this request is a replay
        other = call.having(nonce=NONCE + "2")
        assert await connect_as_genesys(f"{url}{query or '?'}x", other) == REFUSED
        assert await connect_as_genesys(url + query, fresh(call.target, secret="AAAA")) == REFUSED
        assert await connect_as_genesys(url + query, other) == "in"
    assert [caller.request_target for caller in route.callers] == 2 * [call.target]
    assert route.callers[0].authority == HOST


async def test_the_path_is_verified_as_encoded_on_the_wire(monkeypatch: pytest.MonkeyPatch) -> None:
    route = Route(monkeypatch)
    async with serving(route.app) as url:
        assert (
            await connect_as_genesys(url.replace("hook", "%68ook"), fresh("/audio%68ook")) == "in"
        )
        decoded = fresh("/audiohook").having(nonce=NONCE + "2")
        assert await connect_as_genesys(url.replace("hook", "%68ook"), decoded) == REFUSED


async def test_root_path_restores_a_prefix_that_a_proxy_removed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    route = Route(monkeypatch)
    async with serving(route.app, root_path="/bots") as url:
        assert await connect_as_genesys(url, fresh("/bots/audiohook")) == "in"
        assert (
            await connect_as_genesys(url, fresh("/audiohook").having(nonce=NONCE + "2")) == REFUSED
        )
