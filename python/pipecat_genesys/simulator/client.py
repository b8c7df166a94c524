"""A simulated call over a real WebSocket, driven by a script. See :class:`SimulatedCall`."""

# A wait is told how long it may take, and says so when it fails; a bare cancellation could not.
# ruff: noqa: ASYNC109

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar, overload

from pipecat_genesys import audio
from pipecat_genesys.protocol.types import (
    WIRE_SAMPLE_RATE,
    AudioHookChannel,
    AudioHookMediaFormat,
)
from pipecat_genesys.simulator import events as ev
from pipecat_genesys.simulator.caller import Spoken, Utterance
from pipecat_genesys.simulator.driver import CallDriver
from pipecat_genesys.simulator.errors import AwaitTimeoutError, CallEndedError, SimulatorError
from pipecat_genesys.simulator.parameters import CallMode
from pipecat_genesys.simulator.report import CallReport, build_report
from pipecat_genesys.simulator.session import (
    CallStateError,
)
from pipecat_genesys.simulator.wav import read_stereo_wav, read_wav, write_wav

_E = TypeVar("_E", bound=ev.Event)


class SimulatedCall(CallDriver):
    """One call from Genesys Cloud to a voice bot.

    The stream, the pings and every reaction run by themselves; the script says what the caller
    does and waits for what the bot does::

        async with SimulatedCall("ws://localhost:8765/genesys") as call:
            await call.opened()
            await call.wait_for_bot_audio()
            spoken = await call.say("question.wav")
            await call.wait_for_bot_audio(since=spoken.end)
            await call.hang_up()
            report = await call.ended()

    Leaving the block hangs up if nobody has, and waits for the end. Times are in seconds; those
    of events are counted from ``open``.

    Args:
        url: The server, ``ws://`` or ``wss://``.
        parameters: Who calls; a new call with random ids by default.
        options: How.
        fault: What the client does wrong, of ``FAULTS``; nothing by default.
        continues: The call whose conversation this one carries on; see :func:`continuation`.
        observer: Called with every message and every event as they happen. What it raises ends
            the call and surfaces in the script.
    """

    async def run(self, script: Callable[[SimulatedCall], Awaitable[object]]) -> CallReport:
        """Place the call, play a script, hang up, and report.

        A server that cannot be reached, drops the call or does not do what the script waits for
        ends in the report's ``script_error``. Anything else the script raises is raised.
        """
        try:
            async with self:
                await script(self)
        except SimulatorError as error:
            return self.report(str(error))
        return self.report()

    def report(self, script_error: str | None = None) -> CallReport:
        """How the call went so far.

        Args:
            script_error: Why its script gave up.
        """
        return build_report(self.session, self.events, time.monotonic(), script_error)

    # What the caller does.

    async def say(
        self,
        speech: bytes | str | os.PathLike[str],
        party: AudioHookChannel = AudioHookChannel.EXTERNAL,
    ) -> Spoken:
        """Speak, after whatever is being said already.

        Args:
            speech: 8 kHz mu-law, or the path of a WAV file (see :func:`read_wav`).
            party: Who; ``internal`` is the agent of a monitored call.

        Returns:
            Where it lies in the stream, once its last sample has been sent.

        Raises:
            CallEndedError: If the call ends first.
            CallStateError: If the call is a connection probe, which carries no audio.
            ValueError: If the file is not one that can be read, or there is no such party.
        """
        ulaw = speech if isinstance(speech, bytes) else read_wav(speech)
        return await self._said(self.stream.voice(party).say(ulaw))

    async def converse(self, recording: str | os.PathLike[str]) -> tuple[Spoken, Spoken]:
        """Let both parties of a monitored call speak.

        Args:
            recording: A stereo WAV file, the customer left and the agent right.

        Returns:
            Where it lies in the stream, by party.

        Raises:
            CallEndedError: If the call ends first.
            ValueError: If the file is not one that can be read, or the call is not monitored.
        """
        parties = (AudioHookChannel.EXTERNAL, AudioHookChannel.INTERNAL)
        sides = zip(parties, read_stereo_wav(recording), strict=True)
        first, second = [self.stream.voice(party).say(ulaw) for party, ulaw in sides]
        return await self._said(first), await self._said(second)

    async def _said(self, utterance: Utterance) -> Spoken:
        if self.parameters.is_probe:
            raise CallStateError("nobody speaks in a connection probe: it carries no audio")
        patience = self.options.timeouts.open + utterance.length / WIRE_SAMPLE_RATE + 60
        return await self._log.until(lambda: utterance.spoken, "the end of what was said", patience)

    async def press(self, digit: str) -> None:
        """Press a key, one of ``0-9*#``.

        Raises:
            CallStateError: If the session is not open yet, here and in the verbs below.
            CallEndedError: If it is over.
        """
        self._act(lambda now: self.session.press_dtmf(digit, now))

    async def update(self, language: str) -> None:
        """Change the conversation's language."""
        self._act(lambda now: self.session.send_update(language, now))

    async def pause(self) -> None:
        """Pause the stream on the client's side."""
        self._act(self.session.pause)

    async def resume(self) -> None:
        """End the client's own pause."""
        self._act(self.session.resume)

    async def discard(self, samples: int) -> None:
        """Drop the caller's next samples and report them."""
        self._act(lambda now: self.session.report_discarded(samples, now))

    async def hang_up(self) -> None:
        """Send ``close``, unless the session is closing already. :meth:`ended` waits."""
        self._act(self.session.hang_up)

    # What the bot does.

    async def opened(self, timeout: float | None = None) -> ev.Opened:
        """Wait until the server has accepted the call.

        Args:
            timeout: Seconds; by default a second more than the client itself waits.

        Raises:
            CallEndedError: If the call ends first, here and below.
            AwaitTimeoutError: If it does not happen in time, here and below.
        """
        limit = self.options.timeouts.open + 1 if timeout is None else timeout
        return await self._log.until(lambda: _first(ev.Opened, self.events), "Opened", limit)

    async def ended(self, timeout: float | None = None) -> CallReport:
        """Wait until the socket is gone.

        Args:
            timeout: Seconds; none by default.

        Returns:
            How the call went.
        """
        await self._log.until(lambda: self._log.over or None, "the end of the call", timeout)
        return self.report()

    @overload
    async def wait_for(
        self, wanted: type[_E], timeout: float = ..., *, since: float = ...
    ) -> _E: ...

    @overload
    async def wait_for(
        self, wanted: Callable[[ev.Event], bool], timeout: float = ..., *, since: float = ...
    ) -> ev.Event: ...

    async def wait_for(
        self,
        wanted: type[_E] | Callable[[ev.Event], bool],
        timeout: float = 10.0,
        *,
        since: float = 0.0,
    ) -> _E | ev.Event:
        """Wait for an event, past or to come, that was not returned by a wait before.

        Args:
            wanted: Its class, or what is true of it.
            timeout: Seconds from now.
            since: Pass over events before this moment, in seconds since ``open``.
        """
        if isinstance(wanted, type):
            kind = wanted
            return await self._log.until(
                lambda: self._log.claim_kind(kind, since), kind.__name__, timeout
            )
        name = getattr(wanted, "__name__", repr(wanted))
        matches: Callable[[ev.Event], bool] = wanted
        return await self._log.until(lambda: self._log.claim(matches, since), name, timeout)

    async def wait_for_bot_audio(
        self, timeout: float = 10.0, *, since: float = 0.0
    ) -> ev.PlaybackStarted:
        """Wait until the caller begins to hear the bot."""
        return await self.wait_for(ev.PlaybackStarted, timeout, since=since)

    async def playback_completed(
        self, timeout: float = 30.0, *, since: float = 0.0
    ) -> ev.PlaybackCompleted:
        """Wait until the bot's queue has run dry."""
        return await self.wait_for(ev.PlaybackCompleted, timeout, since=since)

    async def wait_for_silence(self, seconds: float = 0.5, timeout: float = 30.0) -> float:
        """Wait until no bot audio has been heard for ``seconds``.

        Returns:
            When the last audible sample ended, in seconds since ``open``; 0 if there was none.
        """
        deadline = time.monotonic() + timeout
        what = f"{seconds:g} s of silence"
        while True:
            silent_since = self.session.playback.silent_since(time.monotonic())
            quiet = 0.0 if silent_since is None else self.elapsed - silent_since
            if silent_since is not None and quiet >= seconds:
                return silent_since
            if self._log.over:
                raise self._log.error(CallEndedError, f"the call ended while waiting for {what}")
            wait = min(max(seconds - quiet, 0.001), max(deadline - time.monotonic(), 0.0))
            if not wait:
                raise self._log.error(AwaitTimeoutError, f"no {what} within {timeout:g} s")
            await asyncio.sleep(min(wait, 0.05) if silent_since is None else wait)

    def save_recording(self, target: str | os.PathLike[str]) -> None:
        """Write the call as a stereo WAV file: the caller left, the bot as heard right.

        Of a monitored call it is the customer left and the agent right, as they were sent.

        Raises:
            ValueError: If the options say not to record.
        """
        lost = self.session.socket_closed
        end = time.monotonic() if lost is None else self._began + lost.at
        caller = audio.ulaw_decode(self.stream.voice(AudioHookChannel.EXTERNAL).track)
        if self.parameters.mode is CallMode.MONITOR:
            agent = self.stream.voice(AudioHookChannel.INTERNAL).track
            return write_wav(target, caller, audio.ulaw_decode(agent))
        heard = self.session.playback.render(end)
        if self.session.playback.media_format is AudioHookMediaFormat.PCMU:
            heard = audio.ulaw_decode(heard)
        lead = b"\0\0" * self.stream.lead_samples
        return write_wav(target, caller, lead + heard)


def _first(kind: type[_E], events: Iterable[ev.Event]) -> _E | None:
    return next((event for event in events if isinstance(event, kind)), None)
