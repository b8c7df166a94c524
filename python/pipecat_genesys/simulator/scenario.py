"""Scenarios: the actions of the caller in a call, and the expectations for the server.

A `Scenario` is read from a TOML file, or made in Python. `place_call` places the call, and returns
the `Verdict`: the report of the call, and a judgement of each expectation.
"""

from __future__ import annotations

import asyncio
import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, model_validator

from pipecat_genesys.capture import CallMode
from pipecat_genesys.protocol.types import (
    AudioHookChannel,
    AudioHookMediaFormat,
)

from .call import Observer, SimulatedCall
from .connection import CallOptions, ConnectFailedError
from .event_log import AwaitTimeoutError, CallEndedError, SimulatorError
from .expectations import Expectation, Judgement, parse_expectation
from .faults import Fault
from .report import CallReport
from .script import Step, parse_script, play
from .session.parameters import (
    CallOverrides,
    CallParameters,
    medium,
    new_call,
    new_monitor_call,
)

DEFAULT_SECONDS = 10.0
"""Maximum length of a call without steps, in seconds after `opened`."""

# Scenarios.


class Channels(StrEnum):
    """The channels of one offered medium."""

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
_DEFAULT_CHANNELS = {
    CallMode.BOT: (Channels.EXTERNAL,),
    CallMode.MONITOR: (Channels.BOTH, Channels.EXTERNAL, Channels.INTERNAL),
}

_Limit = Annotated[float, Field(gt=0, allow_inf_nan=False)]


def _key(name: str) -> str:
    return name.replace("_", "-")


