"""A redis-server process for tests, on a Unix socket in a temporary folder."""

from __future__ import annotations

import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from programs import require


class RedisServer:
    """A redis-server that stores nothing on disk.

    Args:
        options: Further command line options of redis-server.
        port: TCP port on which the server listens in addition to its Unix socket; 0 for none.

    Attributes:
        socket: Path of the Unix socket on which the server listens.
    """

    def __init__(self, *options: str, port: int = 0) -> None:
        self._program = require("redis-server")
        # A Unix socket path has at most about 100 characters; the paths of `tmp_path` are longer.
        self._folder = tempfile.mkdtemp(prefix="redis-")
        self.socket = str(Path(self._folder, "redis.sock"))
        self._options = (*options, "--port", str(port))
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start the server and wait until it accepts connections."""
        options = ["--unixsocket", self.socket, "--dir", self._folder]
        options += ["--save", "", "--appendonly", "no", "--daemonize", "no", *self._options]
        self._process = subprocess.Popen(
            [self._program, *options], stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        output = []
        for line in self._process.stdout:
            output.append(line)
            if "eady to accept connections" in line:
                return
        raise RuntimeError(f"redis-server ended:\n{''.join(output)}")

    def stop(self) -> None:
        """Kill the server and wait until the process has ended."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def suspend(self) -> None:
        """Suspend the process: connections succeed, but commands get no answer."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Resume the suspended process."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)
