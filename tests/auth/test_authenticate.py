"""Tests of `SignatureVerifier.authenticate`: replays, and the duration of refusals."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from pipecat_genesys.auth import (
    AuthenticationError,
    IgnoreReplays,
    MemoryReplayStore,
    Refusal,
    ReplayStoreError,
    SignatureVerifier,
    VerifiedRequest,
)
from virtual_loop import run

from .signing import KEY, NONCE, NOW, ORGANIZATION, SECRET, TARGET, RequestToSign

OTHER_KEY = "another-api-key"


class Store:
    """A replay store that returns what the test specifies and records its calls."""

    def __init__(self, answer: Callable[[], Awaitable[Any]]) -> None:
        self._answer = answer
        self.calls: list[tuple[bytes, float]] = []

    async def first_use(self, nonce: bytes, seconds: float) -> bool:
        self.calls.append((nonce, seconds))
        return await self._answer()  # type: ignore[no-any-return]


async def yes() -> bool:
    return True


def verifier(**options: Any) -> SignatureVerifier:
    return SignatureVerifier({KEY: SECRET, OTHER_KEY: SECRET}, **options)


async def authenticate(
    by: SignatureVerifier, call: RequestToSign, now: float = NOW, **headers: str | None
) -> VerifiedRequest:
    return await by.authenticate("GET", call.target, call.headers(**headers), now)


async def outcome(
    by: SignatureVerifier, call: RequestToSign, now: float = NOW, **headers: str | None
) -> tuple[Refusal | None, float]:
    """Authenticate; return the reason of the refusal (or None) and the duration in seconds."""
    loop = asyncio.get_running_loop()
    start = loop.time()
    try:
        await authenticate(by, call, now, **headers)
    except AuthenticationError as error:
        return error.reason, loop.time() - start
    return None, loop.time() - start


def test_a_genuine_and_new_request_is_accepted_at_once() -> None:
    assert run(outcome(verifier(), RequestToSign())) == (None, 0)
    assert run(authenticate(verifier(), RequestToSign())) == verifier().verify(
        "GET", TARGET, RequestToSign().headers(), NOW
    )


def test_a_nonce_is_accepted_only_once() -> None:
    async def main() -> None:
        by = verifier()
        assert (await outcome(by, RequestToSign()))[0] is None
        assert (await outcome(by, RequestToSign()))[0] is Refusal.REPLAY
        # A used nonce is a replay even if the other signed values differ.
        again = RequestToSign(session=RequestToSign().correlation).having(created=NOW + 1)
        assert (await outcome(by, again))[0] is Refusal.REPLAY
        assert (await outcome(by, RequestToSign().having(nonce=NONCE + "2")))[0] is None

    run(main())


def test_two_api_keys_can_use_the_same_nonce() -> None:
    async def main() -> None:
        by = verifier()
        assert (await outcome(by, RequestToSign()))[0] is None
        assert (await outcome(by, RequestToSign(key=OTHER_KEY).having(keyid=OTHER_KEY)))[0] is None

    run(main())


def test_one_of_several_concurrent_requests_with_the_same_nonce_is_accepted() -> None:
    async def main() -> list[tuple[Refusal | None, float]]:
        by = verifier()
        return list(await asyncio.gather(*(outcome(by, RequestToSign()) for _ in range(5))))

    assert sorted(run(main()), key=str) == sorted(
        [(None, 0), *4 * [(Refusal.REPLAY, 0.5)]], key=str
    )


def test_verifiers_share_nonces_only_if_they_share_a_store() -> None:
    async def main() -> None:
        shared = MemoryReplayStore()
        for one, two, expected in (
            (verifier(), verifier(), None),
            (verifier(replay_store=shared), verifier(replay_store=shared), Refusal.REPLAY),
        ):
            assert (await outcome(one, RequestToSign()))[0] is None
            assert (await outcome(two, RequestToSign()))[0] is expected

    run(main())


def test_replays_are_accepted_with_ignore_replays() -> None:
    async def main() -> None:
        by = verifier(replay_store=IgnoreReplays())
        assert (await outcome(by, RequestToSign()))[0] is None
        assert (await outcome(by, RequestToSign()))[0] is None

    run(main())


def test_the_store_gets_a_digest_of_key_and_nonce_and_a_lifetime_of_22_seconds() -> None:
    store = Store(yes)
    run(authenticate(verifier(replay_store=store), RequestToSign()))
    digest = hashlib.sha256(b"SGVsbG8sIEkgYW0gdGhlIEFQSSBrZXkh\0VGhpc0lzQVVuaXF1ZU5vbmNl").digest()
    # The nonce is stored for 22 s: a signature may be 10 s old, the clocks may differ from the
    # signer's clock by 3 s in each direction, and the clocks of two machines may differ by 6 s.
    assert store.calls == [(digest, 22)]


def test_a_nonce_is_remembered_until_no_clock_accepts_its_signature() -> None:
    """A machine whose clock is 6 s behind the first machine's refuses the request as a replay."""

    async def main() -> None:
        passed = 0.0
        store = MemoryReplayStore(clock=lambda: passed)
        by = verifier(replay_store=store)
        call = RequestToSign().having(expires=None)
        # The clock of the accepting machine is 3 s behind the signer's clock. The clock of the
        # second machine is 6 s behind the clock of the accepting machine.
        assert (await outcome(by, call, NOW - 3))[0] is None
        accepted_until = NOW + 13 + 6
        passed = accepted_until - (NOW - 3) - 0.001
        assert (await outcome(by, call, NOW + 13))[0] is Refusal.REPLAY
        passed += 0.002
        assert len(store) == 1
        assert (await outcome(by, call, NOW + 13.1))[0] is Refusal.TIME

    run(main())


