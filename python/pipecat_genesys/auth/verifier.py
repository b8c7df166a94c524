"""`SignatureVerifier`: performs all checks of an upgrade request."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import math
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from http_message_signatures import HTTPMessageSignaturesException, VerifyResult

from .credentials import Credentials, Keyring
from .errors import AuthenticationError, Refusal
from .refusal_delay import RefusalDelay
from .replay import MemoryReplayStore, ReplayStore
from .request import (
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
from .signature import verify_mac

# Requirements of Genesys's reference server (app/src/authenticator.ts in the AudioHook reference
# implementation): a signature must have these components, in any order, and a nonce of 128 bits (22
# base64 digits).
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
    """An accepted upgrade request. Every value was signed, unless `signed` is False.

    Attributes:
        organization_id: ID of the Genesys organisation, which must equal `organizationId` in
            `open`.
        session_id: ID of the session, which must equal the `id` of every message.
        correlation_id: ID that Genesys's support needs to find the call.
        authority: Public host, with the port if it is not 443.
        request_target: Path and query, which contain the connector ID. Hidden in `repr`.
        api_key: API key, which identifies the integration. Hidden in `repr`.
        signed: False if the request had no signature and its API key needs none.
        created: Time of the signature in seconds since 1970; None without a signature.
        nonce: Nonce of the signature; None without a signature. Hidden in `repr`.
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
    """Verifies that an upgrade request comes from Genesys Cloud.

    A request is accepted only if its signature is genuine, was not used before, is not too old, and
    was made for this service. A request without a signature is accepted only if its API key is in
    `unsigned_keys`. A check takes a third of a millisecond (`benches/measure_auth.py`), so it can
    run in the event loop.

    Call `authenticate` before you accept the WebSocket::

        verifier = SignatureVerifier({api_key: client_secret}, authority="bot.example.com")

        @app.websocket("/audiohook")
        async def audiohook(websocket: WebSocket):
            try:
                caller = await verifier.authenticate(*upgrade_request(websocket.scope))
            except AuthenticationError as error:
                logger.warning("refused: {}", error)
                await websocket.close()  # before accept(): responds with HTTP 403
                return
            await websocket.accept()

    Args:
        credentials: Client secrets by API key. Copy both from the integration's settings; the
            secret is base64. While one secret replaces another, pass both secrets in a sequence.
        authority: Public host, with the port if it is not 443. By default, the Host header of the
            request is used. In this case a proxy that changes the header makes every signature
            fail, and signatures for your other hosts are accepted. `X-Forwarded-Host` and similar
            headers are never used.
        organizations: IDs of the accepted Genesys organisations. None accepts every organisation
            that has an API key.
        unsigned_keys: API keys of integrations without a client secret. Requests with these keys
            need no signature. Anyone who has seen such a request can send more such requests.
        replay_store: Store that remembers nonces. By default a new `MemoryReplayStore`. Several
            processes need a common store.
        max_age_seconds: Largest age of a signature. Genesys's reference server uses 10 s.
        clock_skew_seconds: Largest difference between the clocks of signer and verifier. Genesys's
            reference server uses 3 s.
        refusal_seconds: Duration of every refusal, for any reason, and time limit for the
            replay store. A flood of requests shortens it, see `authenticate`. Genesys's
            reference server uses 0.5 s; Genesys waits 5 s for `opened`.
        clock: A function that returns the current time in seconds since 1970.

    Raises:
        ValueError: If an argument is invalid. The message contains the name of the argument, but no
            secret.
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
        if authority is not None:
            _checked_authority(authority)
        for organization in organizations or ():
            if not is_uuid(organization):
                raise ValueError(f"organizations contains {organization!r}, which is not a UUID")
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
        self._delay = RefusalDelay()
        self._clock = clock

    def replace_credentials(
        self, credentials: Credentials, unsigned_keys: Collection[str] = ()
    ) -> None:
        """Replace all keys and secrets. The next request is checked with the new keys and secrets.

        Args:
            credentials: Client secrets by API key, as in the constructor.
            unsigned_keys: API keys without a client secret, as in the constructor.

        Raises:
            ValueError: If a key or a secret is invalid. The old keys and secrets stay in use.
        """
        self._keyring = Keyring(credentials, unsigned_keys)

    @property
    def authority(self) -> str | None:
        """The public host; None if the Host header of each request is used."""
        return self._authority

    @property
    def replay_store(self) -> ReplayStore:
        """The store that remembers nonces."""
        return self._store

    def replace_authority(self, authority: str) -> None:
        """Replace the public host. The next request is checked with the new host.

        Args:
            authority: Public host, as in the constructor.

        Raises:
            ValueError: If `authority` is not a host. The old host stays in use.
        """
        self._authority = _checked_authority(authority)

    def replace_replay_store(self, replay_store: ReplayStore) -> None:
        """Replace the store that remembers nonces. The nonces in the old store are forgotten.

        Args:
            replay_store: The new store.
        """
        self._store = replay_store

    async def authenticate(
        self,
        method: str,
        url: str,
        headers: Headers,
        now: float | None = None,
        *,
        admit: Callable[[VerifiedRequest], None] | None = None,
    ) -> VerifiedRequest:
        """Verify a request and check that it does not repeat an earlier one.

        Every refusal takes `refusal_seconds`, so that its duration reveals nothing about its
        reason. If more than 50 refused requests wait, the oldest of them waits no longer.
        Cancellation ends the wait immediately.

        Args:
            method: HTTP method.
            url: Target of the request or absolute URL, as for `verify`.
            headers: Header lines, as for `verify`.
            now: Current time in seconds since 1970. By default the time of `clock`.
            admit: Called with a genuine request before its nonce is recorded. If the process has
                no capacity for the call, `admit` should raise. `authenticate` then raises the same
                exception immediately and does not record the nonce, so that another process can
                accept the same request.

        Returns:
            The verified request.

        Raises:
            AuthenticationError: If the request must not be accepted, or if the replay store
                failed, is full, or did not answer within `refusal_seconds`.
        """
        due = asyncio.get_running_loop().time() + self._refusal_seconds
        async with self._delay.until(due):
            request = self.verify(method, url, headers, now)
        if admit is not None:
            admit(request)
        async with self._delay.until(due):
            await self._use_nonce(request, due)
        return request

    def verify(
        self, method: str, url: str, headers: Headers, now: float | None = None
    ) -> VerifiedRequest:
        """Verify a request without checking for a replay. A refusal is raised immediately.

        Args:
            method: HTTP method.
            url: Target of the request (path and query) or absolute URL, encoded as on the wire.
                The host of an absolute URL replaces the Host header.
            headers: Mapping, or pairs of name and value as text or bytes. Pass pairs if possible:
                a mapping cannot show a repeated header, which must be refused.
            now: Current time in seconds since 1970. By default the time of `clock`.

        Returns:
            The verified request.

        Raises:
            AuthenticationError: If the request must not be accepted.
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
                "add its API key to unsigned_keys",
            )
        accepted = self._organizations
        if accepted is not None and verified.organization_id.lower() not in accepted:
            raise AuthenticationError(
                Refusal.ORGANIZATION,
                f"organisation {verified.organization_id} is not accepted; to accept the "
                "organisation, add its ID to the parameter 'organizations'",
            )
        return verified

    def _verify_signed(self, request: UpgradeRequest, now: float) -> VerifiedRequest:
        try:
            result = verify_mac(request, request.single.get(SIGNATURE_HEADER, ""), self._keyring)
        except HTTPMessageSignaturesException:
            # The library's message is not used, because it distinguishes an unknown key from a
            # wrong secret, and because it can contain text of the peer.
            raise AuthenticationError(
                Refusal.SIGNATURE,
                f"the signature is not genuine for host {request.authority!r}; compare API key and "
                "client secret with the integration's settings, and check that no proxy changes "
                "host, path or query",
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
            raise _incomplete(f"it does not cover {', '.join(missing)}")
        keyid = str(result.parameters["keyid"])
        if not hmac.compare_digest(keyid.encode(), request.single[API_KEY_HEADER].encode()):
            raise _incomplete("its keyid is not the API key of the request")
        if len(result.nonce or "") < MIN_NONCE_LENGTH:
            raise _incomplete(f"it has no nonce of {MIN_NONCE_LENGTH} characters or more")
        if "created" not in result.parameters:
            raise _incomplete("it has no parameter created")

    def _require_timely(self, result: VerifyResult, now: float) -> None:
        created, expires = result.parameters["created"], result.parameters.get("expires", math.inf)
        assert isinstance(created, int)
        assert isinstance(expires, int | float)
        age = now - created
        # The condition tests for accepted ages, not for refused ages, so that a NaN from a clock is
        # refused.
        if not -self._skew <= age <= self._max_age + self._skew:
            raise AuthenticationError(
                Refusal.TIME,
                f"the signature is {age:.1f} s old; the accepted age is {-self._skew:g} to "
                f"{self._max_age + self._skew:g} s; synchronise this machine's clock with NTP",
            )
        if not (expires >= created and expires + self._skew >= now):
            raise AuthenticationError(
                Refusal.TIME,
                f"the signature expired {now - expires:.1f} s ago, or expires before its creation",
            )

    async def _use_nonce(self, request: VerifiedRequest, due: float) -> None:
        if request.nonce is None:
            return
        digest = hashlib.sha256(f"{request.api_key}\0{request.nonce}".encode()).digest()
        # A signature is accepted from one clock skew before its creation until the maximum age plus
        # one clock skew after its creation. The clocks of two machines that share a store can
        # differ by two more clock skews.
        seconds = self._max_age + 4 * self._skew
        try:
            async with asyncio.timeout_at(due):
                first = await self._store.first_use(digest, seconds)
        except Exception as error:
            raise AuthenticationError(
                Refusal.REPLAY_STORE,
                f"the replay store could not check the nonce ({type(error).__name__}: {error}); "
                "connections are refused until the replay store works again",
            ) from error
        if not first:
            raise AuthenticationError(
                Refusal.REPLAY, "the nonce has been used before; the request is a replay"
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


def _checked_authority(authority: str) -> str:
    if not is_authority(authority):
        raise ValueError(
            f"authority is {authority!r}; pass only the public host, "
            "such as 'bot.example.com' or 'bot.example.com:8443'"
        )
    return authority
