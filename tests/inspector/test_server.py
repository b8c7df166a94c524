"""Tests of the web server: its access control, and its responses."""

from __future__ import annotations

import asyncio
import io
import json
import os
import socket
import stat
import wave
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from pipecat_genesys.capture import read_capture
from pipecat_genesys.inspector.server import Inspector, InspectorSettings, InspectorStartError
from pipecat_genesys.simulator import CallOptions, SimulatedCall, sample_speech
from reference_server import KEY, SECRET, ReferenceCall, reference_server
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from yarl import URL


@dataclass(frozen=True)
class Answer:
    """The status, the headers and the body of an HTTP response."""

    status_code: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def text(self) -> str:
        return self.content.decode()

    def json(self) -> Any:
        return json.loads(self.content)


class Browser:
    """An HTTP client that keeps cookies."""

    def __init__(self, base_url: str, session: aiohttp.ClientSession) -> None:
        self.base_url = base_url
        self.session = session

    async def get(self, path: str, headers: Mapping[str, str] | None = None) -> Answer:
        return await self._request("GET", path, headers=headers)

    async def post(self, path: str, content: Any) -> Answer:
        return await self._request("POST", path, json=content)

    async def _request(self, method: str, path: str, **options: Any) -> Answer:
        url = URL(self.base_url + path, encoded=True)
        async with self.session.request(method, url, **options) as response:
            return Answer(response.status, response.headers, await response.read())


@asynccontextmanager
async def browser(base_url: str) -> AsyncIterator[Browser]:
    jar = aiohttp.CookieJar(unsafe=True)  # accepts cookies of IP addresses
    async with aiohttp.ClientSession(cookie_jar=jar) as session:
        yield Browser(base_url, session)


class Page:
    """Sends the requests of the inspector's page to an inspector."""

    def __init__(self, inspector: Inspector, client: Browser) -> None:
        self.inspector = inspector
        self.client = client

    async def get(self, path: str) -> Any:
        response = await self.client.get(path)
        assert response.status_code == 200, response.text
        return response.json()

    async def until_over(self, call_id: str) -> Mapping[str, Any]:
        """Wait for the end of a call; return its list entry."""
        while True:
            call: Mapping[str, Any] = (await self.get(f"/api/calls/{call_id}"))["call"]
            if not call["running"]:
                return call
            await asyncio.sleep(0.02)

    @asynccontextmanager
    async def socket(self, path: str) -> AsyncIterator[ClientConnection]:
        base = self.client.base_url
        cookies = self.client.session.cookie_jar
        cookie = "; ".join(f"{one.key}={one.value}" for one in cookies)
        async with connect(
            base.replace("http", "ws", 1) + path,
            origin=base,  # type: ignore[arg-type]
            additional_headers={"Cookie": cookie},
            close_timeout=1,
        ) as opened:
            yield opened


@asynccontextmanager
async def inspecting(warnings: list[str] | None = None, **settings: Any) -> AsyncIterator[Page]:
    """Run an inspector, and open its page as a browser does."""
    warn = (warnings if warnings is not None else []).append
    async with Inspector(InspectorSettings(**settings), warn).running() as inspector:
        base, _, query = inspector.url.partition("/?")
        async with browser(base) as client:
            response = await client.get(f"/api/config?{query}")
            assert response.status_code == 200
            yield Page(inspector, client)


async def place(url: str, *, options: CallOptions | None = None) -> SimulatedCall:
    async with SimulatedCall(url, options=options) as call:
        await call.opened()
        await call.wait_for_bot_audio()
        await call.press("5")
        await call.say(sample_speech(0.4))
        await call.hang_up()
        await call.ended()
    return call


async def proxied_call(page: Page) -> Mapping[str, Any]:
    """Place a call through the proxy of an inspector; return its list entry after the end."""
    assert page.inspector.proxy is not None
    await place(f"ws://127.0.0.1:{page.inspector.proxy.port}/audiohook")
    while True:
        for call in (await page.get("/api/calls"))["calls"]:
            if not call["running"]:
                return call  # type: ignore[no-any-return]
        await asyncio.sleep(0.02)


async def test_a_large_folder_is_read_while_the_page_is_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipecat_genesys.inspector.server._FIRST_SCAN", 0.0)
    for number in range(20):
        (tmp_path / f"{number}.jsonl").write_text("not a capture")
    async with inspecting(captures=tmp_path) as page:
        async with asyncio.timeout(10):
            while len((await page.client.get("/api/calls")).json()["calls"]) < 20:  # noqa: ASYNC110
                await asyncio.sleep(0.01)


# Tests of access control


