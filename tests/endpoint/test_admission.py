"""Tests of the limits on the number of handshakes and of running calls."""

from __future__ import annotations

import pytest
from pipecat_genesys.endpoint.admission import Admission, NoRoomError, Refused


async def test_handshakes_at_a_time_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipecat_genesys.endpoint.admission._MAX_HANDSHAKES", 2)
    admission = Admission(10)
    assert [admission.begin_handshake() for _ in range(3)] == [None, None, Refused.HANDSHAKES]
    admission.end_handshake()
    assert admission.begin_handshake() is None


async def test_last_place_goes_to_one_of_two_handshakes() -> None:
    admission = Admission(1)
    assert admission.begin_handshake() is None
    assert admission.begin_handshake() is None
    admission.enter("one")
    with pytest.raises(NoRoomError, match="full"):
        admission.enter("two")
    admission.leave("one")
    admission.enter("two")
