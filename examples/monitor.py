"""A bot for AudioHook Monitor in one file: it listens to an agent's call and says who spoke when.

Both parties are transcribed by a stand-in for speech recognition, which knows loud from quiet and
has one word for everything. What is real is the rest: the parties apart, each utterance's place on
Genesys's timeline however often the audio was paused or dropped, transcripts sent back while the
call goes on, and the last of them before the session is closed.

Run it::

    pip install uvicorn        # beside pipecat-genesys
    python examples/monitor.py
    # Genesys connects to wss://your-host/audiohook; put TLS and authentication in front.
"""

import asyncio
import math
import os
from array import array
from fractions import Fraction

from fastapi import FastAPI, WebSocket
from loguru import logger
from pipecat.frames.frames import Frame, InputAudioRawFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.transports.websocket.fastapi import FastAPIWebsocketParams, FastAPIWebsocketTransport
from pipecat.workers.runner import WorkerRunner
from pipecat_genesys import (
    AudioHookChannel,
    GenesysAudioHookSerializer,
    StereoSplitter,
    genesys_params,
)
from pipecat_genesys.protocol.entities import Token

SAMPLE_RATE = 8000
WINDOW = SAMPLE_RATE // 50  # samples: 20 ms
WINDOW_SECONDS = Fraction(WINDOW, SAMPLE_RATE)
QUIET_SECONDS = Fraction(3, 10)  # ends an utterance
SHORTEST_SECONDS = Fraction(6, 100)  # less is a click
THRESHOLD_DBFS = -45.0


def is_loud(pcm: bytes) -> bool:
    """Tell speech from silence, on a clean line."""
    samples = array("h", pcm)
    power = sum(x * x for x in samples) / len(samples)
    return power > 0 and 10 * math.log10(power / 32768**2) > THRESHOLD_DBFS


class Party:
    """One side of the conversation."""

    def __init__(self, channel: str):
        self.channel = channel
        self.received = 0  # samples
        self.analysed = 0
        self.rest = bytearray()
        self.due = Fraction(0)  # where the next window begins if no audio is missing
        self.begin: Fraction | None = None  # of the utterance
        self.end = Fraction(0)


class Transcriber(FrameProcessor):
    """Finds utterances and reports them; stands where a speech recogniser would be."""

    def __init__(self, serializer: GenesysAudioHookSerializer):
        super().__init__()
        self._serializer = serializer
        self._parties: dict[str, Party] = {}
        self._heard = asyncio.Condition()

        # Awaited before Genesys gets `closed`, after which nothing may be sent.
        @serializer.event_handler("on_closing")
        async def on_closing(_, message):
            await self.finish_all()

    async def process_frame(self, frame: Frame, direction: FrameDirection):
        """Listen to each party's audio."""
        await super().process_frame(frame, direction)
        if isinstance(frame, InputAudioRawFrame):
            # The splitter names the parties of a stereo call; a mono call has one.
            channel = frame.transport_source or self._serializer.call.media.channels[0].value
            party = self._parties.setdefault(channel, Party(channel))
            await self.listen(party, frame.audio)
            async with self._heard:
                self._heard.notify_all()
        await self.push_frame(frame, direction)

    async def listen(self, party: Party, pcm: bytes):
        """Cut audio into windows, and windows into utterances."""
        party.received += len(pcm) // 2
        party.rest += pcm
        while len(party.rest) >= 2 * WINDOW:
            window = bytes(party.rest[: 2 * WINDOW])
            del party.rest[: 2 * WINDOW]
            at = self._serializer.call.stream_offset(party.analysed)
            party.analysed += WINDOW
            if at != party.due:
                await self.finish(party)  # the audio was paused, or some is missing
            party.due = at + WINDOW_SECONDS
            if is_loud(window):
                if party.begin is None:
                    party.begin = at
                party.end = party.due
            elif party.begin is not None and party.due - party.end >= QUIET_SECONDS:
                await self.finish(party)

    async def finish(self, party: Party):
        """Report the utterance that has ended, if there is one."""
        begin, party.begin = party.begin, None
        if begin is None or party.end - begin < SHORTEST_SECONDS:
            return
        place = {"offset": begin, "duration": party.end - begin}
        await self._serializer.call.send_transcript(
            "speech",
            channel=party.channel,
            language=self._serializer.call.language,
            tokens=[Token(value="speech", confidence=1, **place)],
            **place,
        )
        logger.info(f"{party.channel}: {float(begin):.2f} s to {float(party.end):.2f} s")

    async def finish_all(self):
        """Hear the call to its end, and report who was still speaking."""
        due = self._serializer.call.samples_delivered
        async with self._heard:
            await self._heard.wait_for(
                lambda: (
                    due == 0
                    or (
                        len(self._parties) == len(self._serializer.call.media.channels)
                        and all(party.received >= due for party in self._parties.values())
                    )
                )
            )
        for party in self._parties.values():
            await self.finish(party)


async def monitor(websocket: WebSocket):
    """Listen to one call."""
    serializer = GenesysAudioHookSerializer(
        GenesysAudioHookSerializer.InputParams(channel=AudioHookChannel.BOTH, process_internal=True)
    )
    transport = FastAPIWebsocketTransport(
        websocket=websocket, params=FastAPIWebsocketParams(**genesys_params(serializer))
    )
    serializer.attach(transport)  # so that transcripts find their way to Genesys
    worker = PipelineWorker(
        Pipeline(
            [transport.input(), StereoSplitter(), Transcriber(serializer), transport.output()]
        ),
        params=PipelineParams(audio_in_sample_rate=SAMPLE_RATE, audio_out_sample_rate=SAMPLE_RATE),
        # Genesys says when the call is over.
        idle_timeout_secs=None,
    )

    @transport.event_handler("on_client_disconnected")
    async def on_client_disconnected(transport, client):
        await worker.cancel()

    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    await runner.run()


app = FastAPI()


@app.websocket("/audiohook")
async def audiohook(websocket: WebSocket):
    """Where Genesys connects. Check who is calling before accept() in production."""
    await websocket.accept()
    await monitor(websocket)


if __name__ == "__main__":
    import uvicorn

    uvicorn.run(
        app, host=os.environ.get("HOST", "127.0.0.1"), port=int(os.environ.get("PORT", 8765))
    )