async def test_only_the_token_and_its_cookie_open_the_page(tmp_path: Path) -> None:
    async with inspecting(captures=tmp_path) as page:
        async with browser(page.client.base_url) as stranger:
            for path in ("/", "/api/calls", "/app.js", "/api/config?token=wrong"):
                assert (await stranger.get(path)).status_code == 403
        response = await page.client.get("/api/calls")
        assert response.status_code == 200
        assert "default-src 'none'" in response.headers["content-security-policy"]
        assert response.headers["x-content-type-options"] == "nosniff"
        [cookie] = list(page.client.session.cookie_jar)
        assert cookie["httponly"]
        assert cookie["samesite"] == "Strict"


@pytest.mark.parametrize(
    "path", ["/%00", "/" + 300 * "a", "/../server.py", "/types.d.ts", "/none.js"]
)
async def test_a_file_that_the_page_does_not_have_is_not_found(path: str, tmp_path: Path) -> None:
    async with inspecting(captures=tmp_path) as page:
        assert (await page.client.get(path)).status_code == 404


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example.com"},
        {"Host": "127.0.0.1"},
        {"Origin": "http://evil.example.com"},
        {"Origin": "null"},
        {"Origin": "https://127.0.0.1"},
    ],
)
async def test_other_hosts_and_origins_are_refused(tmp_path: Path, headers: dict[str, str]) -> None:
    async with inspecting(captures=tmp_path) as page:
        token = page.inspector.url.partition("?")[2]
        response = await page.client.get(f"/api/calls?{token}", headers=headers)
        assert response.status_code in (400, 403)


async def test_other_origins_get_no_websocket(tmp_path: Path) -> None:
    async with inspecting(captures=tmp_path) as page:
        url = page.client.base_url.replace("http", "ws", 1)
        token = page.inspector.url.partition("?")[2]
        with pytest.raises((InvalidStatus, ConnectionClosed)):
            async with connect(
                f"{url}/api/live?{token}",
                origin="http://evil.example.com",  # type: ignore[arg-type]
            ) as opened:
                await opened.recv()


async def test_paths_outside_the_page_are_not_served(tmp_path: Path) -> None:
    async with inspecting(captures=tmp_path) as page:
        for path in ("/../server.py", "/%2e%2e/server.py", "/..%2fserver.py", "/nothing.js"):
            assert (await page.client.get(path)).status_code == 404


async def test_a_taken_port_is_a_clear_error(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        settings = InspectorSettings(captures=tmp_path, port=taken.getsockname()[1])
        with pytest.raises(InspectorStartError, match="--port"):
            await Inspector(settings).running().__aenter__()


# Tests of calls


async def test_a_call_can_be_seen_heard_and_saved(tmp_path: Path) -> None:
    async with (
        reference_server() as url,
        inspecting(proxy=url, save=tmp_path) as page,
    ):
        call = await proxied_call(page)
        base = f"/api/calls/{call['id']}"
        details = await page.get(base)
        assert details["parties"] == ["caller", "bot"]
        assert details["call"] == call
        page_of = await page.get(f"{base}/messages?from=1&limit=2")
        assert [message["i"] for message in page_of["messages"]] == [1, 2]
        assert page_of["messages"][0]["type"] == "opened"
        kinds = {mark["kind"] for mark in (await page.get(f"{base}/marks"))["marks"]}
        assert {"playback_started", "barge_in", "dtmf", "bucket"} <= kinds
        peaks = (await page.get(f"{base}/peaks/caller?columns=20"))["peaks"]
        assert len(peaks) == 40
        assert max(peaks) > 0.05
        await check_audio(page, base, call["duration"])
        saved = await page.client.get(f"{base}/capture")
    [file] = map(tmp_path.joinpath, os.listdir(tmp_path))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600 or os.name != "posix"
    recorded = read_capture(file)
    assert recorded.ended_by == "client"
    assert len(recorded.entries) > 5
    assert saved.text == file.read_text(encoding="utf-8")


async def check_audio(page: Page, base: str, duration: float) -> None:
    whole = await page.client.get(f"{base}/audio/both.wav")
    with wave.open(io.BytesIO(whole.content)) as file:
        assert file.getframerate() == 8000
        assert file.getnframes() == pytest.approx(duration * 8000, abs=16)
    part = await page.client.get(f"{base}/audio/both.wav", headers={"Range": "bytes=10-19"})
    assert part.status_code == 206
    assert part.content == whole.content[10:20]
    assert part.headers["content-range"] == f"bytes 10-19/{len(whole.content)}"
    tail = await page.client.get(f"{base}/audio/both.wav", headers={"Range": "bytes=-5"})
    assert tail.content == whole.content[-5:]
    beyond = await page.client.get(f"{base}/audio/both.wav", headers={"Range": "bytes=99999999-"})
    assert beyond.status_code == 416


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/calls/none", 404),
        ("/api/calls/none/messages", 404),
        ("/api/calls/proxy-1/messages?from=-1", 400),
        ("/api/calls/proxy-1/messages?limit=x", 400),
        ("/api/calls/proxy-1/peaks/nobody", 404),
        ("/api/calls/proxy-1/peaks/bot?columns=100000", 400),
        ("/api/calls/proxy-1/peaks/bot?from=nan", 400),
        ("/api/calls/proxy-1/audio/nobody.wav", 404),
        ("/api/calls/proxy-1/diff/none", 404),
    ],
)
async def test_wrong_requests_get_an_error_with_the_reason(path: str, status: int) -> None:
    async with inspecting(proxy="ws://127.0.0.1:1/") as page:
        page.inspector.calls.add("proxy", "a call", "ws://x/")  # type: ignore[arg-type]
        response = await page.client.get(path)
        assert response.status_code == status
        assert response.json()["error"]


