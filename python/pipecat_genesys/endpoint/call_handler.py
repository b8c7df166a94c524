"""Handles one accepted connection, from its first message to the end of its call.

``open`` is answered when the bot's pipeline is set up, so that the bot can first choose languages
or refuse the session. If the pipeline is not set up at a deadline, ``open`` is answered and the
session starts paused. Even if the bot fails, the session ends as the protocol requires: the server
sends ``disconnect``, Genesys sends ``close``, the server sends ``closed``, and Genesys closes the
socket.
"""

from __future__ import annotations

import asyncio
import math
import time
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path

from loguru import logger

from pipecat_genesys.auth import VerifiedRequest
from pipecat_genesys.call import Phase
from pipecat_genesys.call.containment import (
    PROCESS_EXITS,
    BotExitError,
    cancel_tasks,
    contain_new_tasks,
)
from pipecat_genesys.call.log import brief
from pipecat_genesys.protocol import Rule, events
from pipecat_genesys.transport import AudioHookTransport

from .call import AudioHookCall
from .metrics import CallObserver, Metrics
from .recording import CallRecording

Bot = Callable[[AudioHookCall], Awaitable[None]]
"""A function that handles one call. The call ends when the function returns or raises."""

# Maximum time to wait for `open`. Genesys sends `open` immediately. It ends a session after 5 s
# without `opened`.
_OPEN_SECONDS = 5.0
# Maximum time to wait until Genesys ends a connection probe.
_PROBE_SECONDS = 10.0
# Maximum time that a cancelled bot may take for its cleanup.
_CANCEL_SECONDS = 10.0
# Rules that a client of a newer protocol version breaks in every call. They cause no flight
# recording.
_HARMLESS = frozenset({Rule.UNKNOWN_FIELD.value, Rule.UNKNOWN_TYPE.value})


class OpenGate:
    """Delays the answer to ``open`` until the endpoint calls `release`.

    Attributes:
        opening: A future that gets the event for ``open``.
    """

    def __init__(self) -> None:
        """Create a gate. ``open`` is not answered until `release` is called."""
        self.opening: asyncio.Future[events.OpenReceived] = (
            asyncio.get_running_loop().create_future()
        )
        self._released = asyncio.Event()

    async def __call__(self, opening: events.OpenReceived) -> None:
        """Wait until `release` is called. The transport awaits this before it answers ``open``."""
        self.opening.set_result(opening)
        await self._released.wait()

    def release(self) -> None:
        """Allow the transport to answer ``open``."""
        self._released.set()


