"""What an operator wants to measure of a call; does nothing by itself."""

from __future__ import annotations


class TransportObserver:
    """Override what is of interest. The methods are called in the event loop and must not wait."""

    def replied(self, message_type: str, seconds: float) -> None:
        """A reply was handed to the socket, so long after what it answers had arrived."""

    def audio_received(self, lag: float) -> None:
        """Caller audio came so many seconds later than its own clock has it."""

    def audio_sent(self, seconds: float, tokens: float, waited: float) -> None:
        """A message with so many seconds of audio went out.

        Args:
            seconds: Its length.
            tokens: How many messages could follow at once.
            waited: How long it was kept back because there was no token, in seconds.
        """

    def underrun(self, seconds: float) -> None:
        """The caller heard nothing for so long, in the middle of what the bot says."""

    def rate_limited(self, retry_after: float) -> None:
        """Genesys reported error 429; nothing is sent for so many seconds."""

    def interrupted(self, heard_seconds: float) -> None:
        """The caller talked over the bot, having heard so much of what it said."""

    def throttled(self, seconds: float) -> None:
        """The client sends more than anybody would; it is not read for so long."""

    def ended(self, reason: str) -> None:
        """The session is over: for the reason that Genesys gave, or ``lost`` without one."""
