"""The phone: a call by a person, with the microphone and the loudspeaker of the browser.

A `SimulatedCall` is the caller. The page sends the caller's audio, and gets the bot's audio in real
time, at the times at which Genesys would play it to the caller.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from pipecat_genesys import audio
from pipecat_genesys.protocol.types import (
    WIRE_SAMPLE_RATE,
    AudioHookChannel,
    AudioHookMediaFormat,
)
from pipecat_genesys.simulator import (
    DTMF_KEYS,
    FAULTS,
    BargedIn,
    CallOptions,
    CaptureEntry,
    ConnectFailedError,
    Event,
    Opened,
    SimulatedCall,
    SimulatorError,
    SocketClosed,
    audiohook_headers,
    find_fault,
    new_call,
)

from .analysis import CallAnalysis
from .audio_tracks import decode
from .calls import CallList, CallSource, InspectedCall, safe_headers

LANGUAGES = ("en-US", "en-GB", "de-DE", "es-ES", "es-US", "fr-FR", "it-IT", "ja-JP", "pt-BR")
"""Languages that the page offers; any other code can be entered."""

_STEP = 0.02
_LEAD = 0.04
"""Seconds before the playback of bot audio at which the audio is sent to the page."""
_MAX_RATE = 192_000

Send = Callable[[Mapping[str, Any] | bytes], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class PhoneTarget:
    """The server that the phone calls.

    Attributes:
        url: URL of the server.
        options: Credentials.
        explain: Called with the error of a failed connection; returns the reason and advice.
    """

    url: str
    options: CallOptions = field(default_factory=CallOptions)
    explain: Callable[[ConnectFailedError], str] = str


class PhoneCall:
    """One call that is controlled by the messages of a page.

    Args:
        target: The server.
        calls: The list to which the call is added.
        send: Sends a message or audio to the page.
    """

    def __init__(self, target: PhoneTarget, calls: CallList, send: Send) -> None:
        self._target = target
        self._calls = calls
        self._send = send
        self._simulated: SimulatedCall | None = None
        self._listed: InspectedCall | None = None
        self._task: asyncio.Task[None] | None = None
        self._resampler = audio.Resampler(WIRE_SAMPLE_RATE, WIRE_SAMPLE_RATE)
        self._hung_up = asyncio.Event()

    async def command(self, message: Mapping[str, Any]) -> None:
        """Execute a command of the page. If the command is wrong, send an error to the page."""
        try:
            await self._command(message)
        except (ValueError, TypeError, SimulatorError, RuntimeError) as error:
            await self._send({"state": self._state, "id": self._id, "error": str(error)})

    def hear(self, pcm: bytes) -> None:
        """Add audio of the microphone: 16-bit PCM at the rate that the page announced."""
        if self._simulated is None or len(pcm) % 2:
            return
        voice = self._simulated.caller_audio.voice(AudioHookChannel.EXTERNAL)
        voice.feed(audio.ulaw_encode(self._resampler.process(pcm)))

    async def close(self) -> None:
        """Hang up, if the call is running, and wait for its end."""
        self._hung_up.set()
        if self._task is not None:
            with suppress(asyncio.CancelledError):
                await self._task

    @property
    def _state(self) -> str:
        if self._task is None or self._task.done():
            return "ended"
        is_open = self._simulated is not None and self._simulated.session.media is not None
        return "opened" if is_open else "connecting"

    @property
    def _id(self) -> str | None:
        return None if self._listed is None else self._listed.id

    async def _command(self, message: Mapping[str, Any]) -> None:
        call = self._simulated
        if "microphone" in message:
            microphone = message["microphone"]
            rate = microphone.get("rate") if isinstance(microphone, dict) else None
            if not isinstance(rate, int) or not WIRE_SAMPLE_RATE <= rate <= _MAX_RATE:
                raise ValueError(f"the rate of the microphone is {rate!r}, not 8000 to {_MAX_RATE}")
            self._resampler = audio.Resampler(rate, WIRE_SAMPLE_RATE)
        elif "start" in message:
            if self._task is not None and not self._task.done():
                raise ValueError("this page already has a call; hang up first")
            self._start(message["start"])
        elif call is None:
            raise ValueError("there is no call; start one first")
        elif "key" in message:
            key = message["key"]
            if not isinstance(key, str) or len(key) != 1 or key not in DTMF_KEYS:
                raise ValueError(f"{str(key)[:10]!r} is not a key; the keys are {DTMF_KEYS}")
            await call.press(key)
        elif "hold" in message:
            await (call.pause() if message["hold"] else call.resume())
        elif "language" in message:
            await call.update(str(message["language"])[:40])
        elif "hang_up" in message:
            self._hung_up.set()
        else:
            raise ValueError(f"unknown command {', '.join(map(str, message))[:60]!r}")

    def _start(self, settings: object) -> None:
        wanted = settings if isinstance(settings, dict) else {}
        texts = {
            name: str(wanted[name])[:200]
            for name in ("language", "ani", "dnis", "organization")
            if wanted.get(name)
        }
        inputs = wanted.get("input")
        variables = inputs if isinstance(inputs, dict) else {}
        parameters = new_call(
            input_variables={str(name)[:200]: str(value) for name, value in variables.items()},
        )
        parameters = replace(
            parameters,
            language=texts.get("language", parameters.language),
            ani=texts.get("ani", parameters.ani),
            dnis=texts.get("dnis", parameters.dnis),
            organization_id=texts.get("organization", parameters.organization_id),
        )
        fault = find_fault(str(wanted["fault"])) if wanted.get("fault") else None
        self._simulated = SimulatedCall(
            self._target.url,
            parameters,
            options=self._target.options,
            fault=fault,
            observer=self._observe,
        )
        listed = self._calls.add(CallSource.PHONE, parameters.session_id, self._target.url)
        listed.analysis = CallAnalysis(parameters.mode, parameters.session_id)
        listed.headers = safe_headers(audiohook_headers(parameters, ""))
        listed.origin = time.monotonic()
        self._listed = listed
        self._hung_up.clear()
        self._task = asyncio.create_task(self._run(self._simulated, listed))

    def _observe(self, item: CaptureEntry | Event) -> None:
        listed = self._listed
        assert listed is not None
        if isinstance(item, CaptureEntry):
            if not listed.analysis.messages:
                listed.origin = time.monotonic()
            listed.analysis.receive(
                item.at, item.direction, item.content, size=item.size, note=self._remark(item)
            )
        elif isinstance(item, SocketClosed):
            listed.analysis.end(item.at, item.by, item.code)

    @staticmethod
    def _remark(entry: CaptureEntry) -> str:
        """Return the note for a client message. `CallAnalysis` makes the other notes."""
        return entry.note if entry.direction == "to_server" else ""

    async def _run(self, call: SimulatedCall, listed: InspectedCall) -> None:
        error: str | None = None
        await self._tell("connecting", None)
        try:
            async with call:
                playing = asyncio.create_task(self._play(call))
                hanging_up = asyncio.create_task(self._hung_up.wait())
                ending = asyncio.create_task(call.ended())
                try:
                    await asyncio.wait({hanging_up, ending}, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for task in (playing, hanging_up, ending):
                        task.cancel()
                    await asyncio.gather(playing, hanging_up, ending, return_exceptions=True)
        except ConnectFailedError as failure:
            error = listed.error = self._target.explain(failure)
        except (SimulatorError, ValueError, OSError) as failure:
            error = str(failure)
        finally:
            if listed.analysis.ending is None and listed.error is None:
                listed.analysis.end(listed.analysis.now, None)
        await self._tell("ended", error)

    async def _tell(self, state: str, error: str | None) -> None:
        with suppress(Exception):
            # The page may have disconnected; the call continues until `close`.
            await self._send({"state": state, "id": self._id, "error": error})

    async def _play(self, call: SimulatedCall) -> None:
        """Send the bot's audio to the page while the caller hears it."""
        told = False
        seen = 0
        sent = 0
        while True:
            for event in call.events[seen:]:
                seen += 1
                if isinstance(event, Opened) and not told:
                    told = True
                    await self._tell("opened", None)
                elif isinstance(event, BargedIn):
                    await self._send({"clear": True})
            playback = call.session.playback
            end = round((call.elapsed + _LEAD) * WIRE_SAMPLE_RATE)
            if end > sent:
                if playback.is_playing:
                    # If the event loop was blocked, the page gets at most the last second of audio.
                    sent = max(sent, end - WIRE_SAMPLE_RATE)
                    excerpt = playback.excerpt(sent, end)
                    media = call.session.media
                    form = AudioHookMediaFormat.PCMU if media is None else media.format
                    await self._send(decode(excerpt, form))
                sent = end
            await asyncio.sleep(_STEP)


def fault_names() -> list[str]:
    """Return the names of the faults that the phone can simulate."""
    return list(FAULTS)
