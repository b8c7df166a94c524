"""Measurements of a call, for operators."""

from __future__ import annotations


class TransportObserver:
    """Does nothing; override the methods of interest.

    The methods are called in the event loop and must return at once.
    """

    def replied(self, message_type: str, seconds: float) -> None:
        """A reply was queued for the socket.

        Args:
            message_type: The type of the reply.
            seconds: Time since the message that it answers arrived.
        """

    def audio_received(self, lag: float) -> None:
        """Caller audio arrived.

        Args:
            lag: Delay behind the caller's own clock, in seconds; 0 for the least delayed message
                of the call.
        """

    def audio_sent(self, seconds: float, tokens: float, waited: float) -> None:
        """An audio message was queued for the socket.

        Args:
            seconds: Length of its audio.
            tokens: Number of messages that Genesys's rate would let follow at once.
            waited: Seconds that it was kept back because of the rate.
        """

    def underrun(self, seconds: float) -> None:
        """The caller heard silence of `seconds` in the middle of the bot's turn."""

    def rate_limited(self, retry_after: float) -> None:
        """Genesys reported error 429; no audio is sent for `retry_after` seconds."""

    def interrupted(self, heard_seconds: float) -> None:
        """The caller interrupted the bot after `heard_seconds` of the bot's turn."""

    def answered(self, seconds: float) -> None:
        """The bot's first audio after a turn of the caller was queued for the socket.

        Args:
            seconds: Time since the caller's last speech, by Pipecat's voice activity detection.
        """

    def paused(self) -> None:
        """Genesys paused the audio."""

    def ignored_cancellation(self) -> None:
        """Code of the application that was cancelled at the end of the call still runs."""

    def throttled(self, seconds: float) -> None:
        """The client sends too much; its socket is not read for `seconds`."""

    def ended(self, reason: str) -> None:
        """The session ended; `reason` is that of ``close``, or ``lost`` without a ``close``."""
