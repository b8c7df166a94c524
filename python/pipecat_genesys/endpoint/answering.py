"""One call, from the first message to the last.

``open`` is answered when the bot's pipeline is there to hear the call, so that the bot may still
choose languages or refuse; and at a deadline, paused, if it is not. Whatever the bot does, the
session ends as the protocol has it: ``disconnect``, ``close``, ``closed``, and Genesys closes the
socket.
"""

from __future__ import annotations

import asyncio
import time
import traceback
from collections.abc import Awaitable, Callable
from typing import Any

from loguru import logger

from pipecat_genesys.auth import VerifiedRequest
from pipecat_genesys.protocol import events
from pipecat_genesys.transport import AudioHookTransport

from .call import AudioHookCall
from .metrics import Metrics

Bot = Callable[[AudioHookCall], Awaitable[None]]

# Genesys says `open` at once, and gives up on a session after 5 s.
_OPEN_SECONDS = 5.0
# Genesys ends a probe by itself.
_PROBE_SECONDS = 10.0


class Answering:
    """A connection that was let in, and what becomes of it."""

    def __init__(
        self,
        transport: AudioHookTransport,
        request: VerifiedRequest | None,
        metrics: Metrics,
        *,
        ready_seconds: float,
        after_call_seconds: float,
    ) -> None:
        """Create it.

        Args:
            transport: Whose socket is accepted, and not read.
            request: As it was verified.
            metrics: Where it counts.
            ready_seconds: How long ``opened`` waits for the bot.
            after_call_seconds: How long a bot may go on when its call is over.
        """
        self._transport = transport
        self._session = transport.call
        self._request = request
        self._metrics = metrics
        self._ready_seconds = ready_seconds
        self._after_call_seconds = after_call_seconds
        self._opening: asyncio.Future[events.OpenReceived] = (
            asyncio.get_running_loop().create_future()
        )
        self._decided = asyncio.Event()
        transport.call.hold_opened(self._hold_opened)

    async def run(self, bot: Bot) -> None:
        """Hold the call, to its end.

        Args:
            bot: Gets it, unless it is none.
        """
        transport, line = self._transport, self._transport.line
        transport.answer()
        try:
            opening = await self._opened(_OPEN_SECONDS)
            if opening is None:
                if not self._session.ended.is_set():
                    logger.warning(f"{self._session}: no 'open' within {_OPEN_SECONDS:g} s")
                    self._metrics.refusals.labels("no-open").inc()
                await line.close()
            elif (why := self._mismatch(opening)) is not None:
                logger.warning(f"{self._session}: refused: {why}")
                self._metrics.refusals.labels("mismatch").inc()
                await self._session.disconnect("unauthorized")
                await self._finish()
            elif opening.reply is not None:
                # No medium that can be carried: the answer says so.
                self._metrics.refusals.labels("media").inc()
                await self._finish()
            elif opening.is_probe:
                self._metrics.opens.labels("probe").inc()
                self._decided.set()
                await self._ended(_PROBE_SECONDS)
                await self._finish("completed")
            else:
                await self._talk(bot, opening)
        finally:
            await transport.end()
            self._metrics.faulted(self._session.faults)

    async def cut(self, info: str) -> None:
        """End the call, as the server must stop.

        Args:
            info: A line for Genesys's log.
        """
        await self._session.disconnect("error", info=info)

    # -- before `opened` ---------------------------------------------------------------------

    async def _hold_opened(self, opening: events.OpenReceived) -> None:
        """Runs in the receive path, between ``open`` and its answer."""
        self._opening.set_result(opening)
        await self._decided.wait()

    async def _opened(self, seconds: float) -> events.OpenReceived | None:
        ended = asyncio.ensure_future(self._session.ended.wait())
        await asyncio.wait(
            (self._opening, ended), timeout=seconds, return_when=asyncio.FIRST_COMPLETED
        )
        ended.cancel()
        return self._opening.result() if self._opening.done() else None

    def _mismatch(self, opening: events.OpenReceived) -> str | None:
        """Why ``open`` is of another call than the one whose request was verified."""
        request, raw = self._request, opening.raw or {}
        if request is None:
            return None
        parameters = raw.get("parameters")
        organization = parameters.get("organizationId") if isinstance(parameters, dict) else None
        for name, said, verified in (
            ("id", raw.get("id"), request.session_id),
            ("organizationId", organization, request.organization_id),
        ):
            if not isinstance(said, str) or said.lower() != verified.lower():
                return f"the {name} in 'open' is not the one in the request"
        return None

    # -- with a bot --------------------------------------------------------------------------

    async def _talk(self, bot: Bot, opening: events.OpenReceived) -> None:
        self._metrics.opens.labels("call").inc()
        began = time.monotonic()
        call = AudioHookCall(self._transport, opening, self._request)
        work = asyncio.ensure_future(bot(call))
        helpers = [asyncio.create_task(self._when_ready(work))]
        try:
            await asyncio.wait(
                (work, *_waiting(helpers, self._session.ended)),
                return_when=asyncio.FIRST_COMPLETED,
            )
            if not work.done():
                # The call is over, and the pipeline knows; the bot may have work to do yet.
                self._metrics.call_seconds.observe(time.monotonic() - began)
                await asyncio.wait((work,), timeout=self._after_call_seconds)
            else:
                self._metrics.call_seconds.observe(time.monotonic() - began)
            await self._finish(self._outcome(work))
        finally:
            self._decided.set()
            for task in (work, *helpers):
                task.cancel()
            await asyncio.gather(work, *helpers, return_exceptions=True)

    async def _when_ready(self, work: asyncio.Future[None]) -> None:
        """Let ``opened`` go out when the bot can hear, or at the deadline."""
        line = self._transport.line
        ready = asyncio.ensure_future(line.ready.wait())
        try:
            await asyncio.wait(
                (ready, work), timeout=self._ready_seconds, return_when=asyncio.FIRST_COMPLETED
            )
            if ready.done() or work.done():
                if not work.done():
                    self._decided.set()
                return
            self._metrics.late_bots.inc()
            logger.warning(
                f"{self._session}: the bot has no pipeline after {self._ready_seconds:g} s; "
                "the session starts paused"
            )
            await self._session.pause()
            self._decided.set()
            await line.started.wait()
            await self._session.resume()
        finally:
            ready.cancel()

    def _outcome(self, work: asyncio.Future[None]) -> str:
        """The reason of the ``disconnect`` that is due, if none was said."""
        if not work.done():
            logger.error(
                f"{self._session}: the bot went on for {self._after_call_seconds:g} s after its "
                "call, and is cancelled"
            )
            return "error"
        if work.cancelled():
            return "error"
        error = work.exception()
        if error is None:
            return "completed"
        self._metrics.bot_failures.inc()
        # Not loguru's own way: that shows the values of variables, which may be personal.
        text = "".join(traceback.format_exception(error))
        logger.error(f"{self._session}: the bot failed, and its call ends:\n{text}")
        return "error"

    async def _ended(self, seconds: float) -> None:
        await asyncio.wait(
            [ended := asyncio.ensure_future(self._session.ended.wait())], timeout=seconds
        )
        ended.cancel()

    async def _finish(self, reason: str | None = None) -> None:
        """Say goodbye, if it was not said.

        Args:
            reason: Of ``disconnect``, if none was said.
        """
        if reason is not None and not self._session.ended.is_set():
            await self._session.disconnect(reason)
        self._decided.set()
        await self._transport.line.goodbye()


def _waiting(helpers: list[asyncio.Task[Any]], event: asyncio.Event) -> tuple[asyncio.Task[Any]]:
    helpers.append(asyncio.create_task(event.wait()))
    return (helpers[-1],)
