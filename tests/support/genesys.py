"""Client messages in the form in which Genesys sends them, with sequence numbers."""

from __future__ import annotations

import json
from typing import Any

SESSION = "e160e428-53e2-487c-977d-96989bf5c99d"
CONVERSATION = "090eaa2f-72fa-480a-83e0-8667ff89c0ec"
NULL = "00000000-0000-0000-0000-000000000000"


def media(format: str = "PCMU", *channels: str, rate: int = 8000) -> dict[str, Any]:
    return {
        "type": "audio",
        "format": format,
        "channels": list(channels or ("external",)),
        "rate": rate,
    }


class Genesys:
    """Builds text messages of the client, with the next `seq` and the last `serverseq`."""

    def __init__(self, session_id: str = SESSION) -> None:
        self.session_id = session_id
        self.seq = 0
        self.serverseq = 0
        self.position = "PT0S"

    def message(self, type: str, parameters: Any = None, **envelope: Any) -> dict[str, Any]:
        self.seq += 1
        return {
            "version": "2",
            "type": type,
            "id": self.session_id,
            "seq": self.seq,
            "serverseq": self.serverseq,
            "position": self.position,
            "parameters": {} if parameters is None else parameters,
            **envelope,
        }

    def text(self, type: str, parameters: Any = None, **envelope: Any) -> str:
        return json.dumps(self.message(type, parameters, **envelope))

    def open(self, *offer: dict[str, Any], **parameters: Any) -> str:
        return self.text(
            "open",
            {
                "organizationId": "d7934305-0972-4844-938e-9060eef73d05",
                "conversationId": CONVERSATION,
                "participant": {
                    "id": "883efee8-3d6c-4537-b500-6d7ca4b92fa0",
                    "ani": "tel:+15555551234",
                    "aniName": "John Doe",
                    "dnis": "tel:+15555554321",
                },
                "media": list(offer or (media(),)),
                **parameters,
            },
        )

    def probe(self) -> str:
        return self.open(
            conversationId=NULL,
            participant={"id": NULL, "ani": "", "aniName": "", "dnis": ""},
        )

    def receive(self, wire: str | bytes | None) -> dict[str, Any]:
        """Parse a server message; check its `seq`, and store it as the next `serverseq`."""
        assert isinstance(wire, str), wire
        message: dict[str, Any] = json.loads(wire)
        assert message["seq"] == self.serverseq + 1, (
            "'seq' of the server message is not the next number"
        )
        self.serverseq = message["seq"]
        return message
