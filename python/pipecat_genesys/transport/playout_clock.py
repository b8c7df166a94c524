"""Computes the amount of bot audio that Genesys has played.

Genesys queues the audio that it receives, and plays 8000 samples per second. It reports when
playback begins (``playback_started``) and when its queue is empty (``playback_completed``). Between
reports, and if a report is missing, the result is computed from the elapsed time.

A turn ends when the bot has stopped, or when Genesys's queue is cleared. The next turn begins with
the next audio. If the queue becomes empty during a turn, the turn continues, with an underrun.
"""

from __future__ import annotations

from pipecat_genesys.protocol import WIRE_SAMPLE_RATE

# Maximum silence, in seconds, that does not count as a gap: shorter than one frame of Genesys's
# playback, and longer than the error of any clock.
_GAP_SECONDS = 0.02
# Maximum delay of a report, in seconds. Without this limit, a late report would extend a turn.
_MAX_REPORT_DELAY = 1.0
# If Genesys's queue has less audio than this duration, in seconds, the queue may be empty when more
# audio arrives.
_NEARLY_EMPTY_SECONDS = 0.1
# A ``playback_completed`` that arrives earlier than this time, in seconds, before the computed end
# is about older audio. The time is larger than the difference that arises between this process's
# clock and Genesys's clock while Genesys plays without a pause.
_TOLERANCE_SECONDS = 0.12


class PlayoutClock:
    """A model of Genesys's playback queue. Times are seconds on a monotonic clock.

    Attributes:
        sent: Seconds of audio sent in this turn.
        total: Number of samples sent in the call, without the samples that an interruption
            discarded.
        underruns: Number of times the queue ran empty before the turn was over.
    """

    def __init__(self) -> None:
        """Create the clock of a new call."""
        self.sent = 0.0
        self.total = 0
        self.underruns = 0
        self._end = 0.0
        self._turn_over = True
        # Duration of the audio that was sent since the queue was last nearly empty, in seconds.
        self._run = 0.0
        self._run_began = 0.0
        # True if Genesys has reported the start of playback, and since then playback was neither
        # reported as completed nor cleared.
        self._reported_playing = False
        # Time at which playback began that Genesys has not reported yet, according to this clock.
        self._unreported_since: float | None = None
        # Time from the beginning of playback on this clock to Genesys's report, in seconds.
        self._report_delay = 0.0
        # Position of the first audio whose playback Genesys has not reported as completed.
        self._completed_until = 0
        # Numbers of reports that are expected for audio that was cleared.
        self._stale_starts = 0
        self._stale_completions = 0

    def add(self, samples: int, now: float) -> float:
        """Record audio that is sent.

        Args:
            samples: Number of samples.
            now: The time of sending.

        Returns:
            Seconds of silence that Genesys played before this audio in the middle of a turn; 0 if
            the audio was in time or begins a turn.
        """
        gap = 0.0
        if self._turn_over and now >= self._end:
            self.sent = 0.0
        elif not self._turn_over and now - self._end > _GAP_SECONDS:
            gap = now - self._end
            self.underruns += 1
        self._turn_over = False
        seconds = samples / WIRE_SAMPLE_RATE
        if self.lead(now) <= _NEARLY_EMPTY_SECONDS:
            self._run, self._run_began = 0.0, now
        if self._unreported_since is None and not self._reported_playing:
            self._unreported_since = max(self._end, now)
        self._run += seconds
        self._end = max(self._end, now) + seconds
        self.sent += seconds
        self.total += samples
        return gap

    def end_turn(self) -> None:
        """Record that the turn ends with the sent audio, so that no underrun is counted."""
        self._turn_over = True

    @property
    def in_turn(self) -> bool:
        """Whether more audio of the same turn is expected."""
        return not self._turn_over

    def empty_since(self, now: float) -> float | None:
        """Return the time at which Genesys's queue became empty in the middle of a turn.

        Returns:
            The time; None if the queue is not empty, or no turn is in progress.
        """
        return self._end if not self._turn_over and now >= self._end else None

    def lead(self, now: float) -> float:
        """Return the seconds of audio that were sent and not played yet."""
        return max(0.0, self._end - now)

    def heard(self, now: float) -> float:
        """Return how many seconds of this turn's audio were played."""
        return max(0.0, self.sent - self.lead(now))

    def played(self, now: float) -> int:
        """Return how many of the `total` samples were played."""
        return self.total - round(self.lead(now) * WIRE_SAMPLE_RATE)

    def time_of(self, position: int) -> float:
        """Return the time at which a position is or was played.

        The result is exact for the audio that was sent since the queue was last empty. For earlier
        audio, the result is too late by the time during which the queue was empty.

        Args:
            position: Number of samples since the beginning of the call, at most `total`.
        """
        return self._end - (self.total - position) / WIRE_SAMPLE_RATE

    def is_reported(self, position: int) -> bool:
        """Return whether Genesys has reported that the audio at a position is or was played."""
        return self._reported_playing or position < self._completed_until

    def reported_time_of(self, position: int) -> float:
        """Return the time at which a report arrives, if Genesys reports when a position is played.

        A report takes as long as the caller's audio of the same time, so this time can be compared
        with the arrival of caller audio. `time_of` is earlier by the time that messages take to
        Genesys and back.
        """
        return self.time_of(position) + self._report_delay

    def started(self, now: float) -> None:
        """Record ``playback_started``: Genesys begins to play the newest audio now.

        A report about audio that was cleared has no effect.
        """
        if self._stale_starts:
            self._stale_starts -= 1
            return
        # Reports arrive in order, so no report about cleared audio can follow this report.
        self._stale_completions = 0
        self._reported_playing = True
        end = self._end
        self._end = max(end, now + min(self._run, _MAX_REPORT_DELAY))
        if self._unreported_since is not None:
            delay = now - self._unreported_since - (self._end - end)
            self._report_delay = min(max(0.0, delay), _MAX_REPORT_DELAY)
            self._unreported_since = None

    def completed(self, now: float) -> bool:
        """Record ``playback_completed``: Genesys's queue is empty.

        Genesys also sends ``playback_completed`` when it clears its queue. At that time, newer
        audio may be on the way, so a report about cleared audio has no effect.

        Returns:
            Whether the report is about the audio that was sent last.
        """
        if self._stale_completions:
            self._stale_completions -= 1
            return False
        self._reported_playing = False
        self._completed_until = self.total - round(self._run * WIRE_SAMPLE_RATE)
        if now < self._run_began + self._run - _TOLERANCE_SECONDS:
            # Genesys cannot have played the newest audio already. The report is about older audio:
            # Genesys sent it before the newest audio arrived.
            return False
        self._end = min(self._end, now)
        self._completed_until = self.total
        return True

    def clear(self, now: float) -> float:
        """Record that Genesys discards the audio that it has not played.

        Returns:
            Seconds of the turn that were played.
        """
        heard = self.heard(now)
        if self._reported_playing:
            self._stale_completions += 1
        elif self.lead(now) > 0:
            self._stale_starts += 1
            self._stale_completions += 1
        self._reported_playing = False
        self._unreported_since = None
        self.total = self._completed_until = self.played(now)
        self._end = min(self._end, now)
        self._turn_over = True
        return heard
