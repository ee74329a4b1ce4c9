"""Opening database files: one service per file and process, shared by its clients."""

from __future__ import annotations

import os
import re
import threading
import time
from pathlib import Path

from flowkernel.model.errors import FlowkernelError
from flowkernel.service import Clock, EmbeddedService
from flowkernel.store.duckdb import open_duckdb
from flowkernel.store.memory import MemoryStore

CLOSE_TIMEOUT = 10.0
"""Seconds that the last client waits for its service to finish."""


class UnsupportedTarget(FlowkernelError, ValueError):
    """A place to connect to that this version cannot reach."""

    def __init__(self, target: str) -> None:
        super().__init__(
            f"{target!r} looks like the address of a server. This version of flowkernel works on a database file of its own: "
            f'give a path such as "flows.duckdb", or ":memory:".'
        )


class _Open:
    """An open file and how many clients it has."""

    def __init__(self, service: EmbeddedService) -> None:
        self.service = service
        self.users = 1


class OpenFiles:
    """The files that this process has open.

    A DuckDB file belongs to one process, and within it to one service; a second client of the same file must get that one.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[str, _Open] = {}

    def acquire(self, target: str | os.PathLike[str], *, owner: str, clock: Clock | None = None) -> EmbeddedService:
        """The service of a file, opened if need be. Errors are those of `flowkernel.store.duckdb.open_duckdb`."""
        name = os.fspath(target)
        if name == ":memory:":
            return EmbeddedService(MemoryStore(), clock)
        if re.fullmatch(r"[\w.-]+:\d+|\w+://.*", name):
            raise UnsupportedTarget(name)
        key = os.path.realpath(name)
        with self._lock:
            known = self._open.get(key)
            if known is not None:
                known.users += 1
                return known.service
            store = open_duckdb(Path(name), owner=owner, now=time.time_ns())
            service = EmbeddedService(store, clock)
            self._open[key] = _Open(service)
            return service

    def release(self, service: EmbeddedService, timeout: float = CLOSE_TIMEOUT) -> None:
        """One client less; the last one closes the file."""
        with self._lock:
            for key, known in list(self._open.items()):
                if known.service is service:
                    known.users -= 1
                    if known.users:
                        return
                    del self._open[key]
        service.close(timeout)


open_files = OpenFiles()
"""This process's open files."""
