"""The engine: pure state machines that turn requests into events. No clock, disk, threads or randomness."""

from __future__ import annotations

from flowkernel.engine.decide import deadlines, decide, ready_tasks, start_run
from flowkernel.engine.fold import fold_event, fold_record, fold_run

__all__ = ["deadlines", "decide", "fold_event", "fold_record", "fold_run", "ready_tasks", "start_run"]
