"""Tests that speech is detected after each kind of failure; each failure is logged once."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Sequence
from typing import Any

import pytest
from pipecat.audio.vad.silero import SileroVADAnalyzer
from pipecat.audio.vad.vad_analyzer import VADAnalyzer, VADState
from pipecat_genesys.vad import TelephoneVADAnalyzer, VADModelError, analyzer, model, worker
from pipecat_genesys.vad.model import Scores, SpeechModel, UnusableModelError

from . import oracle

PACKET = 3200
pytestmark = pytest.mark.usefixtures("own_worker")


class FaultyModel(SpeechModel):
    """A model whose runs fail if they have a marked call, or block in the thread of one worker.

    Attributes:
        mark: The sample that marks a call.
        failures: Number of runs that will fail; None if all runs fail.
    """

    def __init__(self, good: SpeechModel) -> None:
        super().__init__(good._session)
        self.mark: float | None = None
        self.failures: int | None = None
        self._blocked: list[tuple[worker.ModelWorker, threading.Event]] = []

    def block(self, one: worker.ModelWorker, release: threading.Event) -> None:
        self._blocked.append((one, release))

    def score(self, calls: Any) -> list[Scores]:
        for one, release in self._blocked:
            if one._thread is threading.current_thread():
                release.wait(20)
        if self.mark is not None and any((rows == self.mark).any() for rows, _ in calls):
            if self.failures is None:
                raise MemoryError("not enough memory for the run")
            if self.failures > 0:
                self.failures -= 1
                raise MemoryError("not enough memory for the run")
        return super().score(calls)


@pytest.fixture(scope="module")
def good_model() -> SpeechModel:
    return model.load_model()


@pytest.fixture
def faulty(good_model: SpeechModel, monkeypatch: pytest.MonkeyPatch) -> FaultyModel:
    """Return a faulty model that the shared worker of this test uses."""
    faulty = FaultyModel(good_model)
    monkeypatch.setattr(worker, "load_model", lambda: faulty)
    return faulty


def ready(kind: type[VADAnalyzer] = TelephoneVADAnalyzer) -> Any:
    made = kind()
    made.set_sample_rate(8000)
    return made


async def judge(one: VADAnalyzer, pieces: Sequence[bytes]) -> list[VADState]:
    return [await one.analyze_audio(piece) for piece in pieces]


async def test_changed_model_file_falls_back_to_pipecats_analyzer_with_one_warning(
    monkeypatch: pytest.MonkeyPatch, warnings_logged: list[str]
) -> None:
    loads = 0

    def changed() -> SpeechModel:
        nonlocal loads
        loads += 1
        raise UnusableModelError("its structure is unknown")

    monkeypatch.setattr(worker, "load_model", changed)
    pieces = oracle.packets(oracle.conversation(8000), PACKET)
    expected = await judge(ready(SileroVADAnalyzer), pieces)
    for _ in range(2):
        one = ready()
        assert one.uses_pipecat
        assert await judge(one, pieces) == expected
        await one.cleanup()
    assert loads == 1
    assert len(warnings_logged) == 1
    assert "SileroVADAnalyzer" in warnings_logged[0]
    assert "its structure is unknown" in warnings_logged[0]


async def test_fallback_follows_parameters_and_rates(
    monkeypatch: pytest.MonkeyPatch, warnings_logged: list[str]
) -> None:
    monkeypatch.setattr(analyzer, "_BASE_MEMBERS", ("_no_such_member",))
    one = TelephoneVADAnalyzer()
    assert "_no_such_member" in warnings_logged[0]
    with pytest.raises(ValueError, match="24000"):
        one.set_sample_rate(24000)
    one.set_sample_rate(16000)
    params = one.params.model_copy(update={"confidence": 0.25})
    one.set_params(params)
    own = one._pipecat_analyzer
    assert own is not None
    assert (own.sample_rate, own.params) == (16000, params)
    assert 0.0 <= one.voice_confidence(bytes(1024)) < 0.5


async def test_missing_onnxruntime_is_a_clear_error_at_construction(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    for _ in range(2):
        with pytest.raises(VADModelError, match="onnxruntime cannot be imported"):
            TelephoneVADAnalyzer()


async def test_missing_model_file_is_a_clear_error_at_construction(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing(package: str) -> Any:
        raise FileNotFoundError(f"{package} has no silero_vad.onnx")

    monkeypatch.setattr(model.resources, "files", missing)
    for _ in range(2):
        with pytest.raises(VADModelError, match=r"no silero_vad\.onnx.*install pipecat-ai again"):
            TelephoneVADAnalyzer()


async def test_failure_of_a_run_leaves_all_states_as_they_were(
    faulty: FaultyModel, warnings_logged: list[str]
) -> None:
    pieces = oracle.packets(oracle.conversation(8000), PACKET)
    # The sample -32768 marks this call; no other audio contains it.
    pieces[12] = b"\x00\x80" + pieces[12][2:]
    plain = oracle.packets(oracle.conversation(8000), PACKET)
    expected = [await judge(ready(SileroVADAnalyzer), one) for one in (pieces, plain)]
    # The first run that fails contains other calls too; the second run contains only this call.
    faulty.mark, faulty.failures = -1.0, 2
    calls = [ready() for _ in range(4)]
    found = await asyncio.gather(judge(calls[0], pieces), *(judge(one, plain) for one in calls[1:]))
    assert faulty.failures == 0
    assert found == [expected[0], *[expected[1]] * 3]
    assert not any(one.uses_pipecat for one in calls)
    assert len(warnings_logged) == 1
    assert "not enough memory for the run" in warnings_logged[0]


async def test_lasting_failure_of_one_call_leaves_the_others_alone(
    faulty: FaultyModel, warnings_logged: list[str]
) -> None:
    pieces = oracle.packets(oracle.conversation(8000), PACKET)
    expected = await judge(ready(SileroVADAnalyzer), pieces)
    faulty.mark = -1.0
    marked = list(pieces)
    marked[12] = b"\x00\x80" + marked[12][2:]
    calls = [ready() for _ in range(4)]
    found = await asyncio.gather(
        judge(calls[0], marked), *(judge(one, pieces) for one in calls[1:])
    )
    assert found[1:] == [expected] * 3
    assert [one.uses_pipecat for one in calls] == [True, False, False, False]
    assert len(warnings_logged) == 2
    # pipecat's analyzer starts in the middle of the call, with a new state of the model.
    assert found[0][:12] == expected[:12]
    assert sum(one != other for one, other in zip(found[0], expected, strict=True)) <= 6


async def test_failure_of_long_audio_falls_back_too(faulty: FaultyModel) -> None:
    """After a failure with long audio, which has its own thread, pipecat's analyzer is used."""
    one = ready()
    faulty.mark = -1.0
    pcm = oracle.recording("caller-question", 8000)
    await one.analyze_audio(b"\x00\x80" * 10 + pcm)
    assert one.uses_pipecat