class CallHandler:
    """Runs the bot for one connection and ends its session."""

    def __init__(
        self,
        transport: AudioHookTransport,
        gate: OpenGate,
        request: VerifiedRequest | None,
        metrics: Metrics,
        observer: CallObserver,
        recording: CallRecording,
        *,
        ready_seconds: float,
        after_call_seconds: float,
    ) -> None:
        """Create the handler.

        Args:
            transport: The transport of an accepted WebSocket, from which no message has been read.
            gate: Delays the answer to ``open``; it must be the `open_gate` of the transport.
            request: The verified upgrade request; None if connections are not authenticated.
            metrics: The metrics in which the events of the call are counted.
            observer: The observer of the transport; its counts are logged at the end of the call.
            recording: The recording of the call.
            ready_seconds: Longest time that ``opened`` waits for the bot.
            after_call_seconds: Longest time that the bot may run after the end of its call.
        """
        self._connection = transport.connection
        self._call = transport.call
        self._transport = transport
        self._gate = gate
        self._request = request
        self._metrics = metrics
        self._observer = observer
        self._recording = recording
        self._ready_seconds = ready_seconds
        self._after_call_seconds = after_call_seconds

    async def run(self, bot: Bot) -> None:
        """Handle the connection until it ends.

        Args:
            bot: Called with the call; not called for a connection probe or a refused session.
        """
        connection = self._connection
        began = time.monotonic()
        opening = None
        connection.begin(outlives_pipeline=True)
        try:
            opening = await self._opening()
            if opening is None:
                await self._refuse_opening()
            elif (reason := self._mismatch(opening)) is not None:
                logger.warning(f"{self._call}: refused: {reason}")
                self._metrics.refusals.labels("mismatch").inc()
                self._call.record_ending("server", "mismatch")
                await self._call.disconnect("unauthorized")
                await self._end()
            elif opening.is_probe:
                self._metrics.opens.labels("probe").inc()
                self._gate.release()
                await self._ended_within(_PROBE_SECONDS)
                await self._end("completed")
            else:
                await self._run_bot(bot, opening)
        finally:
            await connection.end()
            self._transport.release()
            self._metrics.faulted(self._call.faults)
            flight = self._end_recording()
            if opening is None or not opening.is_probe:
                self._log_summary(time.monotonic() - began, flight)

    async def disconnect(self, info: str) -> None:
        """End the call with the reason ``error``, because the server must stop.

        Args:
            info: A line for Genesys's log.
        """
        self._call.record_ending("server", "stopping")
        await self._call.disconnect("error", info=info)

    def _end_recording(self) -> Path | None:
        """End the recording, and write a flight recording if the call ended badly.

        Returns:
            Path of the flight recording; None if there is none.
        """
        reasons = self._what_went_wrong()
        path = self._recording.end(reasons)
        if path is not None:
            for reason in reasons:
                self._metrics.flight_recordings.labels(reason).inc()
            self._call.log.line(
                "WARNING",
                f"call ended badly ({', '.join(reasons)}): its last messages are in {path} "
                f"conversation={brief(self._call.conversation_id)} "
                f"organization={brief(self._call.organization_id)}",
            )
        return path

    def _what_went_wrong(self) -> tuple[str, ...]:
        """Return the problems of the call that require a flight recording; empty if none."""
        call, observer = self._call, self._observer
        by, reason = call.ending or ("server", "defect")
        found = (
            ("fault", not _HARMLESS.issuperset(call.faults)),
            ("rate-limit", observer.rate_limits > 0),
            ("underruns", observer.underruns > 0),
            ("lost", (by, reason) == ("genesys", "lost")),
            ("bot-error", (by, reason) == ("bot", "error")),
            (reason, by == "server" and not reason.startswith("fault-")),
        )
        return tuple(name for name, is_true in found if is_true)

    def _log_summary(self, seconds: float, flight: Path | None) -> None:
        """Log one line about the ended call, without personal data."""
        call, observer = self._call, self._observer
        by, reason = call.ending or ("server", "defect")
        request = self._request
        answers = sorted(observer.answers)
        times = (
            f"first_answer={observer.answers[0]:.2f} "
            f"p95_answer={answers[math.ceil(0.95 * len(answers)) - 1]:.2f}"
            if answers
            else "first_answer=- p95_answer=-"
        )
        recording = self._recording.file
        faults = ",".join(f"{rule}:{count}" for rule, count in sorted(call.faults.items()))
        call.log.line(
            "INFO",
            f"call ended: by={by} reason={reason} seconds={seconds:.1f} {times} "
            f"underruns={observer.underruns} interruptions={observer.interruptions} "
            f"pauses={observer.pauses} errors_429={observer.rate_limits} faults={faults or '-'} "
            f"conversation={brief(call.conversation_id)} "
            f"organization={brief(call.organization_id)} "
            f"correlation={brief(request.correlation_id if request else None)} "
            f"recording={recording.name if recording else '-'} "
            f"flight={flight.name if flight else '-'}",
        )

    # -- steps before `opened` ---------------------------------------------------------------

    async def _opening(self) -> events.OpenReceived | None:
        """Wait for a valid ``open``, and return it.

        Return None if it does not arrive in time, or if the session ends first.
        """
        ended = asyncio.ensure_future(self._call.wait_for_phase(Phase.ENDING))
        await asyncio.wait(
            (self._gate.opening, ended), timeout=_OPEN_SECONDS, return_when=asyncio.FIRST_COMPLETED
        )
        ended.cancel()
        return self._gate.opening.result() if self._gate.opening.done() else None

    async def _refuse_opening(self) -> None:
        """End a session that has no valid ``open``."""
        if self._call.phase is Phase.RUNNING:
            logger.warning(f"{self._call}: no 'open' within {_OPEN_SECONDS:g} s")
            self._metrics.refusals.labels("no-open").inc()
            self._call.record_ending("server", "no-open")
            await self._connection.close()
            return
        # The session has sent `disconnect` with the fault, or the client has closed the connection.
        if Rule.MEDIA.value in self._call.faults:
            self._metrics.refusals.labels("media").inc()
        await self._end()

    def _mismatch(self, opening: events.OpenReceived) -> str | None:
        """Return which id in ``open`` differs from the upgrade request, as a text, or None."""
        request, raw = self._request, opening.raw or {}
        if request is None:
            return None
        parameters = raw.get("parameters")
        organization = parameters.get("organizationId") if isinstance(parameters, dict) else None
        for name, given, verified in (
            ("id", raw.get("id"), request.session_id),
            ("organizationId", organization, request.organization_id),
        ):
            if not isinstance(given, str) or given.lower() != verified.lower():
                return f"the {name} in 'open' is not the one in the request"
        return None

    # -- the bot and its end -----------------------------------------------------------------

    async def _run_bot(self, bot: Bot, opening: events.OpenReceived) -> None:
        self._metrics.opens.labels("call").inc()
        began = time.monotonic()
        call = AudioHookCall(self._transport, opening, self._request, self._recording)
        exited: asyncio.Future[BotExitError] = asyncio.get_running_loop().create_future()
        work = asyncio.create_task(_contained(bot, call, exited), name=f"{self._call}: bot")
        ended = asyncio.create_task(self._call.wait_for_phase(Phase.ENDED))
        opener = asyncio.create_task(self._open_when_ready(work))
        try:
            await asyncio.wait((work, ended, exited), return_when=asyncio.FIRST_COMPLETED)
            self._metrics.call_seconds.observe(time.monotonic() - began)
            if not (work.done() or exited.done()):
                # The call has ended. The bot may continue for a limited time, for example to save
                # data.
                await asyncio.wait(
                    (work, exited),
                    timeout=self._after_call_seconds,
                    return_when=asyncio.FIRST_COMPLETED,
                )
            await self._end(self._outcome(work, exited))
        finally:
            self._gate.release()
            if await cancel_tasks((work, ended, opener), _CANCEL_SECONDS):
                self._observer.ignored_cancellation()
                logger.error(
                    f"{self._call}: the bot ignored its cancellation for {_CANCEL_SECONDS:g} s and "
                    "still runs; its call no longer counts. Let CancelledError pass in the bot: "
                    "a bare 'except:' or 'except BaseException:' catches it"
                )

    async def _open_when_ready(self, work: asyncio.Future[None]) -> None:
        """Let the transport answer ``open`` when the pipeline is set up, or at the deadline."""
        connection = self._connection
        ready = asyncio.ensure_future(connection.ready.wait())
        try:
            await asyncio.wait(
                (ready, work), timeout=self._ready_seconds, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            ready.cancel()
        if work.done():
            return
        if ready.done() and not ready.cancelled():
            self._gate.release()
            return
        self._metrics.late_bots.inc()
        logger.warning(
            f"{self._call}: the bot has no pipeline after {self._ready_seconds:g} s; "
            "the session starts paused"
        )
        await self._call.pause()
        self._gate.release()
        await connection.started.wait()
        await self._call.resume()

    def _outcome(self, work: asyncio.Future[None], exited: asyncio.Future[BotExitError]) -> str:
        """Return the reason of the final ``disconnect``, according to the bot's result."""
        if exited.done():
            self._record_failure(exited.result())
            return "error"
        if not work.done():
            logger.error(
                f"{self._call}: cancelled: the bot ran for {self._after_call_seconds:g} s after "
                "its call had ended"
            )
            return "error"
        if work.cancelled():
            return "error"
        error = work.exception()
        if error is None:
            # If the bot returned during the call and its pipeline never started, the call counts as
            # failed.
            started = self._connection.started.is_set() or self._call.phase is not Phase.RUNNING
            return "completed" if started else "error"
        self._record_failure(error)
        return "error"

    def _record_failure(self, error: BaseException) -> None:
        self._metrics.bot_failures.inc()
        self._call.record_ending("server", "bot-failed")
        # loguru's own traceback shows the values of variables, which may be personal data.
        text = "".join(traceback.format_exception(error))
        logger.error(f"{self._call}: the bot failed, and its call ends:\n{text}")

    async def _ended_within(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._call.wait_for_phase(Phase.ENDED)
        except TimeoutError:
            return

    async def _end(self, reason: str | None = None) -> None:
        """End the session.

        Args:
            reason: The reason of the ``disconnect`` to send; None if the session has already sent
                ``disconnect``.
        """
        if reason is not None and self._call.phase < Phase.ENDED:
            await self._call.disconnect(reason)
        self._gate.release()
        await self._connection.disconnect()


async def _contained(bot: Bot, call: AudioHookCall, exited: asyncio.Future[BotExitError]) -> None:
    """Run a bot so that neither the bot nor its tasks can end the process.

    Args:
        bot: The bot.
        call: The argument of the bot.
        exited: A future that gets the error if a task of the bot tries to end the process.

    Raises:
        BotExitError: If the bot raises ``SystemExit`` or ``KeyboardInterrupt``.
    """
    contain_new_tasks(lambda error: None if exited.done() else exited.set_result(error))
    try:
        await bot(call)
    except PROCESS_EXITS as error:
        raise BotExitError("the bot", error) from error
