"""Base classes for objects that receive the measurements and the messages of a call."""

from __future__ import annotations

from pipecat_genesys.protocol import WireMessage


class TransportObserver:
    """Receives the measurements of a call. The methods do nothing; override those of interest.

    The methods are called in the event loop and must not block.
    """

    def replied(self, message_type: str, seconds: float) -> None:
        """Called when a reply was queued for the socket.

        Args:
            message_type: The type of the reply.
            seconds: Time since the answered message arrived.
        """

    def audio_received(self, lag: float) -> None:
        """Called when caller audio arrived.

        Args:
            lag: Delay of the audio in seconds, compared with the least delayed audio message
                since the beginning of the call or the last pause.
        """

    def audio_sent(self, seconds: float, tokens: float, waited: float) -> None:
        """Called when an audio message was queued for the socket.

        Args:
            seconds: Length of the audio.
            tokens: Number of messages that the rate limit of the pacer allows immediately after
                this message; may be a fraction or negative. The limit is a little below Genesys's.
            waited: Time that the message waited because of the rate, in seconds.
        """

    def underrun(self, seconds: float) -> None:
        """Called when the caller heard `seconds` of silence in the middle of the bot's turn."""

    def rate_limited(self, retry_after: float) -> None:
        """Called when Genesys reported error 429. No audio is sent for `retry_after` seconds."""

    def interrupted(self, heard_seconds: float) -> None:
        """Called when the caller interrupted the bot after `heard_seconds` of the bot's turn."""

    def answered(self, seconds: float) -> None:
        """Called when the bot's first audio after a turn of the caller was queued for the socket.

        Args:
            seconds: Time since the caller's last speech, by Pipecat's voice activity detection.
        """

    def paused(self) -> None:
        """Called when Genesys paused the audio stream."""

    def ignored_cancellation(self) -> None:
        """Called when cancelled code of the application still runs after the end of the call."""

    def throttled(self, seconds: float) -> None:
        """Called when the client sends too many messages, or audio faster than real time.

        Args:
            seconds: Time for which the socket is not read.
        """

    def ended(self, reason: str) -> None:
        """Called when the session ended.

        Args:
            reason: The reason in ``close``. ``lost`` if the socket was lost before ``close``.
                ``flood`` if the client was disconnected because it sent too many messages.
        """


class MessageTap:
    """Receives each message of a call once, in the order on the wire. Override the methods.

    The methods are called in the event loop. They must return immediately and must not raise. Times
    are seconds on the monotonic clock. Unlike a `TransportObserver`, a tap receives personal data.
    """

    def received(self, message: str | bytes, at: float) -> None:
        """Called with each message from Genesys, before the message is handled.

        Args:
            message: The JSON text of a text message, or the bytes of an audio message.
            at: The time at which the message was read.
        """

    def sent(self, message: WireMessage | bytes, at: float) -> None:
        """Called with each message to Genesys when the socket has accepted the message.

        Audio that is discarded before it reaches the socket is not reported.

        Args:
            message: A text message with its JSON text, type, sequence number and parameters; or
                the bytes of an audio message.
            at: The time at which the socket accepted the message.
        """

    def closed(self, *, by_server: bool, code: int | None, at: float) -> None:
        """Called once when the socket is closed or lost.

        Args:
            by_server: Whether this process closed the socket.
            code: The close code of the WebSocket, or None if it is not known.
            at: The time.
        """
