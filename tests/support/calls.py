"""A call with a serializer and without a transport."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from genesys import Genesys
from pipecat.frames.frames import InputAudioRawFrame, InputDTMFFrame, SystemFrame
from pipecat_genesys import GenesysAudioHookSerializer


class SerializerCall:
    """A serializer, and a Genesys client that builds messages for the serializer."""

    def __init__(self, rate: int = 16000, **params: Any) -> None:
        self.genesys = Genesys()
        self.rate = rate
        self.serializer = GenesysAudioHookSerializer(
            GenesysAudioHookSerializer.InputParams(**params)
        )

    async def connect(self) -> None:
        await self.serializer.setup(SimpleNamespace(audio_in_sample_rate=self.rate))

    async def open(self, *offer: dict[str, Any], **parameters: Any) -> dict[str, Any]:
        """Set up the serializer, pass `open` to the serializer, and return the reply `opened`."""
        await self.connect()
        return await self.exchange(self.genesys.open(*offer, **parameters))

    async def exchange(self, text: str) -> dict[str, Any]:
        """Pass a client message to the serializer; return the parsed reply, which must exist."""
        frame = await self.serializer.deserialize(text)
        assert frame is not None, "the serializer returned no reply frame"
        return self.genesys.receive(await self.serializer.serialize(frame))

    async def send_unanswered(self, text: str | bytes) -> None:
        """Pass a message that has no reply; check that the result is None or a system frame."""
        frame = await self.serializer.deserialize(text)
        if frame is not None:
            assert isinstance(frame, SystemFrame), frame
            assert not isinstance(frame, (InputAudioRawFrame, InputDTMFFrame)), frame
            assert await self.serializer.serialize(frame) is None


async def handlers_done(*serializers: Any) -> None:
    """Wait until all called event handlers have run; pipecat runs each handler in a task."""
    for serializer in serializers:
        await asyncio.gather(*(task for _, task in serializer._event_tasks))