class Scenario(BaseModel):
    """The parameters of one call, the steps of the caller, and what the server must do.

    The steps and the expectations are parsed when the scenario is made. A file has the same names,
    with hyphens for underscores. Every field is optional.

    Attributes:
        steps: The steps of the caller, see `VERBS`. Without steps, the caller speaks for two
            seconds and waits for the end of the call, `DEFAULT_SECONDS` at most. In a monitored
            call, the agent speaks after the caller.
        expect: The expectations, see `EXPECTATIONS`.
        mode: Whether the server is a bot or only listens.
        channels: Channels of the offered media, in order of preference. By default `external` for
            a bot; `both`, `external` and `internal` for a server that listens.
        format: Formats of the offered media, in order of preference.
        language: BCP-47 code of the language of the conversation, and of the texts that are
            spoken. If the text is empty, `open` has no `language`.
        ask_languages: Whether `open` asks for the languages of the server.
        ani: Number or URI of the caller.
        dnis: Number or URI that the caller dialled.
        organization: Id of the Genesys organization; random by default.
        conversation: Id of the conversation; random by default.
        input: The input variables.
        patience: Maximum time in seconds for which a step waits for the server.
        hang_up_after: Number of seconds after `opened`. The caller hangs up at this time, even if
            not all steps are performed.
        folder: The folder to which the paths of WAV files are relative.

    Raises:
        ValueError: If a step or an expectation is not valid, or if a value has the wrong type.
    """

    model_config = ConfigDict(
        alias_generator=_key, extra="forbid", frozen=True, populate_by_name=True
    )

    steps: tuple[str, ...] = ()
    expect: tuple[str, ...] = ()
    mode: CallMode = CallMode.BOT
    channels: tuple[Channels, ...] = ()
    format: tuple[AudioHookMediaFormat, ...] = (AudioHookMediaFormat.PCMU,)
    language: str = "en-US"
    ask_languages: bool = False
    ani: str | None = None
    dnis: str | None = None
    organization: str | None = None
    conversation: str | None = None
    input: Mapping[str, str] | None = None
    patience: _Limit = 10.0
    hang_up_after: _Limit | None = None
    folder: Path = Path()
    _steps: Sequence[Step] = PrivateAttr(default=())
    _expectations: Sequence[Expectation] = PrivateAttr(default=())

    @model_validator(mode="after")
    def _parse(self) -> Self:
        language = self.language or "en-US"
        self._steps = parse_script(self.steps, folder=self.folder, language=language)
        self._expectations = [parse_expectation(text) for text in self.expect]
        return self

    @property
    def expectations(self) -> Sequence[Expectation]:
        """The parsed expectations of `expect`."""
        return self._expectations

    def replace(self, **fields: object) -> Scenario:
        """Return a copy of this scenario with new values for some fields.

        Raises:
            ValueError: If a field or a value is not valid. The message names the field.
        """
        given = {name: getattr(self, name) for name in self.model_fields_set}
        return make_scenario(given | fields)

    def parameters(self) -> CallParameters:
        """Return the parameters of a new call. Ids that the scenario does not set are random."""
        given: dict[str, Any] = {
            "ani": self.ani,
            "dnis": self.dnis,
            "organization_id": self.organization,
            "conversation_id": self.conversation,
            "input_variables": self.input,
        }
        overrides = CallOverrides(
            media=tuple(
                medium(*_CHANNELS[name], format=format)
                for format in self.format
                for name in self.channels or _DEFAULT_CHANNELS[self.mode]
            ),
            language=self.language or None,
            supported_languages=self.ask_languages or None,
            **{name: value for name, value in given.items() if value is not None},  # type: ignore[typeddict-item]
        )
        new = new_call if self.mode is CallMode.BOT else new_monitor_call
        return new(**overrides)

    async def play(self, call: SimulatedCall) -> None:
        """Wait until the call is open, and perform the steps.

        Args:
            call: A call that is connected.

        Raises:
            SimulatorError: If the call does not do what a step waits for.
        """
        await call.opened()
        default = None if self.steps else DEFAULT_SECONDS
        seconds = default if self.hang_up_after is None else self.hang_up_after
        try:
            async with asyncio.timeout(seconds) as limit:
                await self._play_steps(call)
        except TimeoutError:
            # A step that waits too long also raises TimeoutError, which is an error of the script.
            # The end of `limit` is not an error: the caller hangs up.
            if not limit.expired():
                raise

    async def _play_steps(self, call: SimulatedCall) -> None:
        if self._steps:
            try:
                return await play(self._steps, call, self.patience)
            except AwaitTimeoutError as error:
                first, *more = str(error).splitlines()
                first += "; --patience sets how long a step waits"
                raise AwaitTimeoutError("\n".join([first, *more])) from None
        if call.parameters.is_probe:
            return None
        texts = ["say:speech:2"]
        # A fault can change the mode of the call.
        if call.parameters.mode is CallMode.MONITOR:
            texts.append("agent:speech:2")
        try:
            await play(parse_script(texts), call)
            await call.ended()
        except CallEndedError:
            # The server may end a call at any time, so this is not an error.
            return None
        return None

    def judge(self, call: SimulatedCall, script_error: str | None = None) -> Verdict:
        """Check a finished call against the expectations.

        Args:
            call: The call.
            script_error: Error that ended the steps, or None.
        """
        judgements = []
        for expectation in self._expectations:
            is_met, detail = expectation.judge(call)
            judgements.append(Judgement(expectation.text, is_met, detail))
        report = call.report(script_error)
        return Verdict(report, tuple(judgements), call.fault, call.fault_happened)


def read_scenario(path: str | os.PathLike[str]) -> Scenario:
    """Read a scenario from a TOML file.

    Args:
        path: Path of the file. The paths in the file are relative to its folder.

    Raises:
        ValueError: If the file is not a scenario. The message names the file, the key and the
            reason.
        OSError: If the file cannot be read.
    """
    try:
        with open(path, "rb") as file:
            values = tomllib.load(file)
    except ValueError as error:
        raise ValueError(f"{os.fspath(path)} is not a TOML file: {error}") from None
    folder = Path(path).parent / str(values.pop("folder", ""))
    try:
        return make_scenario({"folder": folder, **values})
    except ValueError as error:
        raise ValueError(f"{os.fspath(path)}: {error}") from None


