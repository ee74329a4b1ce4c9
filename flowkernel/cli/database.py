"""Databases that the command line looks into, and the options that its commands share."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Generator
from pathlib import Path
from typing import TypeVar

from flowkernel.api import call_sync
from flowkernel.client import open_client
from flowkernel.model.errors import ExecutionNotFound, FlowkernelError
from flowkernel.model.ids import RunId, WorkflowId
from flowkernel.model.requests import (
    ExecutionInfo,
    GetWorkflowExecutionHistory,
    GetWorkflowExecutionHistoryResponse,
    ListWorkflowExecutions,
    Request,
)

__all__ = ["Database", "DatabaseMissing", "ExecutionUnknown", "add_database", "add_execution", "open_database"]

R = TypeVar("R")
_ANSWER_TIMEOUT = 30.0


class DatabaseMissing(FlowkernelError):
    """There is no such file. None was made."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path}: no such database. Name a .duckdb file, or the notebook whose workflows it holds.")


class ExecutionUnknown(FlowkernelError):
    """The database holds no such execution."""

    def __init__(self, name: str, path: Path) -> None:
        super().__init__(f"{path}: no execution {name!r}. `flowkernel list {path}` shows those there are.")


class Database:
    """An open database, asked through the service that owns it."""

    def __init__(self, path: Path, namespace: str) -> None:
        self.path = path
        self._client = open_client(str(path), namespace=namespace, owner="flowkernel command line")

    def ask(self, request: Request[R]) -> R:
        """Send a request and wait for the answer."""
        return call_sync(self._client.service, request, _ANSWER_TIMEOUT)

    def executions(self, **narrowed: object) -> tuple[ExecutionInfo, ...]:
        """List executions, latest start first. Keywords as for `ListWorkflowExecutions`."""
        return self.ask(ListWorkflowExecutions(self._client.namespace, **narrowed)).executions  # type: ignore[arg-type]

    def history(self, name: str, run_id: str) -> GetWorkflowExecutionHistoryResponse:
        """Return everything recorded of a run, the latest if ``run_id`` is empty.

        Args:
            name: workflow id, or its last part: a cell named ``weather`` runs as ``<notebook>/weather``.
            run_id: which run.
        Raises:
            ExecutionUnknown: there is none.
        """
        ids = dict.fromkeys(
            [name, *(info.run.workflow_id for info in self.executions() if info.run.workflow_id.endswith(f"/{name}"))]
        )
        for workflow_id in ids:
            with contextlib.suppress(ExecutionNotFound):
                return self.ask(
                    GetWorkflowExecutionHistory(self._client.namespace, WorkflowId(workflow_id), RunId(run_id), with_records=True)
                )
        raise ExecutionUnknown(name, self.path)

    def close(self) -> None:
        """Let go of the file."""
        self._client.close()


@contextlib.contextmanager
def open_database(chosen: argparse.Namespace) -> Generator[Database]:
    """Open the database that the arguments name, for as long as the block lasts.

    Raises:
        DatabaseMissing: there is no such file.
        StoreError: it cannot be opened; the text says why.
    """
    path: Path = chosen.database
    if path.suffix == ".ipynb":
        path = path.parent / ".flowkernel" / f"{path.stem}.duckdb"
    if not path.is_file():
        raise DatabaseMissing(path)
    database = Database(path, chosen.namespace)
    try:
        yield database
    finally:
        database.close()


def add_database(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that say where to look."""
    parser.add_argument(
        "database", type=Path, metavar="DB", help="a .duckdb file, or the notebook beside whose .flowkernel folder it is"
    )
    parser.add_argument("--namespace", default="default", help="default: %(default)s")


def add_execution(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that say which execution."""
    parser.add_argument("execution", metavar="ID", help="workflow id, or the NAME of its cell")
    parser.add_argument("--run-id", default="", metavar="RUN", help="which run (default: the latest)")
