"""Tests of the page of the inspector in a real browser."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import importlib.util
import io
import json
import logging
import os
import platform
import re
import shutil
import sys
import wave
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from loopback import serving
from numpy.typing import NDArray
from pipecat.frames.frames import Frame, InputAudioRawFrame
from pipecat.processors.frame_processor import FrameDirection
from pipecat_genesys.audio import ulaw_encode
from pipecat_genesys.inspector.report_page import WEB
from pipecat_genesys.inspector.server import Inspector, InspectorSettings
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect
from vehicles import IS_NEWEST
from websockets.asyncio.client import connect

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page

log = logging.getLogger(__name__)
ROOT = Path(__file__).parents[2]
AUDIO = ROOT / "examples" / "audio"
SESSION = "e160e428-53e2-487c-977d-96989bf5c99d"
MARKUP = '<img src=x onerror="window.hacked=1"></script><script>window.hacked=1</script>\'&'


def find_chromium() -> str:
    """Return the browser's path. Without browser or Playwright, skip; in CI on x86 Linux, fail."""
    names = ("chromium", "google-chrome", "chromium-browser")
    found = next(filter(None, map(shutil.which, names)), None)
    has_playwright = importlib.util.find_spec("playwright") is not None
    if found is None or not has_playwright:
        missing = (
            "chromium or playwright is not installed; `make services` and `make dev` install them"
        )
        if os.environ.get("CI") and (sys.platform, platform.machine()) == ("linux", "x86_64"):
            pytest.fail(missing, pytrace=False)
        pytest.skip(missing)
    return found


@asynccontextmanager
async def chromium(*switches: str) -> AsyncIterator[Browser]:
    """Run the browser."""
    program = find_chromium()
    from playwright.async_api import async_playwright

    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=program, args=["--no-sandbox", "--disable-gpu", *switches]
        )
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def page_of(browser: Browser, url: str, **options: Any) -> AsyncIterator[Page]:
    """Open a page. Script errors, and errors in the browser's console, fail the test."""
    errors: list[str] = []
    context = await browser.new_context(**options)
    page = await context.new_page()
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda line: errors.append(line.text) if line.type == "error" else None)
    await page.goto(url)
    try:
        yield page
    except Exception as error:
        error.add_note(f"errors of the page: {errors}")
        raise
    await context.close()
    assert errors == []


@asynccontextmanager
async def inspecting(**settings: Any) -> AsyncIterator[Inspector]:
    async with Inspector(InspectorSettings(**settings)).running() as inspector:
        yield inspector


def message(kind: str, seq: int, at: float = 0.0, **fields: Any) -> dict[str, Any]:
    """Return a message with a valid envelope; `fields` replace fields of the envelope."""
    return {
        "version": "2",
        "type": kind,
        "seq": seq,
        "serverseq": 0,
        "id": SESSION,
        "position": f"PT{at}S",
        "parameters": {},
    } | fields


def opening(**fields: Any) -> dict[str, Any]:
    """Return an `open` message."""
    parameters = {
        "organizationId": "d7934305-0972-4844-938e-9060eef73d05",
        "conversationId": "090eaa2f-72fa-480a-83e0-8667ff89c0ec",
        "participant": {
            "id": "883efee8-3d6c-4537-b500-6d7ca4b92fa0",
            "ani": "+15550100",
            "aniName": "A Caller",
            "dnis": "+15550199",
        },
        "media": [{"type": "audio", "format": "PCMU", "channels": ["external"], "rate": 8000}],
        "language": "en-US",
    }
    return message("open", 1, parameters=parameters | fields)


def capture_lines(entries: Iterable[dict[str, Any]], *, end: float) -> Iterator[str]:
    """Yield the lines of a capture; `entries` are the messages."""
    headers = {"Audiohook-Session-Id": SESSION}
    head = {"capture": 1, "url": "ws://127.0.0.1:1/x", "mode": "bot", "headers": headers}
    yield json.dumps(head) + "\n"
    for entry in entries:
        yield json.dumps(entry) + "\n"
    yield json.dumps({"at": end, "end": "client", "code": 1000}) + "\n"