def make_scenario(values: Mapping[str, object]) -> Scenario:
    """Make a scenario from the keys and values of a file.

    Raises:
        ValueError: If a key or a value is not valid. The message names the key.
    """
    try:
        return Scenario.model_validate(values)
    except ValidationError as error:
        raise ValueError("; ".join(map(_reason, error.errors(include_url=False)))) from None


def _reason(error: Mapping[str, Any]) -> str:
    key = ".".join(map(str, error["loc"]))
    if error["type"] == "extra_forbidden":
        keys = ", ".join(_key(name) for name in Scenario.model_fields)
        return f"unknown key {key!r}; the keys are {keys}"
    text = str(error["msg"]).removeprefix("Value error, ").replace("valid tuple", "list")
    return f"{key}: {text}, got {error['input']!r}" if key else text


# The verdict.


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a call was clean, or its fault was handled, and whether it met the expectations.

    Attributes:
        report: The report of the call.
        judgements: The judgement of each expectation.
        fault: The fault that the client made, or None.
        fault_happened: Whether the fault happened during the call.
    """

    report: CallReport
    judgements: tuple[Judgement, ...] = ()
    fault: Fault | None = None
    fault_happened: bool = True

    @property
    def passed(self) -> bool:
        """Whether the call has no problem."""
        return not self.problem

    @property
    def problem(self) -> str:
        """Why the call failed, in one line; empty if the call passed."""
        unmet = sum(not judgement.is_met for judgement in self.judgements)
        expectations = f"{unmet} of {len(self.judgements)} expectations not met" if unmet else ""
        return "; ".join(filter(None, [self._protocol_problem(), expectations]))

    def _protocol_problem(self) -> str:
        fault = self.fault
        if fault is None:
            return "" if self.report.clean else "not clean"
        if not self.fault_happened:
            hint = (
                "; the fault needs a server that pauses the call"
                if fault.needs_server_pause
                else ""
            )
            return f"the fault {fault.name} did not happen{hint}"
        if fault.is_handled(self.report):
            return ""
        return f"{fault.name}: not handled as the protocol requires"

    def __str__(self) -> str:
        """The problem, the errors, and the judgements, one per line."""
        report = self.report
        ending = report.ending
        lines = [self.problem or "passed"]
        if report.script_error:
            lines.append(f"script: {report.script_error}")
        lines += [f"violation: {v.at:.3f} s {v.rule}: {v.message}" for v in report.violations]
        if not ending.closed_received:
            lines.append("the server did not send 'closed'")
        return "\n".join([*lines, *map(str, self.judgements)])


async def place_call(
    url: str,
    scenario: Scenario | None = None,
    *,
    options: CallOptions | None = None,
    fault: Fault | None = None,
    observer: Observer | None = None,
) -> Verdict:
    """Place a call, play a scenario, hang up, and check the expectations.

    Cancelling this function hangs up, see `SimulatedCall`.

    Args:
        url: URL of the server.
        scenario: The scenario; a call without steps and expectations by default.
        options: Credentials, timeouts and network delay.
        fault: Wrong or rare behaviour of the client, see `FAULTS`; none by default.
        observer: Called with every message and every event, see `SimulatedCall`.

    Raises:
        ConnectFailedError: If the WebSocket cannot be established.
    """
    scenario = scenario or Scenario()
    call = SimulatedCall(
        url, scenario.parameters(), options=options, fault=fault, observer=observer
    )
    return await run_scenario(call, scenario)


async def run_scenario(call: SimulatedCall, scenario: Scenario) -> Verdict:
    """Place a prepared call, play a scenario, hang up, and check the expectations.

    Raises:
        ConnectFailedError: If the WebSocket cannot be established.
    """
    try:
        async with call:
            await scenario.play(call)
    except ConnectFailedError:
        raise
    except SimulatorError as error:
        return scenario.judge(call, str(error))
    return scenario.judge(call)
