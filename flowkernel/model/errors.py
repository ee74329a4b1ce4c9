"""Errors of the layers below the faces. Each family answers: whose fault, and was anything written?"""

from __future__ import annotations

import enum
from pathlib import Path


class FlowkernelError(Exception):
    """Base of everything that flowkernel itself raises."""


class RPCStatusCode(enum.IntEnum):
    """Status of a refused request. Names and values are gRPC's, as in ``temporalio.service``."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class RPCError(FlowkernelError):
    """The service refused a request. Nothing was written."""

    def __init__(self, message: str, status: RPCStatusCode) -> None:
        super().__init__(message)
        self.message = message
        self.status = status


class ExecutionAlreadyStarted(RPCError):
    """A start was refused because of an execution with the same id."""

    def __init__(self, workflow_id: str, run_id: str, why: str) -> None:
        super().__init__(f"workflow {workflow_id!r} {why} (run {run_id})", RPCStatusCode.ALREADY_EXISTS)
        self.workflow_id = workflow_id
        self.run_id = run_id


class ExecutionNotFound(RPCError):
    """No such execution in the namespace, or it is closed where an open one is needed."""

    def __init__(self, workflow_id: str, run_id: str | None = None, *, closed: bool = False) -> None:
        run = f" run {run_id}" if run_id else ""
        message = (
            f"workflow execution already completed: {workflow_id!r}{run}"
            if closed
            else f"workflow execution not found: {workflow_id!r}{run}"
        )
        super().__init__(message, RPCStatusCode.NOT_FOUND)
        self.workflow_id = workflow_id
        self.closed = closed


class InvalidRequest(RPCError):
    """A request whose fields break a rule. Fix the call; nothing was written."""

    def __init__(self, message: str) -> None:
        super().__init__(message, RPCStatusCode.INVALID_ARGUMENT)


class StoreError(FlowkernelError):
    """The database could not be opened, read or written. The last commit did not happen; committed history stays."""

    def __init__(self, path: str | Path, problem: str, way_out: str) -> None:
        super().__init__(f"{path}: {problem}. {way_out}")
        self.path = str(path)


class DatabaseInUse(StoreError):
    """Another process owns the file."""

    def __init__(self, path: str | Path, pid: int | None, owner: str | None) -> None:
        who = f"process {pid}" if pid else "another process"
        if owner:
            who += f" ({owner})"
        super().__init__(
            path,
            f"in use by {who}",
            "A DuckDB file belongs to one process at a time: shut that kernel or program down, "
            "or choose another file with %config FlowKernel.database or FLOWKERNEL_DATABASE.",
        )
        self.pid = pid
        self.owner = owner


class DatabaseReadOnly(StoreError):
    """The file or its folder cannot be written."""

    def __init__(self, path: str | Path) -> None:
        super().__init__(path, "cannot be written", "Make the file and its folder writable, or choose another file.")


class DatabaseCorrupt(StoreError):
    """The file is no DuckDB database, or a damaged one."""

    def __init__(self, path: str | Path, detail: str) -> None:
        super().__init__(
            path,
            f"is not a readable flowkernel database ({detail})",
            "Restore it from a copy, or move it away and a new one is made.",
        )


class DatabaseTooNew(StoreError):
    """Written by a newer flowkernel."""

    def __init__(self, path: str | Path, found: int, known: int) -> None:
        super().__init__(
            path,
            f"has schema version {found}, this flowkernel knows up to {known}",
            "Upgrade flowkernel, or choose another file.",
        )


class WriteFailed(StoreError):
    """A commit failed, for example on a full disk."""

    def __init__(self, path: str | Path, detail: str) -> None:
        super().__init__(
            path,
            f"could not be written ({detail})",
            "What was acknowledged before stays recorded; mend the cause and open the file again.",
        )


class EngineBug(FlowkernelError):
    """An invariant broke. Please report it together with the run's history."""
