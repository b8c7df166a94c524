"""The parameters of a simulated call, and the limits of its client.

`CallParameters` has the identities, the media offer and the mode of a call. `ClientLimits` and
`ClientTimeouts` have the message rates, the message size and the times that the client allows a
server.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from types import MappingProxyType
from typing import Any, TypedDict, Unpack

from pipecat_genesys.capture.entries import CallMode
from pipecat_genesys.protocol.types import (
    MAX_MESSAGE_BYTES,
    NULL_UUID,
    WIRE_SAMPLE_RATE,
    AudioHookChannel,
    AudioHookMediaFormat,
)

FRAME_SAMPLES = 1600
"""Samples of one frame of caller audio: 200 ms, as production and the reference client send."""

_ROUNDING = 1e-6
"""Part of a token that can be missing when a message takes the token. It compensates floating-point
errors, so that a server exactly at the allowed rate is accepted even after months."""


def medium(
    *channels: AudioHookChannel, format: AudioHookMediaFormat = AudioHookMediaFormat.PCMU
) -> Mapping[str, Any]:
    """Return one medium for the media offer in `open`.

    Args:
        *channels: One or both of the parties, in the order in which their samples are interleaved.
        format: Encoding of the samples.
    """
    return MappingProxyType(
        {
            "type": "audio",
            "format": format.value,
            "channels": [channel.value for channel in channels],
            "rate": WIRE_SAMPLE_RATE,
        }
    )


_EXTERNAL, _INTERNAL = AudioHookChannel.EXTERNAL, AudioHookChannel.INTERNAL

PCMU_EXTERNAL = medium(_EXTERNAL)
"""The only medium that Genesys offers to voice bots today: the caller, mono, mu-law."""

MONITOR_OFFER = (medium(_EXTERNAL, _INTERNAL), medium(_EXTERNAL), medium(_INTERNAL))
"""The media that Genesys's reference client offers to a monitoring server, both parties first."""


@dataclass(frozen=True, slots=True)
class PreviousSession:
    """A session that a new session continues.

    Attributes:
        id: Id of the previous session.
        serverseq: `seq` of the last server message received in the previous session.
        clientseq: `seq` of the last client message sent in the previous session.
    """

    id: str
    serverseq: int
    clientseq: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CallParameters:
    """The contents of `open`, and the mode of the call.

    Attributes:
        session_id: Session id, the `id` of every message.
        organization_id: Id of the Genesys organization.
        conversation_id: Id of the conversation.
        participant_id: Id of the customer.
        correlation_id: Id for tracing, sent in a request header.
        ani: Number or URI of the caller.
        ani_name: Name of the caller.
        dnis: Number or URI that the caller dialled.
        media: Media offer in order of preference, as sent on the wire.
        language: BCP-47 language code. If this attribute is None, `open` has no such field. The
            same applies to `supported_languages`, `custom_config` and `input_variables`.
        supported_languages: True asks the server for the languages that it supports.
        custom_config: Configuration of the integration.
        input_variables: Input variables of the Architect action.
        mode: Whether the server is a bot or only listens. The mode is not sent. In a monitored call
            the client refuses audio from the server.
        position: Stream position at `open`, in samples. The position is above 0 in a session that
            continues another session.
        continued_sessions: Sessions that this session continues, oldest first.
        more: Additional parameters of `open`. They replace parameters of the same name.
    """

    session_id: str
    organization_id: str
    conversation_id: str
    participant_id: str
    correlation_id: str
    ani: str = "tel:+15550100"
    ani_name: str = ""
    dnis: str = "tel:+15550199"
    media: tuple[Mapping[str, Any], ...] = (PCMU_EXTERNAL,)
    language: str | None = "en-US"
    supported_languages: bool | None = None
    custom_config: Mapping[str, Any] | None = None
    input_variables: Mapping[str, str] | None = field(default_factory=dict)
    mode: CallMode = CallMode.BOT
    position: int = 0
    continued_sessions: tuple[PreviousSession, ...] = ()
    more: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_probe(self) -> bool:
        """Whether the call is a connection probe, which carries no audio."""
        return self.conversation_id == self.participant_id == NULL_UUID

    def open_parameters(self) -> dict[str, Any]:
        """Return the `parameters` of the `open` message."""
        required: dict[str, Any] = {
            "organizationId": self.organization_id,
            "conversationId": self.conversation_id,
            "participant": {
                "id": self.participant_id,
                "ani": self.ani,
                "aniName": self.ani_name,
                "dnis": self.dnis,
            },
            "media": [dict(entry) for entry in self.media],
        }
        optional = {
            "language": self.language,
            "supportedLanguages": self.supported_languages,
            "customConfig": None if self.custom_config is None else dict(self.custom_config),
            "inputVariables": None if self.input_variables is None else dict(self.input_variables),
            "continuedSessions": [asdict(session) for session in self.continued_sessions] or None,
        }
        given = {key: value for key, value in optional.items() if value is not None}
        return required | given | dict(self.more)


