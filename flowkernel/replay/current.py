"""Which workflow is running in this thread: the one whose loop is current."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from typing import TYPE_CHECKING

from flowkernel.replay.errors import NotInWorkflowError
from flowkernel.replay.loop import WorkflowLoop

if TYPE_CHECKING:
    from flowkernel.replay.runtime import WorkflowRuntime


unrestricted: ContextVar[bool] = ContextVar("flowkernel_unrestricted", default=False)
"""Whether this code vouches for being deterministic, so that nobody need check."""


def maybe_current() -> WorkflowRuntime | None:
    """The workflow whose code calls this; None outside of workflow code."""
    loop = asyncio._get_running_loop()  # pyright: ignore[reportPrivateUsage,reportAttributeAccessIssue]
    return loop.runtime if type(loop) is WorkflowLoop else None


def current() -> WorkflowRuntime:
    """The workflow whose code calls this.

    Raises:
        NotInWorkflowError: no workflow code is running here.
    """
    runtime = maybe_current()
    if runtime is None:
        raise NotInWorkflowError
    return runtime
