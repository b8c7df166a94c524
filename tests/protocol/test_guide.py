"""Tests that the protocol guide lists every message that a client or a server may send."""

from __future__ import annotations

import re
from pathlib import Path

from pipecat_genesys.protocol import AudioHookMessageType
from pipecat_genesys.protocol.client_messages import PARAMETERS
from pipecat_genesys.protocol.states import OUTGOING

GUIDE = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text(encoding="utf-8")


def listed(heading: str) -> list[str]:
    """Return the names in the first column of the table under a heading."""
    section = GUIDE.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    cells = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    return [name for cell in cells for name in re.findall(r"`(\w+)`", cell)]


def test_guide_lists_every_client_message() -> None:
    names = listed("Messages of the client")
    assert sorted(names) == sorted(message.value for message in PARAMETERS)


def test_guide_lists_every_server_message() -> None:
    names = listed("Messages of the server")
    allowed = {message for row in OUTGOING.values() for message in row}
    assert sorted(names) == sorted(message.value for message in allowed)


def test_every_message_type_is_of_the_client_or_of_the_server() -> None:
    names = {*listed("Messages of the client"), *listed("Messages of the server")}
    assert names == {message.value for message in AudioHookMessageType}
