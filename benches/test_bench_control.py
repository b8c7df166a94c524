"""Time per control message, the reply included: our serializer and pipecat's.

There is one benchmark for each message type: `deserialize`, and `serialize` if there is a reply.
Both serializers take turns with the same messages of one call, timed by the same clock around the
same loop. pipecat's serializer runs in the setup of a round; our serializer runs in the round
itself, which pytest-benchmark records. `open` and `close` occur once in a call, so each of these
messages needs a separate call.

Our serializer validates the messages that it receives and numbers the messages that it sends.
pipecat's serializer does neither, but logs most messages. Each message is therefore timed with
three configurations of the log: none, as in the other benchmarks; level INFO, a common setting in
production; and level DEBUG, loguru's default. The log discards its lines.

Every reply is checked after the round.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from statistics import median
from typing import Any

import pytest
from loguru import logger
from open_message import OPEN_MESSAGE
from pipecat.frames.frames import OutputTransportMessageUrgentFrame
from serializers import connected_serializer, opened_serializer, run_coroutine
from timing import QUICK, clock_ns, clock_seconds

BATCH = 20 if QUICK else 200
ROUNDS = 2 if QUICK else 60
PIPELINE_RATE = 16000
# Audio messages before the first text message of a call, and the position after this audio. A call
# for a `close` message has no audio.
AUDIO, POSITION = (b"\xff" * 64_000, b"\xff" * 34_761), "PT12.345125S"

REPLIES: dict[str, str | None] = {
    "open": "opened",
    "ping": "pong",
    "update": "updated",
    "empty update": None,
    "dtmf": None,
    "playback_started": None,
    "error": None,
    "close": "closed",
}
TYPES = {"empty update": "update"}
PARAMETERS: dict[str, dict[str, Any]] = {
    "ping": {"rtt": "PT0.028693737S"},
    "update": {"language": "es-ES"},
    "dtmf": {"digit": "5"},
    "error": {"code": 429, "message": "Rate limit exceeded", "retryAfter": "PT3S"},
    "close": {"reason": "end"},
}
NOT_ANSWERED_BY_PIPECAT = {"update"}
"""Messages that the protocol answers and pipecat's serializer does not."""


@pytest.fixture(params=["no log", "INFO", "DEBUG"])
def log(request: Any) -> Iterator[str]:
    """Add a log that discards its lines, or add no log; return the level of the log."""
    sink = None if request.param == "no log" else logger.add(lambda _: None, level=request.param)
    yield request.param
    if sink is not None:
        logger.remove(sink)


class ControlCompetitor:
    """A serializer that handles control messages of one type."""

    def __init__(self, name: str, message: str) -> None:
        self.name, self.message = name, message
        self.nanoseconds: list[int] = []
        self.results: list[str | None] = []
        self.batch: list[tuple[Any, str]] = []
        self._seq = 1
        self._call = None if message in ("open", "close") else self._opened(*AUDIO)

    def prepare(self) -> None:
        """Make the messages of the next round, and serializers for their calls."""
        if self.message == "open":
            serializers = (connected_serializer(self.name, PIPELINE_RATE) for _ in range(BATCH))
            self.batch = [(serializer, OPEN_MESSAGE) for serializer in serializers]
            return
        self.batch = []
        for _ in range(BATCH):
            self._seq = 2 if self._call is None else self._seq + 1
            self.batch.append((self._call or self._opened(), self._text()))

    def run(self) -> None:
        """Handle the batch; the only code that is timed."""
        batch = self.batch
        begin = clock_ns()
        results = [exchange(serializer, text) for serializer, text in batch]
        end = clock_ns()
        self.nanoseconds.append(end - begin)
        self.results = results

    def check(self) -> None:
        """Check the replies of the last round.

        Raises:
            AssertionError: A reply is wrong.
        """
        reply_type = REPLIES[self.message]
        if self.name == "pipecat" and self.message in NOT_ANSWERED_BY_PIPECAT:
            reply_type = None
        assert len(self.results) == BATCH
        for (serializer, text), result in zip(self.batch, self.results, strict=True):
            if reply_type is None:
                assert result is None
                continue
            assert result is not None
            message, reply = json.loads(text), json.loads(result)
            assert (reply["type"], reply["clientseq"]) == (reply_type, message["seq"])
            assert reply["id"] == message["id"]
            if self.name == "ours":
                assert serializer.call.faults == {}
                if self._call is None:
                    assert reply["seq"] == (1 if self.message == "open" else 2)
        if self.name == "ours" and self._call is not None and reply_type:
            first, last = json.loads(self.results[0] or ""), json.loads(self.results[-1] or "")
            assert last["seq"] - first["seq"] == BATCH - 1

    def _opened(self, *audio: bytes) -> Any:
        serializer = opened_serializer(self.name, PIPELINE_RATE)
        for packet in audio:
            run_coroutine(serializer.deserialize(packet))
        return serializer

    def _text(self) -> str:
        message = json.loads(OPEN_MESSAGE) | {
            "type": TYPES.get(self.message, self.message),
            "seq": self._seq,
            "serverseq": 1,
            "position": POSITION if self._call else "PT0S",
            "parameters": PARAMETERS.get(self.message, {}),
        }
        return json.dumps(message)


def exchange(serializer: Any, text: str) -> str | None:
    """Pass a text message to a serializer as a transport does; return the reply's text."""
    frame = run_coroutine(serializer.deserialize(text))
    if isinstance(frame, OutputTransportMessageUrgentFrame):
        reply: str | None = run_coroutine(serializer.serialize(frame))
        return reply
    return None


@pytest.mark.benchmark(timer=clock_seconds)
@pytest.mark.usefixtures("no_gc")
@pytest.mark.parametrize("message", REPLIES)
def test_control_message(benchmark: Any, message: str, log: str) -> None:
    ours, pipecat = ControlCompetitor("ours", message), ControlCompetitor("pipecat", message)

    def setup() -> None:
        for competitor in (ours, pipecat):
            if competitor.results:
                competitor.check()
            competitor.prepare()
        pipecat.run()

    for _ in range(2):
        setup()
        ours.run()
    for competitor in (ours, pipecat):
        competitor.nanoseconds.clear()
    benchmark.group = "control"
    record = benchmark.extra_info
    record.update(control=message, reply=REPLIES[message], log=log, correct=False)
    benchmark.pedantic(ours.run, setup=setup, rounds=ROUNDS, iterations=1)
    for competitor in (ours, pipecat):
        competitor.check()

    assert len(ours.nanoseconds) == len(pipecat.nanoseconds) == ROUNDS
    times = {each.name: median(each.nanoseconds) / BATCH / 1000 for each in (ours, pipecat)}
    record.update(correct=True, batch=BATCH, rounds=ROUNDS, microseconds=times)
    ratio = times["pipecat"] / times["ours"]
    columns = "  ".join(f"{name} {us:.2f}" for name, us in times.items())
    print(f"  {message:>16}, {log:>6}, us per message:  {columns}  ({ratio:.2f}x)", flush=True)
