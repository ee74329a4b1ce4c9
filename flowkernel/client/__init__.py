"""What starts, finds, asks and steers executions. Names and meaning are those of Temporal's Python SDK."""

from __future__ import annotations

from flowkernel.client.activities import AsyncActivityHandle
from flowkernel.client.client import Client, open_client
from flowkernel.client.errors import (
    AsyncActivityCancelledError,
    RPCError,
    RPCStatusCode,
    WorkflowFailureError,
    WorkflowQueryFailedError,
    WorkflowQueryRejectedError,
)
from flowkernel.client.handle import WorkflowHandle
from flowkernel.client.values import WorkflowExecution, WorkflowExecutionDescription, WorkflowHistory
from flowkernel.model.policies import WorkflowExecutionStatus

__all__ = [
    "AsyncActivityCancelledError",
    "AsyncActivityHandle",
    "Client",
    "RPCError",
    "RPCStatusCode",
    "WorkflowExecution",
    "WorkflowExecutionDescription",
    "WorkflowExecutionStatus",
    "WorkflowFailureError",
    "WorkflowHandle",
    "WorkflowHistory",
    "WorkflowQueryFailedError",
    "WorkflowQueryRejectedError",
    "open_client",
]
