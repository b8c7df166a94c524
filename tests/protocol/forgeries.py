"""Messages that break a rule of the protocol, and the required reaction of the receiver.

The reactions of a client were measured with Genesys's reference client against a faulty server:
error 400 for malformed messages, 409 for messages in the wrong state, 413 for messages that are too
large, 500 for messages that raise an exception in the client. `close` follows each error except the
errors 400 and 409 that a wrong `pong` causes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from .wiretap import Forgery

Message = dict[str, Any]
_TOO_LARGE = "x" * 65_600


# -- faults of a client -----------------------------------------------------------------------

BROKEN_ENVELOPES: Mapping[str, tuple[Callable[[int, int], Message], Forgery]] = {
    "seq gap": (lambda seq, _: {"seq": seq + 2}, Forgery("seq")),
    "seq repeated": (lambda seq, _: {"seq": seq}, Forgery("seq")),
    "seq zero": (lambda seq, _: {"seq": 0}, Forgery("seq")),
    "serverseq ahead": (lambda _, seen: {"serverseq": seen + 1000}, Forgery("serverseq")),
    "other id": (lambda *_: {"id": "00000000-0000-4000-8000-000000000000"}, Forgery("id")),
    "version 3": (lambda *_: {"version": "3"}, Forgery("version")),
    "version as number": (lambda *_: {"version": 2}, Forgery("version")),
}
"""Functions from the last `seq` sent and received to changed envelope fields.

Each changed field ends the session."""

BROKEN_PARAMETERS: Mapping[str, tuple[str, Any, Forgery]] = {
    "type of the future": ("weather", {"sky": "blue"}, Forgery("unknown-type", is_fatal=False)),
    "server's type": ("opened", {"media": []}, Forgery("unknown-type", is_fatal=False)),
    "key as number": ("dtmf", {"digit": 5}, Forgery("parameters", is_fatal=False)),
    "no language": ("update", {"language": []}, Forgery("parameters", is_fatal=False)),
    "gap without length": ("discarded", {"start": "PT0S"}, Forgery("parameters", is_fatal=False)),
    "gap in minutes": (
        "resumed",
        {"start": "PT1M", "discarded": "PT0S"},
        Forgery("parameters", is_fatal=False),
    ),
    "new field": ("dtmf", {"digit": "5", "ms": 80}, Forgery("unknown-field", is_fatal=False)),
    "rtt as number": ("ping", {"rtt": 5}, Forgery("parameters", is_fatal=False)),
    "second open": ("open", {"media": []}, Forgery("state", is_fatal=False)),
}
"""Type and parameters of messages that the server counts and ignores."""

GARBAGE: Mapping[str, tuple[str, Forgery]] = {
    "cut off": ('{"version": "2", "type": "pi', Forgery("json", is_fatal=False)),
    "empty": ("", Forgery("json", is_fatal=False)),
    "not a number": ("NaN", Forgery("json", is_fatal=False)),
    "array": ("[]", Forgery("not-an-object", is_fatal=False)),
    "null": ("null", Forgery("not-an-object", is_fatal=False)),
    "too large": (json.dumps({"x": _TOO_LARGE}), Forgery("text-size", is_fatal=False)),
}
"""Text that is not a message; the server counts and ignores it."""


# -- faults of a server -----------------------------------------------------------------------


def _replaced(**fields: Any) -> Callable[[Message], str]:
    return lambda message: json.dumps({**message, **fields})


def _without(name: str) -> Callable[[Message], str]:
    return lambda message: json.dumps({k: v for k, v in message.items() if k != name})


def _with_parameters(**parameters: Any) -> Callable[[Message], str]:
    return lambda message: json.dumps(
        {**message, "parameters": {**message["parameters"], **parameters}}
    )


SPOILED: Mapping[str, tuple[Callable[[Message], str], Forgery]] = {
    "seq gap": (
        lambda message: json.dumps({**message, "seq": message["seq"] + 1}),
        Forgery("sequence", code=500),
    ),
    "seq repeated": (
        lambda message: json.dumps({**message, "seq": message["seq"] - 1}),
        Forgery("sequence", code=500),
    ),
    "clientseq ahead": (_replaced(clientseq=10**6), Forgery("clientseq_ahead", code=400)),
    "other id": (
        _replaced(id="00000000-0000-4000-8000-000000000000"),
        Forgery("wrong_id", code=400),
    ),
    "version 1": (_replaced(version="1"), Forgery("not_a_server_message", code=400)),
    "no parameters": (_without("parameters"), Forgery("not_a_server_message", code=400)),
    "no seq": (_without("seq"), Forgery("not_a_server_message", code=400)),
    "cut off": (lambda message: json.dumps(message)[:-3], Forgery("not_json", code=400)),
    "array": (lambda _: "[]", Forgery("not_a_server_message", code=400)),
    "unknown type": (_replaced(type="weather"), Forgery("unknown_type", code=500)),
    "error": (
        _replaced(type="error", parameters={"code": 500, "message": "x"}),
        Forgery("unknown_type", code=500),
    ),
    "ping": (_replaced(type="ping"), Forgery("unknown_type", code=500)),
    "resumed": (_replaced(type="resumed"), Forgery("unknown_type", code=500)),
    "too large": (_with_parameters(padding=_TOO_LARGE), Forgery("message_too_large", code=413)),
}
"""Changes that make any server message invalid."""