def test_the_store_is_not_called_for_refused_or_unsigned_requests() -> None:
    async def main() -> None:
        store = Store(yes)
        by = verifier(replay_store=store, unsigned_keys=["bare-key"], organizations=[ORGANIZATION])
        bare = {"signature": None, "signature_input": None}
        for call, headers in (
            (RequestToSign(secret="AAAA"), {}),
            (RequestToSign(), bare),
            (RequestToSign().having(created=NOW - 60), {}),
            (RequestToSign().having(nonce="short"), {}),
            (RequestToSign(organization=RequestToSign().session), {}),
            (RequestToSign(), {"audiohook-session-id": None}),
        ):
            assert (await outcome(by, call, **headers))[0] is not None
        assert (await outcome(by, RequestToSign(key="bare-key"), **bare))[0] is None
        assert store.calls == []

    run(main())


# Tests of refusals of requests


async def failed() -> bool:
    raise ReplayStoreError("connection lost")


async def broken() -> bool:
    raise KeyError("a fault of the store")


async def slow() -> bool:
    await asyncio.sleep(0.499)
    raise ReplayStoreError("connection lost late")


async def stuck() -> bool:
    await asyncio.Event().wait()
    return True


async def no() -> bool:
    return False


async def nothing() -> None:
    return None


REFUSED = {
    Refusal.REQUEST: (RequestToSign(), {"audiohook-session-id": None}, yes),
    Refusal.UNSIGNED: (RequestToSign(), {"signature": None, "signature-input": None}, yes),
    Refusal.SIGNATURE: (RequestToSign(secret="AAAA"), {}, yes),
    Refusal.INCOMPLETE: (RequestToSign().having(nonce=None), {}, yes),
    Refusal.TIME: (RequestToSign().having(created=1), {}, yes),
    Refusal.ORGANIZATION: (RequestToSign(organization=RequestToSign().session), {}, yes),
    Refusal.REPLAY: (RequestToSign(), {}, no),
    Refusal.REPLAY_STORE: (RequestToSign(), {}, failed),
}


def test_every_reason_for_a_refusal_is_covered() -> None:
    assert set(REFUSED) == set(Refusal)


@pytest.mark.parametrize("floor", [0.5, 0.05, 2.0])
@pytest.mark.parametrize("reason", Refusal)
def test_every_refusal_takes_the_same_time(reason: Refusal, floor: float) -> None:
    call, headers, answer = REFUSED[reason]
    by = verifier(replay_store=Store(answer), organizations=[ORGANIZATION], refusal_seconds=floor)
    got, seconds = run(outcome(by, call, **headers))
    assert got is reason
    assert seconds == pytest.approx(floor, abs=1e-9)


def test_a_flood_of_refused_requests_shortens_the_wait_of_the_oldest() -> None:
    """At most 50 requests wait. Each further request ends the wait of the oldest, in order."""
    ended: list[int] = []

    async def refused(by: SignatureVerifier, number: int) -> float:
        # One request a millisecond.
        await asyncio.sleep(number / 1000)
        got, seconds = await outcome(by, RequestToSign(secret="AAAA"))
        assert got is Refusal.SIGNATURE
        ended.append(number)
        return seconds

    async def flood() -> list[float]:
        by = verifier(refusal_seconds=0.5)
        return await asyncio.gather(*(refused(by, number) for number in range(300)))

    waits = run(flood())
    assert ended == list(range(300))
    assert waits[:250] == pytest.approx([0.05] * 250, abs=0.002)
    assert waits[250:] == pytest.approx([0.5] * 50, abs=0.002)


@pytest.mark.parametrize("answer", [failed, broken, slow, stuck])
def test_a_failing_store_refuses_within_the_same_time(
    answer: Callable[[], Awaitable[Any]],
) -> None:
    got, seconds = run(outcome(verifier(replay_store=Store(answer)), RequestToSign()))
    assert got is Refusal.REPLAY_STORE
    assert seconds == pytest.approx(0.5, abs=1e-9)


def test_a_store_that_returns_none_refuses() -> None:
    assert run(outcome(verifier(replay_store=Store(nothing)), RequestToSign()))[0] is Refusal.REPLAY


def test_the_error_names_the_exception_of_the_store_and_has_it_as_cause() -> None:
    with pytest.raises(AuthenticationError, match=r"ReplayStoreError: connection lost") as caught:
        run(authenticate(verifier(replay_store=Store(failed)), RequestToSign()))
    assert isinstance(caught.value.__cause__, ReplayStoreError)


def test_a_refusal_does_not_delay_other_requests() -> None:
    async def main() -> list[tuple[Refusal | None, float]]:
        by = verifier(replay_store=IgnoreReplays())
        bad, good = RequestToSign(secret="AAAA"), RequestToSign()
        return list(await asyncio.gather(*(outcome(by, call) for call in 3 * [bad, good])))

    results = run(main())
    assert results[1::2] == 3 * [(None, 0)]
    assert [round(seconds, 9) for _, seconds in results[::2]] == [0.5, 0.5, 0.5]


def test_cancellation_ends_the_wait_of_a_refusal() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        start = loop.time()
        task = asyncio.create_task(authenticate(verifier(), RequestToSign(secret="AAAA")))
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert loop.time() - start == pytest.approx(0.1)

    run(main())
