"""The `open` message that Genesys sends first, as JSON text."""

import json

OPEN_MESSAGE = json.dumps(
    {
        "version": "2",
        "type": "open",
        "id": "7b3a1c52-6f0e-4b11-9d43-2f6b8a0c9e17",
        "seq": 1,
        "serverseq": 0,
        "position": "PT0S",
        "parameters": {
            "organizationId": "5a0e2d9b-81c4-4b6f-9a77-0c1d2e3f4a5b",
            "conversationId": "c0ffee00-1b2c-4d3e-8f90-a1b2c3d4e5f6",
            "participant": {
                "id": "0f1e2d3c-4b5a-4678-8a9b-acbdcedfe0f1",
                "ani": "tel:+15555550100",
                "aniName": "Caller",
                "dnis": "tel:+15555550199",
            },
            "media": [{"type": "audio", "format": "PCMU", "channels": ["external"], "rate": 8000}],
        },
    }
)
