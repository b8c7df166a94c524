"""Tests of recording files: size and age limits, full disks, slow disks, unusable folders."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from loguru import logger
from pipecat_genesys.capture import AUDIO, Direction, MarkKind, message_line, read_capture
from pipecat_genesys.endpoint import RecordingSettings
from pipecat_genesys.endpoint import recording_writer as rw
from pipecat_genesys.simulator import SimulatedCall, new_call

from .recordings import counted, file_in, files_in, open_files, recorded, size_of, until
from .served import SIGNED, hang_up, next_pong, served

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX permissions")

WITH_AUDIO = {"audio": "record"}


@pytest.fixture
def log() -> Iterator[list[str]]:
    """Return the log messages of level INFO and above."""
    lines: list[str] = []
    sink = logger.add(lambda line: lines.append(line.record["message"]), level="INFO")
    yield lines
    logger.remove(sink)


def count_stops(log: list[str]) -> int:
    return sum(line.startswith("recordings stop:") for line in log)


async def short(caller: SimulatedCall) -> None:
    await caller.opened()
    await caller.say(b"\x11" * 1600)
    await next_pong(caller)
    await hang_up(caller)


@contextmanager
def small_disk(path: Path, size: str) -> Iterator[None]:
    """Mount a small file system in memory. Without root, skip the test."""
    path.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "tmpfs", str(path)],
        check=False,
        capture_output=True,
    )
    if mounted.returncode:
        pytest.skip("this user may not mount a file system")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


async def test_full_disk_stops_recordings_and_not_calls_until_there_is_room(
    tmp_path: Path, log: list[str]
) -> None:
    disk = tmp_path / "disk"
    with small_disk(disk, "256k"):
        ballast = disk / "ballast"
        ballast.write_bytes(bytes(200 * 1024))

        async def script(caller: SimulatedCall) -> None:
            await caller.opened()
            await until(is_stopped)
            ballast.unlink()
            await until(is_going_on)
            await caller.press("1")
            await next_pong(caller)
            await hang_up(caller)

        async with recorded(disk / "calls", **WITH_AUDIO) as server:

            async def is_stopped() -> bool:
                return counted(server, "recording_stopped") == 1

            async def is_going_on() -> bool:
                return not await is_stopped()

            report = await SimulatedCall(server.url, options=SIGNED).run(script)
            assert report.clean, report
        dropped = counted(server, "recording_dropped_messages_total")
        call = read_capture(file_in(disk / "calls"))
    (mark,) = call.marks
    assert mark.kind is MarkKind.DROPPED
    assert mark.count == dropped > 0
    assert call.entries[-1].type == "closed"
    assert [e.type for e in call.entries if e.type == "dtmf"] == ["dtmf"]
    assert call.ended_by is not None
    assert count_stops(log) == 1
    assert sum("again" in line for line in log if line.startswith("recordings are")) == 1


async def test_folder_without_rights_stops_recordings_and_not_calls(
    tmp_path: Path, log: list[str]
) -> None:
    # A folder below a file cannot be created, even by root.
    (tmp_path / "file").write_text("x")
    async with recorded(tmp_path / "file" / "calls") as server:
        for _ in range(2):
            report = await SimulatedCall(server.url, options=SIGNED).run(short)
            assert report.clean, report
        await server.idle()
        assert counted(server, "recording_stopped") == 1
    assert count_stops(log) == 1
    assert (tmp_path / "file").read_text() == "x"


async def test_folder_of_another_user_in_a_shared_folder_is_refused(
    tmp_path: Path, log: list[str]
) -> None:
    shared, victim = tmp_path / "shared", tmp_path / "victim"
    shared.mkdir()
    shared.chmod(0o1777)
    victim.mkdir()
    (shared / "calls").symlink_to(victim)
    async with recorded(shared / "calls") as server:
        report = await SimulatedCall(server.url, options=SIGNED).run(short)
    assert report.clean, report
    assert files_in(victim) == []
    assert count_stops(log) == 1


def old_recording(folder: Path, number: int, size: int, age: float = 3600.0) -> Path:
    path = folder / f"20260101T00000{number}Z-e160e428-53e2-487c-977d-96989bf5c99{number}.jsonl"
    path.write_bytes(bytes(size))
    then = time.time() - age
    os.utime(path, (then, then))
    return path


async def test_oldest_finished_recordings_are_deleted_first(tmp_path: Path) -> None:
    flight = "20260101T000000Z-e160e428-53e2-487c-977d-96989bf5c990.flight.jsonl"
    kept = [tmp_path / name for name in ("notes.txt", "20260101.jsonl", flight)]
    for path in kept:
        path.write_bytes(bytes(50_000))
        os.utime(path, (0, 0))
    old = [old_recording(tmp_path, n, 30_000, age=3600 - n) for n in range(4)]
    running = old_recording(tmp_path, 9, 30_000, age=7200)
    code = (
        "import fcntl, sys; f = open(sys.argv[1]); fcntl.flock(f, fcntl.LOCK_EX); "
        "print('locked', flush=True); sys.stdin.read()"
    )
    other = subprocess.Popen(  # noqa: ASYNC220 - it does not block
        [sys.executable, "-c", code, str(running)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with other:
        assert other.stdout is not None
        other.stdout.readline()
        async with recorded(tmp_path, max_bytes=140_000, **WITH_AUDIO) as server:
            await SimulatedCall(server.url, options=SIGNED).run(short)
        other.kill()
    left = [path for path in old if path.exists()]
    assert left == old[len(old) - len(left) :]
    assert 1 <= len(left) < len(old)
    assert running.exists()
    assert all(path.exists() for path in kept)
    recordings = [path for path in files_in(tmp_path) if path not in kept]
    assert sum(path.stat().st_size for path in recordings) <= 140_000


async def test_recordings_older_than_the_age_are_deleted(tmp_path: Path) -> None:
    old, young = old_recording(tmp_path, 1, 10, age=7200), old_recording(tmp_path, 2, 10, age=60)
    async with recorded(tmp_path, max_age=3600) as server:
        await SimulatedCall(server.url, options=SIGNED).run(short)
    assert not old.exists()
    assert young.exists()


async def test_running_calls_do_not_exceed_the_largest_size(tmp_path: Path, log: list[str]) -> None:
    async def long(caller: SimulatedCall) -> None:
        await caller.opened()
        for _ in range(3):
            await next_pong(caller)
        await hang_up(caller)

    async with recorded(tmp_path, max_bytes=20_000, **WITH_AUDIO) as server:
        report = await SimulatedCall(server.url, options=SIGNED).run(long)
    assert report.clean, report
    path = file_in(tmp_path)
    assert path.stat().st_size <= 20_000
    assert len(read_capture(path).entries) > 3
    assert count_stops(log) >= 1  # a short message may fit, and then recording stops again
    assert any("increase max_bytes" in line for line in log)


async def test_slow_disk_delays_no_call_and_dropped_messages_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The writing thread hangs while a call continues; the queue of the thread is bounded."""
    monkeypatch.setattr(rw, "_MAX_ITEMS", 10)
    is_writing, may_write = threading.Event(), threading.Event()
    write = rw.write_recordings

    def slow(queues: Any) -> Any:
        is_writing.set()
        may_write.wait(60)
        return write(queues)

    monkeypatch.setattr(rw, "write_recordings", slow)

    async def script(caller: SimulatedCall) -> None:
        await caller.opened()
        for _ in range(3):
            await next_pong(caller)
        may_write.set()
        await hang_up(caller)

    try:
        async with recorded(tmp_path) as server:
            report = await SimulatedCall(server.url, options=SIGNED).run(script)
            assert is_writing.is_set()
    finally:
        may_write.set()
    assert report.clean, report
    dropped = counted(server, "recording_dropped_messages_total")
    path = file_in(tmp_path)
    call = read_capture(path)
    assert sum(mark.count for mark in call.marks if mark.kind is MarkKind.DROPPED) == dropped > 0


