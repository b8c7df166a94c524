"""A call whose serializer is attached to a transport that keeps what it is given."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from calls import Call
from pipecat.frames.frames import Frame


class Transport:
    """What `attach` needs of a transport."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.handlers: dict[str, Callable[..., Awaitable[None]]] = {}

    def input(self) -> Transport:
        return self

    async def push_frame(self, frame: Frame) -> None:
        self.frames.append(frame)

    def add_event_handler(self, name: str, handler: Callable[..., Awaitable[None]]) -> None:
        self.handlers[name] = handler


class AttachedCall(Call):
    """Messages that verbs send come out of `said`, as they are on the wire."""

    def __init__(self, rate: int = 16000, **params: Any) -> None:
        super().__init__(rate, **params)
        self.transport = Transport()
        self.serializer.attach(self.transport)  # type: ignore[arg-type]

    async def said(self) -> list[dict[str, Any]]:
        frames, self.transport.frames = self.transport.frames, []
        wire = [await self.serializer.serialize(frame) for frame in frames]
        return [self.genesys.heard(text) for text in wire if text is not None]
