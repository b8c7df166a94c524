"""Who is calling? See :class:`SignatureVerifier`."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import math
import time
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from http_message_signatures import HTTPMessageSignaturesException, VerifyResult

from pipecat_genesys.auth.credentials import Credentials, Keyring
from pipecat_genesys.auth.errors import AuthenticationError, Refusal
from pipecat_genesys.auth.replay import MemoryReplayStore, ReplayStore
from pipecat_genesys.auth.request import (
    API_KEY_HEADER,
    CORRELATION_HEADER,
    ORGANIZATION_HEADER,
    SESSION_HEADER,
    SIGNATURE_HEADER,
    SIGNATURE_INPUT_HEADER,
    Headers,
    UpgradeRequest,
    is_authority,
    is_uuid,
    read_request,
)
from pipecat_genesys.auth.signature import verify_mac

# What Genesys's reference server requires (app/src/authenticator.ts of the AudioHook reference
# implementation): the components, in any order, and 128 random bits, which are 22 base64 digits.
REQUIRED_COMPONENTS = (
    "@request-target",
    "@authority",
    ORGANIZATION_HEADER,
    SESSION_HEADER,
    CORRELATION_HEADER,
    API_KEY_HEADER,
)
MIN_NONCE_LENGTH = 22


@dataclass(frozen=True, slots=True)
class VerifiedRequest:
    """Whose connection it is. Every value was signed, unless `signed` is False.

    Attributes:
        organization_id: The Genesys organisation. ``open`` has it too, and must have the same.
        session_id: The session; the ``id`` of every message.
        correlation_id: For Genesys's support.
        authority: Host, and port if it is not 443.
        request_target: Path and query, which hold the connector id; not shown by ``repr``.
        api_key: Which integration it is; not shown by ``repr``.
        signed: False if the API key was enough.
        created: When it was signed, in seconds since 1970; None if it was not.
        nonce: None if it was not signed; not shown by ``repr``.
    """

    organization_id: str
    session_id: str
    correlation_id: str
    authority: str
    request_target: str = field(repr=False)
    api_key: str = field(repr=False)
    signed: bool
    created: int | None = None
    nonce: str | None = field(default=None, repr=False)


class SignatureVerifier:
    """Decides from the upgrade request whether it is Genesys Cloud that connects.

    Everything is refused that is not shown to be genuine, new and meant for this service:
    requests without a signature, too, unless their API key is in `unsigned_keys`. The check takes
    a third of a millisecond (``benches/measure_auth.py``), so that it may run in the event loop.

    Call `authenticate` before the WebSocket is accepted::

        verifier = SignatureVerifier({api_key: client_secret}, authority="bot.example.com")

        @app.websocket("/audiohook")
        async def audiohook(websocket: WebSocket):
            try:
                caller = await verifier.authenticate(*upgrade_request(websocket.scope))
            except AuthenticationError as error:
                logger.warning("refused: {}", error)
                await websocket.close()  # before accept(): HTTP 403
                return
            await websocket.accept()

    Args:
        credentials: Client secrets by API key, both as in the integration's settings (the secret
            is base64). While one secret replaces another, give both in a sequence.
        authority: The public host, with its port if that is not 443. Give it: without it the
            request's own Host header is believed, so that a proxy which changes the header makes
            every signature fail, and one made for another host of yours is accepted here. Headers
            such as X-Forwarded-Host are never read.
        organizations: Ids of the Genesys organisations that are served; None for any that has
            a key.
        unsigned_keys: API keys of integrations without a client secret. The key is then all that
            is known of the peer, and whoever has seen a request has it.
        replay_store: Where nonces are remembered; a `MemoryReplayStore` of this verifier's own by
            default. Several processes need a common one.
        max_age_seconds: How old a signature may be. Genesys's reference server has 10 s.
        clock_skew_seconds: How far clocks may be apart. Genesys's reference server has 3 s.
        refusal_seconds: A refusal takes this long, whatever its reason, and a replay store has
            no longer to answer. Genesys's reference server has 0.5 s; Genesys waits 5 s for
            ``opened``.
        clock: Now, in seconds since 1970.

    Raises:
        ValueError: If an argument cannot be right; the message names it, but no secret.
    """

    def __init__(
        self,
        credentials: Credentials,
        *,
        authority: str | None = None,
        organizations: Collection[str] | None = None,
        unsigned_keys: Collection[str] = (),
        replay_store: ReplayStore | None = None,
        max_age_seconds: float = 10.0,
        clock_skew_seconds: float = 3.0,
        refusal_seconds: float = 0.5,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if authority is not None and not is_authority(authority):
            raise ValueError(
                f"authority is {authority!r}; give the public host alone, "
                "such as 'bot.example.com' or 'bot.example.com:8443'"
            )
        for organization in organizations or ():
            if not is_uuid(organization):
                raise ValueError(f"organizations has {organization!r}, which is not a UUID")
        for name, value, least in (
            ("max_age_seconds", max_age_seconds, "more than 0"),
            ("clock_skew_seconds", clock_skew_seconds, "0 or more"),
            ("refusal_seconds", refusal_seconds, "more than 0"),
        ):
            enough = value >= 0 if least == "0 or more" else value > 0
            if not enough or not math.isfinite(value):
                raise ValueError(f"{name} is {value}; it must be {least}")
        self._keyring = Keyring(credentials, unsigned_keys)
        self._authority = authority
        self._organizations = (
            None if organizations is None else frozenset(map(str.lower, organizations))
        )
        self._store: ReplayStore = MemoryReplayStore() if replay_store is None else replay_store
        self._max_age = max_age_seconds
        self._skew = clock_skew_seconds
        self._refusal_seconds = refusal_seconds
        self._clock = clock

    def replace_credentials(
        self, credentials: Credentials, unsigned_keys: Collection[str] = ()
    ) -> None:
        """Use other keys from the next request on, without a restart.

        Args:
            credentials: All of them, as for the constructor.
            unsigned_keys: All of them, as for the constructor.

        Raises:
            ValueError: As the constructor does; the keys stay as they were.
        """
        self._keyring = Keyring(credentials, unsigned_keys)

    async def authenticate(
        self,
        method: str,
        url: str,
        headers: Headers,
        now: float | None = None,
        *,
        admit: Callable[[VerifiedRequest], None] | None = None,
    ) -> VerifiedRequest:
        """Verify a request, and that it is not the repetition of an earlier one.

        A refusal comes `refusal_seconds` after the call, whatever its reason, so that its time
        says nothing about how near the peer came.

        Args:
            method: As for `verify`.
            url: As for `verify`.
            headers: As for `verify`.
            now: As for `verify`.
            admit: Is given a genuine request before its nonce is used up. If there is no room
                for its call, let it raise: what it raises comes out at once, and another process
                can still take the same request.

        Raises:
            AuthenticationError: If it must not be accepted; also if the replay store is gone,
                slow or full.
        """
        due = asyncio.get_running_loop().time() + self._refusal_seconds
        async with _refused_at(due):
            request = self.verify(method, url, headers, now)
        if admit is not None:
            admit(request)
        async with _refused_at(due):
            await self._use_nonce(request, due)
        return request

    def verify(
        self, method: str, url: str, headers: Headers, now: float | None = None
    ) -> VerifiedRequest:
        """Verify a request by itself. It may be a repetition, and a refusal comes at once.

        Args:
            method: HTTP method.
            url: Target of the request (path and query) or an absolute URL, encoded as on the
                wire. The host of an absolute URL stands in for the Host header.
            headers: A mapping, or pairs of name and value. Pairs may be bytes, and show a header
                that is there twice, which is refused.
            now: Seconds since 1970; the clock's by default.

        Raises:
            AuthenticationError: If it must not be accepted.
        """
        request = read_request(method, url, headers, self._authority)
        if SIGNATURE_HEADER in request.single or SIGNATURE_INPUT_HEADER in request.single:
            verified = self._verify_signed(request, self._clock() if now is None else now)
        elif self._keyring.may_be_unsigned(request.single[API_KEY_HEADER]):
            verified = _verified(request)
        else:
            raise AuthenticationError(
                Refusal.UNSIGNED,
                "the request is not signed; set a client secret in the Genesys integration, or "
                "name its API key in unsigned_keys",
            )
        served = self._organizations
        if served is not None and verified.organization_id.lower() not in served:
            raise AuthenticationError(
                Refusal.ORGANIZATION,
                f"organisation {verified.organization_id} is not one of organizations",
            )
        return verified

    def _verify_signed(self, request: UpgradeRequest, now: float) -> VerifiedRequest:
        try:
            result = verify_mac(request, request.single.get(SIGNATURE_HEADER, ""), self._keyring)
        except HTTPMessageSignaturesException:
            # Nothing of the library's reason is passed on: it would tell an unknown key apart,
            # and may quote what the peer wrote.
            raise AuthenticationError(
                Refusal.SIGNATURE,
                f"not a genuine signature for {request.authority!r}; compare API key and client "
                "secret with the integration's, and see that no proxy changes host, path or query",
            ) from None
        self._require_complete(request, result)
        self._require_timely(result, now)
        created, nonce = result.parameters["created"], result.parameters["nonce"]
        assert isinstance(created, int)
        assert isinstance(nonce, str)
        return _verified(request, created, nonce)

    def _require_complete(self, request: UpgradeRequest, result: VerifyResult) -> None:
        missing = [
            name for name in REQUIRED_COMPONENTS if f'"{name}"' not in result.covered_components
        ]
        if missing:
            raise _incomplete(f"does not cover {', '.join(missing)}")
        keyid = str(result.parameters["keyid"])
        if not hmac.compare_digest(keyid.encode(), request.single[API_KEY_HEADER].encode()):
            raise _incomplete("was made with another key than the API key of the request")
        if len(result.nonce or "") < MIN_NONCE_LENGTH:
            raise _incomplete(f"has no nonce of {MIN_NONCE_LENGTH} characters or more")
        if "created" not in result.parameters:
            raise _incomplete("does not say when it was created")

    def _require_timely(self, result: VerifyResult, now: float) -> None:
        created, expires = result.parameters["created"], result.parameters.get("expires", math.inf)
        assert isinstance(created, int)
        assert isinstance(expires, int | float)
        age = now - created
        # Said of what is accepted, so that a clock which gives no number refuses.
        if not -self._skew <= age <= self._max_age + self._skew:
            raise AuthenticationError(
                Refusal.TIME,
                f"the signature is {age:.1f} s old, which is not within {-self._skew:g} and "
                f"{self._max_age + self._skew:g} s; set this machine's clock by NTP",
            )
        if not (expires >= created and expires + self._skew >= now):
            raise AuthenticationError(
                Refusal.TIME,
                f"the signature expired {now - expires:.1f} s ago, or before it was created",
            )

    async def _use_nonce(self, request: VerifiedRequest, due: float) -> None:
        if request.nonce is None:
            return
        name = hashlib.sha256(f"{request.api_key}\0{request.nonce}".encode()).digest()
        # A signature is accepted for max_age and a skew on either side of it, and the machines
        # that share a store may be two skews apart.
        seconds = self._max_age + 4 * self._skew
        try:
            async with asyncio.timeout_at(due):
                first = await self._store.first_use(name, seconds)
        except Exception as error:
            raise AuthenticationError(
                Refusal.REPLAY_STORE,
                f"the replay store cannot tell whether the request is new "
                f"({type(error).__name__}: {error}); connections are refused until it can",
            ) from error
        if not first:
            raise AuthenticationError(
                Refusal.REPLAY, "the nonce was used before: the request is a repetition"
            )


def _verified(
    request: UpgradeRequest, created: int | None = None, nonce: str | None = None
) -> VerifiedRequest:
    return VerifiedRequest(
        organization_id=request.single[ORGANIZATION_HEADER],
        session_id=request.single[SESSION_HEADER],
        correlation_id=request.single[CORRELATION_HEADER],
        authority=request.authority,
        request_target=request.request_target,
        api_key=request.single[API_KEY_HEADER],
        signed=nonce is not None,
        created=created,
        nonce=nonce,
    )


def _incomplete(what: str) -> AuthenticationError:
    return AuthenticationError(Refusal.INCOMPLETE, f"the signature is genuine, but {what}")


@asynccontextmanager
async def _refused_at(due: float) -> AsyncIterator[None]:
    """Let what is raised come out at a time of the event loop, and no sooner."""
    try:
        yield
    except Exception:
        await asyncio.sleep(max(0.0, due - asyncio.get_running_loop().time()))
        raise