async def test_the_live_feed_sends_the_list_and_the_subscribed_call() -> None:
    async with (
        reference_server() as url,
        inspecting(proxy=url) as page,
        page.socket("/api/live") as live,
    ):
        placing = asyncio.create_task(proxied_call(page))
        first = json.loads(await live.recv())
        call_id = first["calls"][0]["id"]
        assert first["calls"][0]["running"]
        await live.send(json.dumps({"subscribe": call_id}))
        messages: list[dict[str, Any]] = []
        while True:
            batch = json.loads(await live.recv())
            messages += batch.get("messages", [])
            if batch.get("call", {}).get("end"):
                break
        await placing
        listed = await page.get(f"/api/calls/{call_id}/messages")
    assert messages == listed["messages"]
    assert [message["i"] for message in messages] == list(range(len(messages)))


async def test_a_page_that_does_not_read_harms_neither_calls_nor_other_pages() -> None:
    async with (
        reference_server() as url,
        inspecting(proxy=url) as page,
        page.socket("/api/live") as slow,
        page.socket("/api/live") as quick,
    ):
        slow.transport.pause_reading()
        call = await proxied_call(page)
        assert call["faults"] == 0
        while not any(c["end"] for c in json.loads(await quick.recv())["calls"]):
            pass
        slow.transport.resume_reading()


async def test_a_replay_is_a_call_that_can_be_compared() -> None:
    class Other(ReferenceCall):
        """A server that does not answer `dtmf`."""

        async def on_dtmf(self, event: object) -> None:
            return

    async with (
        reference_server() as url,
        reference_server(Other) as other,
        inspecting(proxy=url) as page,
    ):
        call = await proxied_call(page)
        same = await replayed(page, call, None)
        assert same["error"] is None
        differing = await replayed(page, call, other)
        for again, expected in ((same, True), (differing, False)):
            diff = await page.get(f"/api/calls/{call['id']}/diff/{again['id']}")
            servers = [
                row["same"]
                for row in diff["rows"]
                if (row["a"] or row["b"])["dir"] == "to_client"
                and (row["a"] or row["b"])["type"] != "pong"
            ]
            assert all(servers) is expected
        failing = await replayed(page, call, "ws://127.0.0.1:1/")
        assert "127.0.0.1:1" in failing["error"]
        wrong = await page.client.post(f"/api/calls/{call['id']}/replay", {"url": "x"})
        assert wrong.status_code == 400


async def replayed(page: Page, call: Mapping[str, Any], url: str | None) -> Mapping[str, Any]:
    response = await page.client.post(f"/api/calls/{call['id']}/replay", {"url": url})
    return await page.until_over(response.json()["id"])


async def test_a_full_disk_ends_the_saving_and_not_the_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pipecat_genesys.inspector.server.create_file", full)
    warnings: list[str] = []
    async with (
        reference_server() as url,
        inspecting(warnings, proxy=url, save=tmp_path) as page,
    ):
        call = await proxied_call(page)
        assert call["faults"] == 0
        listed = await page.get(f"/api/calls/{call['id']}/messages")
    [warning] = warnings
    assert "No space left" in warning
    assert warning in [message["note"] for message in listed["messages"]]


# Tests of the phone


async def test_a_wrong_command_of_the_page_is_answered_with_an_error() -> None:
    async with (
        inspecting(phone="ws://127.0.0.1:9/x") as page,
        page.socket("/api/phone") as phone,
    ):
        for command in ({"microphone": {}}, {"microphone": 5}, {"key": "1"}, {}):
            await phone.send(json.dumps(command))
            answer = json.loads(await phone.recv())
            assert answer["state"] == "ended"
            assert answer["error"]


