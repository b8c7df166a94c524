"""Who calls whom: the identity of a simulated call and what it offers."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

PCMU_EXTERNAL: Mapping[str, Any] = MappingProxyType(
    {"type": "audio", "format": "PCMU", "channels": ["external"], "rate": 8000}
)
"""The only medium a voice bot is offered today: the caller, mono, mu-law."""


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
        }
        return required | {key: value for key, value in optional.items() if value is not None}


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
