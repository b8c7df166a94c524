"""A server in the process of the tests, for calls over a real WebSocket."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from echo_server import EchoServer
from fastapi import FastAPI
from loopback import serving


@pytest.fixture
async def echo() -> AsyncIterator[EchoServer]:
    server = EchoServer()
    app = FastAPI()
    app.websocket("/audiohook")(server.answer)
    async with serving(app) as server.url:
        yield server
