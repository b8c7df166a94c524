"""An ASGI application on a free port of the loopback interface."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn


@asynccontextmanager
async def serving(app: Any, **options: Any) -> AsyncIterator[str]:
    """Serve an application until the context ends; yield the URL of its `/audiohook` route.

    Args:
        app: The ASGI application.
        options: Additional options for uvicorn.
    """
    config = uvicorn.Config(
        app, log_level="warning", **{"ws": "websockets-sansio", "lifespan": "off"} | options
    )
    http = uvicorn.Server(config)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        task = asyncio.create_task(http.serve(sockets=[listener]))
        try:
            yield f"ws://127.0.0.1:{listener.getsockname()[1]}/audiohook"
        finally:
            http.should_exit = True
            await asyncio.wait_for(task, 20)
