"""Tests of the page of the inspector in a real browser."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
import shutil
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pipecat_genesys.capture import create_file
from pipecat_genesys.inspector.report_page import WEB
from pipecat_genesys.inspector.server import Inspector, InspectorSettings

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page

ROOT = Path(__file__).parents[2]
QUESTION = ROOT / "examples" / "audio" / "caller-question.wav"
MARKUP = '<img src=x onerror="window.hacked=1"></script><script>window.hacked=1</script>\'&'


def find_chromium() -> str:
    """Return the path of the browser. Without a browser, skip the test; in CI on Linux, fail."""
    names = ("chromium", "google-chrome", "chromium-browser")
    found = next(filter(None, map(shutil.which, names)), None)
    has_playwright = importlib.util.find_spec("playwright") is not None
    if found is None or not has_playwright:
        missing = "chromium or playwright is not installed; `make services` and `make dev` do that"
        if os.environ.get("CI") and sys.platform == "linux":
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
    """Open a page. Errors of its scripts and violations of its policy fail the test."""
    errors: list[str] = []
    context = await browser.new_context(**options)
    page = await context.new_page()
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda line: errors.append(line.text) if line.type == "error" else None)
    await page.goto(url)
    yield page
    await context.close()
    assert errors == []


@asynccontextmanager
async def inspecting(**settings: Any) -> AsyncIterator[Inspector]:
    async with Inspector(InspectorSettings(**settings)).running() as inspector:
        yield inspector


def capture_lines(count: int = 10, *, name: str = "ping") -> Iterator[dict[str, Any]]:
    """Yield the lines of a capture with `count` messages of one type after `open` and `opened`."""
    session = "e160e428-53e2-487c-977d-96989bf5c99d"
    yield {
        "capture": 1,
        "url": "ws://127.0.0.1:1/audiohook",
        "mode": "bot",
        "headers": {"Audiohook-Session-Id": session},
    }
    for number in range(1, count + 1):
        at = round(number / 50, 3)
        message = {
            "version": "2",
            "type": name,
            "seq": number,
            "serverseq": 0,
            "id": session,
            "position": f"PT{at}S",
            "parameters": {"number": number},
        }
        yield {
            "at": at,
            "direction": "to_server",
            "type": name,
            "seq": number,
            "size": 200,
            "message": message,
        }
    yield {"at": count / 50 + 1, "end": "client", "code": 1000}


def write_capture(path: Path, lines: Iterator[dict[str, Any]]) -> None:
    with os.fdopen(create_file(path), "w", encoding="utf-8") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)


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
    """Text of calls is untrusted, and the policy forbids inline styles."""
    for path in WEB.glob("*.js"):
        source = path.read_text(encoding="utf-8")
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", source
        )
    assert not re.search(r" style=| on\w+=", (WEB / "index.html").read_text(encoding="utf-8"))
