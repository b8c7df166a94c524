"""Time per control message: ours and pipecat's, the reply included.

One benchmark per message: `deserialize`, and where the protocol wants an answer `serialize` of the
reply. Both take the same messages of one call in turn, timed by the same clock around the same
loop, pipecat's in the setup of the round and ours as the round that pytest-benchmark records.
`open` and `close` happen once in a call, so there are as many calls as messages in a batch.

Ours validates what it takes and numbers what it sends; pipecat's does neither, but writes a line of
log for most messages. So each is timed three times: without a log, as in the other benchmarks; with
one that takes lines from INFO up and throws them away, the least that a deployment has; and with
lines from DEBUG up, as loguru comes.
What was sent is checked after every turn.
"""

from __future__ import annotations

import gc
import json
import os
from collections.abc import Iterator
from statistics import median
from types import SimpleNamespace
from typing import Any

import pytest
from lanes import SERIALIZERS, clock, drive, open_serializer
from loguru import logger
from opening import OPEN
from pipecat.frames.frames import OutputTransportMessageUrgentFrame

QUICK = os.environ.get("BENCH_QUICK") == "1"
BATCH = 20 if QUICK else 200
ROUNDS = 2 if QUICK else 60
# Audio of a call before the first message, and what that makes the client's position; the many
# calls that only end have had none.
AUDIO, POSITION = (b"\xff" * 64_000, b"\xff" * 34_761), "PT12.345125S"

REPLIES: dict[str, str | None] = {
    "open": "opened",
    "ping": "pong",
    "update": "updated",
    "update of nothing": None,
    "dtmf": None,
    "playback_started": None,
    "error": None,
    "close": "closed",
}
PARAMETERS: dict[str, dict[str, Any]] = {
    "ping": {"rtt": "PT0.028693737S"},
    "update": {"language": "es-ES"},
    "dtmf": {"digit": "5"},
    "error": {"code": 429, "message": "Rate limit exceeded", "retryAfter": "PT3S"},
    "close": {"reason": "end"},
}
# What pipecat's does not answer although the protocol has an answer; ours builds and sends one,
# except to an update that brings nothing new, where the two do the same.
UNANSWERED = {"update"}

_Message = tuple[Any, str]


def clock_seconds() -> float:
    return clock() / 1e9


@pytest.fixture(params=["no log", "INFO", "DEBUG"])
def log(request: Any) -> Iterator[str]:
    """Where log lines go: nowhere at all, or to somebody who throws them away."""
    sink = None if request.param == "no log" else logger.add(lambda _: None, level=request.param)
    yield request.param
    if sink is not None:
        logger.remove(sink)


@pytest.fixture
def no_gc() -> Iterator[None]:
    """Collections would strike whoever happens to run."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


class Lane:
    """One competitor."""

    def __init__(self, who: str, name: str) -> None:
        self.who, self.name = who, name
        self.nanoseconds: list[int] = []
        self.results: list[str | None] = []
        self.batch: list[_Message] = []
        self._seq = 1
        self._call = None if name in ("open", "close") else self._in_call(*AUDIO)

    def prepare(self) -> None:
        """Make the messages of the next turn, and the calls they belong to."""
        if self.name == "open":
            self.batch = [(self._connected(), OPEN) for _ in range(BATCH)]
            return
        self.batch = []
        for _ in range(BATCH):
            self._seq = 2 if self._call is None else self._seq + 1
            self.batch.append((self._call or self._in_call(), self._text()))

    def run(self) -> None:
        """The only thing that is timed."""
        batch = self.batch
        begin = clock()
        results = [exchange(serializer, text) for serializer, text in batch]
        end = clock()
        self.nanoseconds.append(end - begin)
        self.results = results

    def judge(self) -> None:
        """Check what the last turn produced; raises AssertionError."""
        reply = REPLIES[self.name]
        if self.who == "pipecat" and self.name in UNANSWERED:
            reply = None
        assert len(self.results) == BATCH
        for (serializer, text), result in zip(self.batch, self.results, strict=True):
            if reply is None:
                assert result is None
                continue
            assert result is not None
            said, answer = json.loads(text), json.loads(result)
            assert (answer["type"], answer["clientseq"]) == (reply, said["seq"])
            assert answer["id"] == said["id"]
            if self.who == "ours":
                assert serializer.call.faults == {}
                if self._call is None:
                    assert answer["seq"] == (1 if self.name == "open" else 2)
        if self.who == "ours" and self._call is not None and reply:
            first, last = json.loads(self.results[0] or ""), json.loads(self.results[-1] or "")
            assert last["seq"] - first["seq"] == BATCH - 1

    def _connected(self) -> Any:
        kind = SERIALIZERS[self.who]
        serializer = kind(kind.InputParams())
        drive(serializer.setup(SimpleNamespace(audio_in_sample_rate=16000)))
        return serializer

    def _in_call(self, *audio: bytes) -> Any:
        serializer = open_serializer(self.who, 16000)
        for packet in audio:
            drive(serializer.deserialize(packet))
        return serializer

    def _text(self) -> str:
        message = json.loads(OPEN) | {
            "type": self.name.split()[0],
            "seq": self._seq,
            "serverseq": 1,
            "position": POSITION if self._call else "PT0S",
            "parameters": PARAMETERS.get(self.name, {}),
        }
        return json.dumps(message)


def exchange(serializer: Any, text: str) -> str | None:
    """What a transport does with a text message."""
    frame = drive(serializer.deserialize(text))
    if isinstance(frame, OutputTransportMessageUrgentFrame):
        sent: str | None = drive(serializer.serialize(frame))
        return sent
    return None


@pytest.mark.benchmark(timer=clock_seconds)
@pytest.mark.usefixtures("no_gc")
@pytest.mark.parametrize("name", REPLIES)
def test_control(benchmark: Any, name: str, log: str) -> None:
    ours, theirs = Lane("ours", name), Lane("pipecat", name)

    def setup() -> None:
        for lane in (ours, theirs):
            if lane.results:
                lane.judge()
            lane.prepare()
        theirs.run()

    for _ in range(2):
        setup()
        ours.run()
    for lane in (ours, theirs):
        lane.nanoseconds.clear()
    benchmark.group = "control"
    record = benchmark.extra_info
    record.update(control=name, reply=REPLIES[name], log=log, correct=False)
    benchmark.pedantic(ours.run, setup=setup, rounds=ROUNDS, iterations=1)
    for lane in (ours, theirs):
        lane.judge()

    assert len(ours.nanoseconds) == len(theirs.nanoseconds) == ROUNDS
    times = {lane.who: median(lane.nanoseconds) / BATCH / 1000 for lane in (ours, theirs)}
    record.update(correct=True, batch=BATCH, rounds=ROUNDS, microseconds=times)
    ratio = times["pipecat"] / times["ours"]
    figures = "  ".join(f"{who} {us:.2f}" for who, us in times.items())
    print(f"  {name:>16}, {log:>6}, us per message:  {figures}  ({ratio:.2f}x)", flush=True)
