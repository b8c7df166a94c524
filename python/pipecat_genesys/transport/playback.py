"""What the caller has heard, computed from what was sent and corrected by what Genesys reports.

Genesys plays audio as it comes, 8000 samples a second, and says when it begins and when nothing is
left (``playback_started``, ``playback_completed``). In between, and where reports are missing, a
clock knows.
"""

from __future__ import annotations

from pipecat_genesys.protocol import WIRE_SAMPLE_RATE

# Less than a frame of Genesys's, and more than any clock's error.
_GAP_SECONDS = 0.02
# A report of Genesys's is not later than this, so that a late one cannot stretch a turn.
_LATEST_SECONDS = 1.0
# With so little ahead, Genesys may have had nothing when more came.
_NEARLY_DRY_SECONDS = 0.1


class PlaybackClock:
    """The client's queue, seen from here. Times are seconds on a monotonic clock.

    Attributes:
        sent: Seconds of audio that were sent in this turn: since silence, or an interruption.
        underruns: How often the queue ran dry before the turn was over.
    """

    def __init__(self) -> None:
        self.sent = 0.0
        self.underruns = 0
        self._end = 0.0
        self._turn_over = True
        # Seconds sent since there was next to nothing ahead.
        self._run = 0.0
        # Whether Genesys reported a start without the completion that follows it.
        self._reported_playing = False
        # Reports that are still to come for audio from before a clear.
        self._stale_starts = 0
        self._stale_completions = 0

    def add(self, samples: int, now: float) -> float:
        """Take note of audio that goes out.

        Args:
            samples: How much.
            now: When.

        Returns:
            How long the caller heard nothing before it, in the middle of a turn; 0 if it was
            in time, or begins a turn.
        """
        gap = 0.0
        if self._turn_over and now >= self._end:
            self.sent = 0.0
        elif not self._turn_over and now - self._end > _GAP_SECONDS:
            gap = now - self._end
            self.underruns += 1
        self._turn_over = False
        seconds = samples / WIRE_SAMPLE_RATE
        self._run = seconds + (self._run if self.lead(now) > _NEARLY_DRY_SECONDS else 0.0)
        self._end = max(self._end, now) + seconds
        self.sent += seconds
        return gap

    def turn_over(self) -> None:
        """Take note that the turn ends with what was sent: silence after it is no underrun."""
        self._turn_over = True

    @property
    def in_turn(self) -> bool:
        """Whether more of what the bot says is expected."""
        return not self._turn_over

    def dry_since(self, now: float) -> float | None:
        """When the queue ran dry in the middle of a turn; None if it did not."""
        return self._end if not self._turn_over and now >= self._end else None

    def lead(self, now: float) -> float:
        """Seconds of audio that are still to be heard."""
        return max(0.0, self._end - now)

    def heard(self, now: float) -> float:
        """Seconds of this turn that have been heard."""
        return max(0.0, self.sent - self.lead(now))

    def started(self, now: float) -> None:
        """Take note of ``playback_started``: nothing was heard of what was sent at a stretch.

        A report about audio that was cleared since changes nothing.
        """
        if self._stale_starts:
            self._stale_starts -= 1
            return
        # Reports arrive in order: what is missing from before the clear does not come any more.
        self._stale_completions = 0
        self._reported_playing = True
        self._end = max(self._end, now + min(self._run, _LATEST_SECONDS))

    def completed(self, now: float) -> None:
        """Take note of ``playback_completed``: nothing is left.

        Genesys also sends it when it clears its queue. By then newer audio may be on its way, so a
        report about audio that was cleared changes nothing.
        """
        if self._stale_completions:
            self._stale_completions -= 1
            return
        self._reported_playing = False
        self._end = min(self._end, now)

    def clear(self, now: float) -> float:
        """Take note that the client drops what it has not played.

        Returns:
            Seconds of the turn that were heard.
        """
        heard = self.heard(now)
        if self._reported_playing:
            self._stale_completions += 1
        elif self.lead(now) > 0:
            self._stale_starts += 1
            self._stale_completions += 1
        self._reported_playing = False
        self._end = min(self._end, now)
        self._turn_over = True
        return heard
