"""A call whose serializer is attached to a transport that records the frames it receives."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from calls import SerializerCall
from pipecat.frames.frames import Frame


class Transport:
    """A replacement for a transport, with the methods that `attach` uses."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.handlers: dict[str, Callable[..., Awaitable[None]]] = {}

    def input(self) -> Transport:
        return self

    async def push_frame(self, frame: Frame) -> None:
        self.frames.append(frame)

    def add_event_handler(self, name: str, handler: Callable[..., Awaitable[None]]) -> None:
        self.handlers[name] = handler


class AttachedCall(SerializerCall):
    """A call in which the application sends messages with methods such as `pause`."""

    def __init__(self, rate: int = 16000, **params: Any) -> None:
        super().__init__(rate, **params)
        self.transport = Transport()
        self.serializer.attach(self.transport)  # type: ignore[arg-type]

    async def sent_messages(self) -> list[dict[str, Any]]:
        """Serialize the frames pushed since the previous use; return the messages on the wire."""
        frames, self.transport.frames = self.transport.frames, []
        wire = [await self.serializer.serialize(frame) for frame in frames]
        return [self.genesys.receive(text) for text in wire if text is not None]
