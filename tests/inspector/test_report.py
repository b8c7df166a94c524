"""Tests of the HTML report: the file contains the page and the call, and needs no network."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest
import soundfile
from pipecat_genesys.inspector.calls import InspectedCall, simulated_call
from pipecat_genesys.inspector.report_page import report_page
from pipecat_genesys.simulator import SimulatedCall, sample_speech
from reference_server import reference_server

NODE = shutil.which("node")


class Parts(HTMLParser):
    """The inline scripts and styles of a page, its security policy, and its URLs."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.styles: list[str] = []
        self.policy = ""
        self.urls: list[str] = []
        self._open: tuple[str, dict[str, str | None]] | None = None
        self._text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.urls += [value for name in ("src", "href") if (value := found.get(name))]
        if found.get("http-equiv") == "Content-Security-Policy":
            self.policy = found.get("content") or ""
        if tag in ("script", "style"):
            self._open, self._text = (tag, found), ""

    def handle_data(self, data: str) -> None:
        self._text += data

    def handle_endtag(self, tag: str) -> None:
        if self._open is not None and tag == self._open[0]:
            if tag == "script":
                self.scripts.append((self._open[1], self._text))
            else:
                self.styles.append(self._text)
            self._open = None


async def short_call() -> InspectedCall:
    async with reference_server() as url, SimulatedCall(url) as call:
        await call.opened()
        await call.press("5")
        await call.say(sample_speech(0.6))
        await call.hang_up()
        await call.ended()
    return simulated_call(call)


async def test_the_report_needs_nothing_but_itself() -> None:
    parts = Parts(report_page(await short_call()))
    assert all(url.startswith(("data:", "#")) for url in parts.urls), parts.urls
    executed = [text for attributes, text in parts.scripts if "json" not in str(attributes)]
    assert executed
    for text in executed:
        assert not re.search(r"^\s*(import|export)\b", text, re.MULTILINE)
        assert f"'sha256-{digest(text)}'" in parts.policy
    assert parts.styles
    for text in parts.styles:
        assert f"'sha256-{digest(text)}'" in parts.policy
    assert "default-src 'none'" in parts.policy
    assert "unsafe" not in parts.policy
    assert "http" not in parts.policy


def digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


async def test_the_report_holds_the_messages_and_the_voices() -> None:
    call = await short_call()
    parts = Parts(report_page(call))
    [block] = [text for attributes, text in parts.scripts if attributes.get("id") == "capture"]
    data = json.loads(block)
    assert len(data["messages"]) == len(call.analysis.messages)
    assert data["parties"] == ["caller", "bot"]
    for party in data["parties"]:
        samples, rate = soundfile.read(io.BytesIO(base64.b64decode(data["audio"][party])))
        assert rate == 8000
        assert len(samples) / rate == pytest.approx(data["call"]["duration"], abs=0.01)
        lowest = min(data["peaks"][party]["peaks"])
        assert lowest == pytest.approx(samples.min(), abs=0.01)


@pytest.mark.skipif(NODE is None, reason="node is not installed")
async def test_the_joined_modules_are_a_valid_module(tmp_path: Path) -> None:
    parts = Parts(report_page(await short_call()))
    [module] = [text for attributes, text in parts.scripts if attributes.get("type") == "module"]
    file = tmp_path / "joined.mjs"
    file.write_text(module, encoding="utf-8")
    assert NODE is not None
    process = await asyncio.create_subprocess_exec(NODE, "--check", str(file))
    assert await process.wait() == 0