async def test_unexpected_error_ends_one_recording_and_logs_no_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mask, planted = rw.mask_client_message, "planted-4711"

    def fail(message: Any, choices: Any) -> Any:
        if planted in str(message):
            raise ValueError(f"cannot mask {message}")
        return mask(message, choices)

    monkeypatch.setattr(rw, "mask_client_message", fail)
    lines: list[str] = []
    sink = logger.add(lines.append, level="ERROR", diagnose=True)
    try:
        async with recorded(tmp_path) as server:
            for variables in ({"account": planted}, {}):
                parameters = new_call(input_variables=variables)
                report = await SimulatedCall(server.url, parameters, options=SIGNED).run(short)
                assert report.clean, report
                await server.idle()
            await server.endpoint.recorder.close()
            assert counted(server, "recordings_active") == 0
    finally:
        logger.remove(sink)
    (line,) = lines
    assert "ends because of an unexpected error, ValueError" in line
    assert "in fail" in line
    assert planted not in line
    assert read_capture(file_in(tmp_path)).entries[-1].type == "closed"


async def test_file_grows_while_the_call_goes_on(tmp_path: Path) -> None:
    async def script(caller: SimulatedCall) -> None:
        await caller.opened()
        await caller.press("1")

        async def has_digit() -> bool:
            return any(
                entry.type == "dtmf"
                for path in files_in(tmp_path)
                if path.stat().st_size  # the file is created before its first line is written
                for entry in read_capture(path).entries
            )

        await until(has_digit)
        await hang_up(caller)

    async with recorded(tmp_path) as server:
        report = await SimulatedCall(server.url, options=SIGNED).run(script)
    assert report.clean, report


