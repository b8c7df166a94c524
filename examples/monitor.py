"""A server for AudioHook Monitor in one file, which reports when each party of a call spoke.

Instead of speech recognition, the server has a detector of loud audio that transcribes everything
as the word "speech". The other parts are complete: the server separates the parties, and gives each
utterance its offset on Genesys's timeline, even after pauses and lost audio. The server sends
transcripts during the call, and sends the last transcripts before the session is closed.

To run it, and to call it from a second terminal::

    python examples/monitor.py
    pipecat-genesys call ws://127.0.0.1:8765/audiohook --mode monitor say:speech:2 agent:speech:2

This server accepts every caller. docs/security.md shows how to authenticate.
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
WINDOW = SAMPLE_RATE // 50  # number of samples in 20 ms
WINDOW_SECONDS = Fraction(WINDOW, SAMPLE_RATE)
QUIET_SECONDS = Fraction(3, 10)  # silence of this duration ends an utterance
SHORTEST_SECONDS = Fraction(6, 100)  # shorter sounds are ignored as clicks
THRESHOLD_DBFS = -45.0


def is_loud(pcm: bytes) -> bool:
    """Return whether 16-bit mono audio is louder than the threshold."""
    samples = array("h", pcm)
    power = sum(x * x for x in samples) / len(samples)
    return power > 0 and 10 * math.log10(power / 32768**2) > THRESHOLD_DBFS


class PartyAudio:
    """The audio of one party of the conversation. Positions are seconds on Genesys's timeline.

    Attributes:
        channel: `external` (the customer) or `internal` (the agent).
        received: Number of samples received.
        analysed: Number of samples in complete windows.
        rest: Audio that does not fill a window yet.
        due: Position at which the next window begins, if no audio is missing before the window.
        begin: Position at which the current utterance begins; None during silence.
        end: Position at which the last loud window ends.
    """

    def __init__(self, channel: str):
        self.channel = channel
        self.received = 0
        self.analysed = 0
        self.rest = bytearray()
        self.due = Fraction(0)
        self.begin: Fraction | None = None
        self.end = Fraction(0)


class Transcriber(FrameProcessor):
    """Finds utterances and reports them. A real server has a speech recogniser instead."""

    def __init__(self, serializer: GenesysAudioHookSerializer):
        super().__init__()
        self._serializer = serializer
        self._parties: dict[str, PartyAudio] = {}
        self._heard = asyncio.Condition()

        # This hook is awaited before `closed` is sent. After `closed` nothing may be sent.
        @serializer.event_handler("on_closing")
        async def on_closing(_, message):
            await self.finish_all()

    async def process_frame(self, frame: Frame, direction: FrameDirection):
        """Analyse the audio of each party."""
        await super().process_frame(frame, direction)
        if isinstance(frame, InputAudioRawFrame):
            # `StereoSplitter` names the party of each frame of a stereo call. A mono call has
            # one party.
            channel = frame.transport_source or self._serializer.call.media.channels[0].value
            party = self._parties.setdefault(channel, PartyAudio(channel))
            await self.listen(party, frame.audio)
            async with self._heard:
                self._heard.notify_all()
        await self.push_frame(frame, direction)

    async def listen(self, party: PartyAudio, pcm: bytes):
        """Divide the audio into windows, and the windows into utterances."""
        party.received += len(pcm) // 2
        party.rest += pcm
        while len(party.rest) >= 2 * WINDOW:
            window = bytes(party.rest[: 2 * WINDOW])
            del party.rest[: 2 * WINDOW]
            at = self._serializer.call.stream_offset(party.analysed)
            party.analysed += WINDOW
            if at != party.due:
                await self.finish(party)  # the stream was paused, or audio was lost
            party.due = at + WINDOW_SECONDS
            if is_loud(window):
                if party.begin is None:
                    party.begin = at
                party.end = party.due
            elif party.begin is not None and party.due - party.end >= QUIET_SECONDS:
                await self.finish(party)

    async def finish(self, party: PartyAudio):
        """Report the party's current utterance and end it, if there is one."""
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
        """Wait until all audio of the call is analysed, then report unfinished utterances."""
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
    """Run the pipeline of one call."""
    serializer = GenesysAudioHookSerializer(
        GenesysAudioHookSerializer.InputParams(channel=AudioHookChannel.BOTH, process_internal=True)
    )
    transport = FastAPIWebsocketTransport(
        websocket=websocket, params=FastAPIWebsocketParams(**genesys_params(serializer))
    )
    serializer.attach(transport)  # transcripts are then sent before `closed`
    worker = PipelineWorker(
        Pipeline(
            [transport.input(), StereoSplitter(), Transcriber(serializer), transport.output()]
        ),
        params=PipelineParams(audio_in_sample_rate=SAMPLE_RATE, audio_out_sample_rate=SAMPLE_RATE),
        # Calls may be silent for minutes, so no timeout may end the call. Genesys ends the call.
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
    """Accept a connection from Genesys. In production, authenticate the request before `accept`."""
    await websocket.accept()
    await monitor(websocket)


if __name__ == "__main__":
    import uvicorn

    uvicorn.run(
        app, host=os.environ.get("HOST") or "127.0.0.1", port=int(os.environ.get("PORT") or 8765)
    )
