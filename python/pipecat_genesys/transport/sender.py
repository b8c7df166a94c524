"""When how much bot audio is sent.

Two wishes pull apart: the caller should hear the bot at once, and the message rate wants few, long
messages. So the first audio of a turn goes out as it comes, and what follows waits while the
caller still has something to hear: until half of that is gone, or as much again has gathered. Each
message then carries what has gathered, and the lead grows up to a limit. From a source that is
faster than speech, a few messages have half the lead, and from then on there are two a second, half
a second each. From one that is as fast as speech nothing gathers; the messages stay short as long
as tokens last, and grow to what the rate allows before they run out.

What an utterance ends with goes out at once. So does what the source pauses after.

Sans-I/O: time comes in, messages come out.
"""

from __future__ import annotations

from dataclasses import dataclass

from pipecat_genesys.protocol import MAX_MESSAGE_BYTES, WIRE_SAMPLE_RATE

from .bucket import TokenBucket
from .playback import PlaybackClock

# Inside Genesys's 5 a second and 25 at once.
_RATE, _BURST = 4.8, 22
# Below so many tokens messages get longer, up to what the rate alone carries.
_PLENTY = 12.0
_STEADY_SECONDS = 0.25
# A lead that a busy event loop uses up.
_LITTLE_SECONDS = 0.2
# How much gathers when the queue has run dry in mid-turn: the next piece is as likely to be late.
_CUSHION_SECONDS = 0.03
# Kept for the first audio and the end of utterances.
_RESERVE = 2.0


@dataclass(frozen=True)
class Packet:
    """A message of audio.

    Attributes:
        audio: The payload.
        waited: Seconds that its oldest audio waited for a token.
        gap: Seconds of silence the caller heard before it, in the middle of a turn.
    """

    audio: bytes
    waited: float
    gap: float


class AudioSender:
    """Bot audio on its way out. Times are seconds on a monotonic clock.

    Attributes:
        clock: What the caller hears.
        bucket: The binary messages' tokens.
    """

    def __init__(
        self, *, lead_seconds: float = 1.0, pause_seconds: float = 0.045, frame_bytes: int = 1
    ) -> None:
        """Create a sender.

        Args:
            lead_seconds: How far to run ahead of real time, at most.
            pause_seconds: After how long without new audio what has gathered is sent.
            frame_bytes: Bytes of a sample.
        """
        self.clock = PlaybackClock()
        self.bucket = TokenBucket(_RATE, _BURST)
        self.frame_bytes = frame_bytes
        self._lead = lead_seconds
        self._pause = pause_seconds
        self._buffer = bytearray()
        self._over = False
        self._newest = 0.0
        self._starved_at: float | None = None
        self._not_before = 0.0
        self._last_lead = 0.0

    def put(self, audio: bytes, now: float) -> None:
        """Add audio, as it is on the wire."""
        if not audio:
            return
        self._buffer += audio
        self._newest = now
        self._over = False

    def finish(self, now: float) -> None:
        """Say that the utterance ends with what was put: it goes out at once."""
        self._over = True
        if not self._buffer:
            self.clock.turn_over()

    def clear(self, now: float) -> float:
        """Drop what was not sent: the caller talks over it.

        Returns:
            Seconds of the turn that the caller has heard.
        """
        self._buffer.clear()
        self._over, self._starved_at = True, None
        return self.clock.clear(now)

    def hold_until(self, when: float) -> None:
        """Send nothing before: Genesys said so (429, ``retryAfter``)."""
        self._not_before = max(self._not_before, when)

    @property
    def waiting(self) -> int:
        """Bytes that were not sent yet."""
        return len(self._buffer)

    @property
    def is_over(self) -> bool:
        """Whether it was said that the utterance ends with what was put."""
        return self._over

    def ahead(self, now: float) -> float:
        """Seconds that are still to be heard, sent or not."""
        return self.clock.lead(now) + self._seconds(len(self._buffer))

    def has_room(self, now: float) -> bool:
        """Say whether more audio is wanted: there is less of it ahead than twice the lead.

        A lead's worth gathers here, so that it is at hand when it is due.
        """
        return self.ahead(now) < 2 * self._lead

    def at_hand(self, now: float) -> float:
        """Seconds that may be sent although they are not due: what has gathered, up to the lead.

        Nothing where tokens are not plenty.
        """
        if now < self._not_before or not self.bucket.has(now, _PLENTY):
            return 0.0
        gathered = self._seconds(len(self._buffer))
        return (
            gathered if self._over else max(0.0, min(gathered, self._lead - self.clock.lead(now)))
        )

    def poll(self, now: float, *, early: bool = False) -> Packet | None:
        """Take the message that is due, if one is; or, early, what is at hand."""
        due = self._due(now)
        if due is None or (due > now and not (early and self.at_hand(now))):
            return None
        most = MAX_MESSAGE_BYTES
        if not self._over:
            # No further ahead than wanted; what is due has room for a first message, always.
            room = max(self._lead - self.clock.lead(now), _STEADY_SECONDS)
            most = min(most, int(room * WIRE_SAMPLE_RATE) * self.frame_bytes)
        most -= most % self.frame_bytes
        audio = bytes(self._buffer[:most])
        del self._buffer[:most]
        waited = now - self._starved_at if self._starved_at is not None else 0.0
        self._starved_at = None
        self.bucket.take(now)
        gap = self.clock.add(len(audio) // self.frame_bytes, now)
        self._last_lead = self.clock.lead(now)
        if not self._buffer and (self._over or now >= self._newest + self._pause):
            self.clock.turn_over()
        return Packet(audio, waited, gap)

    def wake_at(self, now: float) -> float | None:
        """Say when to poll again, if nothing else happens; None if there is nothing to send."""
        return self._due(now)

    def _due(self, now: float) -> float | None:
        """When the next message is."""
        if not self._buffer:
            return None
        lead = self.clock.lead(now)
        paused_at = self._newest + self._pause
        if self._over or (lead <= 0 and not self.clock.in_turn):
            due = self.bucket.ready_at(now)
        else:
            # As half of what was ahead is heard, or more; sooner while there is little of it, and
            # where as much has gathered as is ahead: so a fast source soon has half the lead.
            ahead = min(self._last_lead, self._lead)
            least = ahead * (0.5 if ahead > _LITTLE_SECONDS else 0.75)
            least = max(least, min(self._seconds(len(self._buffer)), self._lead / 2))
            due = max(now + max(0.0, lead - least), self.bucket.ready_at(now, self._needed()))
            # Or when the source pauses, which may be the end of an utterance.
            # There is no hurry with what is beyond the lead.
            room_at = now + lead - self._lead
            due = min(due, max(paused_at, room_at, self.bucket.ready_at(now, _RESERVE)))
            dry_since = self.clock.dry_since(now)
            if dry_since is not None:
                # One hole that is heard instead of one before every piece.
                due = max(due, dry_since + _CUSHION_SECONDS)
        if self._starved_at is None and not self.bucket.has(now):
            self._starved_at = now
        return max(due, self._not_before)

    def _needed(self) -> float:
        """Tokens there must be for a message as short as what has gathered, in mid-turn."""
        fill = self._seconds(len(self._buffer)) / _STEADY_SECONDS
        return max(1.0, _PLENTY - (_PLENTY - 1.0) * fill)

    def _seconds(self, size: int) -> float:
        return size / self.frame_bytes / WIRE_SAMPLE_RATE
