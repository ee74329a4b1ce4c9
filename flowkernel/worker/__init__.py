"""The worker: runs workflows and activities."""

from __future__ import annotations

from flowkernel.worker.worker import Worker, WorkerConfigError

__all__ = ["Worker", "WorkerConfigError"]
