"""How many may come in."""

from __future__ import annotations

import pytest
from pipecat_genesys.endpoint.admission import Admission, NoRoomError, Refused


async def test_a_flood_of_handshakes_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipecat_genesys.endpoint.admission._MAX_HANDSHAKES", 2)
    admission = Admission(10)
    assert [admission.begin_handshake() for _ in range(3)] == [None, None, Refused.HANDSHAKES]
    admission.end_handshake()
    assert admission.begin_handshake() is None


async def test_a_place_is_taken_by_who_is_in() -> None:
    """Two that were let to the door at once are not both let in."""
    admission = Admission(1)
    assert admission.begin_handshake() is None
    assert admission.begin_handshake() is None
    admission.enter("one")
    with pytest.raises(NoRoomError, match="full"):
        admission.enter("two")
    admission.leave("one")
    admission.enter("two")