async def test_stalled_worker_is_replaced_and_no_call_stays_deaf(
    faulty: FaultyModel, monkeypatch: pytest.MonkeyPatch, warnings_logged: list[str]
) -> None:
    """If the worker does not answer in time, a new worker processes the audio of all calls."""
    monkeypatch.setattr(worker, "STALL_TIMEOUT", 0.2)
    pieces = oracle.packets(oracle.conversation(8000), PACKET)
    expected = await judge(ready(SileroVADAnalyzer), pieces)
    calls = [ready() for _ in range(3)]
    for one in calls:
        assert await judge(one, pieces[:10]) == expected[:10]
    stalled = worker.shared_worker()
    release = threading.Event()
    faulty.block(stalled, release)
    # The caller of one call is cancelled while the worker is stalled.
    waiting = [asyncio.create_task(judge(one, pieces[10:12])) for one in calls]
    await asyncio.sleep(0.05)
    waiting[0].cancel()
    assert await asyncio.gather(*waiting[1:]) == [expected[10:12]] * 2
    assert await asyncio.wait_for(judge(calls[0], pieces[11:]), 5) == expected[11:]
    assert not any(one.uses_pipecat for one in calls)
    assert len(warnings_logged) == 1
    assert "has not answered" in warnings_logged[0]

    # The old worker ends when its run returns; the new worker ignores the results of that run.
    assert worker.shared_worker() is not stalled
    release.set()
    await asyncio.to_thread(stalled.stop, 10)
    assert stalled._thread is not None
    assert not stalled._thread.is_alive()
    assert await judge(calls[1], pieces[12:]) == expected[12:]


async def test_worker_that_stalls_again_and_again_is_given_up(
    faulty: FaultyModel, monkeypatch: pytest.MonkeyPatch, warnings_logged: list[str]
) -> None:
    """After `MAX_WORKERS` stalled workers, all calls use pipecat's analyzer."""
    monkeypatch.setattr(worker, "STALL_TIMEOUT", 0.05)
    pieces = oracle.packets(oracle.conversation(8000), PACKET)
    one, release, stalled = ready(), threading.Event(), []
    for piece in pieces[: worker.MAX_WORKERS]:
        stalled.append(worker.shared_worker())
        faulty.block(stalled[-1], release)
        await one.analyze_audio(piece)
    await judge(one, pieces[worker.MAX_WORKERS :])
    assert one.uses_pipecat
    assert ready().uses_pipecat
    assert "stalled 3 times" in warnings_logged[-1]
    release.set()
    for retired in stalled:
        await asyncio.to_thread(retired.stop, 10)


