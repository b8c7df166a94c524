"""The async form: a store that remembers nonces, and refusals that all take the same time."""

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

from .signing import KEY, NONCE, NOW, ORGANIZATION, SECRET, TARGET, Call
from .virtual_time import run

OTHER_KEY = "another-api-key"


class Store:
    """A store that does what the test says, and writes down what it was asked."""

    def __init__(self, answer: Callable[[], Awaitable[Any]]) -> None:
        self._answer = answer
        self.asked: list[tuple[bytes, float]] = []

    async def first_use(self, nonce: bytes, seconds: float) -> bool:
        self.asked.append((nonce, seconds))
        return await self._answer()  # type: ignore[no-any-return]


async def yes() -> bool:
    return True


def verifier(**options: Any) -> SignatureVerifier:
    return SignatureVerifier({KEY: SECRET, OTHER_KEY: SECRET}, **options)


async def authenticate(
    by: SignatureVerifier, call: Call, now: float = NOW, **headers: str | None
) -> VerifiedRequest:
    return await by.authenticate("GET", call.target, call.headers(**headers), now)


async def outcome(
    by: SignatureVerifier, call: Call, now: float = NOW, **headers: str | None
) -> tuple[Refusal | None, float]:
    """Why it was refused, if it was, and after how many seconds."""
    loop = asyncio.get_running_loop()
    start = loop.time()
    try:
        await authenticate(by, call, now, **headers)
    except AuthenticationError as error:
        return error.reason, loop.time() - start
    return None, loop.time() - start


def test_what_is_genuine_and_new_is_accepted_at_once() -> None:
    assert run(outcome(verifier(), Call())) == (None, 0)
    assert run(authenticate(verifier(), Call())) == verifier().verify(
        "GET", TARGET, Call().headers(), NOW
    )


def test_a_nonce_is_accepted_once() -> None:
    async def main() -> None:
        by = verifier()
        assert (await outcome(by, Call()))[0] is None
        assert (await outcome(by, Call()))[0] is Refusal.REPLAY
        # The nonce makes the repetition, whatever else is signed with it.
        again = Call(session=Call().correlation).having(created=NOW + 1)
        assert (await outcome(by, again))[0] is Refusal.REPLAY
        assert (await outcome(by, Call().having(nonce=NONCE + "2")))[0] is None

    run(main())


def test_keys_have_nonces_of_their_own() -> None:
    async def main() -> None:
        by = verifier()
        assert (await outcome(by, Call()))[0] is None
        assert (await outcome(by, Call(key=OTHER_KEY).having(keyid=OTHER_KEY)))[0] is None

    run(main())


def test_of_two_at_once_one_is_accepted() -> None:
    async def main() -> list[tuple[Refusal | None, float]]:
        by = verifier()
        return list(await asyncio.gather(*(outcome(by, Call()) for _ in range(5))))

    assert sorted(run(main()), key=str) == sorted(
        [(None, 0), *4 * [(Refusal.REPLAY, 0.5)]], key=str
    )


def test_each_verifier_has_a_store_of_its_own_unless_they_share_one() -> None:
    async def main() -> None:
        shared = MemoryReplayStore()
        for one, two, expected in (
            (verifier(), verifier(), None),
            (verifier(replay_store=shared), verifier(replay_store=shared), Refusal.REPLAY),
        ):
            assert (await outcome(one, Call()))[0] is None
            assert (await outcome(two, Call()))[0] is expected

    run(main())


def test_replays_are_accepted_only_if_it_is_said_so() -> None:
    async def main() -> None:
        by = verifier(replay_store=IgnoreReplays())
        assert (await outcome(by, Call()))[0] is None
        assert (await outcome(by, Call()))[0] is None

    run(main())


def test_the_store_gets_a_digest_and_the_time_for_which_a_replay_could_be_accepted() -> None:
    store = Store(yes)
    run(authenticate(verifier(replay_store=store), Call()))
    digest = hashlib.sha256(b"SGVsbG8sIEkgYW0gdGhlIEFQSSBrZXkh\0VGhpc0lzQVVuaXF1ZU5vbmNl").digest()
    # 10 s of age, 3 s of skew on either side, and 6 s between the clocks of two machines.
    assert store.asked == [(digest, 22)]


