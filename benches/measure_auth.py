"""Time to verify the signature of a genuine upgrade request and of the slowest hostile requests.

Prints JSON: medians of the thread's CPU time in microseconds. Every hostile request must be
rejected. All hostile requests except `wrong signature` and `unknown key` are as large as the
verifier's limits allow.
"""

from __future__ import annotations

import json
import statistics
import sys
import time

from pipecat_genesys.auth import AuthenticationError, SignatureVerifier
from pipecat_genesys.auth.request import MAX_HEADERS_LENGTH, MAX_SIGNATURE_INPUT_LENGTH
from pipecat_genesys.auth.signature import MAX_COMPONENTS

REPETITIONS = 1000
KEY = "SGVsbG8sIEkgYW0gdGhlIEFQSSBrZXkh"
SECRET = "TXlTdXBlclNlY3JldEtleVRlbGxOby0xITJAMyM0JDU="
TARGET = "/api/v1/voicebiometrics/ws"
NOW = 1641013200
COMPONENTS = (
    '"@request-target" "@authority" "audiohook-organization-id" '
    '"audiohook-session-id" "audiohook-correlation-id" "x-api-key"'
)
PARAMETERS = (
    f';keyid="{KEY}";nonce="VGhpc0lzQVVuaXF1ZU5vbmNl";'
    'alg="hmac-sha256";created=1641013200;expires=3282026430'
)
# The example request of Genesys's documentation.
GENUINE = {
    "host": "audiohook.example.com",
    "audiohook-organization-id": "d7934305-0972-4844-938e-9060eef73d05",
    "audiohook-session-id": "30b0e395-84d3-4570-ac13-9a62d8f514c0",
    "audiohook-correlation-id": "e160e428-53e2-487c-977d-96989bf5c99d",
    "x-api-key": KEY,
    "signature": "sig1=:NZBwyBHRRyRoeLqy1IzOa9VYBuI8TgMFt2GRDkDuJh4=:",
    "signature-input": f"sig1=({COMPONENTS}){PARAMETERS}",
}


def longest_signature_input(prefix: str, unit: str, suffix: str) -> dict[str, str]:
    """Return a request whose Signature-Input repeats `unit` up to the maximum length."""
    room = MAX_SIGNATURE_INPUT_LENGTH - len(prefix) - len(suffix)
    return GENUINE | {"signature-input": prefix + unit * (room // len(unit)) + suffix}


def most_components() -> dict[str, str]:
    """Return a request with the maximum number of signed headers and the maximum total length."""
    names = [f"x{n}" for n in range(MAX_COMPONENTS - 6)]
    components = " ".join([COMPONENTS, *(f'"{name}"' for name in names)])
    headers = GENUINE | {"signature-input": f"sig1=({components}){PARAMETERS}"}
    room = MAX_HEADERS_LENGTH - sum(len(name) + len(value) for name, value in headers.items())
    return headers | {name: "v" * (room // len(names) - len(name)) for name in names}


REQUESTS = {
    "genuine": GENUINE,
    "wrong signature": GENUINE
    | {"signature": "sig1=:AAAAyBHRRyRoeLqy1IzOa9VYBuI8TgMFt2GRDkDuJh4=:"},
    "unknown key": {name: value.replace(KEY, KEY.lower()) for name, value in GENUINE.items()},
    "strings": longest_signature_input("sig1=(", '"a" ', ")"),
    "escapes": longest_signature_input('sig1=("', '\\"', '")'),
    "tokens": longest_signature_input("sig1=(", "a ", ")"),
    "integers": longest_signature_input("sig1=(", "1 ", ")"),
    "dates": longest_signature_input("sig1=(", "@1 ", ")"),
    "parameters": longest_signature_input(f"sig1=({COMPONENTS})", ";a", ""),
    "labels": longest_signature_input("", "a,", "a"),
    "many large headers": most_components(),
}


def main() -> int:
    verifier = SignatureVerifier({KEY: SECRET})
    medians, problems = {}, []
    for name, headers in REQUESTS.items():
        times = []
        for _ in range(REPETITIONS):
            begin = time.thread_time_ns()
            try:
                accepted = verifier.verify("GET", TARGET, headers, now=NOW).signed
            except AuthenticationError:
                accepted = False
            times.append(time.thread_time_ns() - begin)
            if accepted is not (name == "genuine"):
                problems.append(f"{name}: accepted is {accepted}")
        medians[name] = round(statistics.median(times) / 1000)
    json.dump(
        {"us": medians, "repetitions": REPETITIONS, "problems": problems}, sys.stdout, indent=2
    )
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
