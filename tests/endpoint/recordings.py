"""Functions that wait for recordings and find their files."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from pipecat_genesys.endpoint import RecordingSettings

from .served import ServedEndpoint, samples, served


def files_in(folder: Path) -> list[Path]:
    """Return the files in a folder, sorted by name; no files if there is no folder."""
    return sorted(folder.iterdir()) if folder.is_dir() else []


def file_in(folder: Path) -> Path:
    """Return the only file in a folder."""
    (path,) = files_in(folder)
    return path


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in files_in(folder))


def open_files(folder: Path) -> list[str]:
    """Return the files of a folder that this process has open."""
    if sys.platform != "linux":
        return []
    links = (os.path.realpath(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd"))
    return [link for link in links if link.startswith(str(folder))]


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait until a condition holds, for at most 20 s."""
    async with asyncio.timeout(20):
        while not await condition():  # noqa: ASYNC110 - another thread or process changes it
            await asyncio.sleep(0.02)


async def ended(server: ServedEndpoint) -> None:
    """Wait until no call is running and all recordings are written."""
    await server.idle()
    await server.endpoint.recorder.close()


@asynccontextmanager
async def recorded(folder: Path, bot: Any = None, **settings: Any) -> AsyncIterator[ServedEndpoint]:
    """Serve a bot, by default an echo, and record its calls."""
    options = {} if bot is None else {"bot": bot}
    async with served(recording=RecordingSettings(folder, **settings), **options) as server:
        yield server
        await ended(server)


def counted(server: ServedEndpoint, name: str) -> float:
    """Return the value of a metric; the server may have stopped."""
    return samples(server.endpoint.metrics.text()[0].decode())[f"audiohook_{name}"]