def client_line(at: float, content: dict[str, Any]) -> dict[str, Any]:
    """Return the capture entry of a message that the client sent."""
    fields = {"direction": "to_server", "type": content["type"], "seq": content["seq"]}
    return {"at": round(at, 4), **fields, "size": len(json.dumps(content)), "message": content}


def write_capture(path: Path, lines: Iterable[str]) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(lines)


def envelope(samples: NDArray[np.int16], rate: int) -> NDArray[np.float64]:
    """Return the loudness of windows of 20 ms, every 5 ms, in dB above -45 dBFS; 0 if quieter."""
    power = np.concatenate([[0.0], np.cumsum((samples / 32768.0) ** 2)])
    window = rate // 50
    starts = np.arange(0, len(samples) - window, rate // 200)
    means = (power[starts + window] - power[starts]) / window
    return np.maximum(10 * np.log10(np.maximum(means, 1e-12)), -45.0) + 45


def similarity(heard: NDArray[np.float64], said: NDArray[np.float64]) -> float:
    """Return the highest correlation of `said` with a section of `heard` of the same length."""
    if len(heard) < len(said):
        return 0.0
    parts = np.lib.stride_tricks.sliding_window_view(heard, len(said))
    parts = parts - parts.mean(1, keepdims=True)
    centred = said - said.mean()
    norms = np.linalg.norm(parts, axis=1) * np.linalg.norm(centred)
    return float((parts @ centred / np.maximum(norms, 1e-9)).max())


def read_wav(source: Path | bytes) -> tuple[NDArray[np.int16], int]:
    file = io.BytesIO(source) if isinstance(source, bytes) else str(source)
    with wave.open(file) as wav:
        pcm = wav.readframes(wav.getnframes())
        return np.frombuffer(pcm, np.int16), wav.getframerate()


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0.05)


def test_vendored_files_have_their_recorded_hashes_and_a_licence() -> None:
    vendor = WEB / "vendor"
    recorded = dict(
        reversed(line.split()) for line in (vendor / "SHA256SUMS").read_text().splitlines()
    )
    files = {path.name: path for path in vendor.iterdir()}
    assert set(recorded) == set(files) - {"SHA256SUMS", "README.md"}
    assert "uPlot.LICENSE" in recorded
    for name, digest in recorded.items():
        assert hashlib.sha256(files[name].read_bytes()).hexdigest() == digest
    version = re.search(r"^UPLOT := (\S+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert version is not None
    assert f"uPlot (v{version[1]})" in (vendor / "uPlot.iife.min.js").read_text(encoding="utf-8")
    assert version[1] in (vendor / "README.md").read_text(encoding="utf-8")


def test_page_sets_text_only_as_text() -> None:
    """No script sets HTML from text; index.html has no inline styles and no inline handlers."""
    for path in WEB.glob("*.js"):
        source = path.read_text(encoding="utf-8")
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", source
        )
    assert not re.search(r" style=| on\w+=", (WEB / "index.html").read_text(encoding="utf-8"))


def bot_app(monkeypatch: pytest.MonkeyPatch, heard: bytearray) -> Any:
    """Return the application of examples/bot.py. Received audio is appended to `heard`."""
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    spec = importlib.util.spec_from_file_location("example_bot", ROOT / "examples" / "bot.py")
    assert spec is not None
    assert spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    class RecordingBot(module.RepeatBot):  # type: ignore[misc]
        async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
            if isinstance(frame, InputAudioRawFrame):
                heard.extend(frame.audio)
            await super().process_frame(frame, direction)

    monkeypatch.setattr(module, "RepeatBot", RecordingBot)
    return module.app


