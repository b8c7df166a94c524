"""Checks which upgrade requests the server accepts. All these checks need the client secret."""

from __future__ import annotations

import base64
import time
from collections.abc import Mapping
from http import HTTPStatus

from pipecat_genesys.conformance.check import DOCUMENTED, FIELD, REFERENCE, WARNING, check
from pipecat_genesys.conformance.connection import Message, parameters_of, shown
from pipecat_genesys.conformance.errors import CheckFailedError
from pipecat_genesys.conformance.target import Target
from pipecat_genesys.simulator import (
    PRODUCTION_COMPONENTS,
    REFERENCE_COMPONENTS,
    CallParameters,
    ConnectFailedError,
    audiohook_headers,
)

_SOURCE = f"{REFERENCE}, signature verifier"
_OTHER_SECRET = base64.b64encode(b"another secret than the real one").decode()
_HOUR = 3600
_REFUSALS = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)


async def _assert_accepted(
    target: Target, call: CallParameters, headers: Mapping[str, str]
) -> None:
    async with target.connection(call, headers=headers) as connection:
        await connection.open_session()


async def _assert_refused(
    target: Target, call: CallParameters, headers: Mapping[str, str], description: str
) -> None:
    """Check that the server refuses a request because it is not authorized.

    A refusal is the status 401 or 403, or `disconnect` with reason `unauthorized`. A closed socket
    or another status is not a refusal.
    """
    try:
        async with target.connection(call, headers=headers) as connection:
            answer = await connection.answer_to_open()
    except ConnectFailedError as error:
        if error.status is None:
            raise
        if error.status in _REFUSALS:
            return
        raise CheckFailedError(
            f"the server did not refuse {description} with status 401 or 403: {error}"
        ) from None
    _assert_unauthorized(answer, description)


def _assert_unauthorized(answer: Message, description: str) -> None:
    if answer["type"] == "opened":
        raise CheckFailedError(f"the server accepted {description}")
    reason = parameters_of(answer).get("reason")
    if reason != "unauthorized":
        raise CheckFailedError(
            f"the server refused {description} with reason {shown(reason)}, not 'unauthorized'"
        )


@check(_SOURCE, signed=True)
async def signed(target: Target) -> None:
    """The server accepts a correctly signed request."""
    call = target.new_call()
    await _assert_accepted(target, call, target.headers(call))


@check(f"{_SOURCE}; {FIELD}", signed=True)
async def signed_other_order(target: Target) -> None:
    """The server accepts the signed components in any order."""
    call = target.new_call()
    await _assert_accepted(target, call, target.headers(call, components=PRODUCTION_COMPONENTS))


@check(_SOURCE, signed=True)
async def unsigned(target: Target) -> None:
    """The server refuses an unsigned request."""
    call = target.new_call()
    headers = audiohook_headers(call, target.api_key)
    await _assert_refused(target, call, headers, "an unsigned request")


@check(_SOURCE, signed=True)
async def signed_by_another(target: Target) -> None:
    """The server refuses a request that is signed with another secret."""
    call = target.new_call()
    headers = target.headers(call, secret=_OTHER_SECRET)
    await _assert_refused(target, call, headers, "a request signed with another secret")


@check(_SOURCE, signed=True)
async def signed_then_changed(target: Target) -> None:
    """The server refuses a request that was changed after it was signed."""
    call = target.new_call()
    # Only the signature depends on the correlation id, so only the signature can be the reason for
    # a refusal.
    changed = {"Audiohook-Correlation-Id": target.new_call().correlation_id}
    headers = target.headers(call) | changed
    await _assert_refused(target, call, headers, "a request with a changed correlation id")


@check(_SOURCE, signed=True)
async def other_key(target: Target) -> None:
    """The server refuses a request with an unknown API key."""
    call = target.new_call()
    headers = target.headers(call) | {"X-API-KEY": "another-key"}
    await _assert_refused(target, call, headers, "a request with an unknown API key")


@check(_SOURCE, signed=True)
async def signed_long_ago(target: Target) -> None:
    """The server refuses a signature that is one hour old."""
    call = target.new_call()
    # `expires` is still in the future, so the server must refuse the signature because of its age.
    headers = target.headers(call, created=time.time() - _HOUR, lifetime=2 * _HOUR)
    await _assert_refused(target, call, headers, "a signature that is one hour old")


@check(_SOURCE, signed=True)
async def signed_in_part(target: Target) -> None:
    """The server refuses a signature that does not cover all required components."""
    call = target.new_call()
    headers = target.headers(call, components=REFERENCE_COMPONENTS[:-2])
    await _assert_refused(
        target, call, headers, "a signature without the correlation id and the API key"
    )


@check("RFC 9421, section 7.2.2; Genesys does not require it", severity=WARNING, signed=True)
async def signed_again(target: Target) -> None:
    """The server refuses a signature that was used before."""
    call = target.new_call()
    headers = target.headers(call)
    try:
        await _assert_accepted(target, call, headers)
    except (ConnectFailedError, CheckFailedError) as error:
        if isinstance(error, ConnectFailedError) and error.status is None:
            raise
        raise CheckFailedError(f"the server refused the first, valid request: {error}") from None
    await _assert_refused(target, call, headers, "a repeated request")


@check(f"{REFERENCE}, authenticator; {DOCUMENTED}", severity=WARNING, signed=True)
async def open_organization(target: Target) -> None:
    """The server refuses an `open` whose organisation differs from the request header."""
    async with target.connection() as connection:
        other = {"organizationId": target.new_call().organization_id}
        _assert_unauthorized(
            await connection.answer_to_open(other), "an 'open' of another organisation"
        )