async def test_call_that_ends_while_the_worker_is_stalled_still_gets_its_state(
    faulty: FaultyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`cleanup` ends the threads of pipecat's base class; the audio is scored without them."""
    monkeypatch.setattr(worker, "STALL_TIMEOUT", 0.2)
    pieces = oracle.packets(oracle.conversation(8000), PACKET)
    expected = await judge(ready(SileroVADAnalyzer), pieces)
    one = ready()
    assert await judge(one, pieces[:10]) == expected[:10]
    stalled, release = worker.shared_worker(), threading.Event()
    faulty.block(stalled, release)
    last = asyncio.create_task(judge(one, pieces[10:12]))
    await asyncio.sleep(0)
    await one.cleanup()
    assert await last == expected[10:12]
    assert not one.uses_pipecat
    release.set()
    await asyncio.to_thread(stalled.stop, 10)


async def test_call_that_needs_two_runs_of_a_stalled_worker_is_served(
    faulty: FaultyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker stalls in the run after a reset in the middle of a packet."""
    monkeypatch.setattr(worker, "STALL_TIMEOUT", 0.2)
    # In this audio, the model is reset after 2 s, in the middle of a packet.
    pieces = oracle.packets(bytes(48000) + oracle.conversation(8000), 4000)
    expected = await judge(ready(SileroVADAnalyzer), pieces)
    stalled, release, one = worker.shared_worker(), threading.Event(), ready()
    score, runs = faulty.score, 0

    def block_second_run_of_a_packet(calls: Any) -> list[Scores]:
        nonlocal runs
        [(rows, _)] = calls
        # A packet of 250 ms has 7 or 8 windows. The run after a reset has fewer windows.
        if len(rows) < 7 and not release.is_set() and runs == 0:
            runs += 1
            faulty.block(stalled, release)
        return score(calls)

    monkeypatch.setattr(faulty, "score", block_second_run_of_a_packet)
    assert await judge(one, pieces) == expected
    assert runs == 1
    assert worker.shared_worker() is not stalled
    assert not one.uses_pipecat
    release.set()
    await asyncio.to_thread(stalled.stop, 10)


@pytest.mark.parametrize("size", [PACKET, 32000])
async def test_call_whose_own_thread_stalls_too_gets_pipecats_analyzer(
    size: int,
    faulty: FaultyModel,
    monkeypatch: pytest.MonkeyPatch,
    warnings_logged: list[str],
) -> None:
    """If no run of the model returns, pipecat's analyzer gets all audio, in order."""
    monkeypatch.setattr(worker, "STALL_TIMEOUT", 0.1)
    monkeypatch.setattr(analyzer, "THREAD_TIMEOUT", 0.2)
    pieces = oracle.packets(oracle.conversation(8000), size)
    expected = await judge(ready(SileroVADAnalyzer), [*pieces, pieces[0]])
    release = threading.Event()

    def never(calls: Any) -> list[Scores]:
        release.wait(20)
        raise RuntimeError("the test is over")

    monkeypatch.setattr(faulty, "score", never)
    one, stalled = ready(), worker.shared_worker()
    found = await judge(one, pieces)
    assert one.uses_pipecat
    assert "a thread has not answered" in warnings_logged[-1]
    # The stalled threads continue, and must not change the states.
    release.set()
    await asyncio.to_thread(stalled.stop, 10)
    assert [*found, *await judge(one, pieces[:1])] == expected


async def test_process_without_room_for_a_thread_falls_back_to_pipecats_analyzer(
    faulty: FaultyModel, monkeypatch: pytest.MonkeyPatch, warnings_logged: list[str]
) -> None:
    """If no thread for the model can be started, pipecat's analyzer gets all audio."""
    start = threading.Thread.start

    def start_others(thread: threading.Thread) -> None:
        if thread.name.startswith("speech-model"):
            raise RuntimeError("can't start new thread")
        start(thread)

    pieces = oracle.packets(oracle.conversation(8000), PACKET)
    expected = await judge(ready(SileroVADAnalyzer), pieces)
    monkeypatch.setattr(threading.Thread, "start", start_others)
    one = ready()
    assert await judge(one, pieces) == expected
    assert one.uses_pipecat
    assert len(warnings_logged) == 2
    assert "can't start new thread" in warnings_logged[-1]


async def test_suspended_process_is_not_taken_for_a_stalled_worker(
    faulty: FaultyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the whole process was suspended, its worker is not replaced."""
    monkeypatch.setattr(worker, "STALL_TIMEOUT", 0.4)
    one = ready()
    release = threading.Event()
    faulty.block(worker.shared_worker(), release)
    judged = asyncio.create_task(one.analyze_audio(bytes(PACKET)))
    await asyncio.sleep(0.01)
    threading.Event().wait(1.0)  # blocks the event loop for one second
    release.set()
    assert await judged == VADState.QUIET
    assert not one.uses_pipecat


async def test_base_class_with_other_windows_falls_back(
    faulty: FaultyModel, monkeypatch: pytest.MonkeyPatch, warnings_logged: list[str]
) -> None:
    """If the base class has windows of another length, pipecat's analyzer is used."""
    one = ready()
    one._vad_frames_num_bytes = 1024
    await one.analyze_audio(bytes(PACKET))
    assert one.uses_pipecat
    assert "expected windows" in warnings_logged[0]