def test_a_nonce_is_remembered_until_no_clock_would_accept_it() -> None:
    """First seen by the clock that is most ahead, repeated to the one that is most behind."""

    async def main() -> None:
        passed = 0.0
        store = MemoryReplayStore(clock=lambda: passed)
        by = verifier(replay_store=store)
        call = Call().having(expires=None)
        # The signer is 3 s behind the truth at least; this machine 3 s ahead of it at most.
        assert (await outcome(by, call, NOW - 3))[0] is None
        accepted_until = NOW + 13 + 6
        passed = accepted_until - (NOW - 3) - 0.001
        assert (await outcome(by, call, NOW + 13))[0] is Refusal.REPLAY
        passed += 0.002
        assert len(store) == 1
        assert (await outcome(by, call, NOW + 13.1))[0] is Refusal.TIME

    run(main())


def test_only_what_is_genuine_and_timely_gets_to_the_store() -> None:
    async def main() -> None:
        store = Store(yes)
        by = verifier(replay_store=store, unsigned_keys=["bare-key"], organizations=[ORGANIZATION])
        bare = {"signature": None, "signature_input": None}
        for call, headers in (
            (Call(secret="AAAA"), {}),
            (Call(), bare),
            (Call().having(created=NOW - 60), {}),
            (Call().having(nonce="short"), {}),
            (Call(organization=Call().session), {}),
            (Call(), {"audiohook-session-id": None}),
        ):
            assert (await outcome(by, call, **headers))[0] is not None
        assert (await outcome(by, Call(key="bare-key"), **bare))[0] is None
        assert store.asked == []

    run(main())


# Refusals


async def gone() -> bool:
    raise ReplayStoreError("gone")


async def broken() -> bool:
    raise KeyError("of somebody else's store")


async def slow() -> bool:
    await asyncio.sleep(0.499)
    raise ReplayStoreError("gone, after a while")


async def stuck() -> bool:
    await asyncio.Event().wait()
    return True


async def no() -> bool:
    return False


async def nothing() -> None:
    return None


REFUSED = {
    Refusal.REQUEST: (Call(), {"audiohook-session-id": None}, yes),
    Refusal.UNSIGNED: (Call(), {"signature": None, "signature-input": None}, yes),
    Refusal.SIGNATURE: (Call(secret="AAAA"), {}, yes),
    Refusal.INCOMPLETE: (Call().having(nonce=None), {}, yes),
    Refusal.TIME: (Call().having(created=1), {}, yes),
    Refusal.ORGANIZATION: (Call(organization=Call().session), {}, yes),
    Refusal.REPLAY: (Call(), {}, no),
    Refusal.REPLAY_STORE: (Call(), {}, gone),
}


def test_every_reason_is_here() -> None:
    assert set(REFUSED) == set(Refusal)


@pytest.mark.parametrize("floor", [0.5, 0.05, 2.0])
@pytest.mark.parametrize("reason", Refusal)
def test_every_refusal_takes_the_same_time(reason: Refusal, floor: float) -> None:
    call, headers, answer = REFUSED[reason]
    by = verifier(replay_store=Store(answer), organizations=[ORGANIZATION], refusal_seconds=floor)
    got, seconds = run(outcome(by, call, **headers))
    assert got is reason
    assert seconds == pytest.approx(floor, abs=1e-9)


@pytest.mark.parametrize("answer", [gone, broken, slow, stuck])
def test_a_store_that_cannot_tell_refuses_and_takes_no_longer(
    answer: Callable[[], Awaitable[Any]],
) -> None:
    got, seconds = run(outcome(verifier(replay_store=Store(answer)), Call()))
    assert got is Refusal.REPLAY_STORE
    assert seconds == pytest.approx(0.5, abs=1e-9)


def test_a_store_that_says_nothing_refuses() -> None:
    assert run(outcome(verifier(replay_store=Store(nothing)), Call()))[0] is Refusal.REPLAY


def test_the_error_of_a_store_names_it_and_keeps_the_cause() -> None:
    with pytest.raises(AuthenticationError, match=r"ReplayStoreError: gone") as caught:
        run(authenticate(verifier(replay_store=Store(gone)), Call()))
    assert isinstance(caught.value.__cause__, ReplayStoreError)


def test_a_refusal_holds_nobody_up() -> None:
    async def main() -> list[tuple[Refusal | None, float]]:
        by = verifier(replay_store=IgnoreReplays())
        bad, good = Call(secret="AAAA"), Call()
        return list(await asyncio.gather(*(outcome(by, call) for call in 3 * [bad, good])))

    results = run(main())
    assert results[1::2] == 3 * [(None, 0)]
    assert [round(seconds, 9) for _, seconds in results[::2]] == [0.5, 0.5, 0.5]


def test_a_peer_that_leaves_ends_the_wait() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        start = loop.time()
        task = asyncio.create_task(authenticate(verifier(), Call(secret="AAAA")))
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert loop.time() - start == pytest.approx(0.1)

    run(main())
