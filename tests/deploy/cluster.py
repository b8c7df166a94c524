"""HAProxy, two servers of ours and a redis-server on this machine, as deploy/haproxy.cfg has them."""

from __future__ import annotations

import asyncio
import csv
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.error import URLError
from urllib.request import urlopen

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from programs import require
from redis_server import RedisServer

ROOT = Path(__file__).parents[2]
KEY = "key-of-the-integration"
SECRET = "bm90IGEgc2VjcmV0LCBhcyBpdCBpcyBpbiBhIHRlc3Q="
NAMES = ("first", "second")
_SERVE = "import sys; from pipecat_genesys.cli import main; sys.argv[0] = 'pipecat-genesys'; main()"
# For what takes as long as the machine is slow: importing pipecat, above all.
_PATIENCE = 90.0


def free_ports(number: int) -> list[int]:
    """Ports of the loopback interface that nobody has, so far."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def write_certificate(target: Path) -> None:
    """A certificate for localhost with its key, in one file as HAProxy has it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    target.write_bytes(
        certificate.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )


class Server:
    """`pipecat-genesys serve`, in a process of its own.

    Attributes:
        port: Where it listens.
    """

    def __init__(self, port: int, environ: Mapping[str, str], log: Path) -> None:
        self.port = port
        self._environ = {**environ, "PIPECAT_GENESYS_PORT": str(port)}
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; it is some seconds until it takes calls."""
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
        """The one that runs, or ran last."""
        assert self._process is not None
        return self._process

    async def ready(self) -> None:
        """Wait until it takes calls."""
        url = f"http://127.0.0.1:{self.port}/readyz"
        async with asyncio.timeout(_PATIENCE):
            while True:
                assert self.process.poll() is None, self.log
                try:
                    (await asyncio.to_thread(urlopen, url, timeout=5)).close()
                except URLError:
                    await asyncio.sleep(0.05)
                else:
                    return

    def terminate(self) -> None:
        """Tell it to go, as Kubernetes and systemd do."""
        self.process.send_signal(signal.SIGTERM)

    async def exited(self, seconds: float) -> int:
        """Wait until it is gone; gives its exit status."""
        return await asyncio.to_thread(self.process.wait, seconds)

    def stop(self) -> None:
        """Kill it, if it still runs."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    @property
    def log(self) -> str:
        """What it said, in all its lives."""
        return self._log.read_text(encoding="utf-8") if self._log.exists() else ""


@dataclass(frozen=True)
class Seen:
    """What HAProxy knows of a server.

    Attributes:
        is_up: Whether it gets new calls.
        connections: Those it has now.
        total: Those it ever had.
    """

    is_up: bool
    connections: int
    total: int


class Cluster:
    """All of it. Used with `async with`; both servers are ready then.

    Attributes:
        url: Where calls go.
        authority: The host that is signed.
        tls: What the client trusts.
        servers: By HAProxy's name for them.
    """

    def __init__(self, folder: Path, **environ: Mapping[str, str]) -> None:
        """Create it.

        Args:
            folder: For logs and the certificate.
            environ: More environment, by server.
        """
        self._haproxy = require("haproxy")
        self._folder = folder
        self.redis = RedisServer()
        # Not pytest's folder: the path of a socket may have some 100 characters only.
        self._sockets = tempfile.mkdtemp(prefix="haproxy-")
        self._admin = str(Path(self._sockets, "admin.sock"))
        port, *ports = free_ports(1 + len(NAMES))
        self.authority = f"localhost:{port}"
        self.url = f"wss://{self.authority}/audiohook"
        certificate = folder / "localhost.pem"
        write_certificate(certificate)
        self.tls = ssl.create_default_context(cafile=str(certificate))
        secret = folder / "client-secret"
        secret.write_text(f"{SECRET}\n", encoding="utf-8")
        common = {
            **os.environ,
            "AUDIOHOOK_AUTHORITY": self.authority,
            "GENESYS_API_KEY": KEY,
            "GENESYS_CLIENT_SECRET_FILE": str(secret),
            "REDIS_URL": f"unix://{self.redis.socket}",
            "PIPECAT_GENESYS_DRAIN_SECONDS": "300",
            # Twice as long as HAProxy takes to see it.
            "PIPECAT_GENESYS_DRAIN_GRACE_SECONDS": "1",
        }
        self.servers = {
            name: Server(at, {**common, **environ.get(name, {})}, folder / f"{name}.log")
            for name, at in zip(NAMES, ports, strict=True)
        }
        self._environ = {
            **os.environ,
            "AUDIOHOOK_BIND": f"127.0.0.1:{port}",
            "AUDIOHOOK_CERTIFICATE": str(certificate),
            "AUDIOHOOK_ADMIN_SOCKET": self._admin,
            "AUDIOHOOK_FIRST": f"127.0.0.1:{ports[0]}",
            "AUDIOHOOK_SECOND": f"127.0.0.1:{ports[1]}",
        }
        self._proxy: subprocess.Popen[bytes] | None = None

    async def __aenter__(self) -> Self:
        try:
            self.redis.start()
            for server in self.servers.values():
                server.start()
            # HAProxy takes servers for up until a check has failed, so they come first.
            for server in self.servers.values():
                await server.ready()
            with (self._folder / "haproxy.log").open("wb") as log:
                self._proxy = subprocess.Popen(
                    [self._haproxy, "-db", "-f", str(ROOT / "deploy" / "haproxy.cfg")],
                    env=self._environ,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                )
            for name in NAMES:
                await self.until(name, is_up=True)
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
        if self._proxy is not None:
            self._proxy.kill()
            self._proxy.wait()
        for server in self.servers.values():
            server.stop()
        self.redis.__exit__(None, None, None)
        shutil.rmtree(self._sockets, ignore_errors=True)

    async def seen(self) -> dict[str, Seen]:
        """How HAProxy sees the servers, by its statistics."""
        reader, writer = await asyncio.open_unix_connection(self._admin)
        writer.write(b"show stat\n")
        text = (await reader.read()).decode().removeprefix("# ")
        writer.close()
        await writer.wait_closed()
        return {
            row["svname"]: Seen(row["status"] == "UP", int(row["scur"]), int(row["stot"]))
            for row in csv.DictReader(text.splitlines())
            if row["pxname"] == "servers" and row["svname"] in NAMES
        }

    async def until(self, name: str, *, is_up: bool) -> None:
        """Wait until HAProxy has noticed that a server came or went."""
        async with asyncio.timeout(_PATIENCE):
            while True:
                assert not is_up or self.servers[name].process.poll() is None, self.servers[name].log
                if os.path.exists(self._admin):
                    seen = await self.seen()
                    if seen[name].is_up is is_up:
                        return
                assert self._proxy is None or self._proxy.poll() is None, (
                    (self._folder / "haproxy.log").read_text(encoding="utf-8")
                )
                await asyncio.sleep(0.05)
