"""Converts the options of `call` to parameters and a script, and names the problem of a call."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum

from pipecat_genesys.protocol.types import AudioHookChannel, AudioHookMediaFormat
from pipecat_genesys.simulator import (
    AwaitTimeoutError,
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

DEFAULT_SECONDS = 10.0
"""Length of a call without steps, in seconds after `opened`."""


class Channels(StrEnum):
    """The channels of one offered medium, as the option `--channels` names them."""

    EXTERNAL = "external"
    INTERNAL = "internal"
    BOTH = "both"
    INVERTED = "inverted"


_CHANNELS = {
    Channels.EXTERNAL: (AudioHookChannel.EXTERNAL,),
    Channels.INTERNAL: (AudioHookChannel.INTERNAL,),
    Channels.BOTH: (AudioHookChannel.EXTERNAL, AudioHookChannel.INTERNAL),
    Channels.INVERTED: (AudioHookChannel.INTERNAL, AudioHookChannel.EXTERNAL),
}


class CallerScript:
    """The actions of the caller during a call, as a script for `SimulatedCall.run`.

    Without steps, the caller talks for two seconds and waits for the end of the call. In a
    monitored call, the agent talks after the caller. In a connection probe, the caller does
    nothing.

    Args:
        steps: The steps.
        hang_up_after: Seconds after `opened` at which the caller hangs up. None sets no limit if
            there are steps, and `DEFAULT_SECONDS` if there are no steps.
        patience: Limit of each step that waits for the server, in seconds.
    """

    def __init__(self, steps: Sequence[Step], hang_up_after: float | None, patience: float) -> None:
        self._steps = steps
        self._default_steps = {
            CallMode.BOT: parse_script(["say:speech:2"]),
            CallMode.MONITOR: parse_script(["say:speech:2", "agent:speech:2"]),
        }
        self._patience = patience
        default = None if steps else DEFAULT_SECONDS
        self._limit = hang_up_after if hang_up_after is not None else default

    async def __call__(self, call: SimulatedCall) -> None:
        """Run the script on a call that has been placed.

        Raises:
            SimulatorError: If a step waits too long for an action of the server.
        """
        await call.opened()
        try:
            async with asyncio.timeout(self._limit) as limit:
                await self._run_steps(call)
        except TimeoutError:
            # A step that waited too long also raises TimeoutError. Only the TimeoutError of a step
            # is an error.
            if not limit.expired():
                raise

    async def _run_steps(self, call: SimulatedCall) -> None:
        if self._steps:
            try:
                return await play(self._steps, call, self._patience)
            except AwaitTimeoutError as error:
                first, *more = str(error).splitlines()
                first += "; --patience sets how long a step waits"
                raise AwaitTimeoutError("\n".join([first, *more])) from None
        if call.parameters.is_probe:
            return None
        try:
            await play(self._default_steps[call.parameters.mode], call)
            await call.ended()
        except CallEndedError:
            # Not an error, because the server may end a call at any time.
            return None
        return None


def call_parameters(
    mode: CallMode,
    channels: Sequence[Channels] | None,
    formats: Sequence[AudioHookMediaFormat] | None,
    language: str,
    ask_languages: bool,
    inputs: Sequence[str] | None,
    *,
    ani: str | None = None,
    dnis: str | None = None,
    organization: str | None = None,
    conversation: str | None = None,
) -> CallParameters:
    """Make the parameters of the call.

    Args:
        mode: Whether the server is a bot or only listens.
        channels: Channels of the offered media, in order of preference; None for the default of
            the mode.
        formats: Formats of the offered media, in order of preference; None for mu-law.
        language: Language of the conversation; an empty string leaves the field out.
        ask_languages: Whether `open` asks for the languages of the server.
        inputs: Input variables, each as `NAME=VALUE`.
        ani: Number or URI of the caller; None for the default of the simulator.
        dnis: Number or URI that the caller dialled; None for the default of the simulator.
        organization: Id of the Genesys organization; None for a random one.
        conversation: Id of the conversation; None for a random one.

    Raises:
        ValueError: If an input variable is not of the form `NAME=VALUE`.
    """
    new = new_call if mode is CallMode.BOT else new_monitor_call
    if channels is None:
        is_bot = mode is CallMode.BOT
        channels = (
            [Channels.EXTERNAL] if is_bot else [Channels.BOTH, Channels.EXTERNAL, Channels.INTERNAL]
        )
    offer = tuple(
        medium(*_CHANNELS[name], format=format)
        for format in formats or [AudioHookMediaFormat.PCMU]
        for name in channels
    )
    pairs = [variable.partition("=") for variable in inputs or []]
    wrong = [name for name, equals, _ in pairs if not equals or not name]
    if wrong:
        raise ValueError(f"an input variable has the form NAME=VALUE, got {wrong[0]!r}")
    parameters = new(
        media=offer, language=language or None, supported_languages=ask_languages or None
    )
    if pairs:
        parameters = replace(parameters, input_variables={name: v for name, _, v in pairs})
    return replace(
        parameters,
        ani=parameters.ani if ani is None else ani,
        dnis=parameters.dnis if dnis is None else dnis,
        organization_id=organization or parameters.organization_id,
        conversation_id=conversation or parameters.conversation_id,
    )


def problem_of(call: SimulatedCall, report: CallReport) -> str:
    """Describe the problem of a finished call.

    Args:
        call: The call.
        report: The report of the call.

    Returns:
        The problem; an empty string if the call was clean, or if the server handled the fault.
    """
    fault = call.fault
    if fault is None:
        return "" if report.clean else "not clean"
    if not call.fault_happened:
        hint = "; it needs a server that pauses the call" if fault.needs_server_pause else ""
        return f"the fault {fault.name} did not happen{hint}"
    return "" if fault.is_handled(report) else f"{fault.name}: not handled as the protocol requires"
