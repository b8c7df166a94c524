"""Tests of the forwarder if the inspector does not read the copies of the forwarded bytes."""

from __future__ import annotations

import asyncio

from pipecat_genesys.inspector.analysis import NOTE
from pipecat_genesys.inspector.calls import CallList
from pipecat_genesys.inspector.forwarder import MAX_COPIES, Copies, Record, RecordReader
from pipecat_genesys.inspector.proxy import CallProxy
from raw_websocket import TEXT, frame, upgrade

ANSWER = b"HTTP/1.1 101 Switching Protocols\r\n\r\n"


class Pipe:
    """A transport that keeps the written bytes until the test reads them."""

    def __init__(self) -> None:
        self.waiting = bytearray()

    def get_write_buffer_size(self) -> int:
        return len(self.waiting)

    def write(self, data: bytes) -> None:
        self.waiting += data

    def read(self) -> list[tuple[Record, int, bytes]]:
        records = RecordReader().feed(bytes(self.waiting))
        self.waiting.clear()
        return [(kind, connection, payload) for kind, connection, _, payload in records]


def test_copies_that_nobody_reads_are_bounded_and_each_call_is_told_once() -> None:
    pipe = Pipe()
    copies = Copies(pipe)  # type: ignore[arg-type]
    block = bytes(MAX_COPIES // 4)
    for _ in range(10):
        copies.send(Record.TO_SERVER, 1, block)
    copies.send(Record.TO_SERVER, 2, block)
    copies.send(Record.END, 1, b"client")
    assert len(pipe.waiting) < MAX_COPIES + 1000
    kinds = [(kind, connection) for kind, connection, _ in pipe.read()]
    assert kinds.count((Record.LOST, 1)) == kinds.count((Record.LOST, 2)) == 1
    assert kinds[-1] == (Record.END, 1)
    copies.send(Record.TO_SERVER, 2, b"not in sequence any more")
    copies.send(Record.TO_SERVER, 3, b"of a new call")
    assert pipe.read() == [(Record.TO_SERVER, 3, b"of a new call")]


async def test_a_call_whose_copies_are_lost_says_so_and_keeps_what_it_has() -> None:
    calls = CallList()
    proxy = CallProxy(calls, "ws://bot/")
    proxy._ready = asyncio.get_running_loop().create_future()
    text = b'{"type":"ping","seq":1}'
    for kind, payload in (
        (Record.NEW, b""),
        (Record.TO_SERVER, upgrade({"Audiohook-Session-Id": "a"})),
        (Record.TO_CLIENT, ANSWER),
        (Record.TO_SERVER, frame(TEXT, text)),
        (Record.LOST, b""),
        (Record.TO_SERVER, b"the middle of a frame"),
        (Record.END, b"client"),
    ):
        proxy._handle(kind, 1, 1.0, payload)
    [call] = calls
    assert [m.content for m in call.analysis.messages if m.type != NOTE] == [text.decode()]
    notes = [m.note for m in call.analysis.messages if m.type == NOTE]
    assert "the rest of this call is not shown" in notes[0]
    assert not call.is_running


def test_records_are_read_however_they_arrive() -> None:
    pipe = Pipe()
    copies = Copies(pipe)  # type: ignore[arg-type]
    sent = [(Record.NEW, 1, b""), (Record.TO_SERVER, 1, b"abc"), (Record.END, 1, b"server")]
    for record in sent:
        copies.send(*record)
    reader = RecordReader()
    received = [record for byte in pipe.waiting for record in reader.feed(bytes([byte]))]
    assert [(kind, connection, payload) for kind, connection, _, payload in received] == sent
