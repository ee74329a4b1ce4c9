"""The store in a DuckDB file keeps the port's promises."""

from __future__ import annotations

from pathlib import Path

from flowkernel.store.duckdb import open_duckdb
from flowkernel.store.port import Store
from flowkernel.testing.store_conformance import StoreConformance


class TestDuckDBFile(StoreConformance):
    def open(self, place: Path) -> Store:
        return open_duckdb(place / "history.duckdb")

    def reopen(self, store: Store, place: Path) -> Store:
        store.close()
        return open_duckdb(place / "history.duckdb")
