"""The details of a call from the messages ``open`` and ``update``."""

from __future__ import annotations

from typing import Any

from pipecat_genesys.protocol import events, fields


class CallDetails:
    """The details of a call from ``open``; ``update`` may replace the participant.

    Attributes:
        organization_id: Id of the Genesys organization.
        conversation_id: Id of the Genesys conversation.
        participant: The caller, as a dict with the keys ``ani``, ``aniName``, ``dnis`` and ``id``.
        input_variables: Input variables of the Architect flow.
        custom_config: Configuration of the integration in Genesys.
        asks_languages: Whether Genesys asked which languages the bot supports.
    """

    __slots__ = (
        "asks_languages",
        "conversation_id",
        "custom_config",
        "input_variables",
        "organization_id",
        "participant",
    )

    def __init__(self) -> None:
        """Create the details of a call before ``open``."""
        self.organization_id: str | None = None
        self.conversation_id: str | None = None
        self.participant: dict[str, Any] | None = None
        self.input_variables: dict[str, Any] | None = None
        self.custom_config: dict[str, Any] | None = None
        self.asks_languages = False

    def read_open(self, event: events.OpenReceived) -> None:
        """Read the details from ``open``; fields of a wrong type are ignored."""
        parameters = fields.parameters(event.raw)
        self.organization_id = fields.typed(parameters, "organizationId", str)
        self.conversation_id = fields.typed(parameters, "conversationId", str)
        self.participant = fields.typed(parameters, "participant", dict)
        self.input_variables = fields.typed(parameters, "inputVariables", dict)
        self.custom_config = fields.typed(parameters, "customConfig", dict)
        self.asks_languages = parameters.get("supportedLanguages") is True

    def read_update(self, event: events.UpdateReceived) -> None:
        """Read the participant from ``update``, if the message has one."""
        participant = fields.typed(fields.parameters(event.raw), "participant", dict)
        if participant is not None:
            self.participant = participant
