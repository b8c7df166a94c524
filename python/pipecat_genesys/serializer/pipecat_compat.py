"""The dict messages of Pipecat's serializer, and the state that it keeps.

Applications written for Pipecat's serializer call its ``create_*`` methods and read the dicts that
travel in frames. These dicts keep Pipecat's shape: provisional sequence numbers, a ``position``,
and fields that the protocol does not have. docs/parity.md lists what is changed before a message
is sent, with reasons.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipecat_genesys.protocol import PROTOCOL_VERSION, AudioHookSession, events
from pipecat_genesys.protocol.types import DURATION

_NOTHING_SEEN: Mapping[str, Any] = {"position": None}


class PipecatState:
    """What Pipecat's serializer tracks about a session, in its own sense.

    Attributes:
        is_open: Whether an ``opened`` message was built, and no ``closed`` since.
        is_paused: Whether the client said ``pause`` or ``paused``, and neither ``resumed`` came
            nor a ``resumed`` message was built since.
        seen: The newest client message, whose ``seq`` and ``position`` later messages repeat.
        closed_seq: The provisional ``seq`` of the ``closed`` that answers ``close``.
    """

    __slots__ = (
        "_built",
        "_session",
        "closed_seq",
        "is_open",
        "is_paused",
        "seen",
    )

    def __init__(self, session: AudioHookSession) -> None:
        """Create the state of a session that has no ``open`` yet.

        Args:
            session: The session, whose id the messages have.
        """
        self.is_open = False
        self.is_paused = False
        self.closed_seq: int | None = None
        self._session = session
        self._built = 0
        self.seen: Mapping[str, Any] = _NOTHING_SEEN

    def see(self, raw: Mapping[str, Any]) -> None:
        """Take a client message; one without a position leaves the position as it was."""
        self.seen = raw if "position" in raw else {**raw, "position": self.seen["position"]}

    def message(
        self,
        message_type: str,
        parameters: dict[str, Any],
        positioned: bool = True,
    ) -> dict[str, Any]:
        """Build a message in Pipecat's shape.

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
            "clientseq": self.seen.get("seq", 0),
            "id": self._session.session_id,
        }
        if positioned:
            position = self.seen["position"]
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
"""What ``is_paused`` is after each of these events."""
