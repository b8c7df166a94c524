"""HAProxy as deploy/haproxy.cfg has it, for a test to start and ask."""

from __future__ import annotations

import asyncio
import csv
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from programs import require

CONFIGURATION = Path(__file__).parents[2] / "deploy" / "haproxy.cfg"
NAMES = ("first", "second")
"""The servers', there."""


@dataclass(frozen=True)
class Seen:
    """What HAProxy knows of a server.

    Attributes:
        is_up: Whether it gets new calls.
        connections: Those it has now.
    """

    is_up: bool
    connections: int


class Proxy:
    """A HAProxy process."""

    def __init__(self, port: int, certificate: Path, servers: Sequence[int], log: Path) -> None:
        """Create it.

        Args:
            port: Where it listens.
            certificate: With its key.
            servers: Their ports.
            log: For what it says.
        """
        self._program = require("haproxy")
        # Not pytest's folder: the path of a socket may have some 100 characters only.
        self._folder = Path(tempfile.mkdtemp(prefix="haproxy-"))
        self._socket = self._folder / "admin.sock"
        self._environ = {
            **os.environ,
            "AUDIOHOOK_BIND": f"127.0.0.1:{port}",
            "AUDIOHOOK_CERTIFICATE": str(certificate),
            "AUDIOHOOK_ADMIN_SOCKET": str(self._socket),
        }
        for name, at in zip(NAMES, servers, strict=True):
            self._environ[f"AUDIOHOOK_{name.upper()}"] = f"127.0.0.1:{at}"
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it."""
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [self._program, "-db", "-f", str(CONFIGURATION)],
                env=self._environ,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def stop(self) -> None:
        """Kill it, and wait until it is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    async def seen(self) -> dict[str, Seen]:
        """How it sees the servers, by its statistics."""
        reader, writer = await asyncio.open_unix_connection(self._socket)
        writer.write(b"show stat\n")
        text = (await reader.read()).decode().removeprefix("# ")
        writer.close()
        await writer.wait_closed()
        return {
            row["svname"]: Seen(row["status"] == "UP", int(row["scur"]))
            for row in csv.DictReader(text.splitlines())
            if row["pxname"] == "servers" and row["svname"] in NAMES
        }

    async def until(self, name: str, is_so: Callable[[Seen], bool], seconds: float) -> None:
        """Wait until something is true of a server. HAProxy tells of nothing by itself."""
        async with asyncio.timeout(seconds):
            while True:
                assert self._process is not None
                assert self._process.poll() is None, self._log.read_text(encoding="utf-8")
                try:
                    if is_so((await self.seen())[name]):
                        return
                except (FileNotFoundError, ConnectionRefusedError):
                    pass  # it has just been started
                await asyncio.sleep(0.05)
