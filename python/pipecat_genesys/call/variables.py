"""Converts output variables to strings, and limits their size to that of one message."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

from pipecat_genesys.protocol import MAX_MESSAGE_BYTES, server_messages

# Maximum size of all variables together in bytes. 4000 bytes are reserved for the envelope, the
# reason and the `info` text of a `disconnect`.
_MAX_VARIABLES = MAX_MESSAGE_BYTES - 4000
# A character outside of the Basic Multilingual Plane can be encoded as two escapes of 6 bytes. A
# pair has four quotation marks, a colon, a comma and two spaces.
_MAX_BYTES_PER_CHARACTER, _MAX_BYTES_PER_PAIR = 12, 8


def fit_output_variables(
    variables: object, log: Callable[[str, str], None]
) -> dict[str, str] | None:
    """Convert output variables to strings, and leave out the variables that cannot be sent.

    Variables are validated when they are set, but the application can change the dict afterwards,
    and the ``create_*`` methods accept any value. This function does not raise an exception,
    because one invalid variable must not prevent the sending of the other variables.

    Args:
        variables: Names and values.
        log: Called with a loguru level name and a line about variables that are left out.

    Returns:
        The variables to send, or None if ``variables`` is not a mapping.
    """
    if not isinstance(variables, Mapping):
        return None
    if not variables:
        return {}
    sent: dict[str, str] = {}
    for name, value in variables.items():
        try:
            sent.update(server_messages.to_string_map({name: value}))
        except ValueError as error:
            log("ERROR", f"left out: {error}")
    characters = sum(len(name) + len(value) for name, value in sent.items())
    if len(sent) * _MAX_BYTES_PER_PAIR + characters * _MAX_BYTES_PER_CHARACTER <= _MAX_VARIABLES:
        return sent
    sizes = _json_sizes(sent)
    excess = sum(sizes.values()) - _MAX_VARIABLES
    left_out = []
    for name in sorted(sizes, key=sizes.__getitem__, reverse=True):
        if excess <= 0:
            break
        excess -= sizes[name]
        left_out.append(name)
        del sent[name]
    if left_out:
        log(
            "ERROR",
            f"{len(left_out)} output variables left out, largest first, because Genesys accepts "
            f"{MAX_MESSAGE_BYTES} bytes in a message: {', '.join(map(repr, left_out[:5]))}",
        )
    return sent


def _json_sizes(variables: Mapping[str, str]) -> dict[str, int]:
    """Return the number of bytes that each variable takes in a message."""
    try:
        json.dumps(variables, ensure_ascii=False).encode()
        escaped = False
    except UnicodeEncodeError:
        # UTF-8 cannot encode lone surrogates. A message with lone surrogates is encoded as ASCII.
        escaped = True
    return {
        name: len(json.dumps({name: value}, ensure_ascii=escaped).encode())
        for name, value in variables.items()
    }