async def opened_phone(phone: ClientConnection, **start: Any) -> str:
    await phone.send(json.dumps({"microphone": {"rate": 48_000}}))
    await phone.send(json.dumps({"start": start}))
    while True:
        message = await phone.recv()
        if isinstance(message, str) and (state := json.loads(message)).get("state") == "opened":
            return str(state["id"])


async def until_ended(phone: ClientConnection) -> dict[str, Any]:
    async for message in phone:
        if isinstance(message, str) and json.loads(message).get("state") == "ended":
            return json.loads(message)  # type: ignore[no-any-return]
    raise AssertionError("the socket was closed before the call ended")


async def test_the_phone_calls_with_the_page_s_settings() -> None:
    heard = bytearray()
    opens: list[dict[str, Any]] = []

    class Hears(ReferenceCall):
        async def on_open(self, event: Any) -> None:
            opens.append(event.raw["parameters"])
            await super().on_open(event)
            await self.send_audio(b"\x00" * 4000)

        async def on_audio(self, data: bytes) -> None:
            heard.extend(data)

    options = CallOptions(api_key=KEY, client_secret=SECRET)
    async with (
        reference_server(Hears, secret=SECRET) as url,
        inspecting(phone=url, options=options) as page,
        page.socket("/api/phone") as phone,
    ):
        call_id = await opened_phone(
            phone, language="de-DE", ani="tel:+49301", dnis="tel:+49302", input={"tier": "gold"}
        )
        loud = (b"\x00\x40" * 240 + b"\x00\xc0" * 240) * 100
        await phone.send(loud)
        bot = bytearray()
        while len(bot.strip(b"\0")) < 4000:
            message = await phone.recv()
            if isinstance(message, bytes):
                bot += message
        await phone.send(json.dumps({"key": "5"}))
        await phone.send(json.dumps({"hold": True}))
        await phone.send(json.dumps({"hold": False}))
        await phone.send(json.dumps({"key": "nonsense"}))
        await phone.send(json.dumps({"hang_up": True}))
        ended = await until_ended(phone)
        listed = await page.get(f"/api/calls/{call_id}/messages")
        summary = (await page.get(f"/api/calls/{call_id}"))["call"]
        text = json.dumps([listed, summary, await page.get("/api/config")])
    assert ended["error"] is None
    assert opens[0]["participant"]["ani"] == "tel:+49301"
    assert opens[0]["language"] == "de-DE"
    assert opens[0]["inputVariables"] == {"tier": "gold"}
    types = [message["type"] for message in listed["messages"]]
    assert {"dtmf", "paused", "resumed", "close", "closed"} <= set(types)
    assert summary["faults"] == 0
    assert not summary["running"]
    assert set(heard) - {0xFF}, "the server heard only silence"
    assert SECRET not in text


async def test_a_closed_page_hangs_up_the_call_and_keeps_it() -> None:
    async with reference_server() as url, inspecting(phone=url) as page:
        async with page.socket("/api/phone") as phone:
            call_id = await opened_phone(phone)
        await page.until_over(call_id)
        listed = await page.get(f"/api/calls/{call_id}/messages")
    types = [message["type"] for message in listed["messages"]]
    assert types[-3:-1] == ["close", "closed"]


async def test_two_pages_have_a_call_each() -> None:
    async with (
        reference_server() as url,
        inspecting(phone=url) as page,
        page.socket("/api/phone") as one,
        page.socket("/api/phone") as two,
    ):
        first, second = await opened_phone(one), await opened_phone(two)
        assert first != second
        await one.send(json.dumps({"hang_up": True}))
        await until_ended(one)
        assert (await page.get(f"/api/calls/{second}"))["call"]["running"]


@pytest.mark.parametrize("secret", [SECRET, None])
async def test_a_phone_without_an_answer_says_why(secret: str | None) -> None:
    async with reference_server(secret=SECRET) as url:
        target = url if secret is None else "ws://127.0.0.1:1/"
        async with inspecting(phone=target) as page, page.socket("/api/phone") as phone:
            await phone.send(json.dumps({"start": {}}))
            ended = await until_ended(phone)
            assert target in ended["error"]
            await phone.send(json.dumps({"start": {}}))
            assert (await until_ended(phone))["error"]


async def test_the_phone_makes_a_fault_by_name() -> None:
    async with (
        reference_server() as url,
        inspecting(phone=url) as page,
        page.socket("/api/phone") as phone,
    ):
        call_id = await opened_phone(phone, fault="seq-gap")
        await until_ended(phone)
        listed = await page.get(f"/api/calls/{call_id}/messages")
        await phone.send(json.dumps({"start": {"fault": "no-such-fault"}}))
        assert "no-such-fault" in (await until_ended(phone))["error"]
    rules = [rule["rule"] for message in listed["messages"] for rule in message["rules"]]
    assert "client-seq" in rules
