"""Starts `call_server.py` in a separate process.

The process of the measuring client must not import the server. The server imports pipecat, which
creates many objects, and the garbage collection of these objects would delay the client.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_SCRIPT = Path(__file__).with_name("call_server.py")
_STOP_SECONDS = 20


@contextmanager
def running_call_server() -> Iterator[int]:
    """Run the server until the context ends; yields its port."""
    process = subprocess.Popen(
        [sys.executable, str(_SCRIPT)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield int(process.stdout.readline())
    finally:
        process.stdin.close()
        process.wait(_STOP_SECONDS)
        process.stdout.close()
