"""The store in memory keeps the port's promises."""

from __future__ import annotations

from pathlib import Path

import pytest

from flowkernel.model.errors import StoreError
from flowkernel.store.memory import MemoryStore
from flowkernel.store.port import Store
from flowkernel.testing.run_script import RunScript
from flowkernel.testing.store_conformance import StoreConformance


class TestMemoryStore(StoreConformance):
    def open(self, place: Path) -> Store:
        return MemoryStore()

    def reopen(self, store: Store, place: Path) -> Store:
        assert isinstance(store, MemoryStore)
        return store.reopened()


def test_reopening_closes_the_old_store() -> None:
    old = MemoryStore()
    old.commit([RunScript().start()])
    fresh = old.reopened()
    with pytest.raises(StoreError, match="is closed"):
        old.find_run("default", "order-1")
    assert fresh.find_run("default", "order-1") is not None
