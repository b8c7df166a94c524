"""The dict messages of Pipecat's serializer, and the state that it keeps.

Applications written for Pipecat's serializer call its ``create_*`` methods and read the dicts that
travel in frames. These dicts keep Pipecat's shape: provisional sequence numbers, a ``position``,
and fields that the protocol does not have. docs/parity.md lists what is changed before a message
is sent, with reasons.
"""

from __future__ import annotations

from typing import Any

from pipecat_genesys.protocol import PROTOCOL_VERSION, events
from pipecat_genesys.protocol.types import DURATION


class PipecatState:
    """What Pipecat's serializer tracks about a session, in its own sense.

    Attributes:
        is_open: Whether an ``opened`` message was built, and no ``closed`` since.
        is_paused: Whether the client said ``pause`` or ``paused``, and neither ``resumed`` came
            nor a ``resumed`` message was built since.
        closed_seq: The provisional ``seq`` of the ``closed`` that answers ``close``.
    """

    __slots__ = ("_built", "_seen_position", "_seen_seq", "closed_seq", "is_open", "is_paused")

    def __init__(self) -> None:
        """Create the state of a session that has no ``open`` yet."""
        self.is_open = False
        self.is_paused = False
        self.closed_seq: int | None = None
        self._built = 0
        self._seen_seq: Any = 0
        self._seen_position: Any = None

    def see(self, event: events.Event) -> None:
        """Take what later messages repeat from a client message: ``seq`` and ``position``."""
        raw = event.raw
        if raw is not None:
            self._seen_seq = raw.get("seq", 0)
            self._seen_position = raw.get("position", self._seen_position)
        kind = type(event)
        if kind in _PAUSES:
            self.is_paused = True
        elif kind is events.Resumed:
            self.is_paused = False
        elif kind is events.CloseReceived:
            self.is_open = False

    def message(
        self,
        message_type: str,
        parameters: dict[str, Any],
        session_id: str,
        *,
        positioned: bool = True,
    ) -> dict[str, Any]:
        """Build a message in Pipecat's shape.

        Args:
            message_type: The message's type.
            parameters: The message's parameters.
            session_id: The session's id.
            positioned: Whether the message has a ``position``; Pipecat's ``opened`` has none.

        Returns:
            The message, with a provisional ``seq``.
        """
        self._built = seq = self._built + 1
        message = {
            "version": PROTOCOL_VERSION,
            "type": str(message_type),
            "seq": seq,
            "clientseq": self._seen_seq,
            "id": session_id,
        }
        if positioned:
            position = self._seen_position
            known = isinstance(position, str) and DURATION.fullmatch(position)
            # Pipecat repeats the client's last position in milliseconds.
            message["position"] = f"PT{float(position[2:-1]):.3f}S" if known else "PT0.000S"
        message["parameters"] = parameters
        return message


_PAUSES = frozenset({events.PauseRequested, events.Paused})
