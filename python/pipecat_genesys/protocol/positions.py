"""Maps received samples to stream positions.

The client's clock keeps running while audio is paused or discarded. Therefore the n-th received
sample is not n samples from the start of the stream. Offsets in events are stream positions.
"""

from __future__ import annotations

from bisect import bisect_right

# Maximum number of gaps that are kept. Only positions of recent audio are requested.
_MAX_GAPS = 1024


class PositionMap:
    """Maps numbers of received samples to stream positions, exactly.

    Attributes:
        start: The position that ``open`` gave: zero, except in a session that continues another
            session.
    """

    __slots__ = ("_after", "_forgotten", "_skipped", "_sums", "start")

    def __init__(self, start: int = 0) -> None:
        """Create a map without gaps.

        Args:
            start: The stream position of the first sample.
        """
        self.start = start
        self._skipped = 0
        # For each gap: the number of the first sample after the gap, and the total length of all
        # gaps up to this sample.
        self._after: list[int] = []
        self._sums: list[int] = []
        self._forgotten = 0

    def skip(self, before: int, after: int) -> None:
        """Record a gap.

        Args:
            before: The position after the last received sample.
            after: The position of the next sample.
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
        """Return the number of received samples if `position` is the current stream position."""
        return position - self.start - self._skipped

    def position(self, sample: int) -> int:
        """Return the stream position of a received sample.

        Args:
            sample: The sample's index among the received samples, from 0.

        Returns:
            The position, in samples. The position of a sample before the 1024 newest gaps is not
            exact.
        """
        gaps = bisect_right(self._after, sample)
        skipped = self._sums[gaps - 1] if gaps else self._forgotten
        return self.start + sample + skipped