async def test_all_calls_of_a_process_share_one_thread_and_close_their_files(
    tmp_path: Path,
) -> None:
    async with recorded(tmp_path) as server:
        calls = [SimulatedCall(server.url, options=SIGNED).run(short) for _ in range(8)]
        running = asyncio.gather(*calls)

        async def are_recorded() -> bool:
            return counted(server, "recordings_active") == 8

        await until(are_recorded)
        threads = [t for t in threading.enumerate() if t.name == "recordings"]
        assert len(threads) == 1
        assert all(report.clean for report in await running)
        await server.idle()
        await server.endpoint.recorder.close()
        assert counted(server, "recordings_active") == 0
        size = size_of(tmp_path)
        assert counted(server, "recording_bytes_total") == size
    assert len(files_in(tmp_path)) == 8
    assert open_files(tmp_path) == []


@pytest.mark.parametrize(
    ("content", "written"),
    [(None, ""), (0xFF, '"silence":"ff"'), (0, '"silence":"00"'), (b"\0\0\0", '"audio":"AAAA"')],
)
def test_native_line_of_audio_is_the_line_of_a_message(
    tmp_path: Path, content: bytes | int | None, written: str
) -> None:
    queue = rw.RecordingQueue(10, 10_000)
    queue.create_file(tmp_path / "a.jsonl")
    assert queue.put_audio(1.25, 1600, content)
    assert queue.put_audio(2.0000005, -800, content)
    rw.write_recordings([queue])
    queue.append([(3.0, 160, content)])
    queue.close_file()
    assert (tmp_path / "a.jsonl").read_text() == "".join(
        message_line(at, direction, AUDIO, size, written)
        for at, direction, size in (
            (1.25, Direction.TO_SERVER, 1600),
            (2.0000005, Direction.FROM_SERVER, 800),
            (3.0, Direction.TO_SERVER, 160),
        )
    )


def test_failed_native_write_names_the_queue_and_the_lost_messages(tmp_path: Path) -> None:
    whole, closed = (rw.RecordingQueue(10, 10_000) for _ in range(2))
    for number, queue in enumerate((whole, closed)):
        queue.create_file(tmp_path / f"{number}.jsonl")
        assert queue.put_audio(1.5, 1600, None)
        assert queue.put_audio(1.75, 1600, None)
    closed.close_file()
    written, ((index, at, lost, error),) = rw.write_recordings([whole, closed])
    assert written == (tmp_path / "0.jsonl").stat().st_size > 0
    assert (index, at, lost) == (1, 1.5, 2)
    assert isinstance(error, OSError)


async def test_second_connection_of_a_session_gets_a_file_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipecat_genesys.endpoint import recording

    class Clock(recording.datetime):  # type: ignore[name-defined,misc]
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return recording.datetime(2026, 1, 1, tzinfo=tz)

    from genesys import SESSION, Genesys
    from websockets.asyncio.client import connect

    settings = RecordingSettings(tmp_path)
    async with served(unauthenticated=True, recording=settings) as server:
        monkeypatch.setattr(recording, "datetime", Clock)
        for _ in range(2):
            client = Genesys()
            headers = {"Audiohook-Session-Id": SESSION}
            async with connect(server.url, compression=None, additional_headers=headers) as socket:
                await socket.send(client.open())
                client.receive(await socket.recv())
                await socket.send(client.text("close", {"reason": "end"}))
                client.receive(await socket.recv())
            await server.idle()
        await server.endpoint.recorder.close()
    names = [path.name for path in files_in(tmp_path)]
    assert names == [f"20260101T000000Z-{SESSION}-2.jsonl", f"20260101T000000Z-{SESSION}.jsonl"]
    for name in names:
        assert re.fullmatch(rw._NAME, name.removesuffix(".jsonl"))
        assert {e.direction for e in read_capture(tmp_path / name).entries} == set(Direction)
