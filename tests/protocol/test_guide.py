"""The guide knows every message, and sends each the way the tables do."""

from __future__ import annotations

import re
from pathlib import Path

from pipecat_genesys.protocol import AudioHookMessageType
from pipecat_genesys.protocol.client_messages import PARAMETERS
from pipecat_genesys.protocol.states import OUTGOING

GUIDE = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text(encoding="utf-8")


def listed(heading: str) -> list[str]:
    """What the first column of the table under a heading names."""
    section = GUIDE.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    cells = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    return [name for cell in cells for name in re.findall(r"`(\w+)`", cell)]


def test_all_that_a_client_says() -> None:
    names = listed("What the client says")
    assert sorted(names) == sorted(message.value for message in PARAMETERS)


def test_all_that_a_server_says() -> None:
    names = listed("What the server says")
    allowed = {message for row in OUTGOING.values() for message in row}
    assert sorted(names) == sorted(message.value for message in allowed)


def test_the_two_are_all_there_is() -> None:
    names = {*listed("What the client says"), *listed("What the server says")}
    assert names == {message.value for message in AudioHookMessageType}
