"""Two pauses on one stream, and exact positions throughout."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from pipecat_genesys.protocol.types import duration_to_samples
from pipecat_genesys.simulator import Party, Paused, Resumed, SessionState, Violation

from .transcript import Table, answered


def kinds(table: Table) -> list[str]:
    return [kind for _, kind, _ in table.take()]


def test_the_measured_pause() -> None:
    # Measured: 'paused' at PT0.6S, 'resumed' at PT1.4S with start PT0.6S and discarded PT0.8S.
    table = answered()
    table.caller(3)
    table.text("pause")
    assert table.said[-1][1]["position"] == "PT0.6S"  # type: ignore[index]
    assert kinds(table) == ["audio", "audio", "audio", "paused"]
    table.caller(4)
    assert table.take() == []
    table.text("resume")
    assert table.said[-1][1]["position"] == "PT1.4S"  # type: ignore[index]
    assert table.take() == [(0.0, "resumed", {"start": "PT0.6S", "discarded": "PT0.8S"})]
    table.caller(1)
    assert kinds(table) == ["audio"]
    assert table.of(Paused) == [Paused(0.0, Party.SERVER)]
    assert table.of(Resumed) == [Resumed(0.0, Party.SERVER, 4800, 6400)]


def test_start_paused_sends_paused_and_no_audio_until_resume() -> None:
    table = Table()
    table.take()
    table.opened(startPaused=True)
    assert table.take() == [(0.0, "paused", {})]
    table.caller(2)
    assert table.take() == []
    table.text("resume")
    assert table.take() == [(0.0, "resumed", {"start": "PT0S", "discarded": "PT0.4S"})]


def test_pause_and_resume_can_be_used_to_ask() -> None:
    table = answered()
    table.caller(1)
    table.take()
    table.text("resume")
    assert table.take() == [(0.0, "resumed", {"start": "PT0.2S", "discarded": "PT0S"})]
    table.text("pause")
    table.text("pause")
    assert kinds(table) == ["paused", "paused"]
    table.text("resume")
    assert kinds(table) == ["resumed"]
    assert not table.session.is_paused


def test_a_pause_of_the_client_outlasts_the_resume_of_the_server() -> None:
    table = answered()
    table.do("pause")
    table.caller(1)
    table.text("pause")
    table.text("resume")
    assert kinds(table) == ["paused", "paused", "paused"]
    table.caller(1)
    table.do("resume")
    assert table.take() == [(0.0, "resumed", {"start": "PT0S", "discarded": "PT0.4S"})]
    assert table.of(Resumed)[0].by is Party.CLIENT


def test_a_pause_of_the_server_outlasts_that_of_the_client_silently() -> None:
    table = answered()
    table.text("pause")
    table.do("pause")
    assert kinds(table) == ["paused", "paused"]
    table.caller(1)
    table.do("resume")
    assert table.take() == []
    assert table.session.is_paused
    table.text("resume")
    assert table.take() == [(0.0, "resumed", {"start": "PT0S", "discarded": "PT0.2S"})]


def test_pings_go_on_during_a_pause() -> None:
    table = answered()
    table.answers_pings = True
    table.text("pause")
    table.advance(6.0)
    assert kinds(table) == ["paused", "ping", "ping", "ping"]
    assert table.session.state is SessionState.OPEN


@settings(deadline=None)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("audio"), st.integers(1, 5000)),
            st.tuples(st.just("discard"), st.integers(1, 5000)),
            st.tuples(st.sampled_from(["pause", "resume", "client pause", "client resume"])),
        ),
        max_size=40,
    )
)
def test_a_server_that_follows_the_messages_knows_the_position_to_the_sample(
    script: list[tuple[str, int] | tuple[str]],
) -> None:
    """The timeline as a server keeps it: samples received, plus every gap that is reported."""
    table = answered()
    heard = 0
    for step in script:
        table.advance(0.6)  # within the limits on pause and resume
        if step[0] == "audio":
            table.caller(1, samples=step[1])  # type: ignore[misc]
        elif step[0] == "discard":
            table.do("report_discarded", step[1])  # type: ignore[misc]
        elif step[0] in ("pause", "resume"):
            table.text(step[0])
        elif step[0] == "client pause":
            table.do("pause")
        elif table.session._pauses.holds(Party.CLIENT):
            table.do("resume")
        for _, message in table.said:
            if isinstance(message, bytes):
                heard += len(message)
                continue
            if message["type"] == "ping":
                table.text("pong", clientseq=message["seq"])
            if message["type"] in ("resumed", "discarded"):
                gap = message["parameters"]
                end = duration_to_samples(gap["start"]) + duration_to_samples(gap["discarded"])
                assert duration_to_samples(gap["start"]) <= end
                heard = end
                # Right after a report, both sides agree exactly.
                assert duration_to_samples(message["position"]) == heard
        table.said.clear()
        if not table.session.is_paused:
            assert table.session.position == heard
    assert table.of(Violation) == []
