"""Fixtures that pass the same input to Pipecat's serializer and to this serializer."""

from __future__ import annotations

import copy
import json
from types import SimpleNamespace
from typing import Any

import pipecat.serializers.genesys as theirs
import pipecat_genesys as ours
import pytest
from genesys import SESSION
from pipecat.frames.frames import Frame


class Twin:
    """Pipecat's serializer and this package's serializer in the same call.

    `deserialize`, `serialize` and `wire` pass their argument to both serializers, and return both
    results.

    Attributes:
        theirs: Pipecat's serializer.
        ours: The serializer of this package.
        calls: Calls of event handlers, by serializer: `theirs` or `ours`.
    """

    def __init__(self, **params: Any) -> None:
        if (
            "resampler_clear_after_secs"
            in theirs.GenesysAudioHookSerializer.InputParams.model_fields
        ):
            params = {"resampler_clear_after_secs": None, **params}
        self.theirs = theirs.GenesysAudioHookSerializer(
            theirs.GenesysAudioHookSerializer.InputParams(**params)
        )
        self.ours = ours.GenesysAudioHookSerializer(
            ours.GenesysAudioHookSerializer.InputParams(**params)
        )
        # Before `open`, each serializer has a random session id.
        self.theirs._session_id = self.ours.call.session.session_id = SESSION
        self.calls: dict[str, list[Any]] = {"theirs": [], "ours": []}
        for name in self.theirs._event_handlers:
            self._watch(self.theirs, "theirs", name)
            self._watch(self.ours, "ours", name)

    def _watch(self, serializer: Any, side: str, name: str) -> None:
        @serializer.event_handler(name)
        async def handler(_: Any, message: Any) -> None:
            self.calls[side].append((name, copy.deepcopy(message)))

    async def setup(self, rate: int = 16000) -> None:
        for serializer in (self.theirs, self.ours):
            await serializer.setup(SimpleNamespace(audio_in_sample_rate=rate))

    async def deserialize(self, data: str | bytes) -> tuple[Frame | None, Frame | None]:
        return await self.theirs.deserialize(data), await self.ours.deserialize(data)

    async def serialize(self, frame: Frame) -> tuple[Any, Any]:
        return await self.theirs.serialize(frame), await self.ours.serialize(frame)

    async def wire(self, text: str) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
        """Deserialize a message and serialize the reply; return the replies of both serializers."""
        replies = []
        for serializer in (self.theirs, self.ours):
            frame = await serializer.deserialize(text)
            sent = await serializer.serialize(frame) if frame is not None else None
            replies.append(json.loads(sent) if isinstance(sent, str) else sent)
        return replies[0], replies[1]

    def state(self, side: str) -> dict[str, Any]:
        serializer = getattr(self, side)
        names = (
            "session_id conversation_id is_open is_paused participant input_variables "
            "output_variables"
        )
        return {name: getattr(serializer, name) for name in names.split()}


@pytest.fixture
def twin() -> type[Twin]:
    return Twin