class CallOverrides(TypedDict, total=False):
    """Keyword arguments of `new_call` and `new_monitor_call`: the fields of `CallParameters`."""

    session_id: str
    organization_id: str
    conversation_id: str
    participant_id: str
    correlation_id: str
    ani: str
    ani_name: str
    dnis: str
    media: tuple[Mapping[str, Any], ...]
    language: str | None
    supported_languages: bool | None
    custom_config: Mapping[str, Any] | None
    input_variables: Mapping[str, str] | None
    mode: CallMode
    position: int
    continued_sessions: tuple[PreviousSession, ...]
    more: Mapping[str, Any]


def new_call(**overrides: Unpack[CallOverrides]) -> CallParameters:
    """Return the parameters of a new call to a voice bot, with random ids.

    Args:
        **overrides: Fields of `CallParameters` to set.

    Raises:
        TypeError: If `CallParameters` has no such field.
    """
    fresh = CallParameters(
        session_id=str(uuid.uuid4()),
        organization_id=str(uuid.uuid4()),
        conversation_id=str(uuid.uuid4()),
        participant_id=str(uuid.uuid4()),
        correlation_id=str(uuid.uuid4()),
    )
    return replace(fresh, **overrides)


def new_monitor_call(**overrides: Unpack[CallOverrides]) -> CallParameters:
    """Return the parameters of a new monitored call, with random ids.

    Args:
        **overrides: Fields of `CallParameters` to set.

    Raises:
        TypeError: If `CallParameters` has no such field.
    """
    defaults = CallOverrides(mode=CallMode.MONITOR, media=MONITOR_OFFER, input_variables=None)
    return new_call(**defaults | overrides)


def as_probe(parameters: CallParameters) -> CallParameters:
    """Return the connection probe with the same media offer.

    Genesys sends a connection probe when an integration is activated. A probe has no caller.
    """
    return replace(
        parameters,
        conversation_id=NULL_UUID,
        participant_id=NULL_UUID,
        ani="",
        ani_name="",
        dnis="",
        input_variables=None,
    )


class MessageBudget:
    """A token bucket that limits the rate of one kind of message.

    Every method takes the current time. If the time is before the time of the previous call, no
    tokens are added.

    Args:
        rate: Tokens added per second.
        burst: Capacity in tokens. The budget starts full.

    Attributes:
        rate: Tokens added per second.
        burst: Capacity in tokens.

    Raises:
        ValueError: If the rate is not positive or the burst is below one token.
    """

    __slots__ = ("_level", "_lowest", "_updated", "burst", "rate")

    def __init__(self, rate: float, burst: float) -> None:
        if rate <= 0 or burst < 1:
            raise ValueError(f"rate must be positive and burst at least 1, got {rate} and {burst}")
        self.rate = rate
        self.burst = burst
        self._level = float(burst)
        self._lowest = float(burst)
        self._updated: float | None = None

    @property
    def lowest(self) -> float:
        """Lowest level reached so far, in tokens. It is negative if a message was refused."""
        return self._lowest

    def level(self, now: float) -> float:
        """Return the number of tokens at `now`, in seconds on a monotonic clock."""
        if self._updated is None:
            return self._level
        elapsed = max(0.0, now - self._updated)
        return min(float(self.burst), self._level + elapsed * self.rate)

    def take(self, now: float) -> bool:
        """Take one token for a message.

        Args:
            now: Seconds on a monotonic clock.

        Returns:
            Whether a token was available. A refused message takes no token.
        """
        level = self.level(now)
        self._updated = now if self._updated is None else max(now, self._updated)
        self._level = level
        self._lowest = min(self._lowest, level - 1)
        if level < 1 - _ROUNDING:
            return False
        self._level = max(0.0, level - 1)
        return True

    def wait_time(self, now: float) -> float:
        """Return the number of seconds from `now` until one token is available."""
        return max(0.0, (1 - self.level(now)) / self.rate)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """A rate limit.

    Attributes:
        per_second: Average number of messages per second.
        burst: Number of messages that are allowed without a pause.
    """

    per_second: float
    burst: float

    def budget(self) -> MessageBudget:
        """Return a full budget with this rate limit."""
        return MessageBudget(self.per_second, self.burst)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientLimits:
    """The message rates and the message size that the client accepts from a server.

    The rates are from Genesys's limits page, as quoted by integrators. Genesys does not say whether
    `pause` and `resume` also count as text messages. The simulator counts them as text messages,
    which is the stricter interpretation.

    Attributes:
        binary: Rate limit of audio messages.
        text: Rate limit of all text messages together.
        pause: Rate limit of `pause` messages.
        resume: Rate limit of `resume` messages.
        message_bytes: Maximum size of a text or binary message, in bytes.
    """

    binary: Rate = Rate(per_second=5, burst=25)
    text: Rate = Rate(per_second=5, burst=25)
    pause: Rate = Rate(per_second=2, burst=4)
    resume: Rate = Rate(per_second=2, burst=4)
    message_bytes: int = MAX_MESSAGE_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientTimeouts:
    """The timings of the client, in seconds, as measured with Genesys's reference client.

    Attributes:
        open: Maximum time from `open` to `opened`.
        close: Maximum time from `close` to `closed`.
        first_ping: Time from `opened` to the first `ping`.
        ping_interval: Time between the pings after the first ping. A ping times out if it is not
            answered when the next ping is due.
    """

    open: float = 5.0
    close: float = 10.0
    first_ping: float = 1.0
    ping_interval: float = 5.0
