"""Tests of the analyzer with several event loops, in forked processes, and at a process's end."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from pipecat.audio.vad.silero import SileroVADAnalyzer
from pipecat.audio.vad.vad_analyzer import VADState
from pipecat_genesys.vad import TelephoneVADAnalyzer

from . import oracle

PACKET = 3200


async def judge(analyzer: TelephoneVADAnalyzer | SileroVADAnalyzer, pcm: bytes) -> list[VADState]:
    analyzer.set_sample_rate(8000)
    return [await analyzer.analyze_audio(piece) for piece in oracle.packets(pcm, PACKET)]


def test_event_loops_in_several_threads_are_served() -> None:
    pcm = oracle.recording("caller-question", 8000)
    expected = asyncio.run(judge(SileroVADAnalyzer(), pcm))
    found: dict[int, list[VADState]] = {}

    def run(number: int) -> None:
        found[number] = asyncio.run(judge(TelephoneVADAnalyzer(), pcm))

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(found.values()) == [expected] * 4


def test_an_analyzer_may_move_to_another_event_loop() -> None:
    pcm = oracle.recording("caller-question", 8000)
    expected = asyncio.run(judge(SileroVADAnalyzer(), pcm))
    analyzer = TelephoneVADAnalyzer()
    half = len(pcm) // 2 // PACKET * PACKET

    analyzer.set_sample_rate(8000)

    async def at_once(part: bytes) -> list[VADState]:
        pieces = oracle.packets(part, PACKET)
        return await asyncio.gather(*(analyzer.analyze_audio(piece) for piece in pieces))

    found = asyncio.run(at_once(pcm[:half])) + asyncio.run(at_once(pcm[half:]))
    assert found == expected


def test_a_loop_that_closes_before_its_result_disturbs_nobody() -> None:
    """If an event loop closes before its analyzer's result arrives, other analyzers still work."""
    analyzer = TelephoneVADAnalyzer(sample_rate=8000)
    analyzer.set_sample_rate(8000)
    loop = asyncio.new_event_loop()
    task = loop.create_task(analyzer.analyze_audio(bytes(PACKET)))
    loop.run_until_complete(asyncio.sleep(0))
    task.cancel()
    loop.run_until_complete(asyncio.gather(task, return_exceptions=True))
    loop.close()
    pcm = oracle.recording("caller-question", 8000)
    assert VADState.SPEAKING in asyncio.run(judge(TelephoneVADAnalyzer(), pcm))


def run_python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork")
def test_a_forked_process_analyzes_audio() -> None:
    """After a fork, both processes analyze audio, with old and with new analyzers."""
    code = """
import asyncio, os, sys
from pipecat_genesys.vad import TelephoneVADAnalyzer
pcm = open(sys.argv[1], "rb").read()[44:]
async def judge(analyzer):
    analyzer.set_sample_rate(8000)
    return [(await analyzer.analyze_audio(pcm[at:at + 3200])).name for at in range(0, 32000, 3200)]
before = TelephoneVADAnalyzer()
expected = asyncio.run(judge(TelephoneVADAnalyzer()))
child = os.fork()
if child == 0:
    # The first analyzer was created before the fork, the second after it.
    same = [asyncio.run(judge(one)) for one in (before, TelephoneVADAnalyzer())]
    os._exit(0 if same == [expected] * 2 else 3)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert asyncio.run(judge(TelephoneVADAnalyzer())) == expected
assert "SPEAKING" in expected
"""
    done = run_python(code, str(oracle.EXAMPLES / "caller-question.wav"))
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork")
def test_a_process_that_is_forked_while_a_thread_processes_audio_is_served() -> None:
    """If a process forks while a worker thread runs the model, both processes detect speech.

    The child process does not have the worker thread.
    """
    code = """
import asyncio, os, sys, threading
from pipecat_genesys.vad import TelephoneVADAnalyzer
pcm = open(sys.argv[1], "rb").read()[44:]
begun, forked = threading.Event(), threading.Event()
analyzer = TelephoneVADAnalyzer(sample_rate=8000)
analyzer.set_sample_rate(8000)
original = analyzer._run_analyzer
def later(buffer):
    if threading.current_thread() is not threading.main_thread() and not forked.is_set():
        begun.set()
        forked.wait(20)
    return original(buffer)
analyzer._run_analyzer = later
async def judge():
    pieces = [pcm[:9600]] + [pcm[at:at + 3200] for at in range(9600, 40000, 3200)]
    return [(await analyzer.analyze_audio(piece)).name for piece in pieces]
loop = asyncio.new_event_loop()
first = loop.create_task(analyzer.analyze_audio(bytes(32000)))
loop.run_until_complete(asyncio.sleep(0))
assert begun.wait(20)
child = os.fork()
forked.set()
if child == 0:
    states = asyncio.run(asyncio.wait_for(judge(), 20))
    os._exit(0 if "SPEAKING" in states and not analyzer.uses_pipecat else 3)
status = os.waitpid(child, 0)[1]
assert loop.run_until_complete(first).name == "QUIET"
assert "SPEAKING" in loop.run_until_complete(judge())
loop.close()
assert os.waitstatus_to_exitcode(status) == 0
"""
    done = run_python(code, str(oracle.EXAMPLES / "caller-question.wav"))
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("end", ["sys.exit(0)", "raise SystemExit(0)", "pass"])
def test_a_process_ends_in_the_middle_of_a_run(end: str) -> None:
    """A process that ends during a run of the model exits with status 0."""
    code = f"""
import asyncio, sys
from pipecat_genesys.vad import TelephoneVADAnalyzer
loop = asyncio.new_event_loop()
for _ in range(50):
    analyzer = TelephoneVADAnalyzer(sample_rate=8000)
    analyzer.set_sample_rate(8000)
    loop.create_task(analyzer.analyze_audio(bytes(160000)))
loop.run_until_complete(asyncio.sleep(0))
{end}
"""
    done = run_python(code)
    assert done.returncode == 0, done.stderr
    assert "Fatal" not in done.stderr


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="this system has no /proc")
def test_memory_does_not_grow_with_the_audio() -> None:
    """After two rounds of packets of 1 to 60 windows, memory grows by less than 1 MB."""
    code = """
import os
from pipecat_genesys._native import SpeechDetector
from pipecat_genesys.vad.model import load_model
plain = (1.0, 0.0, 0.0, 0.0, 0.0)
detector = SpeechDetector(load_model(), 8000, (plain, plain), 25)
sizes = []
for _ in range(8):
    for windows in range(1, 61):
        detector.process(bytes(512 * windows))
        while detector.next_window() is not None:
            pass
    with open("/proc/self/statm") as file:
        sizes.append(int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE"))
print(sizes[-1] - sizes[1])
"""
    assert int(run_python(code).stdout) < 1_000_000
