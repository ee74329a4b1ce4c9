"""The worker's pure machine: a run's history goes in, commands come out, by running the author's coroutine."""

from __future__ import annotations

from flowkernel.replay.current import current, maybe_current
from flowkernel.replay.definitions import ActivityDefinition, HandlerDefinition, WorkflowDefinition
from flowkernel.replay.errors import NondeterminismError, OutdatedInstance, ReplayError, WorkflowCodeError
from flowkernel.replay.instance import WorkflowInstance

__all__ = [
    "ActivityDefinition",
    "HandlerDefinition",
    "NondeterminismError",
    "OutdatedInstance",
    "ReplayError",
    "WorkflowCodeError",
    "WorkflowDefinition",
    "WorkflowInstance",
    "current",
    "maybe_current",
]
