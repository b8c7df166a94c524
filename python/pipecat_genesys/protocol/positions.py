"""Where on the stream's timeline a sample is that arrived as the n-th.

The client's clock runs on while audio is paused or discarded, so the n-th sample that arrived is
not n samples from the start. Offsets in events are on the client's timeline.
"""

from __future__ import annotations

from bisect import bisect_right

# Gaps remembered; offsets are asked for about what has just been said.
_MAX_GAPS = 1024


class PositionMap:
    """Translates counts of samples that arrived into stream positions, exactly.

    Attributes:
        start: The position ``open`` gave: zero, but in a session that continues another.
    """

    def __init__(self, start: int = 0) -> None:
        self.start = start
        self._skipped = 0
        # The first samples after gaps, and what had been skipped by then.
        self._after: list[int] = []
        self._sums: list[int] = []
        self._forgotten = 0

    def skip(self, before: int, after: int) -> None:
        """Take note of a gap.

        Args:
            before: The position after the last sample that arrived.
            after: The position of the next.
        """
        if before == after:
            return
        arrived = self.arrived(before)
        self._skipped += after - before
        if self._after and self._after[-1] == arrived:
            self._sums[-1] = self._skipped
            return
        if len(self._after) == _MAX_GAPS:
            self._forgotten = self._sums.pop(0)
            self._after.pop(0)
        self._after.append(arrived)
        self._sums.append(self._skipped)

    def arrived(self, position: int) -> int:
        """Count the samples that have arrived at the newest position."""
        return position - self.start - self._skipped

    def position(self, sample: int) -> int:
        """Give the stream position of a sample.

        Args:
            sample: Its number among those that arrived, from 0.

        Returns:
            Its position, in samples; of samples before the 1024 newest gaps, one without them.
        """
        gaps = bisect_right(self._after, sample)
        skipped = self._sums[gaps - 1] if gaps else self._forgotten
        return self.start + sample + skipped