@pytest.mark.skipif(
    not IS_NEWEST, reason="older pipecats drop frames queued while the pipeline starts"
)
async def test_phone_carries_a_spoken_call_to_the_bot_and_back(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    question, rate = read_wav(AUDIO / "caller-question.wav")
    greeting = envelope(*read_wav(AUDIO / "greeting.wav"))
    said = envelope(question, rate)
    microphone = tmp_path / "microphone.wav"
    with wave.open(str(microphone), "wb") as wav:
        wav.setparams((1, 2, rate, 0, "NONE", ""))
        # The caller speaks after 4.5 s, because the greeting lasts 3.6 s.
        wav.writeframes(bytes(9 * rate) + question.tobytes() + bytes(2 * 30 * rate))
    heard = bytearray()
    switches = (
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-audio-capture={microphone}%noloop",
    )
    async with (
        serving(bot_app(monkeypatch, heard), lifespan="on") as url,
        inspecting(phone=url) as inspector,
        chromium(*switches) as browser,
        page_of(browser, inspector.url, permissions=["microphone"]) as page,
    ):
        await page.fill("#phone-ani", "+15550123")
        await page.fill("#phone-input", "queue=billing\nempty=")
        await page.click("#phone-call")
        await page.wait_for_selector("#keypad:not([hidden])")
        (call,) = inspector.calls

        def marks(kind: str) -> int:
            return sum(mark.kind == kind for mark in call.analysis.marks)

        # The bot plays the greeting, and then repeats the caller's question.
        await until(lambda: marks("playback_completed") >= 2)
        playout = await page.locator("#phone-playout").evaluate("node => ({...node.dataset})")
        await page.click("#keypad button:text-is('9')")
        await page.wait_for_selector("#phone-state:text('The call has ended.')", timeout=20_000)
        recording = {
            party: envelope(*read_wav(await wav_of(page, call.id, party)))
            for party in ("caller", "bot")
        }
        await page.click("#tab-details")
        details = await page.inner_text("#panel-details")
        await page.click("#tab-messages")
        rules = await page.locator(".row.violation").count()

    assert similarity(greeting, said) < 0.7  # `similarity` is low for different utterances.
    in_pipeline = envelope(np.frombuffer(bytes(heard), np.int16), 16000)
    assert similarity(in_pipeline, said) > 0.9
    assert similarity(recording["caller"], said) > 0.9
    assert similarity(recording["bot"], greeting) > 0.95
    assert similarity(recording["bot"], said) > 0.85
    assert float(playout["played"]) > 5.0
    assert float(playout["deepest"]) <= 0.1
    assert re.search(r"intent\s+goodbye", details)
    assert rules == 0
    opened = call.analysis.messages[0].as_json(full=True)["json"]
    assert opened["parameters"]["participant"]["ani"] == "+15550123"
    assert opened["parameters"]["inputVariables"] == {"queue": "billing", "empty": ""}


async def wav_of(page: Page, call_id: str, party: str) -> bytes:
    """Return the WAV file of one party of a call, which the page fetches."""
    code = """async (path) => Array.from(new Uint8Array(await (await fetch(path)).arrayBuffer()))"""
    return bytes(await page.evaluate(code, f"api/calls/{call_id}/audio/{party}.wav"))


async def test_refused_microphone_and_unreachable_bot_are_explained() -> None:
    async with (
        chromium("--use-fake-device-for-media-stream") as browser,
        inspecting(phone="ws://127.0.0.1:1/audiohook") as inspector,
    ):
        async with page_of(browser, inspector.url) as page:
            await page.click("#phone-call")
            await page.locator("#phone-state.error", has_text="refused the microphone").wait_for()
            assert not list(inspector.calls)
        async with page_of(browser, inspector.url, permissions=["microphone"]) as page:
            await page.click("#phone-call")
            await page.locator("#phone-state.error", has_text="127.0.0.1:1").wait_for()
            assert await page.is_enabled("#phone-call")


OPENED = {
    "startPaused": False,
    "media": [{"type": "audio", "format": "PCMU", "channels": ["external"], "rate": 8000}],
}
EVENT = {"type": "transcript", "data": {}}
# The server sends one of these messages after `opened`. Each message breaks a rule.
PLANTED: list[str | dict[str, Any]] = [
    "this is not JSON",
    "[1, 2, 3]",
    '{"version": "2"}',
    {"type": "opened", "parameters": OPENED},
    {"type": "pong"},
    {"type": "no-such-type"},
    {"type": "closed"},
    {"type": "updated"},
    {"type": "event", "parameters": {"entities": "none"}},
    {"type": "event", "parameters": {"entities": [EVENT]}},
    {"type": "event", "parameters": {"entities": [{"data": {}}]}},
    {"type": "reconnect", "parameters": {"info": 7}},
    {"type": "event", "id": "another-id", "parameters": {"entities": []}},
    {"type": "event", "seq": 1, "parameters": {"entities": []}},
    {"type": "event", "seq": 99, "parameters": {"entities": []}},
    {"type": "event", "clientseq": 99, "parameters": {"entities": []}},
    {"type": "event", "clientseq": "one", "parameters": {"entities": []}},
    {"type": "event", "version": 3, "parameters": {"entities": []}},
    {"type": "disconnect", "parameters": {"reason": "no-such-reason"}},
    {"type": "disconnect", "parameters": "none"},
]


@pytest.mark.parametrize(
    "messages",
    [PLANTED[::5], pytest.param(PLANTED, marks=pytest.mark.slow)],
    ids=["some", "all"],
)
async def test_each_broken_rule_is_shown_in_red_with_its_source_while_the_call_runs(
    messages: list[str | dict[str, Any]],
) -> None:
    """In each call, the server breaks a rule. The page marks the message before the call ends."""
    planted: asyncio.Queue[str | dict[str, Any]] = asyncio.Queue()

    async def answer(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.receive_text()
        server = {"version": "2", "id": SESSION, "clientseq": 1, "parameters": {}}
        await websocket.send_json(server | {"type": "opened", "seq": 1, "parameters": OPENED})
        wrong = planted.get_nowait()
        if isinstance(wrong, dict):
            await websocket.send_json(server | {"seq": 2} | wrong)
        else:
            await websocket.send_text(wrong)
        with suppress(WebSocketDisconnect):
            await websocket.receive_text()

    application = Starlette(routes=[WebSocketRoute("/audiohook", answer)])
    delays = []
    async with (
        serving(application) as url,
        inspecting(proxy=url) as inspector,
        chromium() as browser,
        page_of(browser, inspector.url) as page,
    ):
        assert inspector.proxy is not None
        proxied = f"ws://127.0.0.1:{inspector.proxy.port}/audiohook"
        for wrong in messages:
            planted.put_nowait(wrong)
            async with connect(proxied, additional_headers={"X-API-KEY": "key"}) as client:
                await client.send(json.dumps(opening()))
                sent = asyncio.get_running_loop().time()
                await client.recv()
                await client.recv()
                listed = list(inspector.calls)[-1]
                # Do not click the row of the call, because rows move while calls start and end.
                await page.locator(f"#calls [data-id='{listed.id}']").wait_for()
                await page.evaluate("id => { location.hash = id }", listed.id)
                row = f"#ladder .row[data-call='{listed.id}']:not([hidden])"
                red = page.locator(f"{row}.violation, {row}.warning").last
                await red.wait_for()
                delays.append(asyncio.get_running_loop().time() - sent)
                await red.click()
                source = page.locator("#detail .rule .source").first
                await source.wait_for()
                assert len(await source.inner_text()) > len("Source: ")
    # These times include the time that the page needs to open the call.
    log.info("shown after %.0f to %.0f ms", 1000 * min(delays), 1000 * max(delays))
    if messages is PLANTED:
        assert max(delays) <= 1.0


async def test_hostile_captures_are_shown_as_text_and_harm_nothing(tmp_path: Path) -> None:
    lines = [client_line(0, opening(language=MARKUP))]
    for seq in range(2, 30):
        fields = {MARKUP: MARKUP, "parameters": {MARKUP: [MARKUP]}}
        lines.append(client_line(seq / 10, message(MARKUP, seq, seq / 10, **fields)))
    huge = message("ping", 30, 3.0, parameters={"rtt": "x" * 1_000_000})
    lines.append(client_line(3.0, huge))
    write_capture(tmp_path / "&<b>markup.jsonl", capture_lines(lines, end=4.0))
    broken = "".join(capture_lines(lines[:5], end=1.0)).encode()
    (tmp_path / "broken.jsonl").write_bytes(broken[:700] + b"\xff\xfe\n{]\n\n" + broken[700:-9])
    (tmp_path / "newer.jsonl").write_text('{"capture": 99}\n')
    (tmp_path / "empty.jsonl").write_text("")
    async with (
        inspecting(captures=tmp_path) as inspector,
        chromium() as browser,
        page_of(browser, inspector.url) as page,
    ):
        await page.wait_for_selector(".call-row")
        names = await page.locator(".call-row:not([hidden]) .call-row-name").all_inner_texts()
        assert len(names) == 4
        assert any("<b>" in name for name in names)
        for number in range(4):
            await page.locator(".call-row:not([hidden])").nth(number).click()
            await page.wait_for_selector("#call:not([hidden])")
            for tab in ("events", "details", "messages"):
                await page.click(f"#tab-{tab}")
        await page.locator(".call-row", has_text="markup").click()
        await page.locator("#ladder .row", has_text="<img").first.click()
        await page.locator("#detail-body pre", has_text="<img").wait_for()
        await page.fill("#search", "xxxxxxxx")
        await page.locator("#ladder .row:not([hidden])", has_text="ping").click()
        await page.click("#detail-body .json button")
        length = "document.querySelector('#detail-body pre').textContent.length"
        assert await page.evaluate(length) > 1_000_000
        assert await page.evaluate("window.hacked") is None
        assert await page.locator("main img, nav img, main script").count() == 0


async def test_only_capture_is_opened_even_if_the_page_is_there_first(tmp_path: Path) -> None:
    async with (
        inspecting(captures=tmp_path) as inspector,
        chromium() as browser,
        page_of(browser, inspector.url) as page,
    ):
        await page.locator("#no-calls", has_text="no capture").wait_for()
        write_started(tmp_path, 10)
        await page.locator("#call-name", has_text="call-10").wait_for()


def write_started(folder: Path, minute: int) -> None:
    """Write the capture of a call that started at 10 o'clock UTC and this number of minutes."""
    first, *rest = capture_lines([client_line(0, opening())], end=0.5)
    head = json.loads(first) | {"source": "recorder", "started": f"2026-11-30T10:{minute}:00Z"}
    path = folder / f"call-{minute}.jsonl"
    write_capture(path.with_suffix(".part"), [json.dumps(head) + "\n", *rest])
    path.with_suffix(".part").rename(path)


async def test_click_opens_the_call_under_the_pointer_while_new_calls_arrive(
    tmp_path: Path,
) -> None:
    for minute in range(10, 14):
        write_started(tmp_path, minute)
    async with (
        inspecting(captures=tmp_path) as inspector,
        chromium() as browser,
        page_of(browser, inspector.url) as page,
    ):
        count = page.locator("#call-count")

        async def counted(number: int) -> None:
            await count.get_by_text(str(number), exact=True).wait_for()
            # Wait for two animation frames. The page draws the list in the first one, so the list
            # is complete in the second one.
            await page.evaluate(
                "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
            )

        async def order() -> list[str]:
            rows = page.locator(".call-row:not([hidden])")
            texts = await rows.evaluate_all(
                "(rows) => rows.map((row) => [row.getBoundingClientRect().top,"
                " row.querySelector('.call-row-name').textContent])"
            )
            return [re.findall(r"call-\d+", name)[0] for _, name in sorted(texts)]

        async def opened(name: str) -> None:
            await page.locator("#call-name", has_text=name).wait_for()

        await counted(4)
        assert await order() == ["call-13", "call-12", "call-11", "call-10"]
        box = await page.locator(".call-row", has_text="call-12").bounding_box()
        assert box is not None
        await page.mouse.move(box["x"] + 20, box["y"] + 10)
        write_started(tmp_path, 14)
        await counted(5)
        await page.mouse.down()
        write_started(tmp_path, 15)
        await counted(6)
        await page.mouse.up()
        await opened("call-12")
        assert (await order())[:4] == ["call-13", "call-12", "call-11", "call-10"]
        await page.mouse.move(box["x"] + box["width"] + 200, box["y"])
        await page.locator(".call-row").nth(0).wait_for()
        await counted(6)
        assert await order() == [f"call-{minute}" for minute in range(15, 9, -1)]


async def test_report_is_one_file_that_shows_and_plays_the_call_without_network(
    tmp_path: Path,
) -> None:
    question, _ = read_wav(AUDIO / "caller-question.wav")
    spoken = ulaw_encode(question.tobytes())
    lines = [client_line(0, opening())]
    opened = {"version": "2", "type": "opened", "seq": 1, "clientseq": 1, "id": SESSION}
    opened["parameters"] = OPENED
    fields = {"direction": "from_server", "type": "opened", "seq": 1, "size": 300}
    lines.append({"at": 0.05, **fields, "message": opened})
    for number, start in enumerate(range(0, len(spoken), 1600)):
        packet = spoken[start : start + 1600]
        fields = {"direction": "to_server", "type": "audio", "size": len(packet)}
        encoded = base64.b64encode(packet).decode()
        lines.append({"at": 0.3 + number / 5, **fields, "audio": encoded})
    write_capture(tmp_path / "call.jsonl", capture_lines(lines, end=4.0))
    async with chromium("--autoplay-policy=no-user-gesture-required") as browser:
        async with (
            inspecting(captures=tmp_path) as inspector,
            page_of(browser, inspector.url, color_scheme="dark") as page,
        ):
            await page.wait_for_selector("#call:not([hidden])")
            async with page.expect_download() as download:
                await page.click("#save-report")
            report = tmp_path / "report.html"
            await (await download.value).save_as(report)
        requested: list[str] = []
        async with page_of(browser, report.as_uri(), offline=True) as page:
            page.on("request", lambda request: requested.append(request.url))
            await page.locator("#ladder .row", has_text="opened").wait_for()
            assert await page.locator("#replay-button").is_hidden()
            await page.locator("#voices label", has_text="caller").click()
            await page.click("#play")
            await page.locator("#clock", has_not_text=re.compile("^0:00")).wait_for()
            assert all(url.startswith("blob:") for url in requested)


async def test_replay_is_shown_beside_the_recorded_call(tmp_path: Path) -> None:
    """The page shows an output variable that has another value in the replay."""
    recorded, replayed = {"intent": "billing"}, {"intent": "sales"}

    async def answer(websocket: WebSocket) -> None:
        await websocket.accept()
        seq = 0
        with suppress(WebSocketDisconnect):
            while True:
                received = await websocket.receive()
                if received["type"] == "websocket.disconnect":
                    return
                if not received.get("text"):
                    continue
                asked = json.loads(received["text"])
                answers = {"open": ("opened", OPENED), "ping": ("pong", {})}
                answers["close"] = ("closed", {"outputVariables": replayed})
                kind, parameters = answers[asked["type"]]
                seq += 1
                fields = {"version": "2", "id": asked["id"], "seq": seq, "clientseq": asked["seq"]}
                await websocket.send_json(fields | {"type": kind, "parameters": parameters})

    def server_line(at: float, kind: str, seq: int, parameters: dict[str, Any]) -> dict[str, Any]:
        content = {"version": "2", "type": kind, "seq": seq, "clientseq": seq, "id": SESSION}
        fields = {"direction": "from_server", "type": kind, "seq": seq, "size": 200}
        return {"at": at, **fields, "message": content | {"parameters": parameters}}

    lines = [
        client_line(0, opening()),
        server_line(0.1, "opened", 1, OPENED),
        client_line(0.3, message("close", 2, parameters={"reason": "end"})),
        server_line(0.4, "closed", 2, {"outputVariables": recorded}),
    ]
    write_capture(tmp_path / "call.jsonl", capture_lines(lines, end=0.5))
    application = Starlette(routes=[WebSocketRoute("/audiohook", answer)])
    async with (
        serving(application) as url,
        inspecting(captures=tmp_path) as inspector,
        chromium() as browser,
        page_of(browser, inspector.url) as page,
    ):
        await page.locator("#ladder .row", has_text="closed").first.wait_for()
        await page.keyboard.press("r")
        await page.fill("#replay-url", url)
        await page.click("#replay-form button.primary")
        await page.locator("#compare-count", has_text="differ").wait_for()
        assert await page.get_attribute("#tab-compare", "aria-selected") == "true"
        different = page.locator("#compare .row.different", has_text="closed")
        await different.click()
        shown = await page.inner_text("#compare-detail")
        assert "outputVariables" in shown
        assert "billing" in shown
        assert "sales" in shown
        await page.click("#open-replay")
        await page.locator("#call-name", has_text="replay of call").wait_for()


def hour_of_messages() -> Iterator[dict[str, Any]]:
    """Yield the entries of a call of one hour: audio in both directions, and 10,000 pings."""
    question, _ = read_wav(AUDIO / "caller-question.wav")
    encoded = ulaw_encode(question.tobytes())
    spoken = [base64.b64encode(encoded[at : at + 1600]).decode() for at in range(0, 17600, 1600)]
    silence = base64.b64encode(b"\xff" * 1600).decode()
    yield client_line(0, opening())
    server = {"version": "2", "id": SESSION, "clientseq": 1}
    message_ = server | {"type": "opened", "seq": 1, "parameters": OPENED}
    yield {
        "at": 0.05,
        "direction": "from_server",
        "type": "opened",
        "seq": 1,
        "size": 300,
        "message": message_,
    }
    seq = 1
    for number in range(18_000):
        at = 0.3 + number / 5
        turn = number % 50
        audio = {"type": "audio", "size": 1600}
        packet = spoken[turn] if turn < len(spoken) else silence
        yield {"at": at, "direction": "to_server", **audio, "audio": packet}
        if 20 <= turn < 20 + len(spoken):
            packet = spoken[turn - 20]
            yield {"at": at + 0.01, "direction": "from_server", **audio, "audio": packet}
        if number % 9 < 5:
            seq += 1
            yield client_line(at + 0.02, message("ping", seq, round(number / 5 + 0.2, 1)))


# This script measures the time from each user event until the next frame is painted.
MEASURE = """() => {
  window.delays = [];
  const painted = new MessageChannel();
  const waiting = [];
  painted.port1.onmessage = () => {
    for (const start of waiting.splice(0)) window.delays.push(performance.now() - start);
  };
  for (const type of ['keydown', 'click', 'wheel', 'input', 'change']) {
    addEventListener(type, (event) => {
      const start = event.timeStamp;
      requestAnimationFrame(() => { waiting.push(start); painted.port2.postMessage(0); });
    }, { capture: true, passive: true });
  }
}"""


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_hour_of_audio_and_ten_thousand_messages_stay_fluent_and_bounded(
    tmp_path: Path,
) -> None:
    write_capture(tmp_path / "hour.jsonl", capture_lines(hour_of_messages(), end=3601.0))
    async with (
        inspecting(captures=tmp_path) as inspector,
        chromium("--enable-precise-memory-info", "--js-flags=--expose-gc") as browser,
        page_of(browser, inspector.url) as page,
    ):
        page.set_default_timeout(120_000)
        await page.wait_for_selector("#call:not([hidden])")
        await page.locator("#message-count", has_text=re.compile("^1[0-9],[0-9]+ of 3")).wait_for()
        await page.wait_for_load_state("networkidle")
        heap = "(gc(), performance.memory.usedJSHeapSize / 1e6)"
        loaded = await page.evaluate(heap)
        await page.evaluate(MEASURE)
        await page.select_option("#type", "")
        for _ in range(2):
            await page.hover("#ladder")
            for distance in (400, 4000, 40_000, 200_000, -100_000, 3000):
                await page.mouse.wheel(0, distance)
                await page.wait_for_timeout(50)
            await page.focus("#ladder")
            for key in ("j", "k", "PageDown", "PageDown", "End", "PageUp", "Home", "+", "+", "-"):
                await page.keyboard.press(key)
                await page.wait_for_timeout(50)
            await page.hover("#lanes")
            for distance in (-600, -600, 300, -900, 2000):
                await page.mouse.wheel(0, distance)
                await page.wait_for_timeout(50)
            for text in ("ping", "pin", "p", ""):
                await page.fill("#search", text)
                await page.wait_for_timeout(150)
            await page.locator("#ladder .row:not([hidden])").nth(3).click()
            await page.wait_for_timeout(100)
            await page.keyboard.press("0")
        delays = sorted(await page.evaluate("window.delays"))
        nodes = await page.evaluate("document.querySelectorAll('*').length")
        used = await page.evaluate(heap)
    p95 = delays[int(0.95 * len(delays))]
    log.info("%d interactions, p95 %.0f ms, worst %.0f ms", len(delays), p95, delays[-1])
    log.info("heap %.1f MB when loaded, %.1f MB at the end, %d nodes", loaded, used, nodes)
    assert len(delays) >= 40
    assert p95 <= 100
    assert used <= 64
    assert nodes < 2500
