"""Who may connect. Needs the client secret, as only who has it can tell right from wrong."""

from __future__ import annotations

import base64
import time
from collections.abc import Mapping

from pipecat_genesys.simulator import CallParameters, ConnectFailedError, audiohook_headers
from pipecat_genesys.simulator.signing import PRODUCTION_COMPONENTS, REFERENCE_COMPONENTS

from .checking import DOCUMENTED, FIELD, REFERENCE, WARNING, BrokenRule, check
from .target import Target

_SIGNATURES = f"{REFERENCE}, signature verifier"
_OTHER_SECRET = base64.b64encode(b"another secret than the real one").decode()
_AN_HOUR = 3600


async def _accepted(target: Target, call: CallParameters, headers: Mapping[str, str]) -> str | None:
    """Why not, or None if a call is accepted."""
    try:
        async with target.line(call, headers) as line:
            await target.open(line)
            return None
    except (ConnectFailedError, BrokenRule) as error:
        return str(error)


async def _refused(
    target: Target, call: CallParameters, headers: Mapping[str, str], what: str
) -> None:
    if await _accepted(target, call, headers) is None:
        raise BrokenRule(f"{what} was accepted")


@check("signed", "a rightly signed request is accepted", _SIGNATURES, signed=True)
async def _(target: Target) -> None:
    call = target.new_call()
    why_not = await _accepted(target, call, target.headers(call))
    if why_not is not None:
        raise BrokenRule(why_not)


@check(
    "signed-other-order",
    "the signed components may come in any order",
    f"{_SIGNATURES}; {FIELD}",
    signed=True,
)
async def _(target: Target) -> None:
    call = target.new_call()
    headers = target.headers(call, components=PRODUCTION_COMPONENTS)
    why_not = await _accepted(target, call, headers)
    if why_not is not None:
        raise BrokenRule(why_not)


@check("unsigned", "an unsigned request is refused", _SIGNATURES, signed=True)
async def _(target: Target) -> None:
    call = target.new_call()
    await _refused(
        target, call, audiohook_headers(call, target.api_key), "a request without a signature"
    )


@check(
    "signed-by-another", "a request signed with another secret is refused", _SIGNATURES, signed=True
)
async def _(target: Target) -> None:
    call = target.new_call()
    await _refused(
        target, call, target.headers(call, secret=_OTHER_SECRET), "another secret's signature"
    )


@check(
    "signed-then-changed", "a request changed after signing is refused", _SIGNATURES, signed=True
)
async def _(target: Target) -> None:
    call, other = target.new_call(), target.new_call()
    # Of no interest to anyone but the signature.
    headers = target.headers(call) | {"Audiohook-Correlation-Id": other.correlation_id}
    await _refused(target, call, headers, "a request whose correlation id was changed")


@check("other-key", "a request with an unknown API key is refused", _SIGNATURES, signed=True)
async def _(target: Target) -> None:
    call = target.new_call()
    headers = target.headers(call) | {"X-API-KEY": "another-key"}
    await _refused(target, call, headers, "an unknown API key")


@check("signed-long-ago", "a signature of an hour ago is refused", _SIGNATURES, signed=True)
async def _(target: Target) -> None:
    call = target.new_call()
    # It says that it is still good: its age decides.
    headers = target.headers(call, created=time.time() - _AN_HOUR, lifetime=2 * _AN_HOUR)
    await _refused(target, call, headers, "a signature of an hour ago")


@check(
    "signed-in-part", "a signature that leaves out a component is refused", _SIGNATURES, signed=True
)
async def _(target: Target) -> None:
    call = target.new_call()
    headers = target.headers(call, components=REFERENCE_COMPONENTS[:-2])
    await _refused(target, call, headers, "a signature without the session's id and the key")


@check(
    "signed-again",
    "a signature that was used is refused",
    "RFC 9421, section 7.2.2; Genesys does not ask for it",
    severity=WARNING,
    signed=True,
)
async def _(target: Target) -> None:
    call = target.new_call()
    headers = target.headers(call)
    why_not = await _accepted(target, call, headers)
    if why_not is not None:
        raise BrokenRule(f"not even the first time: {why_not}")
    await _refused(target, call, headers, "a replayed request")


@check(
    "open-organization",
    "an 'open' of another organization than the headers' is refused",
    f"{REFERENCE}, authenticator; {DOCUMENTED}",
    severity=WARNING,
    signed=True,
)
async def _(target: Target) -> None:
    call = target.new_call()
    async with target.line(call, target.headers(call)) as line:
        parameters = call.open_parameters() | {"organizationId": target.new_call().organization_id}
        await line.send("open", parameters)
        await line.settle(target.patience.settle)
        if line.of_type("opened"):
            raise BrokenRule("it was accepted")
