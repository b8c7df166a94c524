"""Who calls whom: the identity of a simulated call and what it offers."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from pipecat_genesys.protocol.types import (
    NULL_UUID,
    WIRE_SAMPLE_RATE,
    AudioHookChannel,
    AudioHookMediaFormat,
)


class CallMode(StrEnum):
    """What the server is there for."""

    BOT = "bot"
    """It talks to the caller: Audio Connector."""
    MONITOR = "monitor"
    """It only listens: AudioHook Monitor, Transcription Connector, Bot Transcription Connector."""


def medium(
    *channels: AudioHookChannel, format: AudioHookMediaFormat = AudioHookMediaFormat.PCMU
) -> Mapping[str, Any]:
    """One entry of an offer.

    Args:
        *channels: One party or both, in the order their samples are interleaved.
        format: How samples are coded.
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
"""The only medium a voice bot is offered today: the caller, mono, mu-law."""

MONITOR_OFFER = (medium(_EXTERNAL, _INTERNAL), medium(_EXTERNAL), medium(_INTERNAL))
"""What a monitoring server is offered, as by Genesys's reference client: both parties first."""


@dataclass(frozen=True, slots=True)
class ContinuedSession:
    """A session that a new one takes the place of.

    Attributes:
        id: Its id.
        serverseq: The last ``seq`` received in it.
        clientseq: The last ``seq`` sent in it.
    """

    id: str
    serverseq: int
    clientseq: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CallParameters:
    """Everything an ``open`` says.

    Attributes:
        session_id: ``id`` of every message of the session.
        organization_id: The Genesys organisation.
        conversation_id: The conversation.
        participant_id: The customer.
        correlation_id: Goes into a request header, for tracing.
        ani: The caller's number or URI.
        ani_name: The caller's name.
        dnis: The number called.
        media: The media offered, in order of preference, as they go on the wire.
        language: BCP-47 code; None leaves the field out, as in ``supported_languages``,
            ``custom_config`` and ``input_variables``.
        supported_languages: True asks the server for its languages.
        custom_config: The integration's configuration.
        input_variables: Inputs of the Architect action, text to text.
        mode: What the server is there for. Not on the wire: it decides whether the client takes
            audio.
        position: Stream position at ``open``, in samples; more than 0 where a conversation is
            continued.
        continued_sessions: Those this one takes the place of, oldest first.
        more: Parameters of ``open`` that are not in this class; they replace those that are.
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
    continued_sessions: tuple[ContinuedSession, ...] = ()
    more: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_probe(self) -> bool:
        """Whether Genesys only tries the connection; no audio is sent then."""
        return self.conversation_id == self.participant_id == NULL_UUID

    def open_parameters(self) -> dict[str, Any]:
        """The ``parameters`` of the ``open`` message."""
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


def new_call(**overrides: Any) -> CallParameters:
    """Parameters of a new call, with random ids.

    Args:
        **overrides: Fields of :class:`CallParameters` to set.

    Raises:
        TypeError: If there is no such field.
    """
    fresh = CallParameters(
        session_id=str(uuid.uuid4()),
        organization_id=str(uuid.uuid4()),
        conversation_id=str(uuid.uuid4()),
        participant_id=str(uuid.uuid4()),
        correlation_id=str(uuid.uuid4()),
    )
    return replace(fresh, **overrides)


def new_monitor_call(**overrides: Any) -> CallParameters:
    """Parameters of a new call that is listened to, with random ids; see :func:`new_call`."""
    usual = {"mode": CallMode.MONITOR, "media": MONITOR_OFFER, "input_variables": None}
    return new_call(**usual | overrides)


def as_probe(parameters: CallParameters) -> CallParameters:
    """The connection probe of an integration: the same offer, and nobody who calls."""
    return replace(
        parameters,
        conversation_id=NULL_UUID,
        participant_id=NULL_UUID,
        ani="",
        ani_name="",
        dnis="",
        input_variables=None,
    )
