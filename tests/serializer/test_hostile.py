"""Tests that invalid input from the client raises no exception in the serializer."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from calls import SerializerCall
from genesys import Genesys, media
from hypothesis import given
from hypothesis import strategies as st
from loguru import logger

JUNK = [
    "",
    "not json",
    "[1]",
    "5",
    "null",
    '"open"',
    "{}",
    '{"type": null}',
    '{"type": ["ping"]}',
    '{"type": {"a": 1}}',
    '{"type": "made_up", "seq": 2}',
    '{"a": NaN}',
    '{"seq": ' + "9" * 5000 + "}",
    "[" * 60_000,
    '{"a":' * 10_000,
    '{"type": "dtmf", "padding": "' + "x" * 70_000 + '"}',
    '"\\ud800"',
    "\x00",
]
PARAMETERS: list[Any] = [None, [], "x", 5, {"reason": 7}, {"digit": {}}, {"participant": 3}]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda children: (
        st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=10), children, max_size=4)
    ),
    max_leaves=10,
)
TYPES = st.sampled_from(
    [
        "open",
        "close",
        "ping",
        "update",
        "pause",
        "paused",
        "resumed",
        "discarded",
        "dtmf",
        "error",
        "playback_started",
        "opened",
        "closed",
        "disconnect",
        "made_up",
    ]
)
MESSAGES = st.fixed_dictionaries(
    {"type": TYPES},
    optional={
        "version": st.sampled_from(["2", "1"]) | JSON,
        "id": st.just(Genesys().session_id) | JSON,
        "seq": st.integers(0, 6) | JSON,
        "serverseq": st.integers(0, 3) | JSON,
        "position": st.sampled_from(["PT0S", "PT0.2S", "PTxS"]) | JSON,
        "parameters": st.fixed_dictionaries(
            {},
            optional={
                "media": st.lists(st.just(media()) | JSON, max_size=2) | JSON,
                "participant": JSON,
                "start": JSON,
                "discarded": JSON,
                "digit": JSON,
                "language": JSON,
                "reason": JSON,
                "code": JSON,
                "message": JSON,
            },
        )
        | JSON,
    },
)


@pytest.mark.parametrize("text", JUNK, ids=range(len(JUNK)))
async def test_invalid_text_is_counted_and_the_call_goes_on(text: str) -> None:
    call = SerializerCall()
    await call.open()
    await call.send_unanswered(text)
    assert sum(call.serializer.call.faults.values()) >= 1
    assert len((await call.serializer.deserialize(b"\xff" * 1600)).audio) == 6400
    seq = call.serializer.call.session.client_seq + 1
    assert (await call.exchange(call.genesys.text("ping", seq=seq)))["type"] == "pong"


async def test_ping_with_an_invalid_seq_is_answered() -> None:
    call = SerializerCall()
    await call.open()
    assert (await call.exchange(call.genesys.text("ping", seq="two")))["type"] == "pong"


@pytest.mark.parametrize("parameters", PARAMETERS)
@pytest.mark.parametrize(
    "name", ["update", "paused", "resumed", "discarded", "dtmf", "error", "playback_started"]
)
async def test_invalid_parameters_do_not_end_the_call(name: str, parameters: Any) -> None:
    call = SerializerCall()
    await call.open()
    await call.send_unanswered(call.genesys.text(name, parameters))
    assert (await call.exchange(call.genesys.text("ping")))["type"] == "pong"


@pytest.mark.parametrize("parameters", PARAMETERS)
@pytest.mark.parametrize(("name", "reply"), [("ping", "pong"), ("close", "closed")])
async def test_ping_and_close_with_invalid_parameters_are_answered(
    name: str, reply: str, parameters: Any
) -> None:
    call = SerializerCall()
    await call.open()
    assert (await call.exchange(call.genesys.text(name, parameters)))["type"] == reply


@pytest.mark.parametrize(
    "offer", [5, "PCMU", {}, [], [5], [media(rate=16000)], [media("PCMU", "left")], [None, []]]
)
async def test_invalid_offer_is_rejected(offer: Any) -> None:
    call = SerializerCall()
    await call.connect()
    raw = json.loads(call.genesys.open())
    raw["parameters"]["media"] = offer
    assert (await call.exchange(json.dumps(raw)))["type"] == "disconnect"
    await call.send_unanswered(b"\xff" * 1600)


async def test_audio_before_open_is_dropped_and_counted() -> None:
    call = SerializerCall()
    await call.connect()
    await call.send_unanswered(b"\xff" * 1600)
    assert call.serializer.call.faults == {"audio-state": 1}
    assert (await call.exchange(call.genesys.open()))["seq"] == 1


async def test_messages_and_audio_after_closed_are_ignored() -> None:
    call = SerializerCall()
    await call.open()
    await call.exchange(call.genesys.text("close", {"reason": "end"}))
    await call.send_unanswered(b"\xff" * 1600)
    for name in ("ping", "close", "dtmf", "update"):
        await call.send_unanswered(call.genesys.text(name, {"digit": "1", "language": "de"}))
    await call.send_unanswered(call.genesys.open())


@given(st.lists(st.one_of(MESSAGES.map(json.dumps), JSON.map(json.dumps), st.text(), st.binary())))
def test_arbitrary_input_does_not_raise_or_break_the_sequence(traffic: list[str | bytes]) -> None:
    async def run() -> None:
        call = SerializerCall()
        await call.connect()
        sent: list[dict[str, Any]] = []
        for data in traffic:
            frame = await call.serializer.deserialize(data)
            if hasattr(frame, "message"):
                payload = await call.serializer.serialize(frame)
                if payload is not None:
                    sent.append(json.loads(payload))
        assert call.serializer.call.faults.get("internal", 0) == 0
        assert [message["seq"] for message in sent] == list(range(1, len(sent) + 1))
        names = [message["type"] for message in sent]
        assert names.count("disconnect") <= 1
        assert names.count("closed") <= 1
        assert "closed" not in names[:-1]

    asyncio.run(run())


async def test_many_equal_faults_give_one_log_line() -> None:
    lines: list[str] = []
    sink = logger.add(lambda message: lines.append(message.record["message"]), level="INFO")
    try:
        call = SerializerCall()
        await call.open()
        for n in range(100):
            await call.send_unanswered(f"junk {n}")
        await call.exchange(call.genesys.text("close", {"reason": "end"}))
    finally:
        logger.remove(sink)
    assert len([line for line in lines if "not JSON" in line]) == 1
    assert "'json': 100" in lines[-1]


async def test_exception_in_the_serializer_loses_one_message_and_is_logged_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lines: list[str] = []
    sink = logger.add(lambda message: lines.append(message.record["message"]), level="ERROR")
    call = SerializerCall()
    await call.open()
    with monkeypatch.context() as patch:
        patch.setattr(call.serializer.call.codec, "decode", lambda *_: 1 / 0)
        await call.send_unanswered(b"\xff" * 1600)
        await call.send_unanswered(b"\xff" * 1600)
    logger.remove(sink)
    assert len(lines) == 1
    assert call.serializer.call.faults == {"internal": 2}
    assert await call.serializer.deserialize(b"\xff" * 1600) is not None
