"""An installation for tests: HAProxy, two `pipecat-genesys serve` processes, a redis-server."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.error import URLError
from urllib.request import urlopen

from certificates import write_certificate
from redis_server import RedisServer

from .proxy import NAMES, Proxy

ROOT = Path(__file__).parents[2]
KEY = "key-of-the-integration"
SECRET = "bm90IGEgc2VjcmV0LCBhcyBpdCBpcyBpbiBhIHRlc3Q="
_SERVE = "import sys; from pipecat_genesys.cli import main; sys.argv[0] = 'pipecat-genesys'; main()"
# Time limit in seconds for starting a server. Importing pipecat is slow on a busy machine.
START_TIMEOUT = 90.0


def free_ports(number: int) -> list[int]:
    """Return ports of the loopback interface that are not in use at the moment."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


class ServeProcess:
    """A `pipecat-genesys serve` process.

    Attributes:
        port: Port on which the server listens.
    """

    def __init__(self, port: int, environ: Mapping[str, str], log: Path) -> None:
        self.port = port
        self._environ = {**environ, "PIPECAT_GENESYS_PORT": str(port)}
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the process. The server accepts calls after some seconds."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _SERVE, "serve", "examples.endpoint_bot:app"],
                cwd=ROOT,
                env=self._environ,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The process that was started last."""
        assert self._process is not None
        return self._process

    async def ready(self) -> None:
        """Wait until the server accepts calls."""
        url = f"http://127.0.0.1:{self.port}/readyz"
        async with asyncio.timeout(START_TIMEOUT):
            while True:
                assert self.process.poll() is None, self.log
                try:
                    (await asyncio.to_thread(urlopen, url, timeout=5)).close()
                except URLError:
                    await asyncio.sleep(0.05)
                else:
                    return

    def terminate(self) -> None:
        """Send SIGTERM, as Kubernetes and systemd do."""
        self.process.send_signal(signal.SIGTERM)

    async def exited(self, seconds: float) -> int:
        """Wait at most `seconds` until the process has ended, and return its exit status."""
        return await asyncio.to_thread(self.process.wait, seconds)

    def stop(self) -> None:
        """Kill the process if it still runs."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    @property
    def log(self) -> str:
        """Log of all processes of this server."""
        return self._log.read_text(encoding="utf-8") if self._log.exists() else ""


class Cluster:
    """The whole installation. In `async with`, HAProxy sends calls to both servers.

    Attributes:
        url: WebSocket URL of HAProxy.
        tls: TLS settings with which a client trusts HAProxy's certificate.
        proxy: HAProxy.
        servers: Servers by their name in HAProxy's configuration.
    """

    def __init__(self, folder: Path, **environ: Mapping[str, str]) -> None:
        """Create the installation without starting it.

        Args:
            folder: Folder for the logs and the certificate.
            environ: Additional environment variables by name of the server.
        """
        port, *ports = free_ports(1 + len(NAMES))
        certificate = folder / "localhost.pem"
        write_certificate(certificate)
        self.tls = ssl.create_default_context(cafile=str(certificate))
        self.url = f"wss://localhost:{port}/audiohook"
        self.proxy = Proxy(port, certificate, ports, folder / "haproxy.log")
        self._redis = RedisServer()
        secret = folder / "client-secret"
        secret.write_text(f"{SECRET}\n", encoding="utf-8")
        common = {
            **os.environ,
            "LOGURU_LEVEL": "INFO",  # the container image also sets this level
            "AUDIOHOOK_AUTHORITY": f"localhost:{port}",
            "GENESYS_API_KEY": KEY,
            "GENESYS_CLIENT_SECRET_FILE": str(secret),
            "REDIS_URL": f"unix://{self._redis.socket}",
            "PIPECAT_GENESYS_DRAIN_SECONDS": "300",
            # This is the value in deploy/README.md. HAProxy detects a drain within half a second.
            "PIPECAT_GENESYS_DRAIN_GRACE_SECONDS": "2",
        }
        self.servers = {
            name: ServeProcess(at, {**common, **environ.get(name, {})}, folder / f"{name}.log")
            for name, at in zip(NAMES, ports, strict=True)
        }

    async def __aenter__(self) -> Self:
        try:
            self._redis.start()
            for server in self.servers.values():
                server.start()
            # HAProxy assumes that a server is up until a check fails, so the servers start first.
            for server in self.servers.values():
                await server.ready()
            self.proxy.start()
            for name in NAMES:
                await self.up(name)
        except BaseException:
            self._stop()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop()

    def _stop(self) -> None:
        self.proxy.stop()
        for server in self.servers.values():
            server.stop()
        self._redis.__exit__(None, None, None)

    async def up(self, name: str) -> None:
        """Wait until HAProxy sends calls to a server."""
        await self.proxy.wait_until(name, lambda state: state.is_up, START_TIMEOUT)

    async def down(self, name: str) -> None:
        """Wait until HAProxy sends no more calls to a server."""
        await self.proxy.wait_until(name, lambda state: not state.is_up, START_TIMEOUT)
