"""Whose pause it is.

Audio is paused by this side (``pause``, ``startPaused``), by the client (a secure flow, for
instance), or by both, and flows when neither wants it paused. The client reports what holds,
``paused`` or ``resumed``, and never who: so a session believes its last word about the audio, and
this file finds out which of our messages that word answers.
"""

from __future__ import annotations

from collections import deque

from .types import AudioHookMessageType as Type

# Far more than a client lets through unanswered: 2 a second, bursts of 4.
_MAX_UNANSWERED = 64


class Pauses:
    """What this side asked for, and what is not answered yet.

    Attributes:
        wanted: Whether this side's last word was ``pause``, or ``opened`` with ``startPaused``.
    """

    def __init__(self) -> None:
        self.wanted = False
        self._unanswered: deque[tuple[int, Type]] = deque(maxlen=_MAX_UNANSWERED)

    def ask(self, message_type: Type, seq: int) -> None:
        """Take note of a message of ours that ``paused`` or ``resumed`` will answer.

        Args:
            message_type: ``pause``, ``resume``, or ``opened`` with ``startPaused``.
            seq: Its number.
        """
        self.wanted = message_type is not Type.RESUME
        self._unanswered.append((seq, message_type))

    def paused(self, serverseq: int | None) -> Type | None:
        """Say what a ``paused`` answers.

        Clients answer in order and at once, so it is the first message that they had seen.

        Args:
            serverseq: What of ours the client had seen, where it said so.

        Returns:
            What it answers (``resume``, where the client stays paused for reasons of its own),
            or None where the client speaks of its own accord.
        """
        if self._unanswered and self._saw(serverseq):
            return self._unanswered.popleft()[1]
        return None

    def resumed(self, serverseq: int | None) -> Type | None:
        """Say what a ``resumed`` answers: ``resume``, or None.

        Args:
            serverseq: What of ours the client had seen, where it said so.
        """
        while self._unanswered and self._saw(serverseq):
            if self._unanswered.popleft()[1] is Type.RESUME:
                return Type.RESUME
        return None

    def _saw(self, serverseq: int | None) -> bool:
        return serverseq is None or self._unanswered[0][0] <= serverseq
