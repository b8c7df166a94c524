"""HAProxy with deploy/haproxy.cfg as a process of a test."""

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
"""Names of the servers in HAProxy's configuration."""


@dataclass(frozen=True)
class ServerState:
    """State of a server in HAProxy's statistics.

    Attributes:
        is_up: Whether HAProxy sends new calls to the server.
        connections: Number of open connections to the server.
    """

    is_up: bool
    connections: int


class Proxy:
    """A HAProxy process."""

    def __init__(self, port: int, certificate: Path, servers: Sequence[int], log: Path) -> None:
        """Create the proxy without starting it.

        Args:
            port: Port on which HAProxy listens.
            certificate: File with the certificate and its key.
            servers: Ports of the servers.
            log: File for HAProxy's log.
        """
        self._program = require("haproxy")
        # The path of a Unix socket is limited to about 100 characters; pytest's folders are longer.
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
        """Start HAProxy."""
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [self._program, "-db", "-f", str(CONFIGURATION)],
                env=self._environ,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def stop(self) -> None:
        """Kill HAProxy and wait until it has ended."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    async def server_states(self) -> dict[str, ServerState]:
        """Return the states of the servers by name, from HAProxy's statistics."""
        reader, writer = await asyncio.open_unix_connection(self._socket)
        writer.write(b"show stat\n")
        text = (await reader.read()).decode().removeprefix("# ")
        writer.close()
        await writer.wait_closed()
        return {
            row["svname"]: ServerState(row["status"] == "UP", int(row["scur"]))
            for row in csv.DictReader(text.splitlines())
            if row["pxname"] == "servers" and row["svname"] in NAMES
        }

    async def wait_until(
        self, name: str, condition: Callable[[ServerState], bool], seconds: float
    ) -> None:
        """Wait until a condition holds for a server; poll, because HAProxy has no events."""
        async with asyncio.timeout(seconds):
            while True:
                assert self._process is not None
                assert self._process.poll() is None, self._log.read_text(encoding="utf-8")
                try:
                    if condition((await self.server_states())[name]):
                        return
                except (FileNotFoundError, ConnectionRefusedError):
                    pass  # HAProxy has not created its admin socket yet
                await asyncio.sleep(0.05)
