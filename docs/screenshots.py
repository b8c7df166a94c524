"""Make the pictures of the inspector in docs/images/: `make screenshots`.

The simulator calls `examples/bot.py` a few times. The inspector opens the captures of these calls
in Chromium, which takes the pictures.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import wave
from pathlib import Path
from typing import Any

from pipecat_genesys.inspector.server import Inspector, InspectorSettings
from playwright.async_api import Browser, Page, async_playwright

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs" / "images"
AUDIO = ROOT / "examples" / "audio"
QUESTION, INTERRUPTION = AUDIO / "caller-question.wav", AUDIO / "caller-interrupt.wav"
CALLS = {
    "question-menu-interruption": [
        *("wait:bot", "wait:quiet", f"say:{QUESTION}", "wait:bot", "wait:quiet", "press:1"),
        *("wait:2", f"say:{INTERRUPTION}", "wait:bot", "wait:quiet", "press:9", "wait:end"),
    ],
    "second-open": [
        *("--fault", "second-open", "wait:bot", "wait:quiet", f"say:{QUESTION}", "wait:bot"),
        *("wait:quiet", "press:9", "wait:end"),
    ],
    "caller-hangs-up": ["wait:bot", "wait:1", "hang-up"],
    "keys-only": ["wait:bot", "press:1", "wait:3", "press:9", "wait:end"],
}
WIDE, NARROW = {"width": 1280, "height": 800}, {"width": 390, "height": 844}


def free_port() -> int:
    """Return a port that no program uses."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


async def make_calls(url: str, folder: Path) -> None:
    """Call the bot at a URL, all calls at once, with a capture of each."""
    program = [sys.executable, "-c", "from pipecat_genesys.cli import main; main()", "call", url]
    calls = [
        await asyncio.create_subprocess_exec(
            *program, *steps, "--capture", str(folder / f"{name}.jsonl"), stdout=subprocess.DEVNULL
        )
        for name, steps in CALLS.items()
    ]
    await asyncio.gather(*(call.wait() for call in calls))


def write_microphone(path: Path) -> None:
    """Write what the caller says into the microphone: the question, after the bot's greeting."""
    with wave.open(str(QUESTION)) as question, wave.open(str(path), "wb") as microphone:
        microphone.setparams(question.getparams())
        second = bytes(2 * question.getframerate())
        speech = question.readframes(question.getnframes())
        microphone.writeframes(5 * second + speech + 30 * second)


async def open_page(browser: Browser, url: str, scheme: Any, size: Any) -> Page:
    """Open the inspector's page and wait for its list."""
    page = await browser.new_page(color_scheme=scheme, viewport=size)
    await page.goto(url)
    await page.wait_for_selector("#call-count:not(:empty)")
    return page


async def open_call(page: Page, name: str) -> None:
    """Open a call and wait for its waveforms."""
    await page.locator(".call-row", has_text=name).click()
    await page.locator("#ladder .row").first.wait_for()
    await page.wait_for_load_state("networkidle")
    await page.wait_for_timeout(500)


async def take_pictures(browser: Browser, folder: Path, bot: str) -> None:
    """Take all pictures."""
    async with Inspector(InspectorSettings(captures=folder)).running() as inspector:
        page = await open_page(browser, inspector.url, "light", WIDE)
        await open_call(page, "question-menu-interruption")
        # Only rows near the visible ones are in the document.
        await page.fill("#search", "barge_in")
        await page.locator("#ladder .row:not([hidden])", has_text="barge_in").first.click()
        await page.fill("#search", "")
        await page.locator("#search").blur()
        await page.wait_for_timeout(500)
        await page.screenshot(path=IMAGES / "inspector.png")
        await page.close()

        page = await open_page(browser, inspector.url, "dark", WIDE)
        await open_call(page, "second-open")
        await page.locator("#ladder .row.violation").first.click()
        await page.wait_for_timeout(500)
        await page.screenshot(path=IMAGES / "inspector-broken-rule.png")
        await page.close()

        page = await open_page(browser, inspector.url, "light", NARROW)
        await open_call(page, "question-menu-interruption")
        await page.screenshot(path=IMAGES / "inspector-narrow.png")
        await page.close()

    async with Inspector(InspectorSettings(phone=bot)).running() as inspector:
        page = await open_page(browser, inspector.url, "dark", WIDE)
        await page.context.grant_permissions(["microphone"])
        await page.fill("#phone-ani", "+15550100")
        await page.click("#phone-call")
        await page.wait_for_selector("#keypad:not([hidden])")
        # The greeting, the question, its repetition, and a part of the menu.
        await page.wait_for_timeout(11_000)
        await page.click("#keypad button:text-is('1')")
        await page.wait_for_timeout(2000)
        await page.screenshot(path=IMAGES / "inspector-phone.png")
        await page.click("#phone-hang-up")
        await page.close()


async def main() -> None:
    """Make the calls, then the pictures."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        sys.exit("chromium is not installed; `make services` installs it")
    IMAGES.mkdir(exist_ok=True)
    port = free_port()
    bot = f"ws://127.0.0.1:{port}/audiohook"
    server = await asyncio.create_subprocess_exec(
        *(sys.executable, str(ROOT / "examples" / "bot.py")),
        env={**os.environ, "PORT": str(port)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                await asyncio.sleep(0.2)
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            await make_calls(bot, folder)
            microphone = folder / "microphone.wav"
            write_microphone(microphone)
            switches = [
                *("--no-sandbox", "--disable-gpu", "--use-fake-device-for-media-stream"),
                f"--use-file-for-fake-audio-capture={microphone}%noloop",
            ]
            async with async_playwright() as playwright:
                browser = await playwright.chromium.launch(executable_path=chromium, args=switches)
                await take_pictures(browser, folder, bot)
                await browser.close()
    finally:
        server.terminate()
        await server.wait()
    for picture in sorted(IMAGES.glob("inspector*.png")):
        print(f"{picture.relative_to(ROOT)}: {picture.stat().st_size // 1000} kB")


if __name__ == "__main__":
    asyncio.run(main())
