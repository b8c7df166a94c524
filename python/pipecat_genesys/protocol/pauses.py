"""Matches ``paused`` and ``resumed`` to the messages of this side that they answer.

This side can pause the audio with ``pause`` or ``startPaused``. The client can also pause the
audio, for example in a secure flow. Audio flows while neither side pauses the audio. The client's
``paused`` and ``resumed`` do not say which side caused the change. Therefore the newest of these
messages tells the session whether audio is paused, and this module determines which message of this
side the client has answered.
"""

from __future__ import annotations

from .types import AudioHookMessageType as Type

# Maximum number of unanswered requests that are kept; older ones are forgotten. A client accepts
# only 2 requests of each type per second, and 4 in a burst, so a normal call stays below the limit.
_MAX_UNANSWERED = 64


class Pauses:
    """The pauses that this side requested, and the requests that are not answered yet.

    Attributes:
        wanted: Whether this side's last request was ``pause``, or ``opened`` with
            ``startPaused``.
    """

    __slots__ = ("_unanswered", "wanted")

    def __init__(self) -> None:
        self.wanted = False
        # A list, because each call has one, it is short, and an empty deque takes 700 bytes.
        self._unanswered: list[tuple[int, Type]] = []

    def ask(self, message_type: Type, seq: int) -> None:
        """Record a message of this side that ``paused`` or ``resumed`` will answer.

        Args:
            message_type: ``pause``, ``resume``, or ``opened`` with ``startPaused``.
            seq: The sequence number of the message.
        """
        self.wanted = message_type is not Type.RESUME
        self._unanswered.append((seq, message_type))
        del self._unanswered[:-_MAX_UNANSWERED]

    def paused(self, serverseq: int | None) -> Type | None:
        """Return the type of the message that a ``paused`` answers.

        Clients answer in order and immediately, so a ``paused`` answers the first unanswered
        message that the client had received.

        Args:
            serverseq: Sequence number of the last message that the client had received; None if the
                client gave none.

        Returns:
            The type (``resume`` if the client itself still pauses the audio), or None if the client
            paused without a request.
        """
        if self._unanswered and self._saw(serverseq):
            return self._unanswered.pop(0)[1]
        return None

    def resumed(self, serverseq: int | None) -> Type | None:
        """Return the type of the message that a ``resumed`` answers: ``resume`` or None.

        Args:
            serverseq: Sequence number of the last message that the client had received; None if the
                client gave none.
        """
        while self._unanswered and self._saw(serverseq):
            if self._unanswered.pop(0)[1] is Type.RESUME:
                return Type.RESUME
        return None

    def _saw(self, serverseq: int | None) -> bool:
        return serverseq is None or self._unanswered[0][0] <= serverseq
