"""What the options of `call` mean: who calls, what the caller does, and what makes a call clean."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum

from pipecat_genesys.protocol.types import AudioHookChannel, AudioHookMediaFormat
from pipecat_genesys.simulator import (
    ActingSession,
    CallEndedError,
    CallMode,
    CallParameters,
    CallReport,
    SimulatedCall,
    Step,
    medium,
    new_call,
    new_monitor_call,
    parse_script,
    play,
)

UNTIL_HANG_UP = 10.0
"""Seconds that a call without steps lasts."""


class Channels(StrEnum):
    """What is offered of the parties."""

    EXTERNAL = "external"
    INTERNAL = "internal"
    BOTH = "both"
    INVERTED = "inverted"


_PARTIES = {
    Channels.EXTERNAL: (AudioHookChannel.EXTERNAL,),
    Channels.INTERNAL: (AudioHookChannel.INTERNAL,),
    Channels.BOTH: (AudioHookChannel.EXTERNAL, AudioHookChannel.INTERNAL),
    Channels.INVERTED: (AudioHookChannel.INTERNAL, AudioHookChannel.EXTERNAL),
}


class Caller:
    """What the caller does: the steps, or some talk, and then hang up."""

    def __init__(self, steps: Sequence[Step], hang_up_after: float | None, patience: float) -> None:
        self._steps = steps
        self._talk = {
            CallMode.BOT: parse_script(["say:speech:2"]),
            CallMode.MONITOR: parse_script(["say:speech:2", "agent:speech:2"]),
        }
        self._patience = patience
        default = None if steps else UNTIL_HANG_UP
        self._limit = hang_up_after if hang_up_after is not None else default

    async def __call__(self, call: SimulatedCall) -> None:
        """Be the caller."""
        await call.opened()
        try:
            async with asyncio.timeout(self._limit) as limit:
                await self._act(call)
        except TimeoutError:
            # The caller's own patience; a wait that failed is another matter.
            if not limit.expired():
                raise

    async def _act(self, call: SimulatedCall) -> None:
        if self._steps:
            return await play(self._steps, call, self._patience)
        if call.parameters.is_probe:
            return None
        try:
            await play(self._talk[call.parameters.mode], call)
            await call.ended()
        except CallEndedError:
            # A server may end a call when it likes.
            return None
        return None


def call_parameters(
    mode: CallMode,
    channels: Sequence[Channels] | None,
    formats: Sequence[AudioHookMediaFormat] | None,
    language: str,
    ask_languages: bool,
    variables: Sequence[str] | None,
) -> CallParameters:
    """Make the parameters of the call.

    Args:
        mode: What the server is there for.
        channels: The parties to offer, by preference; None for what is usual.
        formats: How their samples may be coded, by preference; None for mu-law.
        language: Of the conversation; empty leaves it out.
        ask_languages: Whether to ask which the server supports.
        variables: Input variables, each ``NAME=VALUE``.

    Raises:
        ValueError: If a variable is not written so.
    """
    new = new_call if mode is CallMode.BOT else new_monitor_call
    if channels is None:
        is_bot = mode is CallMode.BOT
        channels = (
            [Channels.EXTERNAL] if is_bot else [Channels.BOTH, Channels.EXTERNAL, Channels.INTERNAL]
        )
    offer = tuple(
        medium(*_PARTIES[parties], format=coding)
        for coding in formats or [AudioHookMediaFormat.PCMU]
        for parties in channels
    )
    pairs = [variable.partition("=") for variable in variables or []]
    wrong = [name for name, equals, _ in pairs if not equals or not name]
    if wrong:
        raise ValueError(f"write a variable as NAME=VALUE, not {wrong[0]!r}")
    parameters = new(
        media=offer, language=language or None, supported_languages=ask_languages or None
    )
    if pairs:
        parameters = replace(parameters, input_variables={name: v for name, _, v in pairs})
    return parameters


def verdict_of(call: SimulatedCall, report: CallReport) -> str:
    """Why the call was not what it should be; empty if it was."""
    fault = call.fault
    if fault is None:
        return "" if report.clean else "not clean"
    if isinstance(call.session, ActingSession) and not call.session.has_acted:
        needs = "; the server has to pause" if fault.needs_server_pause else ""
        return f"the fault {fault.name} did not happen{needs}"
    return "" if fault.is_handled(report) else f"{fault.name}: not dealt with as it should be"
