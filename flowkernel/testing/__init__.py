"""For tests: environments to run workflows and activities in. Names and meaning are those of Temporal's Python SDK.

Beside them, `flowkernel.testing.histories` builds histories for unit tests, and `flowkernel.testing.store_conformance` is the
suite that every store passes.
"""

from __future__ import annotations

from flowkernel.testing.environment import ActivityEnvironment, WorkflowEnvironment, WorkflowStuckError

__all__ = ["ActivityEnvironment", "WorkflowEnvironment", "WorkflowStuckError"]
