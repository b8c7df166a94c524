"""Builds the same dict messages as Pipecat's serializer, and keeps the same state.

Applications for Pipecat's serializer call its ``create_*`` methods and read the dicts in frames.
This module builds dicts of the same form: with provisional sequence numbers, a ``position``, and
fields that the protocol does not have. docs/parity.md lists the changes that are made before a
message is sent, with reasons.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipecat_genesys.protocol import PROTOCOL_VERSION, AudioHookSession, events
from pipecat_genesys.protocol.types import DURATION


class PipecatState:
    """The state of a session, as Pipecat's serializer defines it.

    Attributes:
        is_open: Whether an ``opened`` message was built, and no ``closed`` message after it.
        is_paused: Whether the client sent ``pause`` or ``paused``, and afterwards no ``resumed``
            was received or built.
        client_seq: The ``seq`` of the newest client message; 0 if it had none. Messages that are
            built later repeat it.
        client_position: The newest ``position`` of a client message, or None. Messages that are
            built later repeat it.
        closed_seq: The provisional ``seq`` of the ``closed`` that answers ``close``.
    """

    __slots__ = (
        "_built",
        "_session",
        "client_position",
        "client_seq",
        "closed_seq",
        "is_open",
        "is_paused",
    )

    def __init__(self, session: AudioHookSession) -> None:
        """Create the state of a session before ``open``.

        Args:
            session: The session; the messages have its id.
        """
        self.is_open = False
        self.is_paused = False
        self.closed_seq: int | None = None
        self._session = session
        self._built = 0
        self.client_seq: Any = 0
        self.client_position: Any = None

    def message(
        self,
        message_type: str,
        parameters: dict[str, Any],
        positioned: bool = True,
    ) -> dict[str, Any]:
        """Build a message in the form of Pipecat's messages.

        Args:
            message_type: The message's type.
            parameters: The message's parameters.
            positioned: Whether the message has a ``position``; Pipecat's ``opened`` has none.

        Returns:
            The message, with a provisional ``seq``.
        """
        self._built = seq = self._built + 1
        message = {
            "version": PROTOCOL_VERSION,
            "type": str(message_type),
            "seq": seq,
            "clientseq": self.client_seq,
            "id": self._session.session_id,
        }
        if positioned:
            position = self.client_position
            known = isinstance(position, str) and DURATION.fullmatch(position)
            # Pipecat repeats the client's last position in milliseconds.
            message["position"] = f"PT{float(position[2:-1]):.3f}S" if known else "PT0.000S"
        message["parameters"] = parameters
        return message


PAUSES: Mapping[type[events.Event], bool] = {
    events.PauseRequested: True,
    events.Paused: True,
    events.Resumed: False,
}
"""The value of ``is_paused`` after each kind of event."""
