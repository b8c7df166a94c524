"""How long it takes to verify an upgrade request: Genesys's, and the costliest hostile ones known.

Prints JSON: medians of the thread's processor time in microseconds. None of the hostile requests
is genuine, and each is as large as the limits let it be.
"""

from __future__ import annotations

import json
import statistics
import sys
import time

from pipecat_genesys.auth import AuthenticationError, SignatureVerifier
from pipecat_genesys.auth.request import MAX_HEADERS_LENGTH, MAX_SIGNATURE_INPUT_LENGTH
from pipecat_genesys.auth.signature import MAX_COMPONENTS

TURNS = 1000
KEY = "SGVsbG8sIEkgYW0gdGhlIEFQSSBrZXkh"
SECRET = "TXlTdXBlclNlY3JldEtleVRlbGxOby0xITJAMyM0JDU="
TARGET = "/api/v1/voicebiometrics/ws"
NOW = 1641013200
COVERED = (
    '"@request-target" "@authority" "audiohook-organization-id" '
    '"audiohook-session-id" "audiohook-correlation-id" "x-api-key"'
)
PARAMETERS = (
    f';keyid="{KEY}";nonce="VGhpc0lzQVVuaXF1ZU5vbmNl";'
    'alg="hmac-sha256";created=1641013200;expires=3282026430'
)
# The example of Genesys's documentation.
GENUINE = {
    "host": "audiohook.example.com",
    "audiohook-organization-id": "d7934305-0972-4844-938e-9060eef73d05",
    "audiohook-session-id": "30b0e395-84d3-4570-ac13-9a62d8f514c0",
    "audiohook-correlation-id": "e160e428-53e2-487c-977d-96989bf5c99d",
    "x-api-key": KEY,
    "signature": "sig1=:NZBwyBHRRyRoeLqy1IzOa9VYBuI8TgMFt2GRDkDuJh4=:",
    "signature-input": f"sig1=({COVERED}){PARAMETERS}",
}


def full(begin: str, unit: str, end: str) -> dict[str, str]:
    """A Signature-Input of the greatest length."""
    room = MAX_SIGNATURE_INPUT_LENGTH - len(begin) - len(end)
    return GENUINE | {"signature-input": begin + unit * (room // len(unit)) + end}


def wide() -> dict[str, str]:
    """As many components as may be covered, and as large as headers may be."""
    names = [f"x{n}" for n in range(MAX_COMPONENTS - 6)]
    covered = " ".join([COVERED, *(f'"{name}"' for name in names)])
    headers = GENUINE | {"signature-input": f"sig1=({covered}){PARAMETERS}"}
    room = MAX_HEADERS_LENGTH - sum(len(name) + len(value) for name, value in headers.items())
    return headers | {name: "v" * (room // len(names) - len(name)) for name in names}


REQUESTS = {
    "genuine": GENUINE,
    "wrong secret": GENUINE | {"signature": "sig1=:AAAAyBHRRyRoeLqy1IzOa9VYBuI8TgMFt2GRDkDuJh4=:"},
    "unknown key": {n: v.replace(KEY, KEY.lower()) for n, v in GENUINE.items()},
    "strings": full("sig1=(", '"a" ', ")"),
    "escapes": full('sig1=("', '\\"', '")'),
    "tokens": full("sig1=(", "a ", ")"),
    "integers": full("sig1=(", "1 ", ")"),
    "dates": full("sig1=(", "@1 ", ")"),
    "parameters": full(f"sig1=({COVERED})", ";a", ""),
    "labels": full("", "a,", "a"),
    "many large headers": wide(),
}


def main() -> int:
    verifier = SignatureVerifier({KEY: SECRET})
    medians, problems = {}, []
    for name, headers in REQUESTS.items():
        times = []
        for _ in range(TURNS):
            begin = time.thread_time_ns()
            try:
                accepted = verifier.verify("GET", TARGET, headers, now=NOW).signed
            except AuthenticationError:
                accepted = False
            times.append(time.thread_time_ns() - begin)
            if accepted is not (name == "genuine"):
                problems.append(f"{name}: accepted is {accepted}")
        medians[name] = round(statistics.median(times) / 1000)
    json.dump({"us": medians, "turns": TURNS, "problems": problems}, sys.stdout, indent=2)
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
