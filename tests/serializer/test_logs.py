"""Tests of the serializer's log lines, which have no personal data by default."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from calls import SerializerCall
from loguru import logger
from pipecat.frames.frames import OutputAudioRawFrame, OutputTransportMessageUrgentFrame

SECRETS = {
    "participant": {"id": "p", "ani": "tel:+4915550001", "aniName": "Doe", "dnis": "tel:+4930"},
    "inputVariables": {"pin": "271828", "4111111111111111": 5},
    "customConfig": {"iban": "DE89"},
    "secret_4242": 1,
}


@pytest.fixture
def log() -> Iterator[list[tuple[str, str]]]:
    lines: list[tuple[str, str]] = []
    sink = logger.add(
        lambda message: lines.append((message.record["level"].name, message.record["message"])),
        filter="pipecat_genesys",
        level="DEBUG",
    )
    yield lines
    logger.remove(sink)


async def talk(call: SerializerCall) -> None:
    await call.open(**SECRETS)
    await call.serializer.deserialize(call.genesys.text("dtmf", {"digit": "7"}))
    await call.send_unanswered(
        call.genesys.text("update", {"participant": {"ani": "tel:+4915550002"}})
    )
    await call.send_unanswered(call.genesys.text("resumed", {"start": "tel:+4915550003"}))
    call.serializer.set_output_variables({"card": "4222-2222"})
    await call.exchange(call.genesys.text("close", {"reason": "tel:+4915550004"}))


async def test_personal_data_is_not_logged_by_default(log: list[tuple[str, str]]) -> None:
    await talk(SerializerCall())
    text = "\n".join(line for _, line in log)
    for secret in ("1555000", "271828", "4111", "4222", "DE89", "4242", "Doe", "'7'"):
        assert secret not in text, secret
    assert "parameters" not in log
    assert [level for level, _ in log if level == "INFO"] == ["INFO", "INFO"]


async def test_personal_data_is_logged_at_debug_if_enabled(log: list[tuple[str, str]]) -> None:
    await talk(SerializerCall(log_personal_data=True))
    debug = "\n".join(line for level, line in log if level == "DEBUG")
    above = "\n".join(line for level, line in log if level != "DEBUG")
    for shown in ("tel:+4915550001", "DTMF received: 7", "4222-2222"):
        assert shown in debug
        assert shown not in above


async def test_error_message_of_the_server_is_logged_once(log: list[tuple[str, str]]) -> None:
    call = SerializerCall()
    await call.open()
    for _ in range(3):
        message = call.serializer.create_error_message(500, "no")
        frame = OutputTransportMessageUrgentFrame(message=message)
        assert await call.serializer.serialize(frame) is None
    errors = [line for level, line in log if level == "ERROR"]
    assert len(errors) == 1
    assert "create_disconnect_message" in errors[0]


async def test_rtvi_messages_are_dropped_without_a_warning(log: list[tuple[str, str]]) -> None:
    call = SerializerCall()
    await call.open()
    frame = OutputTransportMessageUrgentFrame(
        message={"label": "rtvi-ai", "type": "bot-ready", "version": "1.0"}
    )
    assert await call.serializer.serialize(frame) is None
    assert [level for level, _ in log if level in ("WARNING", "ERROR")] == []


async def test_output_variables_set_after_the_end_give_a_warning(
    log: list[tuple[str, str]],
) -> None:
    call = SerializerCall()
    await call.open()
    await call.exchange(call.genesys.text("close", {"reason": "end"}))
    call.serializer.set_output_variables({"a": "1"})
    assert [level for level, line in log if "not sent" in line] == ["WARNING"]


async def test_audio_dropped_during_a_pause_is_logged_once(log: list[tuple[str, str]]) -> None:
    call = SerializerCall()
    await call.open()
    await call.send_unanswered(call.genesys.text("paused"))
    for _ in range(3):
        assert await call.serializer.serialize(OutputAudioRawFrame(bytes(6400), 16000, 1)) is None
    assert len([line for _, line in log if "while the session is paused" in line]) == 1


async def test_line_breaks_of_the_peer_do_not_reach_the_log(log: list[tuple[str, str]]) -> None:
    call = SerializerCall()
    await call.open()
    forged: dict[str, Any] = {"x\nERROR | forged": 1}
    await call.send_unanswered(call.genesys.text("paused", forged))
    await call.send_unanswered(call.genesys.text("evil\nERROR | forged"))
    await call.send_unanswered(
        call.genesys.text("error", {"code": 400, "message": "a\nERROR | forged"})
    )
    assert not any("\n" in line for _, line in log)


async def test_number_of_log_lines_for_one_call_is_limited(log: list[tuple[str, str]]) -> None:
    call = SerializerCall()
    await call.open()
    for code in range(1000):
        await call.send_unanswered(call.genesys.text("error", {"code": code, "message": "x"}))
    assert len(log) < 60
