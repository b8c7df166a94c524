"""Tests of `MemoryReplayStore`."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from pipecat_genesys.auth import MemoryReplayStore, ReplayStoreError


def at_once(call: Coroutine[Any, Any, bool]) -> bool:
    """Run a coroutine that must not wait, and return its result."""
    try:
        call.send(None)
    except StopIteration as done:
        return bool(done.value)
    raise AssertionError("the coroutine waited")


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_nonce_is_new_only_once_until_it_expires() -> None:
    clock = Clock()
    store = MemoryReplayStore(clock=clock)
    assert at_once(store.first_use(b"a", 22)) is True
    clock.now = 21.999
    assert at_once(store.first_use(b"a", 22)) is False
    assert at_once(store.first_use(b"b", 22)) is True
    clock.now = 22
    assert at_once(store.first_use(b"a", 22)) is True


def test_a_full_store_raises_until_a_nonce_expires() -> None:
    clock = Clock()
    store = MemoryReplayStore(capacity=2, clock=clock)
    assert at_once(store.first_use(b"a", 10)) is True
    clock.now = 1
    assert at_once(store.first_use(b"b", 10)) is True
    for _ in range(3):
        with pytest.raises(ReplayStoreError, match="full with 2 nonces; increase its capacity"):
            at_once(store.first_use(b"c", 10))
    assert at_once(store.first_use(b"a", 10)) is False
    assert len(store) == 2
    clock.now = 10
    assert at_once(store.first_use(b"c", 10)) is True
    assert at_once(store.first_use(b"b", 10)) is False


@pytest.mark.parametrize("capacity", [0, -1])
def test_a_capacity_below_1_raises_value_error(capacity: int) -> None:
    with pytest.raises(ValueError, match=f"capacity is {capacity}"):
        MemoryReplayStore(capacity)


class Stores(RuleBasedStateMachine):
    """Compares the store with a model: a dictionary of nonces and expiry times."""

    CAPACITY = 4

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.store = MemoryReplayStore(self.CAPACITY, self.clock)
        self.model: dict[bytes, float] = {}

    @rule(nonce=st.integers(0, 7), seconds=st.integers(1, 5))
    def use(self, nonce: int, seconds: int) -> None:
        name = bytes([nonce])
        self.model = {n: until for n, until in self.model.items() if until > self.clock.now}
        expected: Any = name not in self.model
        if expected and len(self.model) >= self.CAPACITY:
            with pytest.raises(ReplayStoreError):
                at_once(self.store.first_use(name, seconds))
            return
        assert at_once(self.store.first_use(name, seconds)) is expected
        if expected:
            self.model[name] = self.clock.now + seconds

    @rule(seconds=st.integers(0, 6))
    def wait(self, seconds: int) -> None:
        self.clock.now += seconds

    @invariant()
    def bounded(self) -> None:
        assert len(self.store) <= self.CAPACITY
        assert len(self.store._expiries) == len(self.store)


TestStores = Stores.TestCase
